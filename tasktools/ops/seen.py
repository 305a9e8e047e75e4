"""Tasks whose messages were seen: no event carries a running task's arguments."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from tasktools.core.models import TaskMessage

MOST_TASKS: Final = 20_000
_LONGEST: Final = 20_000  # characters of arguments; longer ones are not kept


class SeenTasks:
    """Remembers the latest tasks by their id, in bounded memory."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, TaskMessage] = OrderedDict()

    def remember(self, tasks: Iterable[TaskMessage]) -> None:
        """Remember *tasks*, as far as they have an id and are not huge."""
        for task in tasks:
            if task.task_id is None or len(str((task.args, task.kwargs))) > _LONGEST:
                continue
            self._tasks[task.task_id] = task
            self._tasks.move_to_end(task.task_id)
        while len(self._tasks) > MOST_TASKS:
            self._tasks.popitem(last=False)

    def names(self) -> set[str]:
        """Return the names of the tasks that were seen."""
        return {task.task_name for task in list(self._tasks.values()) if task.task_name}

    def get(self, task_id: str) -> TaskMessage | None:
        """Return what was seen of a task."""
        return self._tasks.get(task_id)
