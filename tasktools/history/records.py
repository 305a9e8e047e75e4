"""Single tasks, events and messages of a recording, as tables and as values."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec

from tasktools.brokers.mover import RawMessage
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.amqp.field_tables import BROKEN
from tasktools.core.clock import moment
from tasktools.core.escaping import cut
from tasktools.core.fingerprints import VERSION, fingerprints
from tasktools.core.frames import history_schemas as schemas
from tasktools.core.frames.messages import PublishedMessages
from tasktools.core.frames.table import Table
from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.models import Properties, TaskMessage
from tasktools.core.redaction import Redaction
from tasktools.core.tasks import codec
from tasktools.history import attempt_messages, try_details
from tasktools.history.extent import GapRow
from tasktools.history.file_checks import Count, Real, Time
from tasktools.history.series import Window, id_of
from tasktools.history.store import DURATION, OUTCOMES
from tasktools.history.tables import has_table, select
from tasktools.history.try_details import NO_DETAILS, TryDetails

_MAX_ERROR_CHARS: Final = 500
_MESSAGES_PER_QUERY: Final = 500
_KEY_PREFIX: Final = "recorded-"

_ATTEMPTS: Final = """
FROM tries AS t WHERE (:topic IS NULL OR t.topic = :topic)
AND (:worker IS NULL OR t.worker = :worker) AND (:task IS NULL OR t.task = :task) AND
"""
_TASK_NAME: Final = """
(SELECT names.name FROM names WHERE names.id = ifnull(t.name, (
  SELECT m.name FROM messages AS m WHERE m.task = t.task AND m.name IS NOT NULL LIMIT 1)))
