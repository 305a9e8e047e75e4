"""Looking at a queue: take messages with one consumer, show them, give all of them back.

What this costs was decided before (`core.peek`). Whatever happens on the way, nothing taken
is acknowledged, with one exception: a message that giving back would make the broker drop
(its delivery limit is reached) is first published again, byte for byte and confirmed, to the
end of its queue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pika

from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.channel import Channel
from tasktools.brokers.rabbitmq.connection import Session
from tasktools.brokers.rabbitmq.frames import Delivered
from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.core.errors import LookRefused, QueueNotFound
from tasktools.core.peek import Verdict

MOST: Final = 65_535
"""Messages that one consumer can hold: the largest prefetch."""
TIMEOUT: Final = 300.0
"""Seconds after which a look takes no more messages; well below RabbitMQ's consumer timeout."""
_IDLE: Final = 1.0  # seconds without a delivery after which no more are expected
_SETTLE: Final = 1.0  # seconds without one more ready, after which no more are expected back

Show = Callable[[RawProperties, bytes, bool], bool]
"""Is shown each message, and whether it was redelivered; says whether that was enough."""


@dataclass(slots=True)
class Taken:
    """What a look took and gave back. `deliveries`: highest delivery count, after it.

    `missing` of the wanted messages did not come, because a consumer took them, or within
    the time that a look may take.
    """

    ready_before: int
    ready_after: int = 0
    missing: int = 0
    rescued: int = 0
    lost: int = 0
    deliveries: int | None = None


@dataclass(slots=True)
class _Held:
    """The messages that a look of *wanted* ones holds; `news` comes once `full` of them have."""

    taken: Taken
    drop_at: int | None
    wanted: int
    show: Show
    count: int = 0
    full: int = 0
    is_over: bool = False
    error: Exception | None = None
    at_limit: dict[int, tuple[RawProperties, bytes]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def message(self, method: Delivered, properties: RawProperties, body: bytes) -> None:
        """Take in one message."""
        self.count += 1
        if self.drop_at is not None:
            self._note_limit(self.drop_at, method.delivery_tag, properties, body)
        if not self.is_over:
            try:
                self.is_over = self.show(properties, body, method.redelivered)
            except Exception as error:  # noqa: BLE001 - raised once all is given back
                self.error, self.is_over = error, True
        if self.is_over or self.count >= self.full:
            self.news.set()

    def _note_limit(self, drop_at: int, tag: int, properties: RawProperties, body: bytes) -> None:
        deliveries = properties.decoded.headers.get("x-delivery-count")
        if isinstance(deliveries, int):
            self.taken.deliveries = max(self.taken.deliveries or 0, deliveries + 1)
            if deliveries >= drop_at:
                self.at_limit[tag] = (properties, body)


async def look(session: Session, verdict: Verdict, limit: int | None, show: Show) -> Taken:
    """Show up to *limit* messages of the verdict's queue with *show*, and give them back.

    Raises `LookRefused` where a message may have to be rescued and we have no right to publish,
    or where more are wanted than can be held; and, once all is given back, what *show* raised.
    """
    queue = verdict.queue
    before = await topology.queue_ok(session, queue)
    if before is None:
        raise QueueNotFound(f"There is no queue {queue!r}; nothing was changed.")
    taken = Taken(ready_before=before.ready)
    wanted = before.ready if limit is None else min(limit, before.ready)
    if wanted:
        _check_size(verdict, wanted)
        if verdict.drop_at is not None:
            await _check_rescue(session, queue)
        held = _Held(taken, verdict.drop_at, wanted, show)
        await _look(session, verdict, held)
        if held.error is not None:
            raise held.error
    taken.ready_after = await all_back(session, queue, before.ready, _SETTLE)
    return taken


async def _look(session: Session, verdict: Verdict, held: _Held) -> None:
    taken, queue = held.taken, verdict.queue
    async with session.own_channel() as channel:
        try:
            await _take(channel, queue, held)
            taken.rescued = await rescue(session, channel, queue, held.at_limit)
            taken.lost = len(held.at_limit) - taken.rescued
        finally:
            if verdict.give_back == "nack" and channel.is_open:
                _give_back(channel, held.count)


async def _take(channel: Channel, queue: str, held: _Held) -> None:
    """Hold messages until all that are wanted were shown, or enough, or no more come.

    A consumer holds no more than `MOST`; then another one goes on, so that the order is kept.
    """
    deadline = asyncio.get_running_loop().time() + TIMEOUT
    tags: list[str] = []
    while held.count == held.full < held.wanted and not held.is_over:
        prefetch = min(held.wanted - held.count, MOST)
        held.full += prefetch
        held.news.clear()
        await channel.call(channel.raw.basic_qos, prefetch_count=prefetch)
        tags.append(await channel.consume(queue, held.message))
        await _filled(held, deadline)
    if not held.is_over:
        held.taken.missing = held.wanted - held.count
        held.is_over = True
    for tag in tags:
        await channel.cancel(tag)


async def _filled(held: _Held, deadline: float) -> None:
    """Return on news, or when none have come for a while, or time is up."""
    while not held.news.is_set():
        before = held.count
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(held.news.wait(), _IDLE)
        if held.count == before or asyncio.get_running_loop().time() > deadline:
            return


def _give_back(channel: Channel, count: int) -> None:
    """Give back what one consumer holds after the other.

    Of one nack for all, a quorum queue gets back what the last consumer holds before the rest.
    """
    for last in (*range(MOST, count, MOST), 0):
        channel.raw.basic_nack(last, multiple=True, requeue=True)


def _check_size(verdict: Verdict, wanted: int) -> None:
    if verdict.give_back == "close" and wanted > MOST:
        raise LookRefused(
            f"Looking at {wanted:,} messages of {verdict.queue!r} was refused: of a quorum queue "
            f"before RabbitMQ 4.0 no more than {MOST:,} can be held without changing their order. "
            f"It was not touched. Look at some, with limit={MOST}."
        )


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
    at_limit: Mapping[int, tuple[RawProperties, bytes]],
) -> int:
    """Publish messages that giving back would make the broker drop to the end of their *queue*,
    and settle the originals, which *channel* holds by their tags; returns how many it could."""
    if not at_limit:
        return 0
    publisher, rescued = await session.publisher(), 0
    for tag, (properties, body) in at_limit.items():
        if await publisher.publish("", queue, body, properties) == "confirmed":
            channel.raw.basic_ack(tag)
            rescued += 1
    return rescued


async def all_back(session: Session, queue: str, expected: int, patience: float) -> int:
    """Return the ready messages, once *expected* are there again, or for *patience* seconds no
    more have come: a queue takes its time over what it was given back."""
    loop = asyncio.get_running_loop()
    ready, since = -1, loop.time()
    while ready < expected and loop.time() - since < patience:
        if ready >= 0:
            await asyncio.sleep(0.02)
        ok = await topology.queue_ok(session, queue)
        now = 0 if ok is None else ok.ready
        if now != ready:
            ready, since = now, loop.time()
    return ready
