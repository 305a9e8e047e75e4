"""A reader of taps: finds the first and the last offset, and reads the messages between them.

AMQP shows neither the end of a stream nor the time at which a message was written. But a consumer
that begins at a time gets the first chunk (messages that were written together) from that time on,
and a consumer that begins at ``last`` gets the last chunk before the channel answers anything else.
So a few short consumers find both offsets, and the reading goes from one existing offset to
another.
"""

from __future__ import annotations

import asyncio
import functools
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

from pika import spec

from tasktools.brokers.rabbitmq.connection.channel import Channel, fail, resolve
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.connection.raw_connection import Delivered
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.brokers.taps import ReceiveTapped, Tapped, unknown_tap
from tasktools.core.amqp import field_tables
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.errors import (
    BrokerTimeout,
    ConnectionLost,
    QueueNotFound,
    QueueUnavailable,
    UnknownTap,
)
from tasktools.core.taps import OFFSET

_MAX_PREFETCH: Final = 65_535
_PREFETCH: Final = 100  # of large messages the broker reads ahead no more
_ACK_MESSAGES: Final = 50
_EMPTY_SECONDS: Final = 2.0  # after which a stream that counts no message is believed to be empty
_AWAY_SECONDS: Final = 5.0  # for which a stream may be missing after its broker has restarted
_POLL_SECONDS: Final = 0.1
_BEGIN_SECONDS: Final = 5.0  # after which a stream that does not begin is given up
_IDLE_SECONDS: Final = 30.0  # without a message, after which the broker is given up
_CHUNK_SECONDS: Final = 1  # that a chunk may be written after the first message in it
_OFFSET_ENTRY: Final = field_tables.short(OFFSET) + b"l"

Place = str | int | datetime
"""The place in a stream at which a consumer begins."""


async def read(
    connection: Connection,
    name: str,
    receive: ReceiveTapped,
    *,
    since: float | None,
    until: float | None,
    offset: int,
) -> None:
    """Pass the messages to *receive*. Raises `UnknownTap`, and every exception of *receive*."""
    start: Place = offset if since is None else datetime.fromtimestamp(math.floor(since), UTC)
    places: list[Place] = [start]
    if until is not None:
        places.append(datetime.fromtimestamp(math.ceil(until) + _CHUNK_SECONDS, UTC))
    (first, *end), last = await _find_ends(connection, name, places)
    if end and end[0] is not None:
        last = end[0] - 1
    if first is not None and first <= last:
        await _Reading(name, receive, last).run(await connection.session(), first)


# --- finding the ends --------------------------------------------------------------------


_Offsets = tuple[list[int | None], int]


async def _find_ends(connection: Connection, name: str, places: list[Place]) -> _Offsets:
    """Find the first and last offsets; retry for some seconds, because a broker that has restarted
    has no streams at first and raises one of these errors."""
    deadline = asyncio.get_running_loop().time() + _AWAY_SECONDS
    while True:
        try:
            return await _offsets(await connection.session(), name, places)
        except (ConnectionLost, QueueNotFound, QueueUnavailable, Refused):
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(_POLL_SECONDS)


async def _offsets(session: Session, name: str, places: list[Place]) -> _Offsets:
    """Return the offset of the first message at or after each of *places*, if there is one, and the
    offset of the last message; -1 for an empty stream."""
    counted = await _counted(session, name)
    async with session.own_channel() as channel:
        try:
            async with asyncio.timeout(_BEGIN_SECONDS):
                starts = [await _Ends.of(channel, name, place, prefetch=1) for place in places]
                tail = await _Ends.of(channel, name, "last", prefetch=_MAX_PREFETCH)
        except TimeoutError:
            channel.abandon()  # RabbitMQ may try for half a minute, and close the connection then
            raise BrokerTimeout(
                f"RabbitMQ did not begin to send the tap {name!r} within {_BEGIN_SECONDS:g} s; "
                "nothing was changed. Is a node down that keeps it? Read it again once it is back."
            ) from None
        except Refused as refused:
            if OFFSET not in refused.text:
                raise
            raise UnknownTap(f"{name!r} is no tap, but another queue. {refused}") from refused
        try:
            await asyncio.wait_for(tail.begun.wait(), _IDLE_SECONDS if counted else _EMPTY_SECONDS)
        except TimeoutError:
            if counted:
                raise _silence(name) from None
        # Consumers begin in their order, so the earlier ones have begun by now, unless there is
        # nothing for them; and the channel answers after what it has delivered.
        await channel.queue(name, passive=True)
        return [start.first for start in starts], tail.last


