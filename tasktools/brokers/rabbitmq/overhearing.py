"""Overhearing what is published: a bounded queue of our own, bound to the task exchange.

What it has no room for is dead-lettered into another one, which holds a single message: that there
is one says that some were missed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import secrets
from collections.abc import Callable
from typing import Final

from pika import spec

from tasktools.brokers.base import Overhear
from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.channel import Channel
from tasktools.brokers.rabbitmq.connection import Connection, Session
from tasktools.brokers.rabbitmq.frames import Delivered
from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.core.errors import TaskToolsError
from tasktools.core.layout import Layout

_log = logging.getLogger("tasktools.overhearing")

_MOST: Final = 100_000
_MOST_BYTES: Final = 256 * 1024 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_TOLD_EVERY: Final = 0.5  # seconds


class Overhearing:
    """Hands copies of what passes the task exchange to *receive*, while *connection* is open."""

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
        self._keeping: asyncio.Task[None] | None = None

    async def begin(self, session: Session) -> None:
        """Begin, or raise why that cannot be; what happens later is mended."""
        await topology.declare_exchanges(session, self._layout)
        channel = await self._consume(session)
        self._keeping = asyncio.create_task(self._keep(channel))

    async def _keep(self, channel: Channel) -> None:
        """Begin again after every loss."""
        pause = _FIRST_PAUSE
        while True:
            await _until_lost(channel)
            self._tell(self._missed)
            try:
                channel = await self._consume(await self._connection.session())
                pause = _FIRST_PAUSE
            except (TaskToolsError, TimeoutError):
                self._tell(self._missed)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _consume(self, session: Session) -> Channel:
        dropped = f"{self._queue}.dropped"
        await self._consume_dropped(session, dropped)
        channel = await session.channel()
        await channel.queue(
            self._queue,
            exclusive=True,
            arguments={
                "x-queue-type": "classic",
                "x-max-length": _MOST,
                "x-max-length-bytes": _MOST_BYTES,
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
        self._tell(self._missed)

        def next_one() -> None:
            if channel.is_open:
                channel.raw.basic_ack(method.delivery_tag)

        asyncio.get_running_loop().call_later(_TOLD_EVERY, next_one)

    def _arrived(
        self, method: spec.Basic.Deliver | Delivered, properties: RawProperties, body: bytes
    ) -> None:
        self._tell(self._receive, method.routing_key, properties.raw, body)

    def _tell(self, told: Callable[..., object], *what: object) -> None:
        try:
            told(*what)
        except Exception:  # noqa: BLE001 - a stranger's code; the messages go on
            _log.exception("what overhears the messages failed")


async def _until_lost(channel: Channel) -> None:
    lost = asyncio.Event()
    channel.on_close = lambda _: lost.set()
    channel.raw.add_on_cancel_callback(lambda _: lost.set())
    if channel.is_open:
        await lost.wait()
