"""Dead letters as rows: what a message in a queue says about its task and its deaths.

Rows become columns as they come, so that of 100,000 messages no more is held than the frame
needs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import pandas as pd

from tasktools.core import failures, frames, replays, schemas
from tasktools.core.fingerprints import fingerprint
from tasktools.core.models import Failure, SeenMessage
from tasktools.core.redaction import mask, mask_text

Told = tuple[str | None, str | None]
"""Type and text of an error."""
_SHOWN: Final = 500  # characters of an error's text


class DeadLetters:
    """The rows of a look at *queue*, which may be one of any kind.

    *heard* tells the error that worker events reported of a task id; the message's own word goes
    first. *topic* is that of the queue, for messages that do not say theirs. Secrets are masked
    unless *reveal*.
    """

    def __init__(
        self,
        queue: str,
        *,
        topic: str | None,
        heard: Callable[[str], Told | None],
        reveal: bool,
    ) -> None:
        self._queue = queue
        self._topic = topic
        self._heard = heard
        self._reveal = reveal
        self._columns: list[list[Any]] = [[] for _ in schemas.DEAD_LETTERS.columns]
        self._appends = [column.append for column in self._columns]

    def add(self, message: SeenMessage, _body: bytes) -> None:
        """Take in the next message."""
        for append, value in zip(self._appends, self._row(message), strict=True):
            append(value)

    def frame(self) -> pd.DataFrame:
        """Return them (schema `DEAD_LETTERS`)."""
        return frames.frame_of_columns(schemas.DEAD_LETTERS, self._columns)

    def _row(self, message: SeenMessage) -> tuple[Any, ...]:
        task, failure = message.task, _failure(message)
        first, last = _times(message, failure)
        error_type, error = _error(message, failure, self._heard)
        args, kwargs, headers = task.args, task.kwargs, task.headers
        if not self._reveal:
            args, kwargs, headers = mask(args), mask(kwargs), mask(headers)
            error = error and mask_text(error)
        return (
            message.key,
            self._queue,
            message.position,
            task.task_id,
            task.task_name,
            task.topic or self._topic,
            _reason(message, failure),
            _deaths(message, failure),
            first,
            last,
            task.published_at,
            task.attempts,
            replays.story(message.properties.headers).count,
            error_type,
            error and error[:_SHOWN],
            fingerprint(error_type, error) or _without_error(message, failure),
            args,
            kwargs,
            headers,
            message.size,
            task.problem,
        )


def fingerprint_of(message: SeenMessage) -> str:
    """Return the fingerprint of what the message itself says of its last death."""
    failure = _failure(message)
    told = fingerprint(*_error(message, failure, lambda _task_id: None))
    return told or _without_error(message, failure)


def _failure(message: SeenMessage) -> Failure | None:
    """Return what a worker of ours wrote, unless the message has died of something else since."""
    failure = failures.from_headers(message.properties.headers)
    if failure is None or not message.deaths:
        return failure
    since = message.deaths[0].time
    return None if since is not None and since > failure.failed_at else failure


def _error(
    message: SeenMessage, failure: Failure | None, heard: Callable[[str], Told | None]
) -> Told:
    if failure is not None:
        return failure.error_type or None, failure.error or None
    task_id = message.task.task_id
    return (task_id is not None and heard(task_id)) or (None, None)


def _reason(message: SeenMessage, failure: Failure | None) -> str | None:
    if failure is not None:
        return failure.reason
    return message.deaths[0].reason if message.deaths else None


def _deaths(message: SeenMessage, failure: Failure | None) -> int:
    return sum(death.count for death in message.deaths) + (failure is not None)


def _times(
    message: SeenMessage, failure: Failure | None
) -> tuple[datetime | None, datetime | None]:
    times = [death.time for death in message.deaths if death.time is not None]
    if failure is not None:
        times.append(failure.failed_at)
    return (min(times), max(times)) if times else (None, None)


def _without_error(message: SeenMessage, failure: Failure | None) -> str:
    """Return what is known of a death of which no error was told."""
    if message.task.problem is not None:
        return f"no task: {message.task.problem}"
    reason = _reason(message, failure)
    if reason is None:
        return "did not die"
    return f"{reason} in {message.deaths[0].queue}" if message.deaths else reason
