"""A pool of threads that execute deliveries, as many at a time as the capacity."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final

from tasktools.core.models import Delivery

_WAKE: Final = None


class ThreadPool:
    """A pool of threads over one queue; they block while there is nothing to do.

    *work* must not raise. *when_ended* is called when the pool is closed and its last thread ends.
    """

    def __init__(
        self,
        work: Callable[[Delivery], object],
        capacity: int,
        when_ended: Callable[[], object],
    ) -> None:
        self._work = work
        self._when_ended = when_ended
        self._waiting: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._capacity = capacity
        self._threads: set[threading.Thread] = set()
        self._wanted = 0
        self._started = 0

    def put(self, delivery: Delivery) -> None:
        """Queue *delivery*."""
        self._waiting.put(delivery)

    @property
    def capacity(self) -> int:
        """The number of deliveries that are executed at once."""
        return self._capacity

    def start(self) -> None:
        """Start the threads."""
        self._resize(self._capacity)

    def resize(self, capacity: int) -> None:
        """Change the capacity: more threads start at once, fewer as their work ends."""
        self._capacity = capacity
        if self._wanted:
            self._resize(capacity)

    def close(self) -> None:
        """End each thread after its current delivery; does not wait."""
        self._resize(0)

    def _resize(self, wanted: int) -> None:
        with self._lock:
            self._wanted = wanted
            while len(self._threads) < wanted:
                self._started += 1
                name = f"tasktools-worker-{self._started}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._threads.add(thread)
                thread.start()
            surplus = len(self._threads) - wanted
        for _ in range(surplus):
            self._waiting.put(_WAKE)

    def _serve(self) -> None:
        while not self._leave_if_surplus():
            delivery = self._waiting.get()
            if delivery is not _WAKE:
                self._work(delivery)

    def _leave_if_surplus(self) -> bool:
        if len(self._threads) <= self._wanted:
            return False
        with self._lock:
            if len(self._threads) <= self._wanted:
                return False
            self._threads.discard(threading.current_thread())
            is_last = not self._threads
        if is_last:
            self._when_ended()
        return True

    def take_back(self, topic: str | None = None) -> list[Delivery]:
        """Remove and return the deliveries that were not begun, of one topic or of all."""
        taken, others = [], []
        try:
            while True:
                delivery = self._waiting.get_nowait()
                if delivery is not _WAKE and topic in (None, delivery.topic):
                    taken.append(delivery)
                else:
                    others.append(delivery)
        except queue.Empty:
            pass
        for other in others:
            self._waiting.put(other)
        return taken