"""
_FAILURES: Final = """
FROM tries AS t WHERE outcome = 1 AND ended >= :since AND ended < :until
AND (:topic IS NULL OR topic = :topic) ORDER BY ended DESC LIMIT :limit
"""
_PUBLISHED: Final = """
SELECT n FROM messages WHERE at >= :since AND at < :until AND (:topic IS NULL OR topic = :topic)
ORDER BY n LIMIT :limit
"""


class _MessageRow(MaskedStruct, frozen=True, array_like=True):
    n: Count
    topic: str | None
    properties: Any
    body: Any
    size: Count
    published: Time | None
    task: str | None
    name: str | None
    attempts: Count | None


class _FailureRow(MaskedStruct, frozen=True, array_like=True):
    n: Count
    task: str
    name: str | None
    topic: str | None
    worker: str | None
    ended: Time
    duration: Real | None
    error_type: str | None
    error: str | None


class _AttemptRow(MaskedStruct, frozen=True, array_like=True):
    at: Time
    started: Time | None
    ended: Time | None
    outcome: Annotated[int, msgspec.Meta(ge=0, lt=len(OUTCOMES))] | None
    task: str
    name: str | None
    topic: str | None
    worker: str | None
    duration: Real | None
    error_type: str | None
    error: str | None


class _EventRow(msgspec.Struct, frozen=True, array_like=True):
    at: Time
    event: str
    sender: str
    worker: str | None
    topic: str | None
    task: str | None
    detail: str


class _MarkRow(MaskedStruct, frozen=True, array_like=True):
    at: Time
    text: str
    who: str | None


class RecordedMessage(MaskedStruct, frozen=True, kw_only=True):
    """A message of a recording; `raw` is missing if its body was not recorded."""

    n: int
    topic: str | None
    task: TaskMessage
    size: int
    raw: RawMessage | None

    @property
    def key(self) -> str:
        """The key by which plans name the message."""
        return f"{_KEY_PREFIX}{self.n}"


def messages_by_key(
    connection: sqlite3.Connection, keys: Iterable[str]
) -> Iterator[RecordedMessage]:
    """Yield the messages with these *keys* that are still in the recording."""
    numbers = [key.removeprefix(_KEY_PREFIX) for key in keys]
    return messages(connection, [int(n) for n in numbers if n.isdecimal()])


def messages(connection: sqlite3.Connection, numbers: Sequence[int]) -> Iterator[RecordedMessage]:
    """Yield the messages with these *numbers* that are still in the recording."""
    for start in range(0, len(numbers), _MESSAGES_PER_QUERY):
        listed = ", ".join(map(str, numbers[start : start + _MESSAGES_PER_QUERY]))
        source = f"FROM messages AS t WHERE n IN ({listed}) ORDER BY n"
        yield from map(_message, select(connection, _MessageRow, source))


def _message(row: _MessageRow) -> RecordedMessage:
    if row.body is None:
        raw = None
        task = TaskMessage(
            task_id=row.task,
            task_name=row.name,
            published_at=None if row.published is None else moment(row.published / 1000),
            attempts=row.attempts,
        )
    elif type(row.body) is not bytes or type(row.properties) is not bytes:
        raise TypeError("no message")
    else:
        raw = RawMessage(row.body, row.properties, redelivered=False)
        task = read(row.properties, row.body)
    return RecordedMessage(n=row.n, topic=row.topic, task=task, size=row.size, raw=raw)


def read(properties: bytes, body: bytes) -> TaskMessage:
    """Return the task of a message; never raises."""
    try:
        return codec.decode(body, amqp_properties.decode(properties))
    except BROKEN:
        return codec.decode(body, Properties())


def seen_tasks(connection: sqlite3.Connection, task_ids: Iterable[str]) -> list[TaskMessage]:
    """Return the tasks of the latest recorded messages of *task_ids*."""
    numbers = (
        connection.execute(
            "SELECT max(n) FROM messages WHERE task = ? AND body IS NOT NULL", (task_id,)
        ).fetchone()[0]
        for task_id in task_ids
    )
    return [
        message.task
        for message in messages(connection, [number for number in numbers if number is not None])
    ]


def _params(
    connection: sqlite3.Connection, window: Window, topic: str | None, **others: Any
) -> dict[str, Any]:
    interval = {"since": window.since, "until": window.until}
    return {**interval, "topic": id_of(connection, topic), **others}


def failures(
    connection: sqlite3.Connection,
    window: Window,
    *,
    topic: str | None,
    limit: int,
    recording: str,
    redaction: Redaction,
) -> Table:
    """Return failed attempts, with their messages if these were recorded (schema `FAILURES`)."""
    params = _params(connection, window, topic, limit=limit)
    rows = select(connection, _FailureRow, _FAILURES, params, duration=DURATION)
    pairs = attempt_messages.messages_by_attempt(connection, (row.task for row in rows))
    numbers = sorted({pairs[row.n] for row in rows if row.n in pairs})
    by_number = {message.n: message for message in messages(connection, numbers)}
    recovered = _recovered(connection, {row.task: row.ended for row in reversed(rows)})
    details = try_details.read(connection, (row.n for row in rows))
    return Table.of_rows(
        schemas.FAILURES,
        [
            _failure_row(
                row,
                by_number.get(pairs.get(row.n, 0)),
                details.get(row.n, NO_DETAILS),
                recovered,
                recording,
                redaction,
            )
            for row in rows
        ],
        fingerprint_version=VERSION,
    )


def _recovered(connection: sqlite3.Connection, failed: dict[str, int]) -> dict[str, int]:
    """Return when tasks of *failed* (task ids and times) succeeded later, in ms."""
    attempt_messages.fill_wanted(connection, failed)
    succeeded = connection.execute(
        "SELECT task, max(ended) FROM tries WHERE ended >= ? AND outcome = 0 "
        "AND task IN temp.wanted GROUP BY task",
        (min(failed.values(), default=0),),
    )
    return dict(succeeded.fetchall())


def _failure_row(
    row: _FailureRow,
    message: RecordedMessage | None,
    details: TryDetails,
    recovered: dict[str, int],
    recording: str,
    redaction: Redaction,
) -> tuple[Any, ...]:
    task = message.task if message is not None else TaskMessage()
    args, kwargs = task.args, task.kwargs
    if args is None and kwargs is None:
        args, kwargs = details.arguments()
    headers: Any = None if message is None or message.raw is None else task.headers
    args, kwargs, headers = map(redaction.value, (args, kwargs, headers))
    texts = (row.error_type, row.error, details.traceback)
    error_type, error, traceback = (text and redaction.text(text) for text in texts)
    return (
        message.key if message is not None and message.raw is not None else None,
        recording,
        row.task,
        task.task_name or row.name,
        row.topic,
        row.worker,
        moment(row.ended / 1000),
        row.duration,
        recovered.get(row.task, -1) >= row.ended,
        error_type,
        error and cut(error, _MAX_ERROR_CHARS),
        *fingerprints(error_type, error, traceback),
        traceback,
        task.published_at,
        task.attempts,
        args,
        kwargs,
        headers,
        message and message.size,
        task.dialect,
        task.problem,
        task.unreadable,
    )


def published(
    connection: sqlite3.Connection,
    window: Window,
    *,
    topic: str | None,
    limit: int,
    recording: str,
    redaction: Redaction,
) -> Table:
    """Return the first *limit* recorded messages (schema `PUBLISHED_MESSAGES`)."""
    params = _params(connection, window, topic, limit=limit)
    numbers = [number for (number,) in connection.execute(_PUBLISHED, params)]
    rows = PublishedMessages(recording, redaction=redaction)
    for message in messages(connection, numbers):
        raw = message.raw
        rows.add(
            None if raw is None else message.key,
            message.n,
            message.topic,
            message.task,
            priority=None if raw is None else amqp_properties.decode(raw.properties).priority,
            size=message.size,
        )
    return rows.table()


def task_events(
    connection: sqlite3.Connection,
    window: Window,
    *,
    topic: str | None,
    worker_id: str | None,
    task_id: str | None,
    redaction: Redaction,
) -> Table:
    """Return the starts and ends of tasks (schema `TASK_EVENTS`)."""
    worker = id_of(connection, worker_id)
    params = _params(connection, window, topic, worker=worker, task=task_id)
    # Attempts that ended in the window but started before, and those that started in it.
    attempts = [
        attempt
        for when in (
            "ended >= :since AND ended < :until AND at < :since",
            "at >= :since AND at < :until",
        )
        for attempt in select(
            connection,
            _AttemptRow,
            f"{_ATTEMPTS} {when}",
            params,
            name=_TASK_NAME,
            duration=DURATION,
        )
    ]
    rows = [event for row in attempts for event in _events_of(row, redaction)]
    rows = [row for row in rows if window.since <= row[0] < window.until]
    rows.sort(key=lambda row: row[0])
    shown = [(moment(row[0] / 1000), *row[1:]) for row in rows]
    return Table.of_rows(schemas.TASK_EVENTS, shown)


def _events_of(row: _AttemptRow, redaction: Redaction) -> Iterator[tuple[Any, ...]]:
    task = (row.task, row.name, row.topic, row.worker)
    if row.started is not None:
        yield row.started, "started", *task, None, None, None
    elif row.ended is None or row.at < row.ended:
        yield row.at, "seen", *task, None, None, None
    if row.ended is not None and row.outcome is not None:
        error = (
            text and cut(redaction.text(text), _MAX_ERROR_CHARS)
            for text in (row.error_type, row.error)
        )
        yield row.ended, OUTCOMES[row.outcome], *task, row.duration, *error


def cluster_events(
    connection: sqlite3.Connection, window: Window, *, redaction: Redaction
) -> Table:
    """Return the events that are not about tasks (schema `CLUSTER_EVENTS`)."""
    source = "FROM events AS t WHERE at >= ? AND at < ? ORDER BY at, n"
    rows = [
        (
            moment(row.at / 1000),
            row.event,
            row.sender,
            row.worker,
            row.topic,
            row.task,
            redaction.value(msgspec.json.decode(row.detail)),
        )
        for row in select(connection, _EventRow, source, (window.since, window.until))
    ]
    return Table.of_rows(schemas.CLUSTER_EVENTS, rows)


def marks(connection: sqlite3.Connection, window: Window, *, redaction: Redaction) -> Table:
    """Return the operators' marks (schema `MARKS`)."""
    rows: list[_MarkRow] = []
    if has_table(connection, "marks"):
        source = "FROM marks AS t WHERE at >= ? AND at < ? ORDER BY at, rowid"
        rows = select(connection, _MarkRow, source, (window.since, window.until))
    shown = [(moment(row.at / 1000), redaction.text(row.text), row.who) for row in rows]
    return Table.of_rows(schemas.MARKS, shown)


def gaps(connection: sqlite3.Connection, window: Window) -> Table:
    """Return the intervals in which something was not recorded (schema `GAPS`)."""
    source = "FROM gaps AS t WHERE until >= ? AND since < ? ORDER BY since"
    shown = [
        (moment(row.since / 1000), moment(row.until / 1000), row.what, row.why)
        for row in select(connection, GapRow, source, (window.since, window.until))
    ]
    return Table.of_rows(schemas.GAPS, shown)
