"""Consumers, and the permits that limit their deliveries in the whole cluster.

A permit is an exclusive queue `tasktools.permit.<topic>.<i>`, with i below the limit; whoever
declared it may have one delivery unsettled. The permit belongs to the connection of the deliveries,
so both are lost together. RabbitMQ logs every refusal as an error, so a permit is kept as long as
possible, and none is requested while the queue is empty.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pika
from pika import spec

from tasktools.brokers.rabbitmq.connection.channel import Channel
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.messages.deliveries import Deliveries
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core import layout as layouts
from tasktools.core.backoff import Backoff
from tasktools.core.errors import BrokerError, Closed, QueueNotFound, TaskToolsError
from tasktools.core.models import Delivery

_log = logging.getLogger("tasktools.broker")

_RETRY_SECONDS: Final = (0.2, 5.0)  # the first pause after a loss, and the longest
_PERMIT_SECONDS: Final = (0.5, 1.0)  # between two tries for a permit, at random
_PERMIT_TRIES: Final = 2  # at a time, since each refusal is logged


@dataclass(slots=True, eq=False)
class _BrokerConsumer:
    """A consumer at the broker. With a permit its prefetch is 1. `tag` is `None` once the consumer
    was cancelled; the object is dropped when its last delivery is settled."""

    prefetch: int
    permit: int | None = None
    tag: str | None = None
    unsettled: int = 0


class RabbitMQConsumer:
    """One topic's consumer. The coroutines run on the connection's loop."""

    def __init__(
        self,
        connection: Connection,
        deliveries: Deliveries,
        topic: str,
        receive: Callable[[Delivery], object],
        *,
        prefetch: int,
        limit: int | None,
    ) -> None:
        _check(prefetch, limit)
        self.topic = topic
        self.problem: str | None = None
        self._connection = connection
        self._deliveries = deliveries
        self._receive = receive
        self._prefetch = prefetch
        self._limit = limit
        self._cancelled = False
        self._tried = False
        self._consumers: list[_BrokerConsumer] = []
        self._changed = asyncio.Event()
        self._no_more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Consumer of {self.topic!r}{', cancelled' if self._cancelled else ''}>"

    # --- from any thread ------------------------------------------------------------

    def start(self) -> None:
        """Start consuming; raises `QueueNotFound`."""
        self._connection.run(self._start)

    def adjust(self, *, prefetch: int, limit: int | None) -> None:
        """Change the bounds."""
        _check(prefetch, limit)

        def change() -> None:
            self._prefetch, self._limit, self._tried = prefetch, limit, False
            self._changed.set()

        self._connection.post(change)

    def cancel(self) -> None:
        """Stop consuming; nothing is received after this returns. Works without a connection."""
        with contextlib.suppress(Closed, concurrent.futures.CancelledError):
            self._connection.start(self._cancel()).result(2 * self._connection.timeout)

    # --- on the loop ----------------------------------------------------------------

    async def _start(self, session: Session) -> None:
        if await topology.queue_ok(session, self.topic) is None:
            raise QueueNotFound(f"There is no queue {self.topic!r}; nothing is consumed.")
        self._task = self._task or asyncio.create_task(self._consume_forever())

    async def _cancel(self) -> None:
        self._cancelled = True
        self._changed.set()
        if self._task is not None:
            await self._no_more.wait()

    async def _consume_forever(self) -> None:
        """Consume until cancelled, beginning again after every loss."""
        backoff = Backoff(*_RETRY_SECONDS)
        try:
            while not self._cancelled:
                try:
                    await self._consume(await self._connection.session())
                except (TaskToolsError, TimeoutError) as error:
                    if self.problem is None:  # the topic was consumed until now
                        backoff.reset()
                    self.problem = str(error)
                await self._until_changed(backoff.pause())
        finally:
            self._no_more.set()

    async def _until_changed(self, seconds: float | None) -> None:
        if not self._changed.is_set():
            try:
                await asyncio.wait_for(self._changed.wait(), seconds)
            except TimeoutError:
                return
        self._changed.clear()

    async def _consume(self, session: Session) -> None:
        """Consume on a channel until it is lost, which raises, or until all is settled after a
        `cancel`."""
        lost: list[BrokerError] = []

        def on_loss(why: BrokerError) -> None:
            lost.append(why)
            self._changed.set()

        self._consumers, self._tried = [], False
        channel = await self._deliveries.channel(session, on_loss)
        gone = QueueNotFound(f"The queue {self.topic!r} was deleted; nothing is consumed.")
        channel.raw.add_on_cancel_callback(lambda _frame: on_loss(gone))
        while not lost:
            await self._end_consumers(session, channel)
            is_short = not self._cancelled and await self._begin_consumers(session, channel)
            self.problem = None
            if self._cancelled and not any(stream.tag for stream in self._consumers):
                self._no_more.set()
                if not self._consumers:
                    await channel.close()
                    return
            await self._until_changed(random.uniform(*_PERMIT_SECONDS) if is_short else None)  # noqa: S311
        if channel.is_open:  # what was delivered already can still be settled
            self._consumers = []
        raise lost[0]

    # --- the streams ----------------------------------------------------------------

    async def _end_consumers(self, session: Session, channel: Channel) -> None:
        """End surplus consumers, and forget consumers with no unsettled delivery left."""
        wanted = self._wanted()
        for stream in tuple(self._consumers):
            if stream.tag is not None and not (wanted and self._is_wanted(stream)):
                tag, stream.tag = stream.tag, None
                await channel.call(channel.raw.basic_cancel, tag)
            if stream.tag is not None:
                wanted -= 1
            elif not stream.unsettled:
                self._consumers.remove(stream)
                if stream.permit is not None:
                    await session.free_name(self._permit(stream.permit))

    async def _begin_consumers(self, session: Session, channel: Channel) -> bool:
        """Begin the missing consumers; return whether permits for them are missing."""
        missing = self._wanted() - sum(stream.tag is not None for stream in self._consumers)
        if missing and self._limit is None:
            await self._begin(channel, _BrokerConsumer(self._prefetch))
            return False
        while missing > 0:
            permit = await self._take_permit(session)
            if permit is None:
                return True
            await self._begin(channel, _BrokerConsumer(1, permit))
            missing -= 1
        return False

    def _wanted(self) -> int:
        """Return how many consumers there should be at the broker."""
        if self._cancelled:
            return 0
        return 1 if self._limit is None else min(self._limit, self._prefetch)

    def _is_wanted(self, stream: _BrokerConsumer) -> bool:
        if self._limit is None:
            return stream.permit is None and stream.prefetch == self._prefetch
        return stream.permit is not None and stream.permit < self._limit

    async def _begin(self, channel: Channel, stream: _BrokerConsumer) -> None:
        self._consumers.append(stream)
        await channel.call(channel.raw.basic_qos, prefetch_count=stream.prefetch)
        arrived = functools.partial(self._arrived, channel, stream)
        stream.tag = await channel.consume(self.topic, arrived)

    def _arrived(
        self,
        channel: Channel,
        stream: _BrokerConsumer,
        method: spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        stream.unsettled += 1
        delivery = self._deliveries.hold(
            channel,
            self.topic,
            method.delivery_tag,
            properties,
            body,
            redelivered=method.redelivered,
            settled=functools.partial(self._settled, stream),
        )
        try:
            self._receive(delivery)
        except Exception:  # noqa: BLE001 - a stranger's code; it keeps what it has got
            _log.exception("the receiver of the messages of %r failed", self.topic)

    def _settled(self, stream: _BrokerConsumer) -> None:
        stream.unsettled -= 1
        if stream.tag is None and not stream.unsettled:
            self._changed.set()

    # --- permits --------------------------------------------------------------------

    def _permit(self, index: int) -> str:
        return layouts.permit_queue(self.topic, index)

    async def _take_permit(self, session: Session) -> int | None:
        """Take a free permit, if messages wait or none was requested before."""
        ok = await topology.queue_ok(session, self.topic)
        if ok is None:
            raise QueueNotFound(f"There is no queue {self.topic!r}; nothing is consumed.")
        if self._tried and not ok.ready:
            return None
        mine = {stream.permit for stream in self._consumers}
        others = [index for index in range(self._limit or 0) if index not in mine]
        random.shuffle(others)
        for index in others[:_PERMIT_TRIES]:
            if await session.take_name(self._permit(index)):
                return index
        self._tried = True
        return None


def _check(prefetch: int, limit: int | None) -> None:
    if prefetch < 1 or (limit is not None and limit < 0):
        raise ValueError(f"prefetch {prefetch} and limit {limit}: 1 and 0 are the least.")
