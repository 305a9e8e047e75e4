"""Reading a tap: from where, up to where, and what lies between.

AMQP tells neither where a stream ends nor when a message was written. But a consumer that begins at
a time begins at the first chunk (what was written together) from then on, and one that begins at
``last`` gets all that is left, before the channel answers anything else. So a few short consumers
find both ends, and what is read lies between two offsets that exist.
"""

from __future__ import annotations

import asyncio
import functools
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

from pika import spec

from tasktools.brokers.rabbitmq.channel import Channel, fail, resolve
from tasktools.brokers.rabbitmq.connection import Connection, Session
from tasktools.brokers.rabbitmq.frames import Delivered
from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.brokers.rabbitmq.translate import Refused
from tasktools.brokers.tapping import ReceiveTapped, Tapped, unknown_tap
from tasktools.core import tables, wire
from tasktools.core.errors import BrokerTimeout, ConnectionLost, QueueNotFound, UnknownTap
from tasktools.core.taps import OFFSET

_MOST: Final = 65_535
_PREFETCH: Final = 100  # of large messages the broker reads ahead no more
_ACK_EVERY: Final = 50
_EMPTY: Final = 2.0  # seconds after which a stream that counts no message is believed to be empty
_ASLEEP, _GLANCE = 5.0, 0.1  # seconds that a stream may be away after its broker has begun again
_IDLE: Final = 30.0  # seconds without a message after which the broker is given up
_CHUNK: Final = 1  # seconds that a chunk may be written after the first message in it
_OFFSET_ENTRY: Final = tables.short(OFFSET) + b"l"

Place = str | int | datetime
"""Where a consumer begins."""


async def read(
    connection: Connection,
    name: str,
    receive: ReceiveTapped,
    *,
    since: float | None,
    until: float | None,
    offset: int,
) -> None:
    """Hand the messages to *receive*. Raises `UnknownTap`, and what *receive* raises."""
    start: Place = offset if since is None else datetime.fromtimestamp(math.floor(since), UTC)
    places: list[Place] = [start]
    if until is not None:
        places.append(datetime.fromtimestamp(math.ceil(until) + _CHUNK, UTC))
    (first, *end), last = await _found(connection, name, places)
    if end and end[0] is not None:
        last = end[0] - 1
    if first is not None and first <= last:
        await _Reading(name, receive, last).run(await connection.session(), first)


# --- finding the ends --------------------------------------------------------------------


_Offsets = tuple[list[int | None], int]


async def _found(connection: Connection, name: str, places: list[Place]) -> _Offsets:
    """Find the ends, patiently: a broker that has begun again has no streams at first, and says so
    in one of these ways."""
    deadline = asyncio.get_running_loop().time() + _ASLEEP
    while True:
        try:
            return await _offsets(await connection.session(), name, places)
        except (ConnectionLost, QueueNotFound, Refused):
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(_GLANCE)


async def _offsets(session: Session, name: str, places: list[Place]) -> _Offsets:
    """Return the offset of the first message from each of *places* on, where there is one, and that
    of the last message of all; -1 for an empty stream."""
    counted = await _counted(session, name)
    async with session.own_channel() as channel:
        try:
            found = [await _Ends.of(channel, name, place, prefetch=1) for place in places]
            tail = await _Ends.of(channel, name, "last", prefetch=_MOST)
        except Refused as refused:
            if OFFSET not in refused.text:
                raise
            raise UnknownTap(f"{name!r} is no tap, but another queue. {refused}") from refused
        try:
            await asyncio.wait_for(tail.begun.wait(), _IDLE if counted else _EMPTY)
        except TimeoutError:
            if counted:
                raise _silence(name) from None
        # Consumers begin in their order, so the earlier ones have begun by now, unless there is
        # nothing for them; and the channel answers after what it has delivered.
        await channel.queue(name, passive=True)
        return [one.first for one in found], tail.last


async def _counted(session: Session, name: str) -> int:
    """Return how many messages the stream counts, which is not exact. Raises `UnknownTap`, and
    `QueueNotFound` while it is there, but away."""
    try:
        async with session.asking() as channel:
            return (await channel.queue(name, passive=True)).ready
    except QueueNotFound as error:
        if "inaccessible" in str(error):
            raise
        raise unknown_tap(name) from None


@dataclass(slots=True)
class _Ends:
    """The offsets of the first and the last message that a consumer got."""

    first: int | None = None
    last: int = -1
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def of(cls, channel: Channel, name: str, place: Place, *, prefetch: int) -> Self:
        """Begin at *place*."""
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
        """Return when all from *first* is read, or enough."""
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
            await asyncio.wait([self._over], timeout=_IDLE)
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
        if self._count % _ACK_EVERY == 0:
            channel.raw.basic_ack(method.delivery_tag, multiple=True)

    def _is_enough(self, topic: str, properties: bytes, body: bytes) -> bool:
        offset, raw = _without_offset(properties)
        if offset > self._last:
            return True
        is_enough = self._receive(Tapped(offset, topic, raw, body)) is True
        return is_enough or offset == self._last


def _silence(name: str) -> BrokerTimeout:
    return BrokerTimeout(
        f"RabbitMQ sent nothing of the tap {name!r} for {_IDLE:g} s; nothing was changed. Read it "
        "again."
    )


def _without_offset(properties: bytes) -> tuple[int, bytes]:
    """Return the offset, which the broker has added to a message, and its properties without."""
    parts = wire.split(properties)
    offset, kept = -1, []
    for _, entry in tables.entries(parts.get("headers", b"")[4:]):
        if entry.startswith(_OFFSET_ENTRY):
            offset = int.from_bytes(entry[len(_OFFSET_ENTRY) :], "big")
        else:
            kept.append(entry)
    headers = b"".join(kept)
    parts["headers"] = len(headers).to_bytes(4, "big") + headers
    if not headers:
        del parts["headers"]
    return offset, wire.joined(parts)
