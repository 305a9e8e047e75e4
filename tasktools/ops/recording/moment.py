"""What a recording tells of one moment, as the values that a broker answers in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tasktools.core import events
from tasktools.core.clock import moment
from tasktools.core.models import (
    Lock,
    RunningTask,
    TopicCounters,
    TopicSettings,
    TopicStats,
    Worker,
)
from tasktools.ops.recording.sampling import Facts
from tasktools.ops.recording.store import STATES

_SAMPLES_MISSING: Final = 2.5
"""Intervals after which the last sample does not tell any more how it is."""

_TASKS: Final = """
SELECT t.task, w.name, topic.name, n.name, t.started FROM (
  SELECT * FROM tries WHERE at > :at - 60000 AND at <= :at AND (ended IS NULL OR ended > :at)
  UNION ALL SELECT * FROM tries WHERE ended IS NULL AND at <= :at - 60000
  UNION ALL SELECT * FROM tries WHERE ended > :at AND ended - at > 60000 AND at <= :at - 60000
) AS t JOIN names AS w ON w.id = t.worker LEFT JOIN names AS topic ON topic.id = t.topic
LEFT JOIN names AS n ON n.id = t.name
"""
_WORKERS: Final = """
SELECT w.name, f.facts, s.state, s.uncertain, s.running, s.capacity, s.last_seen, s.silence,
  s.clock_offset, s.succeeded, s.failed, max(s.at)
FROM worker_samples AS s JOIN worker_facts AS f ON f.fact = s.fact
JOIN names AS w ON w.id = s.worker
WHERE s.at > :at - :turn AND s.at <= :at GROUP BY s.worker
"""
_TOPICS: Final = """
SELECT names.name, s.is_there, s.queued, s.unacked, s.dead_letter, s.consumers, s.publish_rate,
  s.ack_rate, type.name, s.dead_lettering, s.succeeded, s.failed, s.requeued, s.dead_lettered,
  s.concurrency_limit
FROM names CROSS JOIN topic_samples AS s ON s.topic = names.id AND s.at = :at
LEFT JOIN names AS type ON type.id = s.queue_type
"""
_LOCKS: Final = """
SELECT lock.name, l.task, w.name, l.acquired FROM locks AS l JOIN names AS lock ON lock.id = l.lock
LEFT JOIN names AS w ON w.id = l.worker
WHERE l.acquired <= :at AND (l.released IS NULL OR l.released > :at)
"""


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """The last tick before a moment; times in ms."""

    at: int
    turn: int
    events_ok: bool
    events_age: float | None
    events_note: str | None
    topics_ok: bool
    topics_note: str | None


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as it was sampled."""

    stats: TopicStats
    counters: TopicCounters
    concurrency_limit: int | None


def tick_before(connection: sqlite3.Connection, at: int) -> Tick | None:
    """Return the tick that tells of the moment *at*; `None` in a gap."""
    row = connection.execute(
        "SELECT t.at, t.span, t.turn, t.events_ok, t.events_age, t.events_note, t.topics_ok, "
        "t.topics_note, (SELECT every FROM sessions WHERE started <= t.at + t.span "
        "ORDER BY session DESC LIMIT 1) FROM ticks AS t WHERE t.at <= ? ORDER BY t.at DESC LIMIT 1",
        (at,),
    ).fetchone()
    if row is None:
        return None
    tick_at, span, turn, ok, age, note, topics_ok, topics_note, every = row
    if at - tick_at - span > _SAMPLES_MISSING * 1000 * (every or 0):
        return None
    return Tick(
        at=tick_at,
        turn=max(turn, span, 1),
        events_ok=bool(ok),
        events_age=age,
        events_note=note,
        topics_ok=bool(topics_ok),
        topics_note=topics_note,
    )


