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
    """The counts of begun and ended tasks by topic, from events since this was made.

    The counts that workers report cannot serve as counters: they start at 0 with each worker, and
    disappear with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[Count]] = {}

    def handle_event(self, event: Event) -> None:
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
        """Return the counts of all topics with events so far."""
        with self._lock:
            return {topic: counts[count] for topic, counts in self._counts.items()}
