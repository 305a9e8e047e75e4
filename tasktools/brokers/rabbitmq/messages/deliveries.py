"""The unsettled deliveries of one client, claimed or consumed."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import pika

from tasktools.brokers.rabbitmq.connection import pika_border
from tasktools.brokers.rabbitmq.connection.channel import Channel
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.brokers.rabbitmq.queues import delays, topology
from tasktools.core.amqp import failure_headers, replay_header, x_death
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.errors import (
    BrokerError,
    ConnectionLost,
    PublishRefused,
    QueueNotFound,
    UnknownDelivery,
)
from tasktools.core.layout import Layout
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.models import Delivery, Failure
from tasktools.core.tasks import codec
from tasktools.core.tasks.compose import FunctionNames

Settled = Callable[[], object]


@dataclass(frozen=True, slots=True, repr=False)
class _Held(MaskedRepr):
    channel: Channel
    topic: str
    tag: int
    properties: pika.BasicProperties
    body: bytes
    settled: Settled | None


class Deliveries:
    """The unsettled deliveries, by delivery id. Coroutines run on the connection's loop."""

    def __init__(self, connection: Connection, functions: FunctionNames) -> None:
        self._connection = connection
        self._functions = functions
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._channels: dict[str, Channel] = {}
        self._getting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # --- taking ---------------------------------------------------------------------

    async def claim(self, session: Session, topic: str) -> Delivery | None:
        """Take the next message of *topic* now."""
        if await topology.queue_ok(session, topic) is None:
            raise QueueNotFound(f"There is no queue {topic!r}; nothing was changed.")
        async with self._getting[topic]:
            channel = self._channels.get(topic)
            if channel is None or not channel.is_open:
                channel = self._channels[topic] = await self.channel(session)
            try:
                got = await channel.get(topic)
            except asyncio.CancelledError:
                channel.raw.close()  # what may still come goes back to the queue
                raise
        if got is None:
            return None
        return self.hold(
            channel, topic, got.tag, got.properties, got.body, redelivered=got.redelivered
        )

    async def channel(
        self, session: Session, lost: Callable[[BrokerError], object] = lambda _why: None
    ) -> Channel:
        """Open a channel; when it is *lost*, its deliveries are forgotten."""
        channel = await session.channel()

        def closed(why: BrokerError) -> None:
            self._forget(channel)
            lost(why)

        channel.on_close = closed
        return channel

    def hold(
        self,
        channel: Channel,
        topic: str,
        tag: int,
        properties: pika.BasicProperties,
        body: bytes,
        *,
        redelivered: bool,
        settled: Settled | None = None,
    ) -> Delivery:
        """Take in one message; *settled* is called on the loop when it is settled or lost."""
        known = pika_border.properties_in(properties)
        task = codec.decode_for_worker(body, known)
        self._functions.learn(task)
        held = _Held(channel, topic, tag, properties, body, settled)
        with self._lock:
            delivery_id = self._free_id(task.message_id or f"{topic}/{tag}")
            self._held[delivery_id] = held
        return Delivery(
            id=delivery_id,
            topic=topic,
            body=body,
            properties=known,
            task=task,
            redelivered=redelivered,
        )

    def _free_id(self, name: str) -> str:
        """Return *name*, numbered when this client already holds a message of that name."""
        if name not in self._held:
            return name
        numbered = (f"{name}#{n}" for n in itertools.count(2))
        return next(candidate for candidate in numbered if candidate not in self._held)

    def _forget(self, channel: Channel) -> None:
        with self._lock:
            lost = [name for name, held in self._held.items() if held.channel is channel]
            forgotten = [self._held.pop(name) for name in lost]
        for held in forgotten:
            if held.settled is not None:
                held.settled()

    # --- settling -------------------------------------------------------------------

    def topic_of(self, delivery_id: str) -> str:
        """Return the topic of an unsettled delivery of this client."""
        return self._get(delivery_id).topic

    def ack(self, delivery_id: str) -> None:
        """Settle a delivery as done; from any thread, does not wait."""
        held = self._take(delivery_id)
        self._connection.post(lambda: _settle(held, lambda: held.channel.raw.basic_ack(held.tag)))

    def give_back(self, delivery_id: str, *, requeue: bool) -> None:
        """Return a delivery to its place, or dead-letter it; from any thread, does not wait."""
        held = self._take(delivery_id)
        self._connection.post(
            lambda: _settle(held, lambda: held.channel.raw.basic_nack(held.tag, requeue=requeue))
        )

    async def publish_again(
        self, session: Session, layout: Layout, delivery_id: str, *, delay: float, count: bool
    ) -> bool:
        """Publish the body again, after *delay* seconds (*counted*: as one more attempt), then
        settle the original; return whether it was published."""
        held = self._get(delivery_id)
        counted = codec.count_attempt(held.body) if count else None
        if counted is None and not delay:
            self.give_back(delivery_id, requeue=True)
            return False
        expiration = held.properties.expiration
        exchange, key = "", held.topic
        if delay:
            exchange = await delays.prepare(session, layout, delay, [held.topic])
            expiration = None  # the TTL would end its delay too early
        properties = _edited(held, user=session.user, expiration=expiration)
        body = held.body if counted is None else counted
        await self._publish(session, held, (exchange, key), body, properties)
        self.ack(delivery_id)
        return True

    async def dead_letter(
        self,
        session: Session,
        layout: Layout,
        delivery_id: str,
        failure: Failure,
        retention: float | None,
    ) -> None:
        """Publish the delivery to the dead-letter queue with its *failure*, and then settle it."""
        held = self._get(delivery_id)
        dead = layout.dead_queue(held.topic)
        properties = _edited(
            held,
            user=session.user,
            added=failure_headers.to_headers(failure),
            expiration=None if retention is None else str(max(round(retention * 1000), 1)),
        )
        try:
            await self._publish(session, held, ("", dead), held.body, properties)
        except Unrouted:
            await topology.declare_topic(session, layout, held.topic)
            await self._publish(session, held, ("", dead), held.body, properties)
        self.ack(delivery_id)

    async def _publish(
        self,
        session: Session,
        held: _Held,
        to: tuple[str, str],
        body: bytes,
        properties: pika.BasicProperties,
    ) -> None:
        publisher = await session.publisher()
        outcome = await publisher.publish(*to, body, properties)
        if outcome != "confirmed":
            _raise(outcome, held.topic, publisher.reason)

    def _get(self, delivery_id: str) -> _Held:
        self._connection.check_open()
        held = self._held.get(delivery_id)
        if held is None:
            _unknown(delivery_id)
        return held

    def _take(self, delivery_id: str) -> _Held:
        self._connection.check_open()
        with self._lock:
            held = self._held.pop(delivery_id, None)
        if held is None:
            _unknown(delivery_id)
        return held


