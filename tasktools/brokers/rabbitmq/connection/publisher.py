"""Confirmed, mandatory, pipelined publishing.

RabbitMQ answers each publish with an ack or a nack. A message that no queue takes is returned
first. The ack that follows is usually for the returned message, but while other confirms are due it
may be for other messages, or for several at once. So a returned message is recognised by its
content: exchange, key, body and properties, byte for byte. Measured on 3.10 and 4.3.

A message that RabbitMQ refuses with an error (a body above `max_message_size`, a missing exchange,
no permission) closes the channel, and the confirms of all messages in flight are lost with it. So a
message that RabbitMQ might refuse (the first to an address, or one larger than all before) is in
flight alone: an error then belongs to this message, and no other message is in doubt.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable
from typing import Final, Literal

import pika
from pika import spec

from tasktools.brokers.rabbitmq.connection.channel import Channel, resolve
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.core.errors import BrokerError, PermissionDenied, QueueNotFound
from tasktools.core.masked_repr import MaskedStruct

Outcome = Literal["confirmed", "unroutable", "refused", "in doubt"]

WINDOW: Final = 1000
"""Messages in flight at most: enough to keep the broker busy, few to be in doubt."""
_MAX_ADDRESSES: Final = 10_000
_REFUSED_CODES: Final = (311, 403, 404, 406)  # AMQP reply codes that a publish is refused with


class _Sent(MaskedStruct, frozen=True, gc=False):
    """A message in flight. *settled* is called with its outcome."""

    exchange: str
    routing_key: str
    body: bytes
    properties: bytes
    settled: Callable[[Outcome], None]

    def is_like(self, method: spec.Basic.Return, body: bytes) -> bool:
        """Whether the returned message is this message.

        Headers are not compared: a plugin may have added some.
        """
        sent = (self.routing_key, self.exchange, self.body)
        return sent == (method.routing_key, method.exchange, body)


class AcceptedPublishes:
    """The publishes that RabbitMQ took without an error: addresses and body sizes."""

    def __init__(self) -> None:
        self._addresses: set[tuple[str, str]] = set()
        self._largest_body = -1  # bytes; nothing was answered yet

    def covers(self, exchange: str, routing_key: str, size: int) -> bool:
        """Whether a message as large, to the same exchange and key, was answered before. The
        default exchange has no permissions by key, so any key counts."""
        if size > self._largest_body:
            return False
        return not exchange or (exchange, routing_key) in self._addresses

    def add(self, exchange: str, routing_key: str, size: int) -> None:
        """Note that a message like this was answered."""
        if exchange:
            if len(self._addresses) >= _MAX_ADDRESSES:
                self._addresses.clear()
            self._addresses.add((exchange, routing_key))
        self._largest_body = max(self._largest_body, size)

    def forget(self) -> None:
        """Forget all answers, after an error that earlier answers had seemed to rule out."""
        self.__init__()  # type: ignore[misc]


class Publisher:
    """Publishes on one channel in confirm mode and reports each message's outcome.

    While `settled` is called with "refused", "unroutable" or "in doubt", `reason` holds the
    broker's words, if it gave any.
    """

    def __init__(self, channel: Channel, proven: AcceptedPublishes) -> None:
        self.reason: str | None = None
        self._channel = channel
        self._accepted = proven
        self._turn = asyncio.Lock()
        self._next = 1
        self._waiting: dict[int, _Sent] = {}  # by their tags, in order
        self._returned: set[int] = set()
        self._last_returned = 0
        self._answered_at = float("-inf")
        self.closed_by: BrokerError | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()

    @classmethod
    async def on(cls, channel: Channel, proven: AcceptedPublishes) -> Publisher:
        """Put *channel* into confirm mode, and return a publisher on it; *proven* has the accepted
        publishes of the connection."""
        self = cls(channel, proven)
        channel.on_close = self._lost
        channel.raw.add_on_return_callback(self._came_back)
        await channel.call(channel.raw.confirm_delivery, self._answered)
        return self

    @property
    def is_open(self) -> bool:
        """Whether the publisher's channel is open."""
        return self._channel.is_open

    @property
    def idle(self) -> float:
        """Seconds since the broker last answered a message."""
        return asyncio.get_running_loop().time() - self._answered_at

    def send(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: pika.BasicProperties,
        settled: Callable[[Outcome], None],
        *,
        alone: bool = False,
    ) -> None:
        """Publish one message; *settled* is called once, with its outcome.

        With *alone* no other message is sent until this one is answered.
        """
        encoded = b"".join(properties.encode())
        most = self._channel.largest_properties
        if most and len(encoded) > most:
            # RabbitMQ would close the connection.
            self._tell(
                settled, "refused", f"its properties take {len(encoded):,} bytes, above {most:,}"
            )
            return
        self._channel.publish(exchange, routing_key, body, encoded)
        self._waiting[self._next] = _Sent(exchange, routing_key, body, encoded, settled)
        self._next += 1
        self._empty.clear()
        is_lone = alone or not self._accepted.covers(exchange, routing_key, len(body))
        if is_lone or len(self._waiting) >= WINDOW:
            self._room.clear()

    def may_join(self, exchange: str, routing_key: str, size: int) -> bool:
        """Whether a message with a body of *size* bytes may be in flight together with others."""
        return self._accepted.covers(exchange, routing_key, size)

    async def room(
        self, exchange: str = "", routing_key: str = "", size: int = 0, *, alone: bool = False
    ) -> None:
        """Wait until this message may be sent: until there is room in the window and, if it has to
        be *alone* or nothing like it is proven, until nothing else is in flight."""
        joins = not alone and self.may_join(exchange, routing_key, size)
        if self._room.is_set() and not self._turn.locked() and (joins or not self._waiting):
            return
        async with self._turn:  # in turn, so that who waits to be alone is not overtaken
            await self._room.wait()
            if alone or not self.may_join(exchange, routing_key, size):
                await self._empty.wait()

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties
    ) -> Outcome:
        """Publish one message and wait for its outcome."""
        await self.room(exchange, routing_key, len(body))
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        settled = functools.partial(resolve, outcome)
        self.send(exchange, routing_key, body, properties, settled)
        return await outcome

    def _came_back(
        self, _raw: object, method: spec.Basic.Return, properties: RawProperties, body: bytes
    ) -> None:
        waiting = self._waiting
        later = range(self._last_returned + 1, self._next)  # they come back in order
        alike = (tag for tag in later if tag in waiting and waiting[tag].is_like(method, body))
        first = next(alike)
        both = itertools.chain([first], alike)
        same = (tag for tag in both if waiting[tag].properties == properties.raw)
        self._last_returned = next(same, first)
        self._returned.add(self._last_returned)

    def _answered(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        self._answered_at = asyncio.get_running_loop().time()
        tag = method.delivery_tag
        is_refused = isinstance(method, spec.Basic.Nack)
        if method.multiple:
            for earlier in list(itertools.takewhile(lambda known: known <= tag, self._waiting)):
                self._settle(earlier, is_refused=is_refused)
        else:
            self._settle(tag, is_refused=is_refused)
        if not self._waiting:
            self._empty.set()
        if len(self._waiting) <= WINDOW // 2:  # not at once: one wake-up for many messages
            self._room.set()

    def _settle(self, tag: int, *, is_refused: bool) -> None:
        outcome: Outcome = "refused" if is_refused else "confirmed"
        if tag in self._returned:
            self._returned.remove(tag)
            outcome = "unroutable"
        sent = self._waiting.pop(tag)
        if not self._accepted.covers(sent.exchange, sent.routing_key, len(sent.body)):
            self._accepted.add(sent.exchange, sent.routing_key, len(sent.body))
        sent.settled(outcome)

    def _lost(self, why: BrokerError) -> None:
        self.closed_by = why
        waiting, self._waiting = self._waiting, {}
        outcome: Outcome = "in doubt"
        if len(waiting) == 1:
            outcome = _refusal(why) or outcome
        elif _refusal(why) is not None:
            self._accepted.forget()
        for sent in waiting.values():
            self._tell(sent.settled, outcome, self._channel.reply_text)
        self._empty.set()
        self._room.set()

    def _tell(
        self, settled: Callable[[Outcome], None], outcome: Outcome, reason: str | None
    ) -> None:
        self.reason = reason
        settled(outcome)


def _refusal(closed_by: BrokerError) -> Outcome | None:
    """Return the outcome of the only message in flight if RabbitMQ closed the channel for it before
    routing it; `None` where that is not certain."""
    match closed_by:
        case QueueNotFound():  # there is no such exchange
            return "unroutable"
        case PermissionDenied():
            return "refused"
        case Refused() if closed_by.code in _REFUSED_CODES:
            return "refused"
    return None
