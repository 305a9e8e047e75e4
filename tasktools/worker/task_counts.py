"""The running tasks of a worker, and its counts of finished ones."""

from __future__ import annotations

import threading
from collections import Counter

from tasktools.core.events import TaskOnWorker
from tasktools.worker.context import CurrentTask


class TaskCounts:
    """Thread-safe counts of running and finished tasks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, CurrentTask] = {}
        self._succeeded: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._is_over = False

    def begin(self, delivery_id: str, current: CurrentTask) -> bool:
        """Note that a task begins; return False after `give_up`."""
        with self._lock:
            if not self._is_over:
                self._running[delivery_id] = current
            return not self._is_over

    def end(self, delivery_id: str, topic: str, *, failed: bool) -> bool:
        """Note that a task has ended or never began; return whether it still counts."""
        with self._lock:
            if self._is_over:
                return False
            self._running.pop(delivery_id, None)
            (self._failed if failed else self._succeeded)[topic] += 1
            return True

    def give_up(self) -> dict[str, CurrentTask]:
        """Return the running tasks by delivery id, and stop counting them."""
        with self._lock:
            self._is_over = True
            unfinished, self._running = self._running, {}
            return unfinished

    def running(self) -> tuple[TaskOnWorker, ...]:
        """Return the tasks that run now, as a heartbeat lists them."""
        with self._lock:
            running = list(self._running.values())
        return tuple(
            TaskOnWorker(task_id=task.task_id, task_name=task.task_name, topic=task.topic)
            for task in running
        )

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """Return how many tasks succeeded and failed, by topic."""
        with self._lock:
            return self._succeeded.copy(), self._failed.copy()
