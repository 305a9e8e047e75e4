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
"""Seconds after which the clock is looked at again: one that may be moved by hand, and the
machine's, which may have been asleep."""


class Session(Protocol):
    """A client, as the server sees it."""

    def let_go(self) -> None:
        """Give back everything (under the server's lock)."""


class MemoryServer:
    """The server that several `MemoryBroker`s share, as clients of one cluster. Thread-safe.

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
        """Hold the lock, with everything settled that time has brought; the time is given."""
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
        """Tell *consumer* of messages from now on (under `now`)."""
        self._consumers.append(consumer)
        consumer.source.consumers.append(consumer)

    def remove_consumer(self, consumer: MemoryConsumer) -> None:
        """Stop telling *consumer* of messages (under `now`)."""
        self._consumers.remove(consumer)
        consumer.source.consumers.remove(consumer)
        self._awaited = math.inf

    def consumers_of(self, queue: str) -> list[MemoryConsumer]:
        """Return the consumers of *queue*, without simulated ones (under `now`)."""
        return [consumer for consumer in self._consumers if consumer.topic == queue]

    def may_sleep(self, consumer: MemoryConsumer, now: float) -> float | None:
        """Return the seconds for which there is nothing for *consumer*, unless it is rung; `None`
        for no limit (under `now`)."""
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
        """Bind *queue* to *exchange* with exactly *key*."""
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
        """Forget what was noted of a task."""
        with self._lock:
            self._begins.pop((topic, task), None)

    def purge(self, queue: str) -> int:
        """Delete the ready messages of *queue*; returns how many."""
        with self.now():
            return self.exchanges.queue(queue).clear()

    def look(self, queue: str, limit: int | None) -> tuple[list[tuple[Message, bool]], int, int]:
        """Return the next *limit* messages (`None`: all), each with whether it had been delivered
        before, and how many were ready before and are after. Marks them redelivered, as giving
        back does; what has expired goes when it comes to the head."""
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
        """Return the statistics of one topic; those of a queue that does not exist are `None`."""
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
                dead_lettering=queue.dead_letter is not None
                and bool(self.exchanges.route(queue.dead_letter.exchange, queue.dead_letter.key)),
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
        """Give back all that the client *session* holds, and forget the client. Idempotent."""
        with self.now():
            self._end(session)

    def abandon(self, session: Session) -> None:
        """Have everything of *session* given back at the next call. To be called at any moment, as
        the garbage collector does, which does not wait for the lock."""
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
        """Whether there is anybody but *session* from whom an event could come."""
        with self.now():
            others = any(each is not session for each in self._sessions)
            return others or self.worker_exchange.is_heard_by_others(session)

    def broadcast(self, *bodies: bytes) -> None:
        """Bring the raw events *bodies* to all subscribers and listeners."""
        with self.now() as now:
            for body in bodies:
                self.worker_exchange.send(now, body)
        self.worker_exchange.deliver()

    def listen(self, callback: Callable[[bytes], object]) -> Callable[[], None]:
        """Call *callback* with every raw event, in the thread of its sender; returns what ends it.

        This is how a simulated node hears `who_is_alive`; it answers with `broadcast`.
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
