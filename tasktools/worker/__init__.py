"""Tasks, and the runner that executes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasktools.worker.context import CurrentTask, current_task
from tasktools.worker.registry import DEFAULT, Task, TaskRegistry, task
from tasktools.worker.time_limit import TimeLimitExceeded

if TYPE_CHECKING:
    from tasktools.worker.runner import TaskRunner

__all__ = (
    "DEFAULT",
    "CurrentTask",
    "Task",
    "TaskRegistry",
    "TaskRunner",
    "TimeLimitExceeded",
    "current_task",
    "task",
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import the runner when it is first used: most programs run no worker."""
        if name != "TaskRunner":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tasktools.worker.runner import TaskRunner

        return TaskRunner
