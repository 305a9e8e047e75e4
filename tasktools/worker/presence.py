"""Being seen: heartbeats and task events, from a thread that does nothing else."""

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

_log = logging.getLogger("tasktools.worker")

_BEAT: Final = 3.0
_GATHER: Final = 0.02  # seconds in which events come together, to be sent at once
_COUNT: Final = 1.0
_TRY_AGAIN: Final = 1.0
_MOST_EVENTS: Final = 10_000
_A_TIME: Final = 500

Counted = Literal["completed", "error", "skipped"]


class Presence:
    """Says what the worker does: `register`, a heartbeat each 3 s, `unregister`, and events.

    `say` never waits; while the broker cannot be reached the oldest events are dropped. What
    the worker says of itself is always made anew, and goes first.
    """

    def __init__(self, broker: Broker, report: Callable[[], WorkerReport], sender_id: str) -> None:
        self._broker = broker
        self._report = report
        self._sender_id = sender_id
        self._outbox: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._counts: Counter[tuple[str, Counted]] = Counter()
        self._counting = threading.Lock()
        self._news = threading.Event()
        self._ended = threading.Event()
        self._beat_now = False
        self._is_heard = True
        self._thread = threading.Thread(target=self._serve, name="tasktools-presence", daemon=True)

    def start(self) -> None:
        """Register, and go on."""
        self._thread.start()

    def say(self, event: Event) -> None:
        """Send *event* soon."""
        self._outbox.append(event)
        if not self._news.is_set():
            self._news.set()

    def count(self, topic: str, counter: Counted) -> None:
        """Count one message, to be told within a second or two."""
        with self._counting:
            self._counts[topic, counter] += 1

    def beat(self) -> None:
        """Send a heartbeat now, since something has changed."""
        self._beat_now = True
        self._news.set()

    def stop(self) -> None:
        """Send what is left and unregister."""
        self._ended.set()
        self._news.set()
        self._thread.join()

    # --- the thread -----------------------------------------------------------------

    def _serve(self) -> None:
        self._send(self._of_worker("register"))
        beat_due = time.monotonic() + _BEAT
        count_due = time.monotonic()
        while not self._ended.is_set():
            self._wait(min(beat_due, count_due) if self._counts else beat_due)
            now = time.monotonic()
            if now >= count_due:
                count_due = now + _COUNT
                self._outbox.extend(self._take_counts())
            if self._beat_now or now >= beat_due or not self._is_heard:
                self._beat_now, beat_due = False, now + _BEAT
                self._send(self._of_worker("heartbeat"))
            else:
                self._send()
        self._outbox.extend(self._take_counts())
        if self._send():
            self._send(self._of_worker("unregister"))

    def _wait(self, until: float) -> None:
        """Return when something is to be sent, or at the time *until*."""
        if not self._is_heard:
            self._ended.wait(_TRY_AGAIN)
        elif self._news.wait(max(until - time.monotonic(), 0.0)) and not self._beat_now:
            self._ended.wait(_GATHER)
        self._news.clear()

    def _send(self, first: WorkerEvent | None = None) -> bool:
        """Send *first* and all that waits; says whether it went out."""
        urgent = () if first is None else (first,)
        left = len(self._outbox)  # what comes meanwhile has to wait for the next heartbeat
        while left or urgent:
            batch = [self._outbox.popleft() for _ in range(min(left, _A_TIME))]
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
        """Keep the newest events of *batch*, as many as there is room for."""
        room = max(_MOST_EVENTS - len(self._outbox), 0)
        self._outbox.extendleft(itertools.islice(reversed(batch), room))

    def _note(self, why_not: str | None = None) -> None:
        """Log it once when the worker is heard no more, and when it is again."""
        is_heard = why_not is None
        if is_heard and not self._is_heard:
            _log.info("this worker is heard again")
        elif self._is_heard and not is_heard:
            _log.warning("nobody hears of this worker: %s", why_not)
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
