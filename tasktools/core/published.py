"""Published messages as rows, which become columns as they come: no body is kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import pandas as pd

from tasktools.core import frames
from tasktools.core import history_schemas as schemas
from tasktools.core.models import TaskMessage
from tasktools.core.redaction import mask

_EDGE: Final = 5.0  # seconds before and after a window, of which a tap may bring messages along


class PublishedMessages:
    """The rows of what a tap or a recording called *source* has kept. Secrets are masked unless
    *reveal*."""

    def __init__(self, source: str, *, reveal: bool) -> None:
        self._source = source
        self._reveal = reveal
        self._columns: list[list[Any]] = [[] for _ in schemas.PUBLISHED_MESSAGES.columns]
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
        args, kwargs = task.args, task.kwargs
        headers: Any = None if key is None else task.headers
        if not self._reveal:
            args, kwargs, headers = mask(args), mask(kwargs), mask(headers)
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
            args,
            kwargs,
            headers,
            size,
            task.problem,
        )
        for append, value in zip(self._appends, row, strict=True):
            append(value)

    def frame(self) -> pd.DataFrame:
        """Return them (schema `PUBLISHED_MESSAGES`)."""
        return frames.frame_of_columns(schemas.PUBLISHED_MESSAGES, self._columns)


def is_at_the_edge(published_at: datetime | None, since: float, until: float) -> bool:
    """Whether a message that a tap has brought along was published just before *since*, or just
    after *until*, as its publisher says. What says another time altogether is none of those: it
    was published again, or by a clock that is wrong."""
    if published_at is None:
        return False
    first = published_at.timestamp()
    last = first if published_at.microsecond else first + 1 - 1e-6  # it may be in whole seconds
    return since - _EDGE < last < since or until <= first < until + _EDGE
