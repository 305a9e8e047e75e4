"""One queue of the memory server: what is ready, in the order RabbitMQ would deliver it."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.models import Properties

_RATE_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 0.1
SAMPLE_SECONDS: Final = 5.0
"""The span between two samples of a queue, as RabbitMQ's management API has it."""
MAX_SAMPLES: Final = 13
"""Samples that are kept: those of a minute."""


class Sample(NamedTuple):
    """The lengths and counters of a queue at one moment."""

    at: float
    ready: int
    held: int
    published: int
    acknowledged: int
    delivered: int
    redelivered: int


@dataclass(slots=True, repr=False)
class Message(MaskedRepr):
    """A message as it lies in a queue.

    `number` is its place: a message that is given back keeps it. `exchange` and `key` are those
    it was published with; a death record names them.
    """

    number: int
    body: bytes
    properties: Properties
    exchange: str
    key: str
    expires_at: float | None = None
    redelivered: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The exchange and key to which a queue sends rejected and expired messages."""

    exchange: str
    key: str


class Waiting(Protocol):
    """An object that waits for a queue to change."""

    def ring(self) -> None:
        """Wake the waiting object, so that it looks again."""


class Queue:
    """Ready messages, highest priority first, then in order. Not thread-safe: the server locks.

    `consumers` wait for its messages, and `others` is the number of simulated ones. `permits`
    counts the messages held by consumers that have a limit. `delivered` counts all that was shown
    or taken, with what is `redelivered`; `samples` are of the last minute.
    """

    def __init__(
        self,
        name: str,
        *,
        dead_letter: DeadLetter | None = None,
        max_length: int | None = None,
        max_priority: int | None = None,
        message_ttl: float | None = None,
    ) -> None:
        self.name = name
        self.dead_letter = dead_letter
        self.message_ttl = message_ttl
        self.consumers: list[Waiting] = []
        self.others = 0
        self.held = 0
        self.permits = 0
        self.published = Rate()
        self.acknowledged = Rate()
        self.delivered = 0
        self.redelivered = 0
        self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._max_length = max_length
        self._max_priority = max_priority or 0
        self._ready: list[tuple[int, int, Message]] = []

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def is_full(self) -> bool:
        """Whether a publish is refused (`x-overflow=reject-publish`)."""
        return self._max_length is not None and len(self._ready) >= self._max_length

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments fixed at the queue's creation, by RabbitMQ's names."""
        arguments = {
            "x-queue-type": "classic",
            "x-dead-letter-exchange": self.dead_letter and self.dead_letter.exchange,
            "x-dead-letter-routing-key": self.dead_letter and self.dead_letter.key,
            "x-max-length": self._max_length,
            "x-overflow": None if self._max_length is None else "reject-publish",
            "x-max-priority": self._max_priority or None,
            "x-message-ttl": None if self.message_ttl is None else round(self.message_ttl * 1000),
        }
        return {name: value for name, value in arguments.items() if value is not None}

    def put(self, message: Message) -> None:
        """Add a message, or give one back to its old place."""
        priority = min(message.properties.priority or 0, self._max_priority)
        heapq.heappush(self._ready, (-priority, message.number, message))
        self.ring()

    def ring(self) -> None:
        """Wake all consumers, so that they look for messages."""
        for consumer in self.consumers:
            consumer.ring()

    def take(self) -> Message | None:
        """Remove and return the next message."""
        return heapq.heappop(self._ready)[2] if self._ready else None

    def count_delivery(self, message: Message) -> None:
        """Count that *message* was shown or taken."""
        self.delivered += 1
        self.redelivered += message.redelivered

    def sample(self, at: float) -> None:
        """Store the lengths and counters of the queue at the time *at*."""
        self.samples.append(
            Sample(
                at,
                len(self),
                self.held,
                self.published.total,
                self.acknowledged.total,
                self.delivered,
                self.redelivered,
            )
        )

    def clear(self) -> int:
        """Remove all ready messages; returns how many."""
        count = len(self._ready)
        self._ready.clear()
        return count

    @property
    def expires_at(self) -> float | None:
        """The time at which the message at the head expires."""
        return self._ready[0][2].expires_at if self._ready else None

    def take_expired(self, now: float) -> Iterator[Message]:
        """Remove and return the expired messages at the head.

        As in RabbitMQ, a message that expired behind one that did not stays until its turn.
        """
        while (expires_at := self.expires_at) is not None and expires_at <= now:
            yield heapq.heappop(self._ready)[2]


class Rate:
    """Events a second, over the last five; `total` counts all."""

    def __init__(self) -> None:
        self.total = 0
        self._steps: deque[tuple[float, int]] = deque()

    def count(self, now: float) -> None:
        """Count one event."""
        self.total += 1
        began, n = self._steps[-1] if self._steps else (float("-inf"), 0)
        if now - began < _STEP_SECONDS:
            self._steps[-1] = (began, n + 1)
        else:
            self._steps.append((now, 1))
            self._forget(now)

    def per_second(self, now: float) -> float:
        """Return the rate at *now*."""
        self._forget(now)
        return sum(n for _, n in self._steps) / _RATE_SECONDS

    def _forget(self, now: float) -> None:
        while self._steps and self._steps[0][0] <= now - _RATE_SECONDS:
            self._steps.popleft()
