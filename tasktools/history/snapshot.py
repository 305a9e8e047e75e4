"""The recorded cluster at one moment, as the values that a broker returns."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

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
from tasktools.history.extent import clock
from tasktools.history.file_checks import Count, Flag, Real, Span, Time
from tasktools.history.samples import Facts
from tasktools.history.store import STATES
from tasktools.history.tables import select

_MAX_AGE_INTERVALS: Final = 2.5
"""Intervals after which a sample is too old to show the cluster."""

_EVERY: Final = (
    "(SELECT every FROM sessions WHERE started <= t.at + t.span ORDER BY session DESC LIMIT 1)"
)
_TASKS: Final = """
FROM (
  SELECT * FROM tries WHERE at > :at - 60000 AND at <= :at AND (ended IS NULL OR ended > :at)
  UNION ALL SELECT * FROM tries WHERE ended IS NULL AND at <= :at - 60000
  UNION ALL SELECT * FROM tries WHERE ended > :at AND ended - at > 60000 AND at <= :at - 60000
) AS t WHERE t.worker IS NOT NULL
"""
_WORKERS: Final = """
FROM worker_samples AS t JOIN worker_facts AS f ON f.fact = t.fact
WHERE t.at > :at - :turn AND t.at <= :at GROUP BY t.worker
"""
_TOPICS: Final = "FROM names CROSS JOIN topic_samples AS t ON t.topic = names.id AND t.at = ?"
_LOCKS: Final = """
FROM locks AS t WHERE acquired <= :at AND (released IS NULL OR released > :at)
"""


class Tick(msgspec.Struct, frozen=True, array_like=True):
    """The last tick before a moment; times in ms."""

    at: Time
    span: Time
    turn: Time
    events_ok: Flag
    events_age: Real | None
    events_note: str | None
    topics_ok: Flag
    topics_note: str | None
    every: Real | None


class _TaskRow(msgspec.Struct, frozen=True, array_like=True):
    task: str
    worker: str
    topic: str | None
    name: str | None
    started: Time | None


class _WorkerRow(msgspec.Struct, frozen=True, array_like=True):
    worker: str
    facts: str
    state: Annotated[int, msgspec.Meta(ge=0, lt=len(STATES))]
    uncertain: Flag
    running: Real | None
    capacity: Count | None
    last_seen: Time | None
    silence: Span | None
    clock_offset: Span | None
    succeeded: Count | None
    failed: Count | None
    at: Time


class _TopicRow(msgspec.Struct, frozen=True, array_like=True):
    topic: str
    is_there: Flag | None
    queued: Real | None
    unacked: Real | None
    dead_letter: Annotated[int, msgspec.Meta(ge=0, le=2**50)] | None
    consumers: Count | None
    publish_rate: Real | None
    ack_rate: Real | None
    queue_type: str | None
    dead_lettering: Flag | None
    succeeded: Count | None
    failed: Count | None
    requeued: Count | None
    dead_lettered: Count | None
    concurrency_limit: Count | None


class _LockRow(msgspec.Struct, frozen=True, array_like=True):
    lock: str
    task: str | None
    worker: str | None
    acquired: Time


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as it was sampled."""

    stats: TopicStats
    counters: TopicCounters
    concurrency_limit: int | None


def tick_before(connection: sqlite3.Connection, at: int) -> Tick | None:
    """Return the tick that shows the moment *at*; `None` in a gap."""
    source = "FROM ticks AS t WHERE at <= ? ORDER BY at DESC LIMIT 1"
    for tick in select(connection, Tick, source, (at,), every=_EVERY):
        if at - tick.at - tick.span <= _MAX_AGE_INTERVALS * 1000 * (tick.every or 0):
            return tick
    return None


def why_nothing(connection: sqlite3.Connection, at: int) -> str:
    """Return in words why no tick shows the moment *at*."""
    gap = connection.execute(
        "SELECT since, until, why FROM gaps WHERE until >= ? AND since <= ? AND what IN ('all', "
        "'samples') ORDER BY until LIMIT 1",
        (at, at),
    ).fetchone()
    if gap is not None:
        return f"nothing was sampled from {clock(gap[0])} to {clock(gap[1])}: {gap[2]}"
    first, last = connection.execute("SELECT min(at), max(at + span) FROM ticks").fetchone()
    if first is None:
        return "nothing is recorded yet"
    return f"the recording goes from {clock(first)} to {clock(last)}"


