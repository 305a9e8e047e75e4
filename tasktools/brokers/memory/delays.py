"""Delayed messages. Used under the server's lock."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from tasktools.brokers.memory.queue import Message


class DelayedMessages:
    """Messages by the time at which they are due."""

    def __init__(self) -> None:
        self._parked: list[tuple[float, int, Message]] = []

    @property
    def due(self) -> float | None:
        """The time at which the next message is due (seconds since the epoch)."""
        return self._parked[0][0] if self._parked else None

    def add(self, message: Message, due: float) -> None:
        """Keep *message* until the time *due*."""
        heapq.heappush(self._parked, (due, message.number, message))

    def take_due(self, now: float) -> Iterator[tuple[float, Message]]:
        """Remove and return the messages that are due at *now*, each with the time at which it was
        due."""
        while (due := self.due) is not None and due <= now:
            yield due, heapq.heappop(self._parked)[2]
