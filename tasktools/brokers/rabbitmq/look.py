"""Looking at a queue: take messages with one consumer, show them, give all of them back.

What this costs was decided before (`core.peek`). Whatever happens on the way, nothing taken
is acknowledged, with one exception: a message that giving back would make the broker drop
(its delivery limit is reached) is first published again, byte for byte and confirmed, to the
end of its queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pika
from pika import spec

from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.channel import Channel
from tasktools.brokers.rabbitmq.connection import Session
from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.core.errors import LookRefused, QueueNotFound
from tasktools.core.peek import Verdict

MOST: Final = 65_535
"""Messages that one look can hold: the largest prefetch."""
TIMEOUT: Final = 300.0
"""Seconds that one look may take."""
_IDLE: Final = 1.0  # seconds without a delivery after which no more are expected
_SETTLE: Final = 1.0  # seconds that a queue may need until all that was given back is ready

Receive = Callable[[pika.BasicProperties, bytes, bool], None]


@dataclass(slots=True)
class Taken:
    """What a look took and gave back. `deliveries`: highest delivery count, after it."""

    ready_before: int
    ready_after: int = 0
    count: int = 0
    rescued: int = 0
    lost: int = 0
    deliveries: int | None = None


@dataclass(slots=True)
class _Held:
    taken: Taken
    drop_at: int | None
    at_limit: dict[int, tuple[pika.BasicProperties, bytes]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def hold(self, tag: int, properties: pika.BasicProperties, body: bytes) -> None:
        self.taken.count += 1
        deliveries = (properties.headers or {}).get("x-delivery-count")
        if isinstance(deliveries, int):
            self.taken.deliveries = max(self.taken.deliveries or 0, deliveries + 1)
            if self.drop_at is not None and deliveries >= self.drop_at:
                self.at_limit[tag] = (properties, body)
        self.news.set()


async def look(
    session: Session,
    verdict: Verdict,
    limit: int,
    receive: Receive,
) -> Taken:
    """Show up to *limit* messages of the verdict's queue to *receive*, and give them back.

    Raises `LookRefused` where a message may have to be rescued and we have no right to publish.
    """
    queue = verdict.queue
    before = await topology.queue_ok(session, queue)
    if before is None:
        raise QueueNotFound(f"There is no queue {queue!r}; nothing was changed.")
    taken = Taken(ready_before=before.ready)
    wanted = min(limit, before.ready)
    if wanted:
        if verdict.drop_at is not None:
            await _check_rescue(session, queue)
        async with session.own_channel() as channel:
            held = _Held(taken, verdict.drop_at)
            try:
                await _take(channel, queue, wanted, held, receive)
                taken.rescued = await rescue(session, channel, queue, held.at_limit)
                taken.lost = len(held.at_limit) - taken.rescued
            finally:
                if verdict.give_back == "nack" and channel.is_open:
                    channel.raw.basic_nack(0, multiple=True, requeue=True)
    taken.ready_after = await _settled(session, queue, before.ready)
    return taken


async def _take(channel: Channel, queue: str, wanted: int, held: _Held, receive: Receive) -> None:
    await channel.call(channel.raw.basic_qos, prefetch_count=wanted)

    def message(method: spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
        held.hold(method.delivery_tag, properties, body)
        receive(properties, body, method.redelivered)

    tag = await channel.consume(queue, message)
    while held.taken.count < wanted:
        held.news.clear()
        try:
            await asyncio.wait_for(held.news.wait(), _IDLE)
        except TimeoutError:
            break  # a consumer took the rest, or the queue is gone
    await channel.cancel(tag)


async def _check_rescue(session: Session, queue: str) -> None:
    """Make sure that we may publish to the default exchange, with a message nobody gets."""
    publisher = await session.publisher()
    nowhere = "tasktools.no-such-name"
    if await publisher.publish("", nowhere, b"", pika.BasicProperties()) != "unroutable":
        raise LookRefused(
            f"Looking at {queue!r} was refused: the queue has a delivery limit, and a message that "
            "has reached it would be dropped, since this user may not publish it again. It was not "
            "touched. Look as a user with write permission on amq.default."
        )


async def rescue(
    session: Session,
    channel: Channel,
    queue: str,
    at_limit: Mapping[int, tuple[pika.BasicProperties, bytes]],
) -> int:
    """Publish messages that giving back would make the broker drop to the end of their *queue*,
    and settle the originals, which *channel* holds by their tags; returns how many it could."""
    if not at_limit:
        return 0
    publisher, rescued = await session.publisher(), 0
    for tag, (properties, body) in at_limit.items():
        copy = RawProperties(properties.raw)
        if await publisher.publish("", queue, body, copy) == "confirmed":
            channel.raw.basic_ack(tag)
            rescued += 1
    return rescued


async def _settled(session: Session, queue: str, expected: int) -> int:
    """Return the ready messages, once as many as before are there again (or time is up)."""
    deadline = asyncio.get_running_loop().time() + _SETTLE
    while True:
        ok = await topology.queue_ok(session, queue)
        ready = 0 if ok is None else ok.ready
        if ready >= expected or asyncio.get_running_loop().time() >= deadline:
            return ready
        await asyncio.sleep(0.02)


def check_limit(limit: int) -> None:
    """Raise `ValueError` unless a look can show *limit* messages."""
    if not 1 <= limit <= MOST:
        raise ValueError(f"limit is {limit}; a look shows 1 to {MOST} messages.")
