"""A value that RabbitMQ keeps: the one message of a queue, changed under a lock.

The message holds a JSON object and its revision. Whoever reads or changes it holds an exclusive
queue meanwhile, so nobody ever finds the queue empty because another has the message in hand.
A new revision is confirmed before the old one is acknowledged; should we die between the two,
both are there and the higher one counts. The queue is classic and lives on one node.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import pika

from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.channel import Channel
from tasktools.brokers.rabbitmq.connection import Session
from tasktools.core import values
from tasktools.core.errors import BrokerTimeout, PublishRefused

_PATIENCE: Final = 4.0
_ARGUMENTS: Final = {"x-queue-type": "classic", "x-max-length": 1}


@dataclass(frozen=True, slots=True)
class _Kept:
    revision: int = 0
    value: Any = None


class Store:
    """A JSON object called *name*, shared by all clients of a vhost."""

    def __init__(self, name: str) -> None:
        self.queue = f"tasktools.{name}"

    async def read(self, session: Session) -> dict[str, Any]:
        """Return the object; empty if nobody ever changed it."""
        if await topology.queue_ok(session, self.queue) is None:
            return {}
        async with self._alone(session), session.own_channel() as channel:
            kept = await self._newest(channel)  # closing the channel gives it back
            return dict(values.mapping(kept.value))

    async def change(
        self, session: Session, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> int:
        """Replace the object by what *change* makes of it; returns the new revision.

        Raises `PublishRefused`, and `BrokerTimeout` when others keep changing it.
        """
        async with self._alone(session), session.own_channel() as channel:
            await channel.queue(self.queue, durable=True, arguments=_ARGUMENTS)
            kept = await self._newest(channel)
            revision = kept.revision + 1
            value = change(dict(values.mapping(kept.value)))
            body = json.dumps({"revision": revision, "value": value}).encode()
            publisher = await session.publisher()
            persistent = pika.BasicProperties(delivery_mode=2, content_type="application/json")
            outcome = await publisher.publish("", self.queue, body, persistent)
            if outcome != "confirmed":
                raise PublishRefused(
                    f"RabbitMQ did not keep the new value of {self.queue!r} ({outcome}); the old "
                    "one stays."
                )
            channel.raw.basic_ack(0, multiple=True)
            return revision

    async def _newest(self, channel: Channel) -> _Kept:
        newest = _Kept()
        while (got := await channel.get(self.queue)) is not None:
            with contextlib.suppress(ValueError):
                told = values.mapping(json.loads(got.body))
                revision = values.count(told.get("revision")) or 0
                if revision > newest.revision:
                    newest = _Kept(revision, told.get("value"))
        return newest

    @contextlib.asynccontextmanager
    async def _alone(self, session: Session) -> AsyncIterator[None]:
        """Be the only client with the queue in hand, waiting for others."""
        name = f"{self.queue}.in-use"
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while not await session.take_name(name):
            if asyncio.get_running_loop().time() > deadline:
                raise BrokerTimeout(
                    f"Others kept {self.queue!r} in use for {_PATIENCE:g} s; nothing was changed. "
                    "Try again."
                )
            await asyncio.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - jitter
        try:
            yield
        finally:
            await session.free_name(name)
