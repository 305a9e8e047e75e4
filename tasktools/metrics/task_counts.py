"""Counts of tasks by topic, from workers' events; they never go backwards."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

from tasktools.core.events import CounterDelta, Event, TaskEvent

Count = Literal["begun", "succeeded", "failed", "dead_lettered"]

_KINDS: Final[Mapping[str, Count]] = {
    "task_started": "begun",
    "task_completed": "succeeded",
    "task_failed": "failed",
}
_MAX_TOPICS: Final = 20_000


class TaskCounts:
    """The tasks of each topic that were heard to begin and to end since this was made.

    Counts of workers themselves are no counters: they begin anew with each worker, and go with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[Count]] = {}

    def hear(self, event: Event) -> None:
        """Count *event*."""
        if isinstance(event, TaskEvent):
            self._add(event.topic, _KINDS[event.kind], 1)
        elif isinstance(event, CounterDelta) and event.counter == "skipped":
            self._add(event.topic, "dead_lettered", event.delta)

    def _add(self, topic: str | None, count: Count, number: int) -> None:
        if topic is None:
            return
        with self._lock:
            if topic in self._counts or len(self._counts) < _MAX_TOPICS:
                self._counts.setdefault(topic, Counter())[count] += number

    def by_topic(self, count: Count) -> dict[str, int]:
        """Return what was counted so far, of topics of which something was heard."""
        with self._lock:
            return {topic: counts[count] for topic, counts in self._counts.items()}
