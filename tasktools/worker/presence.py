"""Being seen: heartbeats and task events, from a thread that does nothing else."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Literal

from tasktools.brokers.base import Broker
from tasktools.core.clock import Clock
from tasktools.core.errors import BrokerError
from tasktools.core.events import CounterDelta, Event, WorkerEvent, WorkerReport

_log = logging.getLogger("tasktools.worker")

_BEAT: Final = 3.0
_GATHER: Final = 0.02  # seconds in which events come together, to be sent at once
_COUNT: Final = 1.0
_MOST_EVENTS: Final = 10_000
_A_TIME: Final = 500

Counted = Literal["completed", "error", "skipped"]


class Presence:
    """Says what the worker does: `register`, a heartbeat each 3 s, `unregister`, and events.

    `say` never waits; while the broker cannot be reached the oldest events are dropped.
    """

    def __init__(
        self, broker: Broker, report: Callable[[], WorkerReport], sender_id: str, clock: Clock
    ) -> None:
        self._broker = broker
        self._report = report
        self._sender_id = sender_id
        self._clock = clock
        self._outbox: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._counts: Counter[tuple[str, Counted]] = Counter()
        self._counting = threading.Lock()
        self._news = threading.Event()
        self._stopped = False
        self._beat_now = False
        self._silenced: str | None = None
        self._thread = threading.Thread(target=self._serve, name="tasktools-presence", daemon=True)

    def start(self) -> None:
        """Register, and go on."""
        self._outbox.append(self._of_worker("register"))
        self._thread.start()

    def say(self, event: Event) -> None:
        """Send *event* soon."""
        self._outbox.append(event)
        if not self._news.is_set():
            self._news.set()

    def count(self, topic: str, counter: Counted) -> None:
        """Count one message, to be told within a second."""
        with self._counting:
            self._counts[topic, counter] += 1

    def beat(self) -> None:
        """Send a heartbeat now, since something has changed."""
        self._beat_now = True
        self._news.set()

    def stop(self) -> None:
        """Send what is left and unregister."""
        self._stopped = True
        self._news.set()
        self._thread.join()

    # --- the thread -----------------------------------------------------------------

    def _serve(self) -> None:
        now = self._clock.time
        next_beat = next_count = now()
        while not self._stopped:
            wait = _COUNT if self._counts else next_beat - now()
            if self._news.wait(max(wait, 0.0)):
                self._clock.sleep(_GATHER)
            self._news.clear()
            if self._beat_now or now() >= next_beat:
                self._beat_now, next_beat = False, now() + _BEAT
                self._outbox.append(self._of_worker("heartbeat"))
            if now() >= next_count:
                next_count = now() + _COUNT
                self._outbox.extend(self._take_counts())
            self._send()
        self._outbox.extend(self._take_counts())
        self._outbox.append(self._of_worker("unregister"))
        self._send()

    def _send(self) -> None:
        while self._outbox:
            batch = [self._outbox.popleft() for _ in range(min(len(self._outbox), _A_TIME))]
            try:
                self._broker.broadcast(*batch)
            except BrokerError as error:
                if str(error) != self._silenced:
                    self._silenced = str(error)
                    _log.warning("nobody hears of this worker: %s", error)
                events = [event for event in batch if not isinstance(event, WorkerEvent)]
                self._outbox.extendleft(reversed(events))
                return
            if self._silenced is not None:
                self._silenced = None
                _log.info("this worker is heard again")

    def _take_counts(self) -> list[Event]:
        with self._counting:
            counts, self._counts = self._counts, Counter()
        return [
            CounterDelta(sender_id=self._sender_id, topic=topic, counter=counter, delta=n)
            for (topic, counter), n in counts.items()
        ]

    def _of_worker(self, kind: Literal["register", "heartbeat", "unregister"]) -> WorkerEvent:
        return WorkerEvent(kind=kind, sender_id=self._sender_id, worker=self._report())
