"""The memory server: one lock over queues, clients and events."""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tasktools.brokers.memory.exchanges import Exchanges
from tasktools.brokers.memory.fanout import Fanout, Listener
from tasktools.brokers.memory.queue import DeadLetter, Message, Queue
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.cluster_view import ClusterView
from tasktools.core.errors import (
    Closed,
    PublishRefused,
    UnknownDelivery,
    Unroutable,
    WouldBeLost,
)
from tasktools.core.layout import Layout
from tasktools.core.models import Properties, PublishResult, TopicStats


@dataclass(slots=True)
class _Held:
    queue: Queue
    message: Message


@dataclass(slots=True, eq=False)
class Client:
    """What the server knows of one client: what it has claimed, and what it has heard."""

    owner: weakref.ref[object]
    held: dict[str, _Held] = field(default_factory=dict)
    view: ClusterView | None = None


class MemoryServer:
    """What several `MemoryBroker`s share, as clients of one cluster. Thread-safe.

    Messages expire by *clock*, whenever the server is used. A client that is dropped without
    being closed gives back what it held, as one that closes.

    >>> server = MemoryServer()
    >>> server.declare_queue("old", max_length=10)  # no dead-letter arguments
    >>> server.put("old", b"not JSON")
    >>> server.depth("old")
    1
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._exchanges = Exchanges()
        self._fanout = Fanout()
        self._clients: list[Client] = []

    @contextlib.contextmanager
    def _now(self) -> Iterator[float]:
        """Hold the lock, with everything settled that time has brought."""
        with self._lock:
            now = self.clock.time()
            for client in [c for c in self._clients if c.owner() is None]:
                self._let_go(client)
            self._exchanges.expire(now)
            yield now

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
            if name not in self._exchanges.queues:
                self._exchanges.queues[name] = Queue(
                    name,
                    dead_letter=None if dead_letter is None else DeadLetter(*dead_letter),
                    max_length=max_length,
                    max_priority=max_priority,
                    message_ttl=message_ttl,
                )

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Let *queue* take what is published to *exchange* with exactly *key*."""
        with self._lock:
            self._exchanges.bind(queue, exchange, key)

    def ensure_topic(self, layout: Layout, topic: str) -> None:
        """Create what is missing of *topic*."""
        dead, dead_key = layout.dead_queue(topic), layout.dead_key(topic)
        with self._lock:
            self.declare_queue(topic, dead_letter=(layout.dead_letter_exchange, dead_key))
            self.bind(topic, layout.task_exchange, topic)
            self.declare_queue(dead)
            self.bind(dead, layout.dead_letter_exchange, dead_key)

    def has_queue(self, name: str) -> bool:
        """Whether there is a queue of that name."""
        return name in self._exchanges.queues

    def depth(self, queue: str) -> int:
        """Return how many messages of *queue* are ready."""
        with self._now():
            return len(self._exchanges.queue(queue))

    def consumers(self, queue: str) -> int:
        """Return how many consumers *queue* has."""
        with self._lock:
            return self._exchanges.queue(queue).consumers

    def set_consumers(self, queue: str, count: int) -> None:
        """Let *queue* have *count* consumers. Clients here claim, which is no consumer, so a
        simulated worker says so itself; a look at such a queue reorders."""
        with self._lock:
            self._exchanges.queue(queue).consumers = count

    def purge(self, queue: str) -> int:
        """Delete the ready messages of *queue*; returns how many."""
        with self._now():
            return self._exchanges.queue(queue).clear()

    def look(self, queue: str, limit: int) -> tuple[list[tuple[Message, bool]], int]:
        """Return the next *limit* messages, each with whether it had been delivered before, and
        how many are ready. Marks them redelivered, as giving back does."""
        with self._now():
            source = self._exchanges.queue(queue)
            seen = [(message, message.redelivered) for message in source.first(limit)]
            for message, _ in seen:
                message.redelivered = True
            return seen, len(source)

    def topics(self, layout: Layout) -> set[str]:
        """Return all queues that are bound as topics are, or have a dead-letter queue."""
        with self._lock:
            queues = self._exchanges.queues
            return self._exchanges.bound_by_name(layout.task_exchange) | {
                name for name in queues if layout.dead_queue(name) in queues
            }

    def stats(self, layout: Layout, topic: str) -> TopicStats:
        """Return the statistics of one topic; what a missing queue cannot tell is missing."""
        with self._now() as now:
            queue = self._exchanges.queues.get(topic)
            dead = self._exchanges.queues.get(layout.dead_queue(topic))
            dead_letter = None if dead is None else len(dead)
            if queue is None:
                return TopicStats(topic=topic, exists=False, dead_letter=dead_letter)
            return TopicStats(
                topic=topic,
                exists=True,
                queued=len(queue),
                unacked=queue.held,
                dead_letter=dead_letter,
                consumers=queue.consumers,
                publish_rate=queue.published.per_second(now),
                ack_rate=queue.acknowledged.per_second(now),
                queue_type="classic",
                dead_lettering=queue.dead_letter is not None,
            )

    # --- putting in -----------------------------------------------------------------

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties
    ) -> PublishResult:
        """Route one message, and say what became of it. Exchanges need no declaration."""
        with self._now() as now:
            return self._exchanges.publish(exchange, key, body, properties, now)

    def put(self, queue: str, body: bytes, properties: Properties | None = None) -> None:
        """Put raw bytes into *queue*, as another program would; `Unroutable`, `PublishRefused`."""
        outcome = self.publish("", queue, body, properties or Properties())
        if outcome != "confirmed":
            raise Unroutable if outcome == "unroutable" else PublishRefused

    # --- clients --------------------------------------------------------------------

    def attach(self, owner: object) -> Client:
        """Take in a new client, for as long as *owner* lives."""
        client = Client(weakref.ref(owner))
        with self._lock:
            self._clients.append(client)
        return client

    def detach(self, client: Client) -> None:
        """Give back all that *client* holds, to its old place, and forget it."""
        with self._now():
            if client in self._clients:
                self._let_go(client)

    def _let_go(self, client: Client) -> None:
        self._clients.remove(client)
        if client.view is not None:
            self._fanout.forget(client.view)
        for held in client.held.values():
            self._give_back(held)
        client.held.clear()

    def _give_back(self, held: _Held) -> None:
        held.message.redelivered = True
        held.queue.held -= 1
        held.queue.put(held.message)

    def claim(self, client: Client, queue: str) -> tuple[str, Message, bool] | None:
        """Take the next message: its delivery id, itself, whether it was delivered before."""
        with self._now():
            if client not in self._clients:  # closed by another thread just now
                raise Closed
            source = self._exchanges.queue(queue)
            message = source.take()
            if message is None:
                return None
            name = message.properties.message_id or f"{queue}/{message.number}"
            numbered = itertools.chain([name], (f"{name}#{n}" for n in itertools.count(2)))
            delivery_id = next(free for free in numbered if free not in client.held)
            client.held[delivery_id] = _Held(source, message)
            source.held += 1
            return delivery_id, message, message.redelivered

    def held_body(self, client: Client, delivery_id: str) -> bytes:
        """Return the body of a claimed message."""
        with self._lock:
            return _held_by(client, delivery_id).message.body

    def ack(self, client: Client, delivery_id: str) -> None:
        """Settle a claimed message: it is gone."""
        with self._now() as now:
            held = _held_by(client, delivery_id)
            held.queue.acknowledged.count(now)
            held.queue.held -= 1
            del client.held[delivery_id]

    def give_back(self, client: Client, delivery_id: str) -> None:
        """Return a claimed message to its old place."""
        with self._now():
            self._give_back(_held_by(client, delivery_id))
            del client.held[delivery_id]

    def put_again(self, client: Client, delivery_id: str, body: bytes) -> None:
        """Put *body* at the end of a claimed message's queue, and then settle the original."""
        with self._lock:
            held = _held_by(client, delivery_id)
            name = held.queue.name
            outcome = self.publish("", name, body, held.message.properties)
            if outcome != "confirmed":
                raise PublishRefused(
                    f"The queue {name!r} did not take the message back ({outcome}); it is still "
                    "ours."
                )
            self.ack(client, delivery_id)

    def reject(self, client: Client, delivery_id: str) -> None:
        """Dead-letter a claimed message; raises `WouldBeLost` when that would drop it."""
        with self._now() as now:
            held = _held_by(client, delivery_id)
            to = held.queue.dead_letter
            if to is None or not self._exchanges.route(to.exchange, to.key):
                raise WouldBeLost(
                    f"The queue {held.queue.name!r} does not dead-letter, so the message would be "
                    "dropped; it is still ours. Requeue it."
                )
            del client.held[delivery_id]
            held.queue.held -= 1
            self._exchanges.dead_letter(held.queue, held.message, "rejected", now)

    # --- worker events --------------------------------------------------------------

    def subscribe(self, client: Client) -> bool:
        """Let *client* hear events from now on; says whether it did not before."""
        with self._lock:
            if client.view is not None or client not in self._clients:
                return False
            client.view = self._fanout.subscribe()
            return True

    @contextlib.contextmanager
    def view_of(self, client: Client) -> Iterator[ClusterView]:
        """Hold the server still, to read what *client* has heard."""
        with self._now():
            if client.view is None or client not in self._clients:
                raise Closed
            yield client.view

    def may_hear_more(self, client: Client) -> bool:
        """Whether there is anybody but *client* from whom an event could come."""
        with self._now():
            return bool(self._fanout.listeners) or any(c is not client for c in self._clients)

    def broadcast(self, body: bytes) -> None:
        """Bring the raw event *body* to all subscribers and listeners."""
        with self._now() as now:
            self._fanout.fold(now, body)
            listeners = list(self._fanout.listeners)
        for listener in listeners:  # without the lock: they may answer
            listener(body)

    def listen(self, callback: Listener) -> Callable[[], None]:
        """Call *callback* with every raw event, in the thread of its sender; returns what ends it.

        This is how a simulated node hears `who_is_alive`; it answers with `broadcast`.
        """
        with self._lock:
            self._fanout.listeners.append(callback)

        def stop() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._fanout.listeners.remove(callback)

        return stop


def _held_by(client: Client, delivery_id: str) -> _Held:
    try:
        return client.held[delivery_id]
    except KeyError:
        raise UnknownDelivery(
            f"Delivery {delivery_id!r} is not (or no longer) ours; nothing was changed."
        ) from None
