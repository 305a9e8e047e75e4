"""The buffer of events and messages between two ticks of a recorder."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from tasktools.core.clock import Clock
from tasktools.core.events import Command, Event, LockEvent, SettingsUpdate, TaskEvent, WorkerEvent
from tasktools.core.marks import Mark
from tasktools.core.masked_repr import MaskedStruct

_MAX_BYTES: Final = 256 * 1024 * 1024
_KEPT_TYPES: Final = (TaskEvent, LockEvent, SettingsUpdate, Command, Mark)


class Published(MaskedStruct, frozen=True):
    """A message that was published to *topic*, as it went over the wire."""

    at: float
    topic: str
    properties: bytes
    body: bytes


class BufferedEvents(msgspec.Struct):
    """The events and messages since the last tick: *count* events, of which *events* are stored,
    with their times of arrival.

    Heartbeats, questions, answers and counters are not stored: they are part of the cluster state,
    which is sampled. *lost* counts events and messages that were dropped for lack of room;
    *missed* is True if some published messages did not arrive.
    """

    count: int = 0
    lost: int = 0
    missed: bool = False
    events: deque[tuple[float, Event]] = msgspec.field(default_factory=deque)
    messages: list[Published] = msgspec.field(default_factory=list)


class EventBuffer:
    """Stores events and messages until `take`; at most the latest *max_events* events.

    Threads of the broker call its methods, so these return at once. *half_full* is called in them
    when there are half of *max_events*.
    """

    def __init__(
        self, clock: Clock, max_events: int, half_full: Callable[[], object] = lambda: None
    ) -> None:
        self._clock = clock
        self._max_events = max_events
        self._half_full = half_full
        self._lock = threading.Lock()
        self._buffered = BufferedEvents()
        self._bytes = 0

    def handle_event(self, event: Event) -> None:
        """Store an event."""
        is_kept = isinstance(event, _KEPT_TYPES) or (
            isinstance(event, WorkerEvent) and event.kind != "heartbeat"
        )
        with self._lock:
            batch = self._buffered
            batch.count += 1
            if not is_kept:
                return
            batch.events.append((self._clock.time(), event))
            if len(batch.events) > self._max_events:
                batch.events.popleft()
                batch.lost += 1
            is_half_full = len(batch.events) == self._max_events // 2
        if is_half_full:
            self._half_full()

    def overhear(self, topic: str, properties: bytes, body: bytes) -> None:
        """Store a message."""
        with self._lock:
            self._bytes += len(body) + len(properties)
            if self._bytes > _MAX_BYTES:
                self._buffered.lost += 1
                return
            self._buffered.messages.append(Published(self._clock.time(), topic, properties, body))

    def missed(self) -> None:
        """Note that published messages did not arrive, or may not have."""
        with self._lock:
            self._buffered.missed = True

    def take(self) -> BufferedEvents:
        """Return the events and messages since the last call."""
        with self._lock:
            batch, self._buffered, self._bytes = self._buffered, BufferedEvents(), 0
            return batch