async def _counted(session: Session, name: str) -> int:
    """Return about how many messages the stream has. Raises `UnknownTap`, or `QueueUnavailable` if
    the stream exists but is down."""
    try:
        async with session.asking() as channel:
            return (await channel.queue(name, passive=True)).ready
    except QueueNotFound:
        raise unknown_tap(name) from None


@dataclass(slots=True)
class _Ends:
    """The offsets of the first and the last message that a consumer got."""

    first: int | None = None
    last: int = -1
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def of(cls, channel: Channel, name: str, place: Place, *, prefetch: int) -> Self:
        """Start a consumer at *place*; return the offsets, which change as messages come."""
        ends = cls()
        await channel.call(channel.raw.basic_qos, prefetch_count=prefetch)
        await channel.consume(name, ends.message, arguments={OFFSET: place})
        return ends

    def message(self, _method: object, properties: RawProperties, _body: bytes) -> None:
        """Take note of one message."""
        self.last, _ = _without_offset(properties.raw)
        if self.first is None:
            self.first = self.last
            self.begun.set()


# --- reading -----------------------------------------------------------------------------


class _Reading:
    """Hands messages up to the offset *last* to *receive*, and holds none."""

    def __init__(self, name: str, receive: ReceiveTapped, last: int) -> None:
        self._name = name
        self._receive = receive
        self._last = last
        self._count = 0
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, session: Session, first: int) -> None:
        """Read from *first* to the last offset, or until *receive* ends the reading."""
        async with session.own_channel() as channel:
            channel.on_close = functools.partial(fail, self._over)
            channel.raw.add_on_cancel_callback(self._deleted)
            await channel.call(channel.raw.basic_qos, prefetch_count=_PREFETCH)
            message = functools.partial(self._message, channel)
            await channel.consume(self._name, message, arguments={OFFSET: first})
            try:
                await self._end()
            finally:
                channel.on_close = None

    async def _end(self) -> None:
        while not self._over.done():
            before = self._count
            await asyncio.wait([self._over], timeout=_IDLE_SECONDS)
            if self._count == before and not self._over.done():
                raise _silence(self._name)
        self._over.result()

    def _deleted(self, _frame: object) -> None:
        fail(self._over, unknown_tap(self._name))

    def _message(
        self,
        channel: Channel,
        method: spec.Basic.Deliver | Delivered,
        properties: RawProperties,
        body: bytes,
    ) -> None:
        if self._over.done():
            return
        self._count += 1
        try:
            if self._is_enough(method.routing_key, properties.raw, body):
                resolve(self._over, None)
        except Exception as error:  # noqa: BLE001 - raised where it is read
            fail(self._over, error)
        if self._count % _ACK_MESSAGES == 0:
            channel.raw.basic_ack(method.delivery_tag, multiple=True)

    def _is_enough(self, topic: str, properties: bytes, body: bytes) -> bool:
        offset, raw = _without_offset(properties)
        if offset > self._last:
            return True
        is_enough = self._receive(Tapped(offset, topic, raw, body)) is True
        return is_enough or offset == self._last


def _silence(name: str) -> BrokerTimeout:
    return BrokerTimeout(
        f"RabbitMQ sent nothing of the tap {name!r} for {_IDLE_SECONDS:g} s; nothing was changed. "
        "Read it again."
    )


def _without_offset(properties: bytes) -> tuple[int, bytes]:
    """Return the offset, which the broker has added to a message, and its properties without the
    offset."""
    parts = amqp_properties.split(properties)
    offset, entries = -1, []
    for _, entry in field_tables.entries(parts.get("headers", b"")[4:]):
        if entry.startswith(_OFFSET_ENTRY):
            offset = int.from_bytes(entry[len(_OFFSET_ENTRY) :], "big")
        else:
            entries.append(entry)
    headers = b"".join(entries)
    parts["headers"] = len(headers).to_bytes(4, "big") + headers
    if not headers:
        del parts["headers"]
    return offset, amqp_properties.joined(parts)
