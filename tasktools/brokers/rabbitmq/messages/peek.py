"""Looking at a queue: take messages with one consumer, show them, give all of them back.

The cost was decided before (`core.peek_verdict`). Whatever happens on the way, nothing taken is
acknowledged, with one exception: a message that giving back would make the broker drop (its
delivery limit is reached) is first published again, byte for byte and confirmed, to the end of its
queue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pika

from tasktools.brokers.rabbitmq.connection.channel import Channel, QueueOk
from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.connection.raw_connection import Delivered
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core.errors import LookRefused, PublishingBlocked, QueueNotFound, QueueUnavailable
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.peek_verdict import Verdict

MAX_HELD: Final = 65_535
"""Messages that one consumer can hold: the largest prefetch."""
TIMEOUT_SECONDS: Final = 300.0
"""Seconds after which a look takes no more messages; well below RabbitMQ's consumer timeout."""
_IN_USE_SECONDS: Final = 2.0  # a look ends after so long where others consume
_IDLE_SECONDS: Final = 1.0  # without a delivery, after which no more are expected
_BACK_SECONDS: Final = 1.0  # without one more ready, after which no more are expected back
_BACK_PER_SECOND: Final = 2_000  # messages that become ready again; measured: 10,000 to 100,000
_CONSUMER_SECONDS: Final = 0.2  # for which a consumer that has ended may still be counted
_EXPIRED_SECONDS: Final = 0.5  # until expired messages lie in the dead-letter queue
_POLL_SECONDS: Final = 0.01

Show = Callable[[RawProperties, bytes, bool], bool]
"""Called with each message and whether it was redelivered; returns true to end the look."""


@dataclass(slots=True)
class PeekOutcome:
    """The result of a look: the messages that it took and gave back.

    `deliveries` is the highest delivery count that was seen.

    `missing` of the wanted messages did not come, because a consumer took them, or within the time
    that a look may take. `moved` is the growth of the queue that gets expired messages, if known.
    `is_in_use`: other consumers were there. `is_gone`: the queue was gone after the look.
    """

    ready_before: int
    ready_after: int = 0
    missing: int = 0
    moved: int | None = None
    is_in_use: bool = False
    is_gone: bool = False
    rescued: int = 0
    lost: int = 0
    deliveries: int | None = None


@dataclass(slots=True, repr=False)
class _HeldMessages(MaskedRepr):
    """The messages held by a look that wants *wanted* of them; `news` is set once `full` have
    arrived."""

    taken: PeekOutcome
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
            self.taken.deliveries = max(self.taken.deliveries or 0, deliveries)
            if deliveries >= drop_at:
                self.at_limit[tag] = (properties, body)


async def look(
    session: Session, verdict: Verdict, limit: int | None, show: Show, expired_to: str | None
) -> PeekOutcome:
    """Show up to *limit* messages of the verdict's queue with *show*, and give them back.

    Messages that expire meanwhile are counted in the queue *expired_to*. Where others consume, the
    look takes messages for 2 s and waits for no exact count. Raises `LookRefused` where a message
    may have to be rescued and we have no right to publish, or where more are wanted than can be
    held; and, once all is given back, what *show* raised.
    """
    queue = verdict.queue
    before = await topology.queue_ok(session, queue)
    if before is None:
        raise QueueNotFound(f"There is no queue {queue!r}; nothing was changed.")
    taken = PeekOutcome(ready_before=before.ready, is_in_use=before.consumers > 0)
    wanted = before.ready if limit is None else min(limit, before.ready)
    if not wanted:
        taken.ready_after = before.ready
        return taken
    _check_size(verdict, wanted)
    if verdict.drop_at is not None:
        await _check_rescue(session, queue)
    expired_before = await _ready(session, expired_to)
    held = _HeldMessages(taken, verdict.drop_at, wanted, show)
    await _look(session, verdict, held)
    if held.error is not None:
        raise held.error
    after = await all_back(session, queue, before.ready, held.count, _BACK_SECONDS)
    taken.is_gone = after is None
    taken.ready_after = 0 if after is None else after.ready
    taken.is_in_use |= after is not None and after.consumers > 0
    if expired_before is not None:
        expected = expired_before + before.ready - taken.ready_after
        taken.moved = await _grown(session, expired_to, expired_before, expected)
    return taken


async def _ready(session: Session, queue: str | None) -> int | None:
    try:
        ok = None if queue is None else await topology.queue_ok(session, queue)
    except QueueUnavailable:
        return None
    return None if ok is None else ok.ready


