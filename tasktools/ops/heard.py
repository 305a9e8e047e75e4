"""Errors that worker events told of, by task: peers keep no word of them in their messages."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from tasktools.core.events import Event, TaskEvent

_MOST: Final = 100_000
_LONGEST: Final = 2_000


class HeardErrors:
    """Remembers the latest error of each task that failed, in bounded memory."""

    def __init__(self) -> None:
        self._errors: OrderedDict[str, tuple[str | None, str | None]] = OrderedDict()

    def hear(self, event: Event) -> None:
        """Take in an event."""
        if not isinstance(event, TaskEvent) or event.kind != "task_failed":
            return
        told = event.error_type, event.error and event.error[:_LONGEST]
        if told != (None, None):
            self._errors[event.task_id] = told
            self._errors.move_to_end(event.task_id)
            if len(self._errors) > _MOST:
                self._errors.popitem(last=False)

    def get(self, task_id: str) -> tuple[str | None, str | None] | None:
        """Return type and text of the last error of a task, if any was heard of."""
        return self._errors.get(task_id)
