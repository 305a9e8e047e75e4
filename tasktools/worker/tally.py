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
        self._is_over = False

    def begin(self, delivery_id: str, current: CurrentTask) -> bool:
        """A task begins, if it may still."""
        with self._lock:
            if not self._is_over:
                self._running[delivery_id] = current
            return not self._is_over

    def end(self, delivery_id: str, topic: str, *, failed: bool) -> bool:
        """A task has ended, or never began; says whether it is ours still."""
        with self._lock:
            if self._is_over:
                return False
            self._running.pop(delivery_id, None)
            (self._failed if failed else self._succeeded)[topic] += 1
            return True

    def give_up(self) -> dict[str, CurrentTask]:
        """Return the tasks that run still, by delivery id; they are ours no more."""
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
