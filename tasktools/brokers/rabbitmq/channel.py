"""An AMQP channel whose methods can be awaited, on the loop of its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pika import spec
from pika.channel import Channel as PikaChannel

from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.core.errors import BrokerError

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


@dataclass(frozen=True, slots=True)
class Got:
    """A message got or delivered."""

    tag: int
    redelivered: bool
    properties: RawProperties
    body: bytes


class Channel:
    """Wraps one pika channel; when the broker closes it, everything awaited raises."""

    def __init__(self, raw: PikaChannel, translate: Callable[[BaseException], BrokerError]) -> None:
        self.raw = raw
        self.on_close: Callable[[BrokerError], None] | None = None
        self._translate = translate
        self._pending: set[asyncio.Future[Any]] = set()
        self._closed_by: BrokerError | None = None
        raw.add_on_close_callback(self._closed)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return bool(self.raw.is_open)

    def _closed(self, _channel: PikaChannel, reason: BaseException) -> None:
        self._closed_by = self._translate(reason)
        for future in tuple(self._pending):
            fail(future, self._closed_by)
        if self.on_close is not None:
            self.on_close(self._closed_by)

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a pika *method* that takes a `callback`, and return what it answers."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(*answer: Any) -> None:
            resolve(future, answer[0] if len(answer) == 1 else answer)

        return await self._await(future, lambda: method(*args, callback=answered, **kwargs))

    async def _await(self, future: asyncio.Future[Any], start: Callable[[], Any]) -> Any:
        if self._closed_by is not None:
            raise self._closed_by
        self._pending.add(future)
        try:
            start()
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

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: bytes) -> None:
        """Publish one message, mandatory; *properties* as AMQP encodes them."""
        if self._closed_by is not None:
            raise self._closed_by
        number = self.raw.channel_number
        self.raw.connection.publish(number, exchange, routing_key, properties, body)

    async def cancel(self, tag: str) -> None:
        """End a consumer; what was on its way to it still arrives until this returns."""
        if tag in self.raw.consumer_tags:  # else it ended with its queue
            await self.call(self.raw.basic_cancel, tag)

    async def close(self) -> None:
        """Close it; what was not acknowledged goes back to its queue."""
        if not self.is_open:
            return
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.raw.add_on_close_callback(lambda *_: resolve(closed, None))
        self.raw.close()
        await closed
