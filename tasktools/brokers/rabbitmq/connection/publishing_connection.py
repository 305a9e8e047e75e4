"""The connection over which a `Connection` publishes: nothing else goes over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import pika

from tasktools.brokers.rabbitmq.connection import pika_border
from tasktools.brokers.rabbitmq.connection.alarms import Blocked
from tasktools.brokers.rabbitmq.connection.channel import Channel, open_channel
from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.brokers.rabbitmq.connection.opening import close_connection
from tasktools.brokers.rabbitmq.connection.publisher import AcceptedPublishes, Publisher
from tasktools.brokers.rabbitmq.connection.raw_connection import RawConnection
from tasktools.core.clock import SystemClock
from tasktools.core.errors import BrokerError, PermissionDenied, PublishingBlocked

T = TypeVar("T")

_ANSWERED_SECONDS: Final = 1.0  # after an answer, for which no alarm is assumed
_NO_QUEUE: Final = "tasktools.no-such-name"
_NO_PROPERTIES: Final = b"".join(pika.BasicProperties().encode())


class PublishingConnection:
    """A live connection for messages. All methods belong to the loop of its thread.

    *unblocked* is called with the seconds for which publishers were blocked, when the block has
    ended.
    """

    def __init__(self, raw: RawConnection, dsn: DSN, unblocked: Callable[[float], object]) -> None:
        self.blocked: Blocked | None = None
        self._raw = raw
        self._dsn = dsn
        self._tell_unblocked = unblocked
        self._clock = SystemClock()
        self._alarm = asyncio.Event()
        self._opening = asyncio.Lock()
        self._publisher: Publisher | None = None
        self._broadcasting: Channel | None = None
        self._accepted = AcceptedPublishes()
        self._may_ping = True
        raw.add_on_connection_blocked_callback(self._on_blocked)
        raw.add_on_connection_unblocked_callback(self._on_unblocked)

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return bool(self._raw.is_open)

    def _on_blocked(self, _raw: object, method: Any) -> None:
        reason = method.method.reason
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        self.blocked = Blocked(text, self._clock.time())
        self._alarm.set()

    def _on_unblocked(self, _raw: object, _method: object) -> None:
        blocked, self.blocked = self.blocked, None
        self._alarm.clear()
        if blocked is not None:
            self._tell_unblocked(self._clock.time() - blocked.since)

    async def publisher(self) -> Publisher:
        """Return the publisher, once RabbitMQ is known to take messages.

        Unless RabbitMQ answered a publish a moment ago, a test message that no queue gets is sent
        first: so an alarm shows before any real message is in doubt. Raises `PublishingBlocked`.
        """
        async with self._opening:
            publisher = await self._open_publisher()
            if self._may_ping and publisher.idle > _ANSWERED_SECONDS:
                await self._ping(publisher)
                publisher = await self._open_publisher()
            return publisher

    async def unproven_publisher(self) -> Publisher:
        """Return the publisher without asking first whether RabbitMQ takes messages.

        For callers that find it out by a message of their own.
        """
        async with self._opening:
            return await self._open_publisher()

    async def broadcast(self, exchange: str, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish *messages*, keys and bodies, to all bound queues; return once RabbitMQ has taken
        all messages. During an alarm it raises `PublishingBlocked` and sends none.

        One answer is enough for all: a channel processes commands in order, so RabbitMQ has taken
        the messages once it answers a query sent after them. Confirms and returns for each message
        cost a worker three tenths of its tasks a second.
        """
        await self.publisher()
        async with self._opening:
            if self._broadcasting is None or not self._broadcasting.is_open:
                self._broadcasting = await open_channel(self._raw, self._translate)
            channel = self._broadcasting
        for routing_key, body in messages:
            channel.publish(exchange, routing_key, body, _NO_PROPERTIES, mandatory=False)
        await channel.call(channel.raw.basic_qos)  # it changes nothing, there are no consumers

    async def _open_publisher(self) -> Publisher:
        self.check()
        if self._publisher is None or not self._publisher.is_open:
            channel = await open_channel(self._raw, self._translate)
            self._publisher = await Publisher.on(channel, self._accepted)
        return self._publisher

    def check(self) -> None:
        """Raise `PublishingBlocked` if RabbitMQ has notified this connection of an alarm."""
        if self.blocked is not None:
            raise PublishingBlocked(
                f"Nothing was sent: {self.blocked}. It blocks workers as well. Free memory or disk "
                "space on the broker, or wait, and try again."
            )

    async def _ping(self, publisher: Publisher) -> None:
        answer = asyncio.ensure_future(
            publisher.publish("", _NO_QUEUE, b"", pika.BasicProperties())
        )
        await self.unless_blocked(answer)
        if publisher.is_open:
            return
        if not isinstance(publisher.closed_by, PermissionDenied):
            raise publisher.closed_by or self._translate(self._raw.loss)
        self._may_ping = False  # the user may not publish to the default exchange: an answer too

    async def unless_blocked(self, answer: asyncio.Future[T]) -> T:
        """Return the *answer*, or raise `PublishingBlocked` when an alarm comes before it."""
        alarm = asyncio.ensure_future(self._alarm.wait())
        try:
            waits: set[asyncio.Future[Any]] = {answer, alarm}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
        finally:
            alarm.cancel()
            answer.cancel()
        self.check()
        raise PublishingBlocked("RabbitMQ blocked publishers for a moment. Try again.")

    def _translate(self, error: BaseException) -> BrokerError:
        return pika_border.channel_error(error, self._dsn)

    async def abort(self) -> None:
        """Cut the connection. It is in doubt whether messages that RabbitMQ has not read yet are
        published."""
        await close_connection(self._raw, at_once=True)

    async def close(self) -> None:
        """Close the connection; a broker that blocks publishers does not read the close."""
        await close_connection(self._raw, at_once=self.blocked is not None)
