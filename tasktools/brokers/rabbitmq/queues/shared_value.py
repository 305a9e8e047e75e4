"""A JSON value stored in RabbitMQ: the one message of a queue, changed under a lock.

The message holds a JSON object and its revision. A client that reads or changes the object holds an
exclusive queue as a lock, so no client finds the queue empty because another one holds the message.
A new revision is confirmed before the old one is acknowledged; after a crash between the two, both
are there and the higher revision counts. The queue is classic and lives on one node.
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

from tasktools.brokers.rabbitmq.connection.channel import Channel
from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core import untrusted
from tasktools.core.errors import BrokerTimeout, PublishRefused
from tasktools.core.masked_repr import MaskedRepr

_WAIT_SECONDS: Final = 4.0
_QUEUE_ARGUMENTS: Final = {"x-queue-type": "classic", "x-max-length": 1}


@dataclass(frozen=True, slots=True, repr=False)
class _StoredValue(MaskedRepr):
    revision: int = 0
    value: Any = None


class SharedValue:
    """A JSON object called *name*, shared by all clients of a vhost."""

    def __init__(self, name: str) -> None:
        self.queue = f"tasktools.{name}"

    async def read(self, session: Session) -> dict[str, Any]:
        """Return the object; empty if nobody ever changed it."""
        if await topology.queue_ok(session, self.queue) is None:
            return {}
        async with self._alone(session), session.own_channel() as channel:
            stored = await self._newest(channel)  # closing the channel requeues the message
            return dict(untrusted.mapping(stored.value))

    async def change(
        self, session: Session, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> int:
        """Replace the object by the result of *change*; returns the new revision.

        Raises `PublishRefused`, and `BrokerTimeout` when others keep changing it.
        """
        async with self._alone(session), session.own_channel() as channel:
            await channel.queue(self.queue, durable=True, arguments=_QUEUE_ARGUMENTS)
            stored = await self._newest(channel)
            revision = stored.revision + 1
            value = change(dict(untrusted.mapping(stored.value)))
            body = json.dumps({"revision": revision, "value": value}).encode()
            publisher = await session.publisher()
            persistent = pika.BasicProperties(delivery_mode=2, content_type="application/json")
            outcome = await publisher.publish("", self.queue, body, persistent)
            if outcome != "confirmed":
                raise PublishRefused(
                    f"RabbitMQ did not keep the new value of {self.queue!r} "
                    f"({publisher.reason or outcome}); the old one stays."
                )
            channel.raw.basic_ack(0, multiple=True)
            return revision

    async def _newest(self, channel: Channel) -> _StoredValue:
        newest = _StoredValue()
        while (got := await channel.get(self.queue)) is not None:
            with contextlib.suppress(ValueError):
                content = untrusted.mapping(json.loads(got.body))
                revision = untrusted.count(content.get("revision")) or 0
                if revision > newest.revision:
                    newest = _StoredValue(revision, content.get("value"))
        return newest

    @contextlib.asynccontextmanager
    async def _alone(self, session: Session) -> AsyncIterator[None]:
        """Hold the queue exclusively; wait for other clients first."""
        name = f"{self.queue}.in-use"
        deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
        while not await session.take_name(name):
            if asyncio.get_running_loop().time() > deadline:
                raise BrokerTimeout(
                    f"Others kept {self.queue!r} in use for {_WAIT_SECONDS:g} s; nothing was "
                    "changed. Try again."
                )
            await asyncio.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - jitter
        try:
            yield
        finally:
            await session.free_name(name)