class Unrouted(PublishRefused):
    """No queue took the message; this client still holds the original."""


def _edited(
    held: _Held, *, user: str, added: Mapping[str, str] | None = None, expiration: str | None
) -> RawProperties:
    """Return the properties of the message for publishing it again. Removed are: failure headers of
    an earlier death if a new one is *added*, headers of delay queues, headers that would make
    copies (CC, BCC), and a `user_id` other than *user*, which RabbitMQ would refuse."""
    headers = held.properties.headers or {}
    hopped = x_death.without_hops(headers) is not headers
    stale = failure_headers.HEADERS if added else ()

    def without(name: str) -> bool:
        is_stale = name in stale or (hopped and x_death.is_of_broker(name))
        return is_stale or name in replay_header.COPIES

    is_foreign = held.properties.user_id not in (None, user)
    raw = amqp_properties.edited(
        held.properties.raw,
        without=without,
        added=added,
        drop=("expiration", "user_id") if is_foreign else ("expiration",),
        expiration=expiration,
    )
    return RawProperties(raw)


def _settle(held: _Held, settle: Callable[[], object]) -> None:
    if held.channel.is_open:  # else it is lost, and RabbitMQ delivers it again
        settle()
    if held.settled is not None:
        held.settled()


def _unknown(delivery_id: str) -> NoReturn:
    raise UnknownDelivery(
        f"This client does not hold delivery {delivery_id!r} (any more): it was settled before, or "
        "the connection was lost and RabbitMQ delivers it again; nothing was changed."
    )


def _raise(outcome: str, topic: str, reason: str | None) -> NoReturn:
    if outcome == "in doubt":
        raise ConnectionLost(
            f"The connection was lost while a message of {topic!r} was published again"
            f"{f' ({reason})' if reason else ''}; the original is still held or is delivered "
            "again, and the copy may be queued as well."
        )
    error = Unrouted if outcome == "unroutable" else PublishRefused
    because = reason or outcome
    raise error(
        f"RabbitMQ did not take the message of {topic!r} ({because}); this client still holds it."
    )
