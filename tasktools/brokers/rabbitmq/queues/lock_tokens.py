"""Lock tokens of the peers: one message in the queue `tw.lock.<name>`.

A peer takes the token out and puts one in again; one that thinks the holder dead puts in a new
one. We hold the token by a consumer that never acknowledges it, so a token that is put in while
we hold the lock comes straight to us, and goes back to the queue within milliseconds of our end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Final

import pika
from pika import spec

from tasktools.brokers.rabbitmq.connection.channel import Channel
from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core.errors import BrokerError, PublishRefused
from tasktools.core.layout import PEER_LOCKS

_ARRIVE_SECONDS: Final = 2.0


def queue_of(name: str) -> str:
    """Return the queue of the token of lock *name*."""
    return f"{PEER_LOCKS}{name}"


async def put(session: Session, name: str) -> None:
    """Put a token into the queue; RabbitMQ drops it if there is one already."""
    publisher = await session.publisher()
    body = json.dumps({"lock": name}).encode()
    persistent = pika.BasicProperties(delivery_mode=2)
    outcome = await publisher.publish("", queue_of(name), body, persistent)
    if outcome != "confirmed":
        raise PublishRefused(f"RabbitMQ did not take the token of lock {name!r} ({outcome}).")


async def is_missing(session: Session, name: str) -> bool:
    """Whether the queue exists without a token: a holder has it, or died with it."""
    ok = await topology.queue_ok(session, queue_of(name))
    return ok is not None and ok.ready == 0


class LockToken:
    """The token of one lock, held by this client."""

    rotate_seconds = 300.0
    """Time after which a token is exchanged for a fresh one: long before RabbitMQ's consumer
    timeout of 30 minutes, after which it would take the token away from us."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name
        self._channel: Channel | None = None
        self._tag: int | None = None
        self._arrived = asyncio.Event()
        self._rotating: asyncio.Task[None] | None = None

    @classmethod
    async def take(
        cls, session: Session, name: str, *, make: bool, lost: Callable[[], None]
    ) -> LockToken | None:
        """Take the token of lock *name*; `None` when the queue has none, unless *make* is true:
        then a missing one is made.

        *lost* is called if the channel closes or the consumer is cancelled: the lock is lost then.
        """
        self = cls(session, name)
        try:
            if not await self._take(make=make):
                await self._release()
                return None
        except BaseException:
            with contextlib.suppress(BrokerError):
                await self._release()
            raise
        if self._channel is not None:
            self._channel.on_close = lambda _why: lost()
            self._channel.raw.add_on_cancel_callback(lambda _frame: lost())
        self._rotating = asyncio.create_task(self._rotate())
        return self

    async def _take(self, *, make: bool) -> bool:
        queue = queue_of(self._name)
        channel = self._channel = await self._session.channel()
        if await topology.queue_ok(self._session, queue) is None:
            # Exactly as the peer declares it. Its own token, should it be doing the same at this
            # moment, comes to us.
            await channel.queue(queue, durable=True, arguments={"x-max-length": 1})
            make = True
        await channel.consume(queue, self._receive)
        if make:
            await put(self._session, self._name)
            await asyncio.wait_for(self._arrived.wait(), _ARRIVE_SECONDS)
        else:  # a token in the queue arrives before the answer to this
            await channel.queue(queue, passive=True)
        return self._tag is not None

    def _receive(
        self, method: spec.Basic.Deliver, _properties: pika.BasicProperties, _body: bytes
    ) -> None:
        if self._tag is not None and self._channel is not None:
            self._channel.raw.basic_ack(self._tag)  # the newest one is kept
        self._tag = method.delivery_tag
        self._arrived.set()

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(self.rotate_seconds)
            with contextlib.suppress(BrokerError):  # then the old token stays
                await put(self._session, self._name)

    async def give_back(self) -> None:
        """Put the token back into its queue."""
        if self._rotating is not None:
            self._rotating.cancel()
        await self._release()

    async def _release(self) -> None:
        if self._channel is not None:
            self._channel.on_close = None
            await self._channel.close()  # which gives back what was not acknowledged
