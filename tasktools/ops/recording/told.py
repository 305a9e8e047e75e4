"""What a recording tells of single tasks and events, as frames; and the messages it has kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import pandas as pd

from tasktools.brokers.moving import RawMessage
from tasktools.core import codec, frames, wire
from tasktools.core import history_schemas as schemas
from tasktools.core.clock import moment
from tasktools.core.fingerprints import fingerprint
from tasktools.core.models import Properties, TaskMessage
from tasktools.core.published import PublishedMessages
from tasktools.core.redaction import mask, mask_text
from tasktools.core.tables import BROKEN
from tasktools.ops.recording.series import Window, id_of
from tasktools.ops.recording.store import OUTCOMES

_SHOWN: Final = 500  # characters of an error's text
_AT_ONCE: Final = 500
_KEY: Final = "recorded-"

_TRIES: Final = """
SELECT t.at, t.started, t.ended, t.outcome, t.task, n.name, topic.name, w.name, t.duration,
  t.error_type, t.error
FROM tries AS t LEFT JOIN names AS n ON n.id = t.name LEFT JOIN names AS topic ON
topic.id = t.topic LEFT JOIN names AS w ON w.id = t.worker
WHERE (:topic IS NULL OR t.topic = :topic) AND (:worker IS NULL OR t.worker = :worker)
AND (:task IS NULL OR t.task = :task) AND
"""
_EVENTS: Final = """
SELECT e.at, e.event, e.sender, w.name, topic.name, e.task, e.detail
FROM events AS e LEFT JOIN names AS topic ON topic.id = e.topic
LEFT JOIN names AS w ON w.id = e.worker
WHERE e.at >= :since AND e.at < :until ORDER BY e.at, e.n
"""
_FAILURES: Final = """
SELECT t.task, n.name, topic.name, w.name, t.ended, t.duration, t.error_type, t.error,
  (SELECT max(m.n) FROM messages AS m WHERE m.task = t.task AND m.at <= t.ended + 1000)
FROM tries AS t LEFT JOIN names AS n ON n.id = t.name LEFT JOIN names AS topic ON
topic.id = t.topic LEFT JOIN names AS w ON w.id = t.worker
WHERE t.outcome = 1 AND t.ended >= :since AND t.ended < :until
AND (:topic IS NULL OR t.topic = :topic) ORDER BY t.ended DESC LIMIT :limit
"""
_MESSAGES: Final = """
SELECT m.n, m.properties, m.body, m.size, m.published, n.name, m.attempts FROM messages AS m
LEFT JOIN names AS n ON n.id = m.name WHERE m.n IN ({}) ORDER BY m.n
"""
_PUBLISHED: Final = """
SELECT m.n, topic.name FROM messages AS m LEFT JOIN names AS topic ON topic.id = m.topic
WHERE m.at >= :since AND m.at < :until AND (:topic IS NULL OR m.topic = :topic)
ORDER BY m.n LIMIT :limit
"""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was recorded; *raw* is missing when its body was not kept."""

    n: int
    task: TaskMessage
    size: int
    raw: RawMessage | None

    @property
    def key(self) -> str:
        """What names it."""
        return f"{_KEY}{self.n}"


def messages_by_key(connection: sqlite3.Connection, keys: Iterable[str]) -> Iterator[Kept]:
    """Yield those of the messages *keys* that are still there."""
    numbers = [key.removeprefix(_KEY) for key in keys]
    return messages(connection, [int(n) for n in numbers if n.isdecimal()])


def messages(connection: sqlite3.Connection, numbers: Sequence[int]) -> Iterator[Kept]:
    """Yield those of the messages *numbers* that are still there."""
    for start in range(0, len(numbers), _AT_ONCE):
        listed = ", ".join(map(str, numbers[start : start + _AT_ONCE]))
        yield from map(_kept, connection.execute(_MESSAGES.format(listed)))


def _kept(row: tuple[Any, ...]) -> Kept:
    n, properties, body, size, published, name, attempts = row
    if body is None:
        at = None if published is None else moment(published / 1000)
        task = TaskMessage(form="unknown", task_name=name, published_at=at, attempts=attempts)
        return Kept(n=n, task=task, size=size, raw=None)
    raw = RawMessage(body, properties, redelivered=False)
    return Kept(n=n, task=read(properties, body), size=size, raw=raw)


def read(properties: bytes, body: bytes) -> TaskMessage:
    """Return what a message says of its task; never raises."""
    try:
        return codec.decode(body, wire.decode(properties))
    except BROKEN:
        return codec.decode(body, Properties())


def seen_tasks(connection: sqlite3.Connection, task_ids: Iterable[str]) -> list[TaskMessage]:
    """Return the tasks in the latest kept messages of *task_ids*."""
    found = (
        connection.execute(
            "SELECT max(n) FROM messages WHERE task = ? AND body IS NOT NULL", (task_id,)
        ).fetchone()[0]
        for task_id in task_ids
    )
    return [one.task for one in messages(connection, [n for n in found if n is not None])]


def failures(
    connection: sqlite3.Connection,
    window: Window,
    *,
    topic: str | None,
    limit: int,
    recording: str,
    reveal: bool,
) -> pd.DataFrame:
    """Return tries that failed, with their messages where these were kept (schema `FAILURES`)."""
    told = {
        "since": window.since,
        "until": window.until,
        "topic": None if topic is None else id_of(connection, topic),
        "limit": limit,
    }
    rows = connection.execute(_FAILURES, told).fetchall()
    numbers = sorted({row[-1] for row in rows if row[-1] is not None})
    kept = {one.n: one for one in messages(connection, numbers)}
    recovered = _recovered(connection, {row[0]: row[4] for row in reversed(rows)})
    return frames.frame_from(
        schemas.FAILURES,
        [_failure_row(row, kept.get(row[-1]), recovered, recording, reveal=reveal) for row in rows],
    )


