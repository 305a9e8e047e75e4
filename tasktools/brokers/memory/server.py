"""The memory server: one lock over queues, clients, locks and events."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from tasktools.brokers.memory.consumers import MemoryConsumer
from tasktools.brokers.memory.exchanges import Exchanges, Overhearer
from tasktools.brokers.memory.fanout import Callback, Fanout, Listener
from tasktools.brokers.memory.locks import LockTable
from tasktools.brokers.memory.queue import DeadLetter, Message
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.errors import PublishRefused, TopicConflict, Unroutable
from tasktools.core.layout import Layout
from tasktools.core.models import Properties, PublishResult, TopicSettings, TopicStats

_GLANCE, _LONGEST_SLEEP = 0.03, 60.0
"""Seconds after which the clock is looked at again: one that may be moved by hand, and the
machine's, which may have been asleep."""


class Session(Protocol):
    """A client, as the server sees it."""

    @property
    def is_abandoned(self) -> bool:
        """Whether it was dropped without being closed."""

    def let_go(self) -> None:
        """Give back everything (under the server's lock)."""


class MemoryServer:
    """What several `MemoryBroker`s share, as clients of one cluster. Thread-safe.

    Time is that of *clock*: messages expire, and delayed ones appear, when the server is used
    or has consumers. A client that is dropped without being closed gives back what it held, as
    one that closes.

    >>> server = MemoryServer()
    >>> server.declare_queue("old", max_length=10)  # no dead-letter arguments
    >>> server.put("old", b"not JSON")
    >>> server.depth("old")
    1
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        # For the clients; everything in them is to be used under `now`.
        self.exchanges = Exchanges()
        self.fanout = Fanout()
        self.locks = LockTable()
        self.settings: defaultdict[str, dict[str, TopicSettings]] = defaultdict(dict)
        self._lock = threading.RLock()
        self._sessions: list[Session] = []
        self._consumers: list[MemoryConsumer] = []
        self._awaited = math.inf

    @contextlib.contextmanager
    def now(self) -> Iterator[float]:
        """Hold the lock, with everything settled that time has brought; the time is given."""
        with self._lock:
            now = self.clock.time()
            for session in [one for one in self._sessions if one.is_abandoned]:
                self._let_go(session)
            self.exchanges.advance(now)
            try:
                yield now
            finally:
                self._wake_for(self.exchanges.due)

    # --- consumers ------------------------------------------------------------------
    #
    # The oldest consumer keeps the time for all: it sleeps until something happens by itself.

    def add_consumer(self, consumer: MemoryConsumer) -> None:
        """Let *consumer* hear of messages (under `now`)."""
        self._consumers.append(consumer)
        consumer.source.consumers.append(consumer)

    def remove_consumer(self, consumer: MemoryConsumer) -> None:
        """Let it hear of nothing more (under `now`)."""
        self._consumers.remove(consumer)
        consumer.source.consumers.remove(consumer)
        self._awaited = math.inf

    def may_sleep(self, consumer: MemoryConsumer, now: float) -> float | None:
        """Return the seconds for which there is nothing for *consumer*, unless it is rung; `None`
        for no limit (under `now`)."""
        if self._consumers[0] is not consumer:
            return None
        self._awaited = self.exchanges.due
        if self._awaited == math.inf:
            return None
        longest = _LONGEST_SLEEP if isinstance(self.clock, SystemClock) else _GLANCE
        return min(max(self._awaited - now, 0.0), longest)

    def _wake_for(self, due: float) -> None:
        if self._consumers and due < self._awaited:
            self._awaited = due
            self._consumers[0].ring()

    # --- queues ---------------------------------------------------------------------

    def declare_queue(
        self,
        name: str,
        *,
        dead_letter: tuple[str, str] | None = None,
        max_length: int | None = None,
        max_priority: int | None = None,
        message_ttl: float | None = None,
    ) -> None:
        """Create a queue, if there is none of that name; one that exists is used as it is.

        *dead_letter* is an exchange and a routing key (``("", queue)`` reaches a queue by
        name); without it what is rejected would be lost. *max_length* refuses publishes
        (`x-overflow=reject-publish`), but takes dead letters. Without *max_priority*
        priorities are carried, but not obeyed. *message_ttl* is in seconds.
        """
        with self._lock:
            self.exchanges.declare(
                name,
                dead_letter=None if dead_letter is None else DeadLetter(*dead_letter),
                max_length=max_length,
                max_priority=max_priority,
                message_ttl=message_ttl,
            )

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Let *queue* take what is published to *exchange* with exactly *key*."""
        with self._lock:
            self.exchanges.bind(queue, exchange, key)

    def ensure_topic(self, layout: Layout, topic: str) -> None:
        """Create what is missing of *topic*."""
        with self._lock:
            self.exchanges.declare_topic(layout, topic)

    def create_topic(self, layout: Layout, topic: str, arguments: dict[str, Any]) -> None:
        """Create *topic*, whose queue has these *arguments* besides those of every topic.

        Raises `TopicConflict` when it exists and has others.
        """
        wanted = {**layout.queue_arguments(topic), **arguments}
        ttl = wanted.get("x-message-ttl")
        with self._lock:
            queue = self.exchanges.queues.get(topic)
            if queue is not None:
                _check_same(topic, wanted, queue.arguments)
            self.exchanges.declare_topic(
                layout,
                topic,
                max_priority=wanted.get("x-max-priority"),
                message_ttl=None if ttl is None else ttl / 1000,
            )

    def has_queue(self, name: str) -> bool:
        """Whether there is a queue of that name."""
        return name in self.exchanges.queues

    def depth(self, queue: str) -> int:
        """Return how many messages of *queue* are ready."""
        with self.now():
            return len(self.exchanges.queue(queue))

    def consumers(self, queue: str) -> int:
        """Return how many consumers *queue* has, those that are made believe included."""
        with self._lock:
            source = self.exchanges.queue(queue)
            return len(source.consumers) + source.others

    def set_consumers(self, queue: str, count: int) -> None:
        """Let *queue* have *count* consumers besides the real ones. A simulated worker claims,
        which is no consumer, so it says so itself; a look at such a queue reorders."""
        with self._lock:
            self.exchanges.queue(queue).others = count

    def purge(self, queue: str) -> int:
        """Delete the ready messages of *queue*; returns how many."""
        with self.now():
            return self.exchanges.queue(queue).clear()

    def look(self, queue: str, limit: int | None) -> tuple[list[tuple[Message, bool]], int]:
        """Return the next *limit* messages (`None`: all), each with whether it had been delivered
        before, and how many are ready. Marks them redelivered, as giving back does."""
        with self.now():
            source = self.exchanges.queue(queue)
            seen = [(message, message.redelivered) for message in source.first(limit)]
            for message, _ in seen:
                message.redelivered = True
            return seen, len(source)

    def topics(self, layout: Layout) -> set[str]:
        """Return all queues that are bound as topics are, or have a dead-letter queue."""
        with self._lock:
            queues = self.exchanges.queues
            return self.exchanges.bound_by_name(layout.task_exchange) | {
                name for name in queues if layout.dead_queue(name) in queues
            }

    def stats(self, layout: Layout, topic: str) -> TopicStats:
        """Return the statistics of one topic; what a missing queue cannot tell is missing."""
        with self.now() as now:
            queue = self.exchanges.queues.get(topic)
            dead = self.exchanges.queues.get(layout.dead_queue(topic))
            dead_letter = None if dead is None else len(dead)
            if queue is None:
                return TopicStats(topic=topic, exists=False, dead_letter=dead_letter)
            return TopicStats(
                topic=topic,
                exists=True,
                queued=len(queue),
                unacked=queue.held,
                dead_letter=dead_letter,
                consumers=len(queue.consumers) + queue.others,
                publish_rate=queue.published.per_second(now),
                ack_rate=queue.acknowledged.per_second(now),
                queue_type="classic",
                dead_lettering=queue.dead_letter is not None,
            )

    # --- putting in -----------------------------------------------------------------

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, *, delay: float = 0.0
    ) -> PublishResult:
        """Route one message, after *delay* seconds, and say what became of it. Exchanges need no
        declaration. A message with a delay is for a queue that exists, else it is unroutable."""
        with self.now() as now:
            if not delay:
                return self.exchanges.publish(exchange, key, body, properties, now)
            if key not in self.exchanges.queues:
                return "unroutable"
            self.exchanges.bind(key, exchange, key)
            self.exchanges.park(exchange, key, body, properties, now + delay)
            return "confirmed"

    def put(self, queue: str, body: bytes, properties: Properties | None = None) -> None:
        """Put raw bytes into *queue*, as another program would; `Unroutable`, `PublishRefused`."""
        outcome = self.publish("", queue, body, properties or Properties())
        if outcome != "confirmed":
            raise Unroutable if outcome == "unroutable" else PublishRefused

    def overhear(
        self, exchange: str, receive: Callable[[str, bytes, bytes], object], owner: object
    ) -> Callable[[], None]:
        """Call *receive* with all that is published to *exchange*, as long as there is *owner*;
        returns what ends it."""
        overhearer = Overhearer(exchange, receive, owner)
        with self._lock:
            self.exchanges.overhearers.append(overhearer)

        def stop() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self.exchanges.overhearers.remove(overhearer)

        return stop

    # --- clients --------------------------------------------------------------------

    def attach(self, session: Session) -> None:
        """Take in a new client."""
        with self._lock:
            self._sessions.append(session)

    def detach(self, session: Session) -> None:
        """Let a client give back all that it has, and forget it. Idempotent."""
        with self.now():
            if session in self._sessions:
                self._let_go(session)

    def _let_go(self, session: Session) -> None:
        self._sessions.remove(session)
        overhearers = self.exchanges.overhearers
        overhearers[:] = [one for one in overhearers if one.owner is not session]
        session.let_go()

    # --- worker events --------------------------------------------------------------

    def is_anybody_but(self, session: Session) -> bool:
        """Whether there is anybody but *session* from whom an event could come."""
        with self.now():
            others = any(one is not session for one in self._sessions)
            return others or self.fanout.is_heard_by_others(session)

    def broadcast(self, *bodies: bytes) -> None:
        """Bring the raw events *bodies* to all subscribers and listeners."""
        with self.now() as now:
            for body in bodies:
                self.fanout.send(now, body)
        self.fanout.deliver()

    def listen(self, callback: Callback) -> Callable[[], None]:
        """Call *callback* with every raw event, in the thread of its sender; returns what ends it.

        This is how a simulated node hears `who_is_alive`; it answers with `broadcast`.
        """
        return self.add_listener(Listener(callback))

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Let *listener* hear what is sent from now on; returns what ends it."""
        with self._lock:
            self.fanout.listen(listener)

        def stop() -> None:
            with self._lock:
                self.fanout.unlisten(listener)

        return stop


def _check_same(topic: str, wanted: dict[str, Any], current: dict[str, Any]) -> None:
    for name in (*wanted, *current):
        has, should = (repr(told[name]) if name in told else "none" for told in (current, wanted))
        if has != should:
            raise TopicConflict(
                f"The topic {topic!r} exists and has {name} {has} instead of {should}; it was not "
                "changed and is used as it is."
            )
