"""What is heard between two ticks. It is filled by threads of the broker's, so it only notes."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

import msgspec

from tasktools.core.clock import Clock
from tasktools.core.events import Command, Event, LockEvent, SettingsUpdate, TaskEvent, WorkerEvent

_MOST_BYTES: Final = 256 * 1024 * 1024
_KEPT: Final = (TaskEvent, LockEvent, SettingsUpdate, Command)


class Published(msgspec.Struct, frozen=True):
    """A message that was published to *topic*, as it went over the wire."""

    at: float
    topic: str
    properties: bytes
    body: bytes


class Heard(msgspec.Struct):
    """What came: *count* events in all, of which *events* are kept with their arrival.

    Heartbeats, questions, answers and counters are not: the picture of the cluster has taken them
    in, and the samples tell what became of it. *lost* counts what there was no room for;
    *missed*: not all messages that were published have come.
    """

    count: int = 0
    lost: int = 0
    missed: bool = False
    events: deque[tuple[float, Event]] = msgspec.field(default_factory=deque)
    messages: list[Published] = msgspec.field(default_factory=list)


class Inbox:
    """Keeps what is heard until it is taken: of more than *most* events the latest."""

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._heard = Heard()
        self._bytes = 0

    def hear(self, event: Event) -> None:
        """Take in an event."""
        is_kept = isinstance(event, _KEPT) or (
            isinstance(event, WorkerEvent) and event.kind != "heartbeat"
        )
        with self._lock:
            heard = self._heard
            heard.count += 1
            if not is_kept:
                return
            heard.events.append((self._clock.time(), event))
            if len(heard.events) > self._most:
                heard.events.popleft()
                heard.lost += 1

    def overhear(self, topic: str, properties: bytes, body: bytes) -> None:
        """Take in a message."""
        with self._lock:
            self._bytes += len(body) + len(properties)
            if self._bytes > _MOST_BYTES:
                self._heard.lost += 1
                return
            self._heard.messages.append(Published(self._clock.time(), topic, properties, body))

    def missed(self) -> None:
        """Note that messages did not come, or may not have."""
        with self._lock:
            self._heard.missed = True

    def take(self) -> Heard:
        """Return what was heard since the last call."""
        with self._lock:
            heard, self._heard, self._bytes = self._heard, Heard(), 0
            return heard