def why_nothing(connection: sqlite3.Connection, at: int) -> str:
    """Return why there is no tick that tells of the moment *at*, in words."""
    gap = connection.execute(
        "SELECT since, until, why FROM gaps WHERE until >= ? AND since <= ? AND what IN ('all', "
        "'samples') ORDER BY until LIMIT 1",
        (at, at),
    ).fetchone()
    if gap is not None:
        return f"nothing was sampled from {_clock(gap[0])} to {_clock(gap[1])}: {gap[2]}"
    first, last = connection.execute("SELECT min(at), max(at + span) FROM ticks").fetchone()
    if first is None:
        return "nothing is recorded yet"
    return f"the recording goes from {_clock(first)} to {_clock(last)}"


def running(connection: sqlite3.Connection, at: int) -> tuple[RunningTask, ...]:
    """Return the tasks that were running."""
    return tuple(
        RunningTask(
            task_id=task,
            worker_id=worker,
            topic=topic,
            task_name=name,
            started_at=_time(started),
        )
        for task, worker, topic, name, started in connection.execute(_TASKS, {"at": at})
    )


def workers(connection: sqlite3.Connection, tick: Tick) -> tuple[Worker, ...]:
    """Return the workers, each as it was sampled last."""
    rows = connection.execute(_WORKERS, {"at": tick.at, "turn": tick.turn})
    return tuple(map(_worker, rows))


def _worker(row: tuple[Any, ...]) -> Worker:
    name, told, state, uncertain, busy, capacity, seen, silence, offset, *counts, _at = row
    facts = msgspec.json.decode(told, type=Facts)
    return Worker(
        worker_id=name,
        state=STATES[state],
        uncertain=bool(uncertain),
        role=facts.role,
        host=facts.host,
        pid=facts.pid,
        running=_count(busy),
        capacity=capacity,
        topics=facts.topics,
        started_at=None if facts.started_at is None else moment(facts.started_at),
        last_seen=_time(seen),
        silence=_seconds(silence),
        clock_offset=_seconds(offset),
        succeeded=counts[0],
        failed=counts[1],
        ours=facts.ours,
        draining=facts.draining,
    )


def topics(connection: sqlite3.Connection, tick: Tick) -> dict[str, Topic]:
    """Return the topics as they were sampled, by their names."""
    return {row[0]: _topic(row) for row in connection.execute(_TOPICS, {"at": tick.at})}


def _topic(row: tuple[Any, ...]) -> Topic:
    name, there, queued, unacked, dead, consumers, published, acked, kind, kept, *rest = row
    succeeded, failed, requeued, dead_lettered, limit = rest
    return Topic(
        stats=TopicStats(
            topic=name,
            exists=_flag(there),
            queued=_count(queued),
            unacked=_count(unacked),
            dead_letter=dead,
            consumers=consumers,
            publish_rate=published,
            ack_rate=acked,
            queue_type=kind,
            dead_lettering=_flag(kept),
        ),
        counters=TopicCounters(
            succeeded=succeeded, failed=failed, requeued=requeued, dead_lettered=dead_lettered
        ),
        concurrency_limit=limit,
    )


def locks(
    connection: sqlite3.Connection, at: int, is_gone: Callable[[str | None], bool | None]
) -> tuple[Lock, ...]:
    """Return the locks that were held; *is_gone* tells it of a holder."""
    return tuple(
        Lock(
            lock=name,
            task_id=task,
            worker_id=worker,
            acquired_at=_time(acquired),
            orphaned=is_gone(worker),
        )
        for name, task, worker, acquired in connection.execute(_LOCKS, {"at": at})
    )


def settings(connection: sqlite3.Connection, at: int) -> Mapping[str, TopicSettings]:
    """Return the settings of topics that the broker kept."""
    row = connection.execute(
        "SELECT kept FROM settings WHERE at <= ? ORDER BY at DESC LIMIT 1", (at,)
    ).fetchone()
    told = {} if row is None else msgspec.json.decode(row[0])
    return {topic: events.settings_from(one) for topic, one in told.items()}


def _clock(at: int) -> str:
    return f"{moment(at / 1000):%Y-%m-%d %H:%M:%S} UTC"


def _time(at: int | None) -> Any:
    return None if at is None else moment(at / 1000)


def _seconds(span: int | None) -> float | None:
    return None if span is None else span / 1000


def _count(mean: float | None) -> int | None:
    return None if mean is None else round(mean)


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
