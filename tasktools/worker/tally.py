"""What a worker runs now, and what it has done."""

from __future__ import annotations

import threading
from collections import Counter

from tasktools.core.events import TaskOnWorker
from tasktools.worker.context import CurrentTask


class Tally:
    """Counts; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, CurrentTask] = {}
        self._succeeded: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def begin(self, delivery_id: str, current: CurrentTask) -> None:
        """A task has begun."""
        with self._lock:
            self._running[delivery_id] = current

    def end(self, delivery_id: str, topic: str, *, failed: bool) -> None:
        """A task has ended, or was rejected without having begun."""
        with self._lock:
            self._running.pop(delivery_id, None)
            (self._failed if failed else self._succeeded)[topic] += 1

    @property
    def running(self) -> dict[str, CurrentTask]:
        """The tasks that run now, by delivery id."""
        with self._lock:
            return dict(self._running)

    def running_tasks(self) -> tuple[TaskOnWorker, ...]:
        """Return them as a heartbeat lists them."""
        return tuple(
            TaskOnWorker(task_id=task.task_id, task_name=task.task_name, topic=task.topic)
            for task in self.running.values()
        )

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """Return how many tasks succeeded and failed, by topic."""
        with self._lock:
            return self._succeeded.copy(), self._failed.copy()
