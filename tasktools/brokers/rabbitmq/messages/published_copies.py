"""Copies of published messages, from a bounded queue bound to the task exchange.

Overflow is dead-lettered to a one-message queue; a message there means that copies were dropped.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from collections.abc import Callable
from typing import Final

from pika import spec

from tasktools.brokers.base import Overhear
from tasktools.brokers.rabbitmq.connection.channel import Channel
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.raw_connection import Delivered
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core.backoff import Backoff
from tasktools.core.errors import TaskToolsError
from tasktools.core.layout import Layout

_log = logging.getLogger("tasktools.overhearing")

_MAX_COPY_BYTES: Final = 256 * 1024 * 1024
_RETRY_SECONDS: Final = (0.2, 5.0)  # the first pause after a loss, and the longest
_MISSED_SECONDS: Final = 0.5  # between two calls of *missed* while copies are dropped


class PublishedCopies:
    """Passes copies of all messages of the task exchange to *receive* while *connection* is
    open."""

    max_copies: int = 100_000
    """Copies that wait in the queue; more are dropped."""

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        receive: Overhear,
        missed: Callable[[], object],
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._receive = receive
        self._missed = missed
        self._queue = f"tasktools.overheard.{secrets.token_hex(8)}"
        self._task: asyncio.Task[None] | None = None

    async def begin(self, session: Session) -> None:
        """Start to receive copies; raises if that fails now, and retries after later losses."""
        await topology.declare_exchanges(session, self._layout)
        channel = await self._consume(session)
        self._task = asyncio.create_task(self._consume_forever(channel))

    async def _consume_forever(self, channel: Channel) -> None:
        """Consume, again after every loss."""
        backoff = Backoff(*_RETRY_SECONDS)
        while True:
            await channel.lost()
            self._call(self._missed)
            try:
                channel = await self._consume(await self._connection.session())
                backoff.reset()
            except (TaskToolsError, TimeoutError):
                self._call(self._missed)
                await asyncio.sleep(backoff.pause())

    async def _consume(self, session: Session) -> Channel:
        dropped = f"{self._queue}.dropped"
        await self._consume_dropped(session, dropped)
        channel = await session.channel()
        await channel.queue(
            self._queue,
            exclusive=True,
            arguments={
                "x-queue-type": "classic",
                "x-max-length": self.max_copies,
                "x-max-length-bytes": _MAX_COPY_BYTES,
                "x-expires": 60_000,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": dropped,
            },
        )
        await topology.bind(session, self._queue, self._layout.task_exchange, "#")
        await channel.consume(self._queue, self._arrived, auto_ack=True)
        return channel

    async def _consume_dropped(self, session: Session, queue: str) -> None:
        channel = await session.channel()
        arguments = {"x-queue-type": "classic", "x-max-length": 1, "x-expires": 60_000}
        await channel.queue(queue, exclusive=True, arguments=arguments)
        await channel.call(channel.raw.basic_qos, prefetch_count=1)
        await channel.consume(queue, functools.partial(self._dropped, channel))

    def _dropped(
        self,
        channel: Channel,
        method: spec.Basic.Deliver | Delivered,
        _properties: RawProperties,
        _body: bytes,
    ) -> None:
        self._call(self._missed)

        def next_one() -> None:
            if channel.is_open:
                channel.raw.basic_ack(method.delivery_tag)

        asyncio.get_running_loop().call_later(_MISSED_SECONDS, next_one)

    def _arrived(
        self, method: spec.Basic.Deliver | Delivered, properties: RawProperties, body: bytes
    ) -> None:
        self._call(self._receive, method.routing_key, properties.raw, body)

    def _call(self, callback: Callable[..., object], *what: object) -> None:
        try:
            callback(*what)
        except Exception:  # noqa: BLE001 - a stranger's code; the messages go on
            _log.exception("the receiver of copies of messages failed")