async def _grown(session: Session, queue: str | None, before: int, expected: int) -> int:
    """Return by how many messages *queue* has grown, once it has *expected* more, or after a while:
    a quorum queue delivers dead letters late."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _EXPIRED_SECONDS
    while True:
        ready = await _ready(session, queue) or 0
        if ready >= expected or loop.time() > deadline:
            return max(ready - before, 0)
        await asyncio.sleep(_POLL_SECONDS)


async def _look(session: Session, verdict: Verdict, held: _HeldMessages) -> None:
    taken, queue = held.taken, verdict.queue
    async with session.own_channel() as channel:
        try:
            await _take(session, channel, queue, held)
            taken.rescued = await rescue(session, channel, queue, held.at_limit)
            taken.lost = len(held.at_limit) - taken.rescued
        finally:
            if verdict.give_back == "nack" and channel.is_open:
                _give_back(channel, held.count)


async def _take(session: Session, channel: Channel, queue: str, held: _HeldMessages) -> None:
    """Hold messages until all wanted ones were shown, *show* ends the look, or no more come.

    A consumer holds at most `MAX_HELD` messages; then a further consumer continues, which keeps the
    order.
    """
    began = asyncio.get_running_loop().time()
    tags: list[str] = []

    async def is_enough() -> bool:
        """Tell whether the time that the look may take is over."""
        with contextlib.suppress(QueueUnavailable):  # the queue is busy with what we take
            ok = await topology.queue_ok(session, queue)
            held.taken.is_in_use |= ok is not None and ok.consumers > len(tags)
        longest = _IN_USE_SECONDS if held.taken.is_in_use else TIMEOUT_SECONDS
        return asyncio.get_running_loop().time() - began > longest

    while held.count == held.full < held.wanted and not held.is_over:
        prefetch = min(held.wanted - held.count, MAX_HELD)
        held.full += prefetch
        held.news.clear()
        await channel.call(channel.raw.basic_qos, prefetch_count=prefetch)
        tags.append(await channel.consume(queue, held.message))
        await _filled(held, is_enough)
    if not held.is_over:
        held.taken.missing = held.wanted - held.count
        held.is_over = True
    for tag in tags:
        await channel.cancel(tag)


async def _filled(held: _HeldMessages, is_enough: Callable[[], Awaitable[bool]]) -> None:
    """Wait until there is news, no message came for a while, or *is_enough* returns true."""
    while not held.news.is_set():
        before = held.count
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(held.news.wait(), _IDLE_SECONDS)
        if held.count == before or await is_enough():
            return


def _give_back(channel: Channel, count: int) -> None:
    """Give the messages back, one consumer after the other.

    After a single nack for all, a quorum queue would put back the last consumer's messages first.
    """
    for last in (*range(MAX_HELD, count, MAX_HELD), 0):
        channel.raw.basic_nack(last, multiple=True, requeue=True)


def _check_size(verdict: Verdict, wanted: int) -> None:
    if verdict.give_back == "close" and wanted > MAX_HELD:
        raise LookRefused(
            f"Looking at {wanted:,} messages of {verdict.queue!r} was refused: of a quorum queue "
            f"before RabbitMQ 4.0 no more than {MAX_HELD:,} can be held without changing their "
            f"order. It was not touched. Look at some, with limit={MAX_HELD}."
        )


async def _check_rescue(session: Session, queue: str) -> None:
    """Check that this user may publish to the default exchange, with a message that reaches no
    queue."""
    try:
        publisher = await session.publisher()
    except PublishingBlocked as blocked:
        raise LookRefused(
            f"Looking at {queue!r} was refused: the queue has a delivery limit, and a message that "
            f"has reached it could not be published again. It was not touched. {blocked}"
        ) from None
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
    """Republish messages to the end of *queue* that the broker would drop if they were given back,
    and settle the originals, which *channel* holds by their tags; return how many were republished.
    """
    if not at_limit:
        return 0
    publisher, rescued = await session.publisher(), 0
    for tag, (properties, body) in at_limit.items():
        if await publisher.publish("", queue, body, properties) == "confirmed":
            channel.raw.basic_ack(tag)
            rescued += 1
    return rescued


async def all_back(
    session: Session, queue: str, expected: int, held: int, patience: float
) -> QueueOk | None:
    """Return the counts of *queue* once *expected* messages are ready again, or once none of the
    *held* messages has come back for *patience* seconds: a queue needs time to requeue.

    Where other clients consume, the exact count is never reached; then only counts above all
    earlier ones show that messages have come back. `None`: the queue is gone.
    """
    loop = asyncio.get_running_loop()
    began = since = loop.time()
    most = -1
    while True:
        longest = patience + expected / _BACK_PER_SECOND
        try:
            ok = await topology.queue_ok(session, queue)
        except QueueUnavailable:  # the queue is busy with what we gave back
            if loop.time() - began > longest:
                raise
            continue
        now = loop.time()
        if ok is None or ok.ready >= expected:
            return ok
        if ok.ready > most:
            most, since = ok.ready, now
        is_on_its_way = ok.ready <= expected - held
        quiet, longest = (_CONSUMER_SECONDS, patience) if ok.consumers else (patience, longest)
        if (now - since > quiet and not is_on_its_way) or now - began > longest:
            return ok
        await asyncio.sleep(_POLL_SECONDS)
