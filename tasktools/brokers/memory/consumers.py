"""Consumers, each with a thread that sleeps until there is a message for it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from tasktools.brokers.memory.queue import Queue
from tasktools.core.models import Delivery

_log = logging.getLogger("tasktools.consumers")

Take = Callable[["MemoryConsumer"], "Delivery | float | None"]


class MemoryConsumer:
    """A subscription to one topic, whose deliveries are pushed.

    *take* returns the next delivery, or the seconds after which to ask again, if there was no
    `ring` before (`None`: not before). *leave* is called at the very end.
    """

    problem: str | None = None  # no line can be cut here, and no queue be deleted

    def __init__(
        self,
        source: Queue,
        receive: Callable[[Delivery], object],
        take: Take,
        leave: Callable[[MemoryConsumer], object],
        *,
        prefetch: int,
        limit: int | None,
    ) -> None:
        _check(prefetch, limit)
        self.topic = source.name
        self.source = source
        self.ended = False
        self._receive = receive
        self._take = take
        self._leave = leave
        self.prefetch = prefetch
        self.unsettled = 0
        self._limit = limit
        # A queue, not a condition: it may be rung while the garbage collector runs.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        name = f"tasktools-memory-{self.topic}"
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def __repr__(self) -> str:
        return f"<Consumer of {self.topic!r}{', cancelled' if self.ended else ''}>"

    # --- from any thread ------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def adjust(self, *, prefetch: int, limit: int | None) -> None:
        """Change the bounds."""
        _check(prefetch, limit)
        self.prefetch, self._limit = prefetch, limit
        self.ring()

    def cancel(self) -> None:
        """Stop consuming; nothing is received after this returns."""
        self.ended = True
        self.ring()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def ring(self) -> None:
        """Wake the thread, which then looks for a message."""
        if self._bell.empty():
            self._bell.put(None)

    # --- under the server's lock ----------------------------------------------------

    @property
    def may_take(self) -> bool:
        """Whether the consumer may have one more delivery."""
        within = self._limit is None or self.source.permits < self._limit
        return not self.ended and within and self.unsettled < self.prefetch

    def took(self) -> bool:
        """Count a new delivery; returns whether it has a permit."""
        self.unsettled += 1
        has_permit = self._limit is not None
        self.source.permits += has_permit
        return has_permit

    def settled(self, *, has_permit: bool) -> None:
        """Stop counting a delivery."""
        self.unsettled -= 1
        self.source.permits -= has_permit

    # --- the thread -----------------------------------------------------------------

    def _serve(self) -> None:
        while not self.ended:
            taken = self._take(self)
            if isinstance(taken, Delivery):
                self._hand_over(taken)
            else:
                self._wait(taken)
        self._leave(self)

    def _hand_over(self, delivery: Delivery) -> None:
        try:
            self._receive(delivery)
        except Exception:  # noqa: BLE001 - a stranger's code; it keeps what it has got
            _log.exception("the receiver of the messages of %r failed", self.topic)

    def _wait(self, seconds: float | None) -> None:
        try:
            self._bell.get(timeout=seconds)
        except queue.Empty:
            return


def _check(prefetch: int, limit: int | None) -> None:
    if prefetch < 1 or (limit is not None and limit < 0):
        raise ValueError(f"prefetch {prefetch} and limit {limit}: 1 and 0 are the least.")
