"""Bounded caches of facts about single tasks, from events and peeked messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tasktools.core.bounded_dict import BoundedDict
from tasktools.core.escaping import cut
from tasktools.core.events import Event, TaskEvent
from tasktools.core.models import TaskMessage

MAX_TASKS: Final = 20_000
_MAX_ARGUMENT_CHARS: Final = 20_000
_MAX_ERRORS: Final = 100_000
_MAX_ERROR_CHARS: Final = 2_000


class ErrorCache:
    """The latest error of each task that failed, from events: fastpluggy messages have no error."""

    def __init__(self, max_errors: int = _MAX_ERRORS) -> None:
        self._errors: BoundedDict[str, tuple[str | None, str | None]] = BoundedDict(max_errors)

    def handle_event(self, event: Event) -> None:
        """Store the error of *event*, if it has one."""
        if not isinstance(event, TaskEvent) or event.kind != "task_failed":
            return
        error = event.error_type, event.error and cut(event.error, _MAX_ERROR_CHARS)
        if error != (None, None):
            self._errors.put(event.task_id, error)

    def get(self, task_id: str) -> tuple[str | None, str | None] | None:
        """Return type and text of the last error of a task; `None` if no event named one."""
        return self._errors.get(task_id)


class TaskCache:
    """The latest tasks seen in messages: events do not carry the arguments of running tasks."""

    def __init__(self) -> None:
        self._tasks: BoundedDict[str, TaskMessage] = BoundedDict(MAX_TASKS)

    def remember(self, tasks: Iterable[TaskMessage]) -> None:
        """Store the *tasks* with an id and with arguments of moderate size."""
        for task in tasks:
            if task.task_id is None or len(str((task.args, task.kwargs))) > _MAX_ARGUMENT_CHARS:
                continue
            self._tasks.put(task.task_id, task)

    def names(self, dialect: str | None = None) -> set[str]:
        """Return the names of the tasks in the cache, of all dialects or of one."""
        return {
            task.task_name
            for task in list(self._tasks.values())
            if task.task_name and dialect in (None, task.dialect)
        }

    def get(self, task_id: str) -> TaskMessage | None:
        """Return the message of a task; `None` if it is not in the cache."""
        return self._tasks.get(task_id)