def running(connection: sqlite3.Connection, at: int) -> tuple[RunningTask, ...]:
    """Return the tasks that were running."""
    return tuple(
        RunningTask(
            task_id=row.task,
            worker_id=row.worker,
            topic=row.topic,
            task_name=row.name,
            started_at=_time(row.started),
        )
        for row in select(connection, _TaskRow, _TASKS, {"at": at})
    )


def workers(connection: sqlite3.Connection, tick: Tick) -> tuple[Worker, ...]:
    """Return the workers, each as it was last sampled."""
    params = {"at": tick.at, "turn": max(tick.turn, tick.span, 1)}
    # Of the rows of a worker, max() chooses the one with the highest time.
    rows = select(connection, _WorkerRow, _WORKERS, params, facts="f.facts", at="max(t.at)")
    return tuple(map(_worker, rows))


def _worker(row: _WorkerRow) -> Worker:
    facts = msgspec.json.decode(row.facts, type=Facts)
    return Worker(
        worker_id=row.worker,
        state=STATES[row.state],
        uncertain=bool(row.uncertain),
        role=facts.role,
        host=facts.host,
        pid=facts.pid,
        running=_count(row.running),
        capacity=row.capacity,
        topics=facts.topics,
        topics_known=facts.topics_known,
        started_at=None if facts.started_at is None else moment(facts.started_at),
        last_seen=_time(row.last_seen),
        silence=_seconds(row.silence),
        clock_offset=_seconds(row.clock_offset),
        succeeded=row.succeeded,
        failed=row.failed,
        is_tasktools=facts.is_tasktools,
        draining=facts.draining,
        version=facts.version,
        dialect=facts.dialect,
        sends_task_events=facts.sends_task_events,
        prefetch=dict(facts.prefetch),
        retries=dict(facts.retries),
    )


def topics(connection: sqlite3.Connection, tick: Tick) -> dict[str, Topic]:
    """Return the topics of *tick* by name."""
    rows = select(connection, _TopicRow, _TOPICS, (tick.at,), topic="names.name")
    return {row.topic: _topic(row) for row in rows}


def _topic(row: _TopicRow) -> Topic:
    return Topic(
        stats=TopicStats(
            topic=row.topic,
            exists=_flag(row.is_there),
            queued=_count(row.queued),
            unacked=_count(row.unacked),
            dead_letter=row.dead_letter,
            consumers=row.consumers,
            publish_rate=row.publish_rate,
            ack_rate=row.ack_rate,
            queue_type=row.queue_type,
            dead_lettering=_flag(row.dead_lettering),
        ),
        counters=TopicCounters(
            succeeded=row.succeeded,
            failed=row.failed,
            requeued=row.requeued,
            dead_lettered=row.dead_lettered,
        ),
        concurrency_limit=row.concurrency_limit,
    )


def locks(
    connection: sqlite3.Connection, at: int, is_gone: Callable[[str | None], bool | None]
) -> tuple[Lock, ...]:
    """Return the locks that were held; *is_gone* says whether a holder is gone."""
    return tuple(
        Lock(
            lock=row.lock,
            task_id=row.task,
            worker_id=row.worker,
            acquired_at=_time(row.acquired),
            orphaned=is_gone(row.worker),
        )
        for row in select(connection, _LockRow, _LOCKS, {"at": at})
    )


def settings(connection: sqlite3.Connection, at: int) -> Mapping[str, TopicSettings]:
    """Return the settings of topics that the broker stored."""
    row = connection.execute(
        "SELECT kept FROM settings WHERE at <= ? ORDER BY at DESC LIMIT 1", (at,)
    ).fetchone()
    by_topic = {} if row is None else msgspec.json.decode(row[0])
    return {topic: events.settings_from(values) for topic, values in by_topic.items()}


def _time(at: int | None) -> Any:
    return None if at is None else moment(at / 1000)


def _seconds(span: int | None) -> float | None:
    return None if span is None else span / 1000


def _count(mean: float | None) -> int | None:
    return None if mean is None else round(mean)


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
