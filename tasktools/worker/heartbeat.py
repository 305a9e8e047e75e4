"""The thread that sends heartbeats and task events."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Literal

from tasktools.brokers.base import Broker
from tasktools.core.errors import BrokerError
from tasktools.core.events import CounterDelta, Event, WorkerEvent, WorkerReport
from tasktools.worker.intervals import Intervals

_log = logging.getLogger("tasktools.worker")

_BATCH_SECONDS: Final = 0.02  # seconds in which events come together, to be sent at once
_COUNT_SECONDS: Final = 1.0
_MAX_EVENTS: Final = 10_000
_MAX_BATCH: Final = 500

Counted = Literal["completed", "error", "skipped"]


class Heartbeat:
    """Sends `register`, a heartbeat every 3 s, task events, and `unregister`.

    `say` never waits; while the broker cannot be reached the oldest events are dropped. Events of
    the worker about itself are made at the moment of sending, and go first.
    """

    def __init__(
        self,
        broker: Broker,
        report: Callable[[], WorkerReport],
        sender_id: str,
        intervals: Intervals,
    ) -> None:
        self._broker = broker
        self._report = report
        self._sender_id = sender_id
        self._intervals = intervals
        self._outbox: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._counts: Counter[tuple[str, Counted]] = Counter()
        self._counting = threading.Lock()
        self._news = threading.Event()
        self._ended = threading.Event()
        self._beat_now = False
        self._is_heard = True
        self._thread = threading.Thread(target=self._serve, name="tasktools-heartbeat", daemon=True)

    def start(self) -> None:
        """Send `register` and start the thread."""
        self._thread.start()

    def say(self, event: Event) -> None:
        """Queue *event* to be sent."""
        self._outbox.append(event)
        if not self._news.is_set():
            self._news.set()

    def count(self, topic: str, counter: Counted) -> None:
        """Count one message; the counts are sent within two seconds."""
        with self._counting:
            self._counts[topic, counter] += 1

    def beat(self) -> None:
        """Send a heartbeat now, because something has changed."""
        self._beat_now = True
        self._news.set()

    def stop(self) -> None:
        """Send the waiting events and `unregister`."""
        self._ended.set()
        self._news.set()
        self._thread.join()

    # --- the thread -----------------------------------------------------------------

    def _serve(self) -> None:
        self._send(self._of_worker("register"))
        beat_due = time.monotonic() + self._intervals.heartbeat
        count_due = time.monotonic()
        while not self._ended.is_set():
            self._wait(min(beat_due, count_due) if self._counts else beat_due)
            now = time.monotonic()
            if now >= count_due:
                count_due = now + _COUNT_SECONDS
                self._outbox.extend(self._take_counts())
            if self._beat_now or now >= beat_due or not self._is_heard:
                self._beat_now, beat_due = False, now + self._intervals.heartbeat
                self._send(self._of_worker("heartbeat"))
            else:
                self._send()
        self._outbox.extend(self._take_counts())
        if self._send():
            self._send(self._of_worker("unregister"))

    def _wait(self, until: float) -> None:
        """Wait until there is something to send, or the time *until*."""
        if not self._is_heard:
            self._ended.wait(self._intervals.send_retry)
        elif self._news.wait(max(until - time.monotonic(), 0.0)) and not self._beat_now:
            self._ended.wait(_BATCH_SECONDS)
        self._news.clear()

    def _send(self, first: WorkerEvent | None = None) -> bool:
        """Send *first* and all waiting events; return whether they were sent."""
        urgent = () if first is None else (first,)
        left = len(self._outbox)  # what comes meanwhile has to wait for the next heartbeat
        while left or urgent:
            batch = [self._outbox.popleft() for _ in range(min(left, _MAX_BATCH))]
            left -= len(batch)
            try:
                self._broker.broadcast(*urgent, *batch)
            except BrokerError as error:
                self._put_back(batch)
                self._note(why_not=str(error))
                return False
            except Exception:  # noqa: BLE001 - heartbeats go on
                _log.exception("%d events could not be sent and are dropped", len(batch))
            urgent = ()
        self._note()
        return True

    def _put_back(self, batch: list[Event]) -> None:
        """Put the newest events of *batch* back, as many as fit."""
        room = max(_MAX_EVENTS - len(self._outbox), 0)
        self._outbox.extendleft(itertools.islice(reversed(batch), room))

    def _note(self, why_not: str | None = None) -> None:
        """Log once when events can no longer be sent, and once when they can again."""
        is_heard = why_not is None
        if is_heard and not self._is_heard:
            _log.info("events of this worker are sent again")
        elif self._is_heard and not is_heard:
            _log.warning("events of this worker cannot be sent: %s", why_not)
        self._is_heard = is_heard

    def _take_counts(self) -> list[Event]:
        with self._counting:
            counts, self._counts = self._counts, Counter()
        return [
            CounterDelta(sender_id=self._sender_id, topic=topic, counter=counter, delta=n)
            for (topic, counter), n in counts.items()
        ]

    def _of_worker(self, kind: Literal["register", "heartbeat", "unregister"]) -> WorkerEvent:
        return WorkerEvent(kind=kind, sender_id=self._sender_id, worker=self._report())
