"""Messages held unacknowledged while a queue is processed: their channels and delivery tags.

A channel takes up to `prefetch` messages. When a quarter of those are messages that stay in the
queue, the next channel continues, so that there is always room for messages that are moved: single
acknowledgements are slow on a channel that holds many messages. Messages that stay are given back
in the order in which they came, in the way that the verdict on a look at the queue names.

A classic queue puts a returned message into its old place. A quorum queue since RabbitMQ 4.0 puts
it behind all messages that were returned before, for example by a look. So the order is kept only
if all messages of the queue are taken, to the end, and given back as a whole. For the same reason a
lost connection changes the order in a quorum queue, which cannot be prevented.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pika
from pika import spec

from tasktools.brokers.rabbitmq.connection.channel import Channel
from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.messages.peek import MAX_HELD, all_back, rescue
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core.errors import BrokerError, LookRefused, QueueUnavailable
from tasktools.core.peek_verdict import Verdict

_CHANNEL_PREFETCH: Final = 8000  # messages
_MIN_PREFETCH: Final = 10
_BACK_SECONDS: Final = 3.0  # without one more ready, after which no more are expected back
_POLL_SECONDS: Final = 0.03
_REST_SECONDS: Final = 5.0  # for which messages that others publish meanwhile are taken, too
_MAX_BODY_BYTES: Final = 128 * 2**20  # that may be on their way at once
_MAX_CHANNELS: Final = 400  # of the 2,047 that RabbitMQ allows a connection

Receive = Callable[["HeldChannel", int, pika.BasicProperties, bytes, bool], None]
"""Called with each message: the channel it is held on, its tag there, and what came."""


class HeldMessages:
    """The messages of the verdict's queue that are held unacknowledged.

    *ready* is how many there are to work through, *largest* the bytes of the largest body that
    is wanted. `note` says in words what had to be done to messages that stay.
    """

    def __init__(self, session: Session, verdict: Verdict, *, ready: int, largest: int) -> None:
        self.note: str | None = None
        self._session = session
        self._verdict = verdict
        self._channels: list[HeldChannel] = []
        self._is_single = verdict.give_back == "close"  # quorum before 4.0 keeps no other order
        self._is_classic = verdict.queue_type == "classic"
        self._receive: Receive | None = None
        few = min(_CHANNEL_PREFETCH, _MAX_BODY_BYTES // max(largest, 1))
        self._prefetch = (
            MAX_HELD if self._is_single else max(few, ready // _MAX_CHANNELS, _MIN_PREFETCH)
        )

    @property
    def queue(self) -> str:
        """The queue that the held messages belong to."""
        return self._verdict.queue

    @property
    def is_full(self) -> bool:
        """Whether the messages that stay take up too much of the present channel."""
        left = self._channels[-1].left
        return left >= (MAX_HELD if self._is_single else self._prefetch // 4)

    @property
    def longest_hold(self) -> float | None:
        """Seconds after which the messages must be given back, before RabbitMQ takes them back."""
        timeout = self._verdict.consumer_timeout
        return None if timeout is None else timeout / 2

    @property
    def is_taken_back(self) -> bool:
        """Whether RabbitMQ has taken back the messages of a channel, after a consumer timeout."""
        return any(not held.channel.is_open for held in self._channels)

    async def has_more(self) -> bool:
        """Whether the queue still has messages that have not come."""
        try:
            ok = await topology.queue_ok(self._session, self._verdict.queue)
        except QueueUnavailable:  # the queue is busy with what we take
            return True
        return ok is not None and ok.ready > 0

    async def consume(self, receive: Receive) -> None:
        """Consume more messages, on a channel of their own, after the earlier ones."""
        if self._channels and self._is_single:
            raise LookRefused(
                f"The messages wanted from {self._verdict.queue!r} lie behind {MAX_HELD} others, "
                "which is more than can be held of a quorum queue before RabbitMQ 4.0; they were "
                "left as they were. Move or discard those before them first."
            )
        self._receive = receive
        await self._end_consumer()
        held = HeldChannel(await self._session.channel(), self._verdict.drop_at)
        self._channels.append(held)
        await held.consume(self._verdict.queue, self._prefetch, receive)

    async def stop(self) -> None:
        """Stop the delivery of further messages, unless these are needed to keep the order."""
        if self._is_classic:
            await self._end_consumer()

    async def _end_consumer(self) -> None:
        if self._channels:
            await self._channels[-1].stop(None if self._is_classic else self.has_more)

    async def _take_the_rest(self) -> None:
        deadline = _now() + _REST_SECONDS
        while self._receive is not None and await self.has_more() and _now() < deadline:
            if self.is_full:
                await self.consume(self._receive)
            await asyncio.sleep(_POLL_SECONDS)
        await self._end_consumer()

    def acknowledge(self) -> None:
        """Acknowledge all messages that are done."""
        for held in self._channels:
            if held.channel.is_open:
                held.acknowledge()

    def settled(self) -> list[Any]:
        """Return the messages that were given to `HeldChannel.done` and have certainly left the
        queue."""
        return [row for held in self._channels for row in held.take_settled()]

    async def give_back(self) -> list[Any]:
        """Give all held messages back, in order; return the last result of `settled`."""
        rescued = lost = 0
        if not (self._is_classic or self._is_single):
            with contextlib.suppress(BrokerError):
                await self._take_the_rest()
        for held in self._channels:
            with contextlib.suppress(BrokerError):  # with its channel, all is given back
                try:
                    await held.flush()
                    if not held.channel.is_open:
                        continue  # all of it is in the queue again
                    saved = await rescue(
                        self._session, held.channel, self._verdict.queue, held.at_limit
                    )
                    rescued, lost = rescued + saved, lost + len(held.at_limit) - saved
                    if self._verdict.give_back == "nack" and held.channel.is_open:
                        held.channel.raw.basic_nack(0, multiple=True, requeue=True)
                finally:  # answered: so one channel is through before the next
                    await held.channel.close()
        rows = self.settled()
        with contextlib.suppress(BrokerError):
            left = sum(held.left for held in self._channels)
            await all_back(self._session, self._verdict.queue, left, left, _BACK_SECONDS)
        if rescued or lost:
            self.note = (
                f"{rescued + lost} messages that stay had reached their delivery limit; {rescued} "
                f"were published again, unchanged, to the end of the queue, {lost} could not be"
            )
        return rows


class HeldChannel:
    """The messages that came on one channel."""

    def __init__(self, channel: Channel, drop_at: int | None) -> None:
        self.channel = channel
        self.left = 0
        self.at_limit: dict[int, tuple[pika.BasicProperties, bytes]] = {}
        self._drop_at = drop_at
        self._consumer: str | None = None
        self._prefetch = 0
        self._lowest_left: int | None = None
        self._taken: deque[int] = deque()
        self._done: dict[int, Any] = {}
        self._held = 0
        self._is_filling = False
        self._late: list[tuple[int, Any]] = []
        self._acked: list[Any] = []
        self._settled: list[Any] = []
        self._flushing: asyncio.Future[None] | None = None

    async def consume(self, queue: str, prefetch: int, receive: Receive) -> None:
        """Consume up to *prefetch* messages of *queue*."""
        self._prefetch = prefetch
        await self.channel.call(self.channel.raw.basic_qos, prefetch_count=prefetch)

        def message(
            method: spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
        ) -> None:
            self._held += 1
            receive(self, method.delivery_tag, properties, body, method.redelivered)

        # What RabbitMQ takes back from a consumer that it ends cannot be acknowledged any more.
        self.channel.raw.add_on_cancel_callback(lambda _frame: self.channel.abandon())
        self._consumer = await self.channel.consume(queue, message)

    async def stop(self, has_more: Callable[[], Awaitable[bool]] | None) -> None:
        """Stop deliveries; with *has_more*, wait first for all that may come.

        Messages on their way to a cancelled consumer go back to a quorum queue at once, before the
        messages that are given back later. So nothing is acknowledged, which would let more
        messages come, until the channel is full or the queue no longer *has more*; the wait is
        limited, since others may go on publishing.
        """
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        self._is_filling = has_more is not None
        deadline = _now() + _REST_SECONDS
        while has_more and self._held < self._prefetch and self.channel.is_open:
            if _now() > deadline:
                break
            before = self._held
            await asyncio.sleep(_POLL_SECONDS)
            if self._held == before and not await has_more():
                break
        await self.channel.cancel(consumer)
        self._is_filling = False
        late, self._late = self._late, []
        for tag, row in late:
            self._acknowledge_one(tag, row)

    def take(self, tag: int) -> None:
        """Mark a message that is being settled."""
        if self._lowest_left is None:
            self._taken.append(tag)

    def leave(self, tag: int) -> None:
        """Keep a message in the queue, also if it was taken before."""
        self.left += 1
        if self._lowest_left is None or tag < self._lowest_left:
            self._lowest_left = tag
            self._taken = deque(taken for taken in self._taken if taken < tag)
            for above in [done for done in self._done if done > tag]:
                self._acknowledge_one(above, self._done.pop(above))

    def keep_if_at_limit(self, tag: int, properties: pika.BasicProperties, body: bytes) -> None:
        """Keep a message that giving back would make the broker drop."""
        if self._drop_at is not None:
            deliveries = (properties.headers or {}).get("x-delivery-count")
            if isinstance(deliveries, int) and deliveries >= self._drop_at:
                self.at_limit[tag] = (properties, body)

    def done(self, tag: int, row: Any) -> None:
        """Mark a message that may be acknowledged."""
        self.at_limit.pop(tag, None)
        if self._lowest_left is None or tag < self._lowest_left:
            self._done[tag] = row
        else:
            self._acknowledge_one(tag, row)

    def acknowledge(self) -> None:
        """Acknowledge all messages up to the first that is not done."""
        last = 0
        while not self._is_filling and self._taken and self._taken[0] in self._done:
            last = self._taken.popleft()
            self._acked.append(self._done.pop(last))
            self._held -= 1
        if last:
            self.channel.raw.basic_ack(last, multiple=True)
        if self._acked and self._flushing is None:
            self._flushing = asyncio.ensure_future(self._flush())

    def _acknowledge_one(self, tag: int, row: Any) -> None:
        if self._is_filling:
            self._late.append((tag, row))
        elif self.channel.is_open:  # else the message is in its queue again
            self.channel.raw.basic_ack(tag)
            self._acked.append(row)
            self._held -= 1

    async def flush(self) -> None:
        """Return once the broker has all acknowledgements."""
        while self._flushing is not None or self._acked:
            if self._flushing is None:
                self._flushing = asyncio.ensure_future(self._flush())
            await asyncio.shield(self._flushing)

    async def _flush(self) -> None:
        """Make a round trip: everything sent on the channel before it has then arrived."""
        rows, self._acked = self._acked, []
        with contextlib.suppress(BrokerError):  # nobody knows, then, whether they have arrived
            await self.channel.call(self.channel.raw.basic_qos, prefetch_count=self._prefetch)
            self._settled += rows
        self._flushing = None

    def take_settled(self) -> list[Any]:
        """Return the messages whose acknowledgement the broker has received, each once."""
        rows, self._settled = self._settled, []
        return rows


def _now() -> float:
    return asyncio.get_running_loop().time()
