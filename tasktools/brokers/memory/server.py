"""The memory server: one lock over queues, clients, locks and events."""

from __future__ import annotations

import contextlib
import math
import secrets
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from tasktools.brokers.memory.consumers import MemoryConsumer
from tasktools.brokers.memory.event_subscription import Listener, WorkerExchange
from tasktools.brokers.memory.exchanges import Exchanges, Overhearer
from tasktools.brokers.memory.locks import LockTable
from tasktools.brokers.memory.queue import DeadLetter, Message
from tasktools.core.clock import Clock, ClockWatch, SystemClock
from tasktools.core.dialects import fastpluggy
from tasktools.core.errors import PublishRefused, QueueNotFound, TopicConflict, Unroutable
from tasktools.core.layout import Layout
from tasktools.core.models import (
    BrokerIdentity,
    Properties,
    PublishResult,
    TopicSettings,
    TopicStats,
)
from tasktools.core.topic_rules import check_in_use

_POLL_SECONDS: Final = 0.03
_MAX_SLEEP_SECONDS: Final = 60.0
"""Seconds after which the clock is read again: it may be set by hand, and the machine may have
slept."""


class Session(Protocol):
    """A client, as the server sees it."""

    def let_go(self) -> None:
        """Requeue all deliveries and release all locks (under the server's lock)."""


