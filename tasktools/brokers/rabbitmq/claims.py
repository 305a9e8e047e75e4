"""Deliveries that are ours until they are settled."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import NoReturn

from tasktools.brokers.rabbitmq import topology, translate
from tasktools.brokers.rabbitmq.channel import Channel, Got
from tasktools.brokers.rabbitmq.connection import Session
from tasktools.core import codec
from tasktools.core.errors import (
    ConnectionLost,
    PublishRefused,
    QueueNotFound,
    UnknownDelivery,
)
from tasktools.core.models import Delivery


@dataclass(frozen=True, slots=True)
class _Held:
    channel: Channel
    topic: str
    got: Got


class Claims:
    """What was claimed, by delivery id. One channel a topic, so that none can spoil another's."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}
        self._getting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._held: dict[str, _Held] = {}

    async def claim(self, session: Session, topic: str) -> Delivery | None:
        """Take the next message of *topic*."""
        if await topology.queue_ok(session, topic) is None:
            raise QueueNotFound(f"There is no queue {topic!r}; nothing was changed.")
        async with self._getting[topic]:
            channel = self._channels.get(topic)
            if channel is None or not channel.is_open:
                channel = self._channels[topic] = await session.channel()
            try:
                got = await channel.get(topic)
            except asyncio.CancelledError:
                channel.raw.close()  # what may still come goes back to the queue
                raise
        if got is None:
            return None
        properties = translate.properties_in(got.properties)
        task = codec.decode(got.body, properties)
        delivery_id = self._new_id(task.message_id or f"{topic}/{got.tag}")
        self._held[delivery_id] = _Held(channel, topic, got)
        return Delivery(
            id=delivery_id,
            topic=topic,
            body=got.body,
            properties=properties,
            task=task,
            redelivered=got.redelivered,
        )

    def _new_id(self, name: str) -> str:
        """Return *name*, numbered when a message of that name is already ours."""
        self._forget_lost()
        numbered = itertools.chain([name], (f"{name}#{n}" for n in itertools.count(2)))
        return next(candidate for candidate in numbered if candidate not in self._held)

    def _forget_lost(self) -> None:
        lost = [name for name, held in self._held.items() if not held.channel.is_open]
        for name in lost:
            del self._held[name]

    def topic_of(self, delivery_id: str) -> str:
        """Return the topic of a delivery that is ours."""
        return self._get(delivery_id).topic

    def ack(self, delivery_id: str) -> None:
        """Settle a delivery as done."""
        held = self._get(delivery_id)
        held.channel.raw.basic_ack(held.got.tag)
        del self._held[delivery_id]

    def give_back(self, delivery_id: str, *, requeue: bool) -> None:
        """Return a delivery to its place, or dead-letter it."""
        held = self._get(delivery_id)
        held.channel.raw.basic_nack(held.got.tag, requeue=requeue)
        del self._held[delivery_id]

    async def publish_again(self, session: Session, delivery_id: str) -> None:
        """Publish the body with `attempts` raised by one, and then settle the original."""
        held = self._get(delivery_id)
        body = codec.count_attempt(held.got.body)
        if body is None:
            self.give_back(delivery_id, requeue=True)
            return
        publisher = await session.publisher()
        outcome = await publisher.publish("", held.topic, body, held.got.properties)
        if outcome != "confirmed":
            _raise(outcome, held.topic)
        self.ack(delivery_id)

    def _get(self, delivery_id: str) -> _Held:
        held = self._held.get(delivery_id)
        if held is None or not held.channel.is_open:
            self._held.pop(delivery_id, None)
            raise UnknownDelivery(
                f"Delivery {delivery_id!r} is not (or no longer) ours: it was settled before, or "
                "the connection was lost and RabbitMQ delivers it again; nothing was changed."
            )
        return held


def _raise(outcome: str, topic: str) -> NoReturn:
    if outcome == "in doubt":
        raise ConnectionLost(
            f"The connection was lost while a message was requeued to {topic!r}; the original is "
            "delivered again, and the copy may be there as well."
        )
    raise PublishRefused(
        f"RabbitMQ did not take the message back into {topic!r} ({outcome}); it is still ours."
    )
