"""Tasks, and the runner that executes them."""

from tasktools.worker.context import CurrentTask, current_task
from tasktools.worker.limits import TimeLimitExceeded
from tasktools.worker.registry import DEFAULT, Task, TaskRegistry, task
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
