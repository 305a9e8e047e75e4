"""Confirmed, mandatory, pipelined publishing.

RabbitMQ answers each publish with an ack or a nack. A message that no queue takes is
returned first, and the very next ack is its own (and never covers others), so no marker is
needed to tell which one it was. Measured on 3.10, 4.0 and 4.3.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Final, Literal

import pika
from pika import spec

from tasktools.brokers.rabbitmq.channel import Channel, resolve
from tasktools.core.errors import BrokerError

Outcome = Literal["confirmed", "unroutable", "refused", "in doubt"]

WINDOW: Final = 1000
"""Messages in flight at most: enough to keep the broker busy, few to be in doubt."""


class Publisher:
    """Publishes on one channel in confirm mode and tells each message's outcome."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._next = 1
        self._waiting: dict[int, Callable[[Outcome], None]] = {}
        self.closed_by: BrokerError | None = None
        self._returned = False
        self._room = asyncio.Event()
        self._room.set()

    @classmethod
    async def on(cls, channel: Channel) -> Publisher:
        """Put *channel* into confirm mode and publish on it."""
        self = cls(channel)
        channel.on_close = self._lost
        channel.raw.add_on_return_callback(lambda *_: setattr(self, "_returned", True))
        await channel.call(channel.raw.confirm_delivery, self._answered)
        return self

    @property
    def is_open(self) -> bool:
        """Whether it can still publish."""
        return self._channel.is_open

    def send(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: pika.BasicProperties,
        settled: Callable[[Outcome], None],
    ) -> None:
        """Publish one message; *settled* is called once, with what became of it."""
        self._channel.publish(exchange, routing_key, body, properties)
        self._waiting[self._next] = settled
        self._next += 1
        if len(self._waiting) >= WINDOW:
            self._room.clear()

    async def room(self) -> None:
        """Wait until another message may be in flight."""
        await self._room.wait()

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties
    ) -> Outcome:
        """Publish one message and wait for its outcome."""
        await self.room()
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        settled = functools.partial(resolve, outcome)
        self.send(exchange, routing_key, body, properties, settled)
        return await outcome

    def _answered(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        if isinstance(method, spec.Basic.Nack):
            outcome: Outcome = "refused"
        else:
            outcome = "unroutable" if self._returned else "confirmed"
            self._returned = False
        tag = method.delivery_tag
        if method.multiple:
            for earlier in [t for t in self._waiting if t <= tag]:
                self._waiting.pop(earlier)(outcome)
        else:
            self._waiting.pop(tag)(outcome)
        if len(self._waiting) <= WINDOW // 2:  # not at once: one wake-up for many messages
            self._room.set()

    def _lost(self, why: BrokerError) -> None:
        self.closed_by = why
        waiting, self._waiting = self._waiting, {}
        for settled in waiting.values():
            settled("in doubt")
        self._room.set()