def _recovered(connection: sqlite3.Connection, failed: dict[str, int]) -> dict[str, int]:
    """Return for those tasks of *failed* that succeeded later when they did, in ms."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (task TEXT PRIMARY KEY)")
    connection.execute("DELETE FROM temp.wanted")
    rows = ((task,) for task in failed)
    connection.executemany("INSERT INTO temp.wanted VALUES (?)", rows)
    found = connection.execute(
        "SELECT task, max(ended) FROM tries WHERE ended >= ? AND outcome = 0 "
        "AND task IN temp.wanted GROUP BY task",
        (min(failed.values(), default=0),),
    )
    return dict(found.fetchall())


def _failure_row(
    row: tuple[Any, ...],
    kept: Kept | None,
    recovered: dict[str, int],
    recording: str,
    *,
    reveal: bool,
) -> tuple[Any, ...]:
    task_id, name, topic, worker, ended, duration, error_type, error, _n = row
    task = kept.task if kept is not None else TaskMessage(form="unknown")
    args, kwargs = task.args, task.kwargs
    headers: Any = None if kept is None or kept.raw is None else task.headers
    if not reveal:
        args, kwargs, headers = mask(args), mask(kwargs), mask(headers)
        error = error and mask_text(error)
    return (
        kept.key if kept is not None and kept.raw is not None else None,
        recording,
        task_id,
        task.task_name or name,
        topic,
        worker,
        moment(ended / 1000),
        duration,
        recovered.get(task_id, -1) >= ended,
        error_type,
        error and error[:_SHOWN],
        fingerprint(error_type, error),
        task.published_at,
        task.attempts,
        args,
        kwargs,
        headers,
        kept and kept.size,
        task.problem,
    )


def published(
    connection: sqlite3.Connection,
    window: Window,
    *,
    topic: str | None,
    limit: int,
    recording: str,
    reveal: bool,
) -> pd.DataFrame:
    """Return the messages that were kept, the first *limit* (schema `PUBLISHED_MESSAGES`)."""
    told = {
        "since": window.since,
        "until": window.until,
        "topic": None if topic is None else id_of(connection, topic),
        "limit": limit,
    }
    topics = dict(connection.execute(_PUBLISHED, told).fetchall())
    rows = PublishedMessages(recording, reveal=reveal)
    for one in messages(connection, list(topics)):
        raw = one.raw
        rows.add(
            None if raw is None else one.key,
            one.n,
            topics[one.n],
            one.task,
            priority=None if raw is None else wire.decode(raw.properties).priority,
            size=one.size,
        )
    return rows.frame()


def task_events(
    connection: sqlite3.Connection,
    window: Window,
    *,
    topic: str | None,
    worker_id: str | None,
    task_id: str | None,
    reveal: bool,
) -> pd.DataFrame:
    """Return starts and ends of tasks (schema `TASK_EVENTS`)."""
    told = {
        "since": window.since,
        "until": window.until,
        "topic": None if topic is None else id_of(connection, topic),
        "worker": None if worker_id is None else id_of(connection, worker_id),
        "task": task_id,
    }
    # Those that began within the time, and those that ended within it but began before.
    began = connection.execute(f"{_TRIES} t.at >= :since AND t.at < :until", told).fetchall()
    ended = connection.execute(
        f"{_TRIES} t.ended >= :since AND t.ended < :until AND t.at < :since", told
    ).fetchall()
    rows = [one for row in (*ended, *began) for one in _events_of(row, reveal=reveal)]
    rows = [row for row in rows if window.since <= row[0] < window.until]
    rows.sort(key=lambda row: row[0])
    shown = [(moment(row[0] / 1000), *row[1:]) for row in rows]
    return frames.frame_from(schemas.TASK_EVENTS, shown)


def _events_of(row: tuple[Any, ...], *, reveal: bool) -> Iterator[tuple[Any, ...]]:
    at, started, ended, outcome, *told, duration, error_type, error = row
    if started is not None:
        yield started, "started", *told, None, None, None
    elif ended is None or at < ended:
        yield at, "seen", *told, None, None, None
    if ended is not None:
        text = error if reveal or error is None else mask_text(error)
        yield ended, OUTCOMES[outcome], *told, duration, error_type, text and text[:_SHOWN]


def cluster_events(connection: sqlite3.Connection, window: Window, *, reveal: bool) -> pd.DataFrame:
    """Return events that are not about tasks (schema `CLUSTER_EVENTS`)."""
    told = {"since": window.since, "until": window.until}
    rows = [
        (moment(at / 1000), event, sender, worker, topic, task, _detail(detail, reveal=reveal))
        for at, event, sender, worker, topic, task, detail in connection.execute(_EVENTS, told)
    ]
    return frames.frame_from(schemas.CLUSTER_EVENTS, rows)


def _detail(text: str, *, reveal: bool) -> Any:
    found = msgspec.json.decode(text)
    return found if reveal else mask(found)


def gaps(connection: sqlite3.Connection, window: Window) -> pd.DataFrame:
    """Return when something was not recorded (schema `GAPS`)."""
    rows = connection.execute(
        "SELECT since, until, what, why FROM gaps WHERE until >= ? AND since < ? ORDER BY since",
        (window.since, window.until),
    )
    shown = [(moment(a / 1000), moment(b / 1000), what, why) for a, b, what, why in rows]
    return frames.frame_from(schemas.GAPS, shown)
