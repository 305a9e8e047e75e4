"""The unsettled deliveries of one client, claimed or consumed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import structs

from tasktools.brokers.memory.consumers import MemoryConsumer
from tasktools.brokers.memory.exchanges import as_on_the_wire
from tasktools.brokers.memory.queue import Message, Queue
from tasktools.brokers.memory.server import MemoryServer
from tasktools.core.amqp import failure_headers
from tasktools.core.errors import Closed, PublishRefused, UnknownDelivery, WouldBeLost
from tasktools.core.layout import Layout
from tasktools.core.models import Delivery, Failure, PublishResult
from tasktools.core.tasks import codec
from tasktools.core.tasks.compose import FunctionNames


@dataclass(slots=True)
class _Held:
    queue: Queue
    message: Message
    consumer: MemoryConsumer | None = None
    has_permit: bool = False


class Deliveries:
    """The unsettled deliveries of one client of *server*, and its consumers. Thread-safe."""

    def __init__(self, server: MemoryServer, functions: FunctionNames) -> None:
        self._server = server
        self._functions = functions
        self._held: dict[str, _Held] = {}
        self._consumers: list[MemoryConsumer] = []
        self._is_open = True

    def let_go(self) -> None:
        """Requeue everything, and take nothing more (under the server's lock)."""
        self._is_open = False
        for consumer in self._consumers:
            consumer.ended = True
        self.ring()
        for delivery_id in tuple(self._held):
            self._put_back(delivery_id)

    def ring(self) -> None:
        """Wake all consumers."""
        for consumer in tuple(self._consumers):
            consumer.ring()

    def join(self) -> None:
        """Wait until all consumers have stopped."""
        for consumer in tuple(self._consumers):
            consumer.cancel()

    def _check_open(self) -> None:
        if not self._is_open:  # closed by another thread just now
            raise Closed

    # --- taking ---------------------------------------------------------------------

    def claim(self, queue: str) -> Delivery | None:
        """Take the next message of *queue*."""
        with self._server.now():
            self._check_open()
            taken = self._next(self._server.exchanges.queue(queue))
        return None if taken is None else self._delivery(*taken)

    def take(self, queue: str) -> tuple[str, Message, bool] | None:
        """Take the next message of *queue*; return its delivery id, the message, and whether it was
        delivered before."""
        with self._server.now():
            self._check_open()
            taken = self._next(self._server.exchanges.queue(queue))
        return None if taken is None else (taken[0], taken[1].message, taken[2])

    def consume(
        self,
        queue: str,
        receive: Callable[[Delivery], object],
        *,
        prefetch: int,
        limit: int | None,
    ) -> MemoryConsumer:
        """Start a consumer of *queue*."""
        with self._server.now():
            self._check_open()
            source = self._server.exchanges.queue(queue)
            consumer = MemoryConsumer(
                source, receive, self._take, self._leave, prefetch=prefetch, limit=limit
            )
            self._consumers.append(consumer)
            self._server.add_consumer(consumer)
            consumer.start()
        return consumer

    def _take(self, consumer: MemoryConsumer) -> Delivery | float | None:
        with self._server.now() as now:
            taken = self._next(consumer.source, consumer) if consumer.may_take else None
            if taken is None:
                return self._server.may_sleep(consumer, now)
        return self._delivery(*taken)

    def _leave(self, consumer: MemoryConsumer) -> None:
        with self._server.now():
            self._consumers.remove(consumer)
            self._server.remove_consumer(consumer)

    def _next(
        self, source: Queue, consumer: MemoryConsumer | None = None
    ) -> tuple[str, _Held, bool] | None:
        message = source.take()
        if message is None:
            return None
        held = _Held(source, message, consumer, has_permit=consumer is not None and consumer.took())
        name = message.properties.message_id or f"{source.name}/{message.number}"
        numbered = itertools.chain([name], (f"{name}#{n}" for n in itertools.count(2)))
        delivery_id = next(free for free in numbered if free not in self._held)
        self._held[delivery_id] = held
        source.held += 1
        source.count_delivery(message)
        return delivery_id, held, message.redelivered

    def _delivery(self, delivery_id: str, held: _Held, redelivered: bool) -> Delivery:  # noqa: FBT001
        message = held.message
        properties = as_on_the_wire(message.properties)
        task = codec.decode_for_worker(message.body, properties)
        self._functions.learn(task)
        return Delivery(
            id=delivery_id,
            topic=held.queue.name,
            body=message.body,
            properties=properties,
            task=task,
            redelivered=redelivered,
        )

    # --- settling -------------------------------------------------------------------

    def body_of(self, delivery_id: str) -> bytes:
        """Return the body of an unsettled delivery of this client."""
        with self._server.now():
            return self._get(delivery_id).message.body

    def ack(self, delivery_id: str) -> None:
        """Settle a delivery: its message is gone."""
        with self._server.now() as now:
            self._acknowledge(delivery_id, now)

    def give_back(self, delivery_id: str) -> None:
        """Return a message to its old place."""
        with self._server.now():
            self._put_back(delivery_id)

    def put_again(self, delivery_id: str, body: bytes) -> None:
        """Put *body* at the end of the delivery's queue, and then settle the original."""
        with self._server.now() as now:
            held = self._get(delivery_id)
            name, properties = held.queue.name, held.message.properties
            outcome = self._server.exchanges.publish("", name, body, properties, now)
            _check(outcome, name)
            self._acknowledge(delivery_id, now)

    def put_later(self, delivery_id: str, body: bytes, layout: Layout, delay: float) -> None:
        """Put *body* into the delivery's queue after *delay* seconds; settle the original now."""
        with self._server.now() as now:
            held = self._get(delivery_id)
            name, exchanges = held.queue.name, self._server.exchanges
            exchanges.bind(name, layout.task_exchange, name)
            properties = held.message.properties
            exchanges.park(layout.task_exchange, name, body, properties, now + delay)
            self._acknowledge(delivery_id, now)

    def reject(self, delivery_id: str) -> None:
        """Dead-letter a message by its queue's arguments; raises `WouldBeLost` if the message would
        be dropped."""
        with self._server.now() as now:
            held, exchanges = self._get(delivery_id), self._server.exchanges
            to = held.queue.dead_letter
            if to is None or not exchanges.route(to.exchange, to.key):
                raise WouldBeLost(
                    f"The queue {held.queue.name!r} does not dead-letter, so the message would be "
                    "dropped; this client still holds it. Requeue it."
                )
            self._settle(delivery_id)
            exchanges.dead_letter(held.queue, held.message, "rejected", now)

    def dead_letter(
        self, delivery_id: str, failure: Failure, layout: Layout, retention: float | None
    ) -> None:
        """Put the message into the dead-letter queue of its topic with *failure*, and then
        settle it."""
        with self._server.now() as now:
            held, exchanges = self._get(delivery_id), self._server.exchanges
            topic, original = held.queue.name, held.message.properties
            headers = {
                k: v for k, v in original.headers.items() if k not in failure_headers.HEADERS
            }
            properties = structs.replace(
                original,
                headers=headers | failure_headers.to_headers(failure),
                expiration=None if retention is None else str(max(round(retention * 1000), 1)),
            )
            dead = layout.dead_queue(topic)
            if dead not in exchanges.queues:
                exchanges.declare_topic(layout, topic)
            _check(exchanges.publish("", dead, held.message.body, properties, now), dead)
            self._acknowledge(delivery_id, now)

    # --- under the server's lock ----------------------------------------------------

    def _get(self, delivery_id: str) -> _Held:
        try:
            return self._held[delivery_id]
        except KeyError:
            raise UnknownDelivery(
                f"This client does not hold delivery {delivery_id!r} (any more); nothing was "
                "changed."
            ) from None

    def _settle(self, delivery_id: str) -> _Held:
        held = self._get(delivery_id)
        del self._held[delivery_id]
        held.queue.held -= 1
        if held.consumer is not None:
            held.consumer.settled(has_permit=held.has_permit)
            held.queue.ring()
        return held

    def _acknowledge(self, delivery_id: str, now: float) -> None:
        self._settle(delivery_id).queue.acknowledged.count(now)

    def _put_back(self, delivery_id: str) -> None:
        held = self._settle(delivery_id)
        held.message.redelivered = True
        held.queue.put(held.message)


def _check(outcome: PublishResult, queue: str) -> None:
    if outcome != "confirmed":
        raise PublishRefused(
            f"The queue {queue!r} did not take the message ({outcome}); this client still holds it."
        )
