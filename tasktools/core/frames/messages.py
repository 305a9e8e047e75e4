"""Messages as rows of frames: dead letters, and published messages of a tap or a recording.

Each row is added to the columns at once, so that for 100,000 messages only the values of the frame
are held.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from tasktools.core.amqp import failure_headers, replay_header, x_death
from tasktools.core.escaping import cut
from tasktools.core.fingerprints import VERSION, Fingerprint, fingerprint, fingerprints
from tasktools.core.frames import history_schemas, schemas
from tasktools.core.frames.table import Table
from tasktools.core.models import Failure, SeenMessage, TaskMessage
from tasktools.core.redaction import Redaction

ErrorText = tuple[str | None, str | None]
"""Type and text of an error."""
_MAX_ERROR_CHARS: Final = 500  # characters of an error's text
_CHUNK_ROWS: Final = 200  # become columns together, in a fifth of the time that one by one takes
_EDGE_SECONDS: Final = 5.0  # around a window: a tap may bring along messages of that long


class DeadLetters:
    """The rows of a look at *queue*, which may be one of any kind.

    *heard_error* returns the error that worker events reported for a task id; the error in the
    message takes precedence. *topic* is the topic of the queue, for messages that do not name one.
    *redaction* says what is masked.
    """

    def __init__(
        self,
        queue: str,
        *,
        topic: str | None,
        heard_error: Callable[[str], ErrorText | None],
        redaction: Redaction,
    ) -> None:
        self._queue = queue
        self._topic = topic
        self._heard = heard_error
        self._redaction = redaction
        self._columns: list[list[Any]] = [[] for _ in schemas.DEAD_LETTERS.columns]
        self._rows: list[tuple[Any, ...]] = []

    def add(self, message: SeenMessage, _body: bytes) -> None:
        """Add the next message."""
        self._rows.append(self._row(message))
        if len(self._rows) == _CHUNK_ROWS:
            self._extend_columns()

    def _extend_columns(self) -> None:
        for column, values in zip(self._columns, zip(*self._rows, strict=True), strict=False):
            column.extend(values)
        self._rows.clear()

    def table(self) -> Table:
        """Return the rows as a table (schema `DEAD_LETTERS`)."""
        self._extend_columns()
        return Table(schemas.DEAD_LETTERS, self._columns, fingerprint_version=VERSION)

    def _row(self, message: SeenMessage) -> tuple[Any, ...]:
        task, failure = message.task, _failure(message)
        first, last = _times(message, failure)
        error_type, error = _error(message, failure, self._heard)
        mask, mask_text = self._redaction.value, self._redaction.text
        error_type, error = error_type and mask_text(error_type), error and mask_text(error)
        return (
            message.key,
            self._queue,
            message.position,
            task.task_id,
            task.task_name,
            task.topic or _died_in(message) or self._topic,
            _reason(message, failure),
            _deaths(message, failure),
            first,
            last,
            task.published_at,
            task.attempts,
            replay_header.story(message.properties.headers).count,
            error_type,
            error and cut(error, _MAX_ERROR_CHARS),
            *_fingerprints(message, failure, error_type, error),
            mask(task.args),
            mask(task.kwargs),
            mask(task.headers),
            message.size,
            task.dialect,
            task.problem,
            task.unreadable,
            _ttl(message, failure),
            task.expires_at,
        )


def _fingerprints(
    message: SeenMessage, failure: Failure | None, error_type: str | None, error: str | None
) -> Fingerprint:
    if error_type or error:
        levels = fingerprints(error_type, error, _traceback(message, failure))
        if levels.text is not None:
            return levels
    text = _without_error(message, failure)
    return Fingerprint(text, text, "no error was reported: the reason of its death, and where")


def fingerprint_of(message: SeenMessage) -> str:
    """Return the fingerprint of the last error that the message reports."""
    failure = _failure(message)
    text = fingerprint(*_error(message, failure, lambda _task_id: None))
    return text or _without_error(message, failure)


def _failure(message: SeenMessage) -> Failure | None:
    """Return the failure that a worker of tasktools wrote, unless a later death replaced it."""
    failure = failure_headers.from_headers(message.properties.headers)
    if failure is None or not message.deaths:
        return failure
    since = message.deaths[0].time
    return None if since is not None and since > failure.failed_at else failure


def _error(
    message: SeenMessage, failure: Failure | None, heard_error: Callable[[str], ErrorText | None]
) -> ErrorText:
    if failure is not None:
        return failure.error_type or None, failure.error or None
    reported = message.task.error
    if reported is not None and (reported.error_type or reported.text):
        return reported.error_type, reported.text
    task_id = message.task.task_id
    return (task_id is not None and heard_error(task_id)) or (None, None)


def _traceback(message: SeenMessage, failure: Failure | None) -> str | None:
    if failure is not None:
        return failure.traceback
    return None if message.task.error is None else message.task.error.traceback


def _died_in(message: SeenMessage) -> str | None:
    return message.deaths[0].queue if message.deaths else None


def _reason(message: SeenMessage, failure: Failure | None) -> str | None:
    if failure is not None:
        return failure.reason
    return message.deaths[0].reason if message.deaths else None


def _deaths(message: SeenMessage, failure: Failure | None) -> int:
    return sum(death.count for death in message.deaths) + (failure is not None)


def _ttl(message: SeenMessage, failure: Failure | None) -> float | None:
    """Return the TTL that the message had before it died; a dead letter's expiration is how long it
    stays in the dead-letter queue."""
    lost = next((death.ttl for death in message.deaths if death.ttl is not None), None)
    if lost is not None or message.deaths or failure is not None:
        return lost
    return x_death.ttl_of(message.properties.expiration)


def _times(
    message: SeenMessage, failure: Failure | None
) -> tuple[datetime | None, datetime | None]:
    times = [death.time for death in message.deaths if death.time is not None]
    if failure is not None:
        times.append(failure.failed_at)
    return (min(times), max(times)) if times else (None, None)


def _without_error(message: SeenMessage, failure: Failure | None) -> str:
    """Return the columns for a death without a reported error."""
    if message.task.problem is not None:
        return f"no task: {message.task.problem}"
    reason = _reason(message, failure)
    if reason is None:
        return "did not die"
    return f"{reason} in {message.deaths[0].queue}" if message.deaths else reason


class PublishedMessages:
    """The rows of the messages in the tap or recording *source*. *redaction* says what to mask."""

    def __init__(self, source: str, *, redaction: Redaction) -> None:
        self._source = source
        self._redaction = redaction
        self._columns: list[list[Any]] = [[] for _ in history_schemas.PUBLISHED_MESSAGES.columns]
        self._appends = [column.append for column in self._columns]

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(
        self,
        key: str | None,
        position: int,
        topic: str | None,
        task: TaskMessage,
        *,
        priority: int | None,
        size: int,
    ) -> None:
        """Take in the next message; *key* is missing when its body was not kept."""
        mask = self._redaction.value
        row = (
            key,
            self._source,
            position,
            topic,
            task.task_id,
            task.task_name,
            task.published_at,
            task.attempts,
            priority,
            mask(task.args),
            mask(task.kwargs),
            None if key is None else mask(task.headers),
            size,
            task.dialect,
            task.problem,
            task.unreadable,
        )
        for append, value in zip(self._appends, row, strict=True):
            append(value)

    def table(self) -> Table:
        """Return the messages (schema `PUBLISHED_MESSAGES`)."""
        return Table(history_schemas.PUBLISHED_MESSAGES, self._columns)


def is_at_the_edge(published_at: datetime | None, since: float, until: float) -> bool:
    """Whether a message of a tap was published just before *since* or just after *until* by its
    publisher's clock. A time far outside is no edge: the message was published again, or that clock
    is wrong."""
    if published_at is None:
        return False
    first = published_at.timestamp()
    last = first if published_at.microsecond else first + 1 - 1e-6  # it may be in whole seconds
    return since - _EDGE_SECONDS < last < since or until <= first < until + _EDGE_SECONDS