class MemoryServer:
    """The server that several `MemoryBroker`s share, as clients of one cluster. Thread-safe.

    Time is that of *clock*: messages expire, and delayed ones appear, when the server is used or
    has consumers. A client that is garbage-collected without being closed gives back all that it
    holds, as in `close`.

    >>> server = MemoryServer()
    >>> server.declare_queue("old", max_length=10)  # no dead-letter arguments
    >>> server.put("old", b"not JSON")
    >>> server.depth("old")
    1
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.identity = BrokerIdentity(cluster="memory", vhost="/", cluster_id=secrets.token_hex(8))
        # For the clients; everything in them is to be used under `now`.
        self.exchanges = Exchanges(self.clock.time())
        self.worker_exchange = WorkerExchange()
        self.locks = LockTable()
        self.settings: defaultdict[str, dict[str, TopicSettings]] = defaultdict(dict)
        self._watch = ClockWatch(self.clock)
        self._lock = threading.RLock()
        self._sessions: list[Session] = []
        self._abandoned: deque[Session] = deque()
        self._begins: dict[tuple[str, str], int] = {}
        self._consumers: list[MemoryConsumer] = []
        self._awaited = math.inf

    @contextlib.contextmanager
    def now(self) -> Iterator[float]:
        """Hold the lock, once all messages that are due or expired have been processed; yields the
        time."""
        with self._lock:
            now = self.clock.time()
            if step := self._watch.take():
                self.worker_exchange.shift(step)
            while self._abandoned:
                self._end(self._abandoned.popleft())
            self.exchanges.sample(now)
            self.exchanges.advance(now)
            try:
                yield now
            finally:
                if self._consumers:
                    self._wake_for(self.exchanges.due)

    # --- consumers ------------------------------------------------------------------
    #
    # The oldest consumer keeps the time for all: it sleeps until something happens by itself.

    def add_consumer(self, consumer: MemoryConsumer) -> None:
        """Wake *consumer* for new messages from now on (call it within `now`)."""
        self._consumers.append(consumer)
        consumer.source.consumers.append(consumer)

    def remove_consumer(self, consumer: MemoryConsumer) -> None:
        """Stop waking *consumer* for new messages (call it within `now`)."""
        self._consumers.remove(consumer)
        consumer.source.consumers.remove(consumer)
        self._awaited = math.inf

    def consumers_of(self, queue: str) -> list[MemoryConsumer]:
        """Return the consumers of *queue*, without simulated ones (under `now`)."""
        return [consumer for consumer in self._consumers if consumer.topic == queue]

    def may_sleep(self, consumer: MemoryConsumer, now: float) -> float | None:
        """Return the seconds for which *consumer* may sleep unless it is woken; `None` for no limit
        (under `now`)."""
        if self._consumers[0] is not consumer:
            return None
        self._awaited = self.exchanges.due
        if self._awaited == math.inf:
            return None
        longest = _MAX_SLEEP_SECONDS if isinstance(self.clock, SystemClock) else _POLL_SECONDS
        return min(max(self._awaited - now, 0.0), longest)

    def _wake_for(self, due: float) -> None:
        if due < self._awaited:
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

        *dead_letter* is an exchange and a routing key (``("", queue)`` reaches a queue by name);
        without it rejected messages would be lost. *max_length* refuses publishes
        (`x-overflow=reject-publish`), but takes dead letters. Without *max_priority* priorities are
        carried, but not obeyed. *message_ttl* is in seconds.
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
        """Bind *queue* to *exchange* with exactly *key*."""
        with self._lock:
            self.exchanges.bind(queue, exchange, key)

    def ensure_topic(self, layout: Layout, topic: str) -> None:
        """Create the missing parts of *topic*."""
        with self._lock:
            self.exchanges.declare_topic(layout, topic)

    def create_topic(self, layout: Layout, topic: str, arguments: dict[str, Any]) -> None:
        """Create *topic*; *arguments* are added to the arguments that the queue of every topic has.

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

    def delete_topic(self, layout: Layout, topic: str, *, force: bool) -> int:
        """Delete *topic*, as `Topics.delete_topic` says."""
        with self.now():
            names = (topic, layout.dead_queue(topic))
            queues = [
                self.exchanges.queues[name] for name in names if name in self.exchanges.queues
            ]
            if not queues:
                raise QueueNotFound(f"There is no topic {topic!r}; nothing was deleted.")
            if not force:
                check_in_use(
                    topic,
                    ((q.name, len(q), q.held, len(q.consumers) + q.others) for q in queues),
                )
            self.settings[layout.name].pop(topic, None)
            return sum(self.exchanges.delete(queue.name) for queue in queues)

    def has_queue(self, name: str) -> bool:
        """Whether there is a queue of that name."""
        return name in self.exchanges.queues

    def depth(self, queue: str) -> int:
        """Return how many messages of *queue* are ready."""
        with self.now():
            return len(self.exchanges.queue(queue))

    def consumers(self, queue: str) -> int:
        """Return how many consumers *queue* has, simulated ones included."""
        with self._lock:
            source = self.exchanges.queue(queue)
            return len(source.consumers) + source.others

    def arguments(self, queue: str) -> Mapping[str, Any]:
        """Return the arguments fixed at the creation of *queue*, by RabbitMQ's names."""
        with self._lock:
            return self.exchanges.queue(queue).arguments

    def set_consumers(self, queue: str, count: int) -> None:
        """Set how many simulated consumers *queue* has, besides the real ones.

        Simulated workers take messages by `claim`, without a consumer, so they are counted here.
        A look at a queue that has consumers reorders it.
        """
        with self._lock:
            self.exchanges.queue(queue).others = count

    def count_begin(self, topic: str, task: str) -> int:
        """Count a begin of *task*; returns how many begins were counted before."""
        with self._lock:
            count = self._begins.get((topic, task), 0)
            self._begins[topic, task] = count + 1
            return count

    def forget_begins(self, topic: str, task: str) -> None:
        """Forget the begins noted of a task."""
        with self._lock:
            self._begins.pop((topic, task), None)

    def purge(self, queue: str) -> int:
        """Delete the ready messages of *queue*; returns how many."""
        with self.now():
            return self.exchanges.queue(queue).clear()

    def look(self, queue: str, limit: int | None) -> tuple[list[tuple[Message, bool]], int, int]:
        """Return the next *limit* messages (`None`: all), each with whether it had been delivered
        before, and the counts of ready messages before and after. The messages are marked
        redelivered; expired messages are removed when they reach the head."""
        with self.now() as now:
            source = self.exchanges.queue(queue)
            before = len(source)
            seen: list[tuple[Message, bool]] = []
            while limit is None or len(seen) < limit:
                self.exchanges.advance(now)
                message = source.take()
                if message is None:
                    break
                seen.append((message, message.redelivered))
                source.count_delivery(message)
            for message, _ in seen:
                message.redelivered = True
                source.put(message)
            return seen, before, len(source)

    def topics(self, layout: Layout) -> set[str]:
        """Return all queues that are bound as topics are, or have a dead-letter queue."""
        with self._lock:
            queues = self.exchanges.queues
            return self.exchanges.bound_by_name(layout.task_exchange) | {
                name for name in queues if layout.dead_queue(name) in queues
            }

    def stats(self, layout: Layout, topic: str) -> TopicStats:
        """Return the statistics of one topic; they are `None` if its queue does not exist."""
        with self.now() as now:
            queue = self.exchanges.queues.get(topic)
            dead_queue, dialect = layout.dead_queue(topic), fastpluggy.of_layout(layout).name
            dead = self.exchanges.queues.get(dead_queue)
            dead_letter = None if dead is None else len(dead)
            if queue is None:
                return TopicStats(
                    topic=topic,
                    exists=False,
                    dead_letter=dead_letter,
                    dead_queue=dead_queue,
                    dialect=dialect,
                )
            return TopicStats(
                topic=topic,
                exists=True,
                dead_queue=dead_queue,
                dialect=dialect,
                queued=len(queue),
                unacked=queue.held,
                dead_letter=dead_letter,
                consumers=len(queue.consumers) + queue.others,
                publish_rate=queue.published.per_second(now),
                ack_rate=queue.acknowledged.per_second(now),
                queue_type="classic",
                dead_lettering=queue.dead_letter is not None
                and bool(self.exchanges.route(queue.dead_letter.exchange, queue.dead_letter.key)),
            )

    # --- putting in -----------------------------------------------------------------

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, *, delay: float = 0.0
    ) -> PublishResult:
        """Route one message, after *delay* seconds, and return its outcome. Exchanges need no
        declaration. A message with a delay goes to an existing queue; without one it is unroutable.
        """
        with self.now() as now:
            if not delay:
                return self.exchanges.publish(exchange, key, body, properties, now)
            if key not in self.exchanges.queues:
                self.exchanges.unroutable += 1
                return "unroutable"
            self.exchanges.bind(key, exchange, key)
            self.exchanges.park(exchange, key, body, properties, now + delay)
            return "confirmed"

    def count_unroutable(self) -> None:
        """Count a message that no topic takes."""
        with self.now():
            self.exchanges.unroutable += 1

    def put(self, queue: str, body: bytes, properties: Properties | None = None) -> None:
        """Put raw bytes into *queue*, as another program would. Raises `Unroutable`,
        `PublishRefused`."""
        outcome = self.publish("", queue, body, properties or Properties())
        if outcome != "confirmed":
            raise Unroutable if outcome == "unroutable" else PublishRefused

    def overhear(
        self, exchange: str, receive: Callable[[str, bytes, bytes], object], owner: object
    ) -> Callable[[], None]:
        """Call *receive* with all messages published to *exchange*, as long as *owner* exists;
        return a function that ends this."""
        overhearer = Overhearer(exchange, receive, owner)
        with self._lock:
            self.exchanges.overhearers.append(overhearer)

        def stop() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self.exchanges.overhearers.remove(overhearer)

        return stop

    # --- clients --------------------------------------------------------------------

    def attach(self, session: Session) -> None:
        """Register a new client."""
        with self._lock:
            self._sessions.append(session)

    def detach(self, session: Session) -> None:
        """Give back all that the client *session* holds, and forget the client. Idempotent."""
        with self.now():
            self._end(session)

    def abandon(self, session: Session) -> None:
        """Mark *session* as dropped: the next call requeues everything that it holds. Does not wait
        for the lock, so that the garbage collector may call it."""
        self._abandoned.append(session)

    def _end(self, session: Session) -> None:
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        overhearers = self.exchanges.overhearers
        overhearers[:] = [each for each in overhearers if each.owner is not session]
        session.let_go()

    # --- worker events --------------------------------------------------------------

    def is_anybody_but(self, session: Session) -> bool:
        """Whether a session other than *session* could send an event."""
        with self.now():
            others = any(each is not session for each in self._sessions)
            return others or self.worker_exchange.has_other_listeners(session)

    def broadcast(self, *bodies: bytes) -> None:
        """Send the raw events *bodies* to all subscribers and listeners."""
        with self.now() as now:
            for body in bodies:
                self.worker_exchange.send(now, body)
        self.worker_exchange.deliver()

    def listen(self, callback: Callable[[bytes], object]) -> Callable[[], None]:
        """Call *callback* with every raw event, in the thread of its sender; return a function that
        ends this.

        A simulated node receives `who_is_alive` in this way, and answers with `broadcast`.
        """
        return self.add_listener(Listener(lambda sent: callback(sent[0])))

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* with each event from now on; returns a function that ends this."""
        with self._lock:
            self.worker_exchange.listen(listener)

        def stop() -> None:
            with self._lock:
                self.worker_exchange.unlisten(listener)

        return stop


def _check_same(topic: str, wanted: dict[str, Any], current: dict[str, Any]) -> None:
    for name in (*wanted, *current):
        has, should = (
            repr(arguments[name]) if name in arguments else "none"
            for arguments in (current, wanted)
        )
        if has != should:
            raise TopicConflict(
                f"The topic {topic!r} exists and has {name} {has} instead of {should}; it was not "
                "changed and is used as it is."
            )
