"""Consumers: deliveries that come by themselves, and the permits that bound them cluster-wide.

A permit is an exclusive queue `tasktools.permit.<topic>.<i>`, with i below the limit; whoever
declared it may have one delivery unsettled. It is on the connection that the deliveries come
over, so both are lost together. RabbitMQ logs every refusal as an error, so a permit is kept
as long as it may be, and nobody tries for one while the queue is empty.
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

from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.channel import Channel
from tasktools.brokers.rabbitmq.claims import Claims
from tasktools.brokers.rabbitmq.connection import Connection, Session
from tasktools.core.errors import BrokerError, Closed, QueueNotFound, TaskToolsError
from tasktools.core.models import Delivery

_log = logging.getLogger("tasktools.broker")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_BETWEEN_TRIES: Final = (0.5, 1.0)
_TRIES: Final = 2  # at a time, since each refusal is logged


@dataclass(slots=True, eq=False)
class _Stream:
    """A consumer at the broker. With a permit its prefetch is 1; `tag` is `None` once it was
    ended, and it is let go of when its last delivery is settled."""

    prefetch: int
    permit: int | None = None
    tag: str | None = None
    unsettled: int = 0


class RabbitMQConsumer:
    """One topic's consumer. The coroutines run on the connection's loop."""

    def __init__(
        self,
        connection: Connection,
        claims: Claims,
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
        self._claims = claims
        self._receive = receive
        self._prefetch = prefetch
        self._limit = limit
        self._cancelled = False
        self._tried = False
        self._streams: list[_Stream] = []
        self._news = asyncio.Event()
        self._silent = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Consumer of {self.topic!r}{', cancelled' if self._cancelled else ''}>"

    # --- from any thread ------------------------------------------------------------

    def start(self) -> None:
        """Begin; raises `QueueNotFound`."""
        self._connection.run(self._start)

    def adjust(self, *, prefetch: int, limit: int | None) -> None:
        """Change the bounds."""
        _check(prefetch, limit)

        def change() -> None:
            self._prefetch, self._limit, self._tried = prefetch, limit, False
            self._news.set()

        self._connection.post(change)

    def cancel(self) -> None:
        """End it, and return once nothing more can come; also without a connection."""
        with contextlib.suppress(Closed, concurrent.futures.CancelledError):
            self._connection.start(self._cancel()).result(2 * self._connection.timeout)

    # --- on the loop ----------------------------------------------------------------

    async def _start(self, session: Session) -> None:
        if await topology.queue_ok(session, self.topic) is None:
            raise QueueNotFound(f"There is no queue {self.topic!r}; nothing is consumed.")
        self._keeping = self._keeping or asyncio.create_task(self._keep())

    async def _cancel(self) -> None:
        self._cancelled = True
        self._news.set()
        if self._keeping is not None:
            await self._silent.wait()

    async def _keep(self) -> None:
        """Consume until cancelled, beginning again after every loss."""
        pause = _FIRST_PAUSE
        try:
            while not self._cancelled:
                try:
                    await self._consume(await self._connection.session())
                except (TaskToolsError, TimeoutError) as error:
                    pause = _FIRST_PAUSE if self.problem is None else pause * 2
                    self.problem = str(error)
                await self._until_news(min(pause, _LONGEST_PAUSE) * random.uniform(0.5, 1.0))  # noqa: S311
        finally:
            self._silent.set()

    async def _until_news(self, seconds: float | None) -> None:
        if not self._news.is_set():
            try:
                await asyncio.wait_for(self._news.wait(), seconds)
            except TimeoutError:
                return
        self._news.clear()

    async def _consume(self, session: Session) -> None:
        """Consume on a channel until it is lost, which raises, or until all is settled after a
        `cancel`."""
        lost: list[BrokerError] = []

        def on_loss(why: BrokerError) -> None:
            lost.append(why)
            self._news.set()

        self._streams, self._tried = [], False
        channel = await self._claims.channel(session, on_loss)
        gone = QueueNotFound(f"The queue {self.topic!r} was deleted; nothing is consumed.")
        channel.raw.add_on_cancel_callback(lambda _frame: on_loss(gone))
        while not lost:
            await self._end_streams(session, channel)
            is_short = not self._cancelled and await self._begin_streams(session, channel)
            self.problem = None
            if self._cancelled and not any(stream.tag for stream in self._streams):
                self._silent.set()
                if not self._streams:
                    await channel.close()
                    return
            await self._until_news(random.uniform(*_BETWEEN_TRIES) if is_short else None)  # noqa: S311
        if channel.is_open:  # what was delivered already can still be settled
            self._streams = []
        raise lost[0]

    # --- the streams ----------------------------------------------------------------

    async def _end_streams(self, session: Session, channel: Channel) -> None:
        """End the streams that are one too many, and let go of those that are through."""
        wanted = self._wanted()
        for stream in tuple(self._streams):
            if stream.tag is not None and not (wanted and self._fits(stream)):
                tag, stream.tag = stream.tag, None
                await channel.call(channel.raw.basic_cancel, tag)
            if stream.tag is not None:
                wanted -= 1
            elif not stream.unsettled:
                self._streams.remove(stream)
                if stream.permit is not None:
                    await session.free_name(self._permit(stream.permit))

    async def _begin_streams(self, session: Session, channel: Channel) -> bool:
        """Begin the streams that are missing; says whether permits for them are."""
        missing = self._wanted() - sum(stream.tag is not None for stream in self._streams)
        if missing and self._limit is None:
            await self._begin(channel, _Stream(self._prefetch))
            return False
        while missing > 0:
            permit = await self._take_permit(session)
            if permit is None:
                return True
            await self._begin(channel, _Stream(1, permit))
            missing -= 1
        return False

    def _wanted(self) -> int:
        """How many streams there should be."""
        if self._cancelled:
            return 0
        return 1 if self._limit is None else min(self._limit, self._prefetch)

    def _fits(self, stream: _Stream) -> bool:
        if self._limit is None:
            return stream.permit is None and stream.prefetch == self._prefetch
        return stream.permit is not None and stream.permit < self._limit

    async def _begin(self, channel: Channel, stream: _Stream) -> None:
        self._streams.append(stream)
        await channel.call(channel.raw.basic_qos, prefetch_count=stream.prefetch)
        arrived = functools.partial(self._arrived, channel, stream)
        stream.tag = await channel.consume(self.topic, arrived)

    def _arrived(
        self,
        channel: Channel,
        stream: _Stream,
        method: spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        stream.unsettled += 1
        delivery = self._claims.hold(
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
            _log.exception("what receives the messages of %r failed", self.topic)

    def _settled(self, stream: _Stream) -> None:
        stream.unsettled -= 1
        if stream.tag is None and not stream.unsettled:
            self._news.set()

    # --- permits --------------------------------------------------------------------

    def _permit(self, index: int) -> str:
        return f"tasktools.permit.{self.topic}.{index}"

    async def _take_permit(self, session: Session) -> int | None:
        """Take a permit that is free, if there is work or this is the first try."""
        ok = await topology.queue_ok(session, self.topic)
        if ok is None:
            raise QueueNotFound(f"There is no queue {self.topic!r}; nothing is consumed.")
        if self._tried and not ok.ready:
            return None
        mine = {stream.permit for stream in self._streams}
        others = [index for index in range(self._limit or 0) if index not in mine]
        random.shuffle(others)
        for index in others[:_TRIES]:
            if await session.take_name(self._permit(index)):
                return index
        self._tried = True
        return None


def _check(prefetch: int, limit: int | None) -> None:
    if prefetch < 1 or (limit is not None and limit < 0):
        raise ValueError(f"prefetch {prefetch} and limit {limit}: 1 and 0 are the least.")
