"""An AMQP channel whose methods can be awaited, on the loop of its connection."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pika import exceptions as amqp
from pika import spec
from pika.channel import Channel as PikaChannel
from pika.exceptions import AMQPError

from tasktools.brokers.rabbitmq.connection.raw_connection import RawConnection
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.core.errors import BrokerError
from tasktools.core.masked_repr import MaskedRepr

T = TypeVar("T")
Message = Callable[[spec.Basic.Deliver, RawProperties, bytes], None]


def resolve(future: asyncio.Future[T], result: T) -> None:
    """Set the result of *future*, unless it was cancelled or has one."""
    if not future.done():
        future.set_result(result)


def fail(future: asyncio.Future[T], error: BaseException) -> None:
    """Set the error of *future*, unless it was cancelled or has a result."""
    if not future.done():
        future.set_exception(error)


@dataclass(frozen=True, slots=True)
class QueueOk:
    """The answer to a queue declaration."""

    name: str
    ready: int
    consumers: int


@dataclass(frozen=True, slots=True, repr=False)
class Got(MaskedRepr):
    """A message got or delivered."""

    tag: int
    redelivered: bool
    properties: RawProperties
    body: bytes


async def open_channel(
    raw: RawConnection, translate: Callable[[BaseException], BrokerError]
) -> Channel:
    """Open a channel on the connection *raw*."""
    if not raw.is_open:
        raise translate(raw.loss)
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        opening = raw.channel(on_open_callback=lambda _: resolve(opened, None))
    except AMQPError as error:  # all that the broker allows are in use, or it is closing
        raise translate(error) from None
    channel = Channel(opening, translate)
    channel.on_close = functools.partial(fail, opened)
    await opened
    channel.on_close = None
    return channel


class Channel:
    """Wraps one pika channel; when the broker closes it, everything awaited raises."""

    def __init__(self, raw: PikaChannel, translate: Callable[[BaseException], BrokerError]) -> None:
        self.raw = raw
        self.on_close: Callable[[BrokerError], None] | None = None
        self.reply_text: str | None = None
        """The broker's own words, once it has closed the channel or the connection."""
        self._translate = translate
        self._pending: set[asyncio.Future[Any]] = set()
        self._closed_by: BrokerError | None = None
        raw.add_on_close_callback(self._closed)

    @property
    def is_open(self) -> bool:
        """Whether the channel is open."""
        return bool(self.raw.is_open)

    @property
    def largest_properties(self) -> int:
        """Bytes that the properties of a message may take; 0 if there is no limit.

        Properties are sent in one frame, which takes 20 bytes more.
        """
        frame_max: int = self.raw.connection.params.frame_max or 0
        return max(frame_max - 20, 0)

    def _closed(self, _channel: PikaChannel, reason: BaseException) -> None:
        self._closed_by = self._translate(reason)
        if isinstance(reason, amqp.ChannelClosedByBroker | amqp.ConnectionClosedByBroker):
            self.reply_text = str(reason.reply_text)
        for future in tuple(self._pending):
            fail(future, self._closed_by)
        if self.on_close is not None:
            self.on_close(self._closed_by)

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a pika *method* that takes a `callback`, and return its answer."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(*answer: Any) -> None:
            resolve(future, answer[0] if len(answer) == 1 else answer)

        return await self._await(future, lambda: method(*args, callback=answered, **kwargs))

    async def _await(self, future: asyncio.Future[Any], start: Callable[[], Any]) -> Any:
        if self._closed_by is not None:
            raise self._closed_by
        self._pending.add(future)
        try:
            try:
                start()
            except (AMQPError, UnicodeError) as error:  # no such name, or it is closing just now
                raise self._translate(error) from None
            return await future
        finally:
            self._pending.discard(future)

    async def queue(self, name: str, **options: Any) -> QueueOk:
        """Declare a queue (`passive=True`: only ask)."""
        ok = (await self.call(self.raw.queue_declare, name, **options)).method
        return QueueOk(ok.queue, ok.message_count, ok.consumer_count)

    async def get(self, queue: str) -> Got | None:
        """Get one message, or `None` when none is ready."""
        future: asyncio.Future[Got | None] = asyncio.get_running_loop().create_future()

        def got(_raw: object, ok: spec.Basic.GetOk, props: RawProperties, body: bytes) -> None:
            resolve(future, Got(ok.delivery_tag, ok.redelivered, props, body))

        def empty(_frame: object) -> None:
            resolve(future, None)

        self.raw.add_callback(empty, [spec.Basic.GetEmpty], one_shot=True)
        try:
            answer: Got | None = await self._await(
                future, lambda: self.raw.basic_get(queue, callback=got)
            )
            return answer
        finally:
            self.raw.callbacks.remove(self.raw.channel_number, spec.Basic.GetEmpty, empty)

    async def consume(self, queue: str, message: Message, **options: Any) -> str:
        """Start a consumer that hands each delivery to *message*; returns its tag."""

        def deliver(
            _raw: object, method: spec.Basic.Deliver, props: RawProperties, body: bytes
        ) -> None:
            message(method, props, body)

        ok = await self.call(self.raw.basic_consume, queue, on_message_callback=deliver, **options)
        return str(ok.method.consumer_tag)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: bytes,
        *,
        mandatory: bool = True,
    ) -> None:
        """Publish one message; *properties* as AMQP encodes them. RabbitMQ returns a *mandatory*
        message that no queue takes."""
        if self._closed_by is not None:
            raise self._closed_by
        self.raw.connection.publish(
            self.raw.channel_number, exchange, routing_key, properties, body, mandatory=mandatory
        )

    async def lost(self) -> None:
        """Wait until the channel is closed, or the broker ends a consumer on it."""
        lost = asyncio.Event()
        self.on_close = lambda _why: lost.set()
        self.raw.add_on_cancel_callback(lambda _frame: lost.set())
        if self.is_open:
            await lost.wait()

    async def cancel(self, tag: str) -> None:
        """End a consumer; messages on their way to it may still arrive until this returns."""
        if tag in self.raw.consumer_tags:  # else it ended with its queue
            await self.call(self.raw.basic_cancel, tag)

    def abandon(self) -> None:
        """Close the channel without waiting: an earlier call may delay the broker's answer."""
        if self.is_open:
            self.raw.close()

    async def close(self) -> None:
        """Close the channel; unacknowledged messages go back to their queue."""
        if not self.is_open:
            return
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.raw.add_on_close_callback(lambda *_: resolve(closed, None))
        self.raw.close()
        await closed
