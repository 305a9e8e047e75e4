"""Listening to the worker events, on a connection of its own.

The queue is exclusive and bounded, so a forgotten notebook cannot fill the broker. To know
that everything sent so far has been folded in, a marker is published to the end of that
queue: when it comes back, so has all that was before it; the time it takes is our lag.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Callable
from typing import Final

import pika
from pika import spec

from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.channel import Channel, fail, resolve
from tasktools.brokers.rabbitmq.connection import Connection, Session
from tasktools.brokers.rabbitmq.publisher import Outcome
from tasktools.brokers.rabbitmq.translate import Refused
from tasktools.core import events
from tasktools.core.clock import Clock
from tasktools.core.cluster_view import ClusterView
from tasktools.core.errors import (
    BrokerError,
    ConnectionLost,
    PermissionDenied,
    QueueNotFound,
    TaskToolsError,
)
from tasktools.core.events import Event
from tasktools.core.layout import Layout
from tasktools.core.models import ClusterState, Source

_log = logging.getLogger("tasktools.events")

_MOST_EVENTS: Final = 20_000
_MOST_BYTES: Final = 64 * 1024 * 1024
_MARKER: Final = "tasktools.marker"
_MARKER_LIMIT: Final = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_NO_EXCHANGE: Final = "no worker has ever subscribed: the exchange {} does not exist"


def routing_key(event: Event) -> str:
    """Return the key with which *event* is sent: fanouts ignore it, `Feed.tune` does not."""
    return "task" if isinstance(event, events.TaskEvent) else ""


class Feed:
    """Keeps a `ClusterView` fed. Everything here runs on the connection's loop."""

    def __init__(self, connection: Connection, clock: Clock, *, declare: bool) -> None:
        self.sender_id = f"tasktools-{secrets.token_hex(4)}"
        self._connection = connection
        self._clock = clock
        self._declare = declare
        self._view = ClusterView()
        self._listeners: list[Callable[[Event], object]] = []
        self._queue = f"tasktools.events.{secrets.token_hex(8)}"
        self._markers: dict[str, asyncio.Future[None]] = {}
        self._news = asyncio.Event()
        self._can_mark = True
        self._subscribed: asyncio.Event | None = None
        self._since = clock.time()
        self._deaf_since: float | None = clock.time()
        self._why_deaf = "not subscribed yet"
        self._following: asyncio.Task[None] | None = None
        self._wants_tasks: bool | None = None
        self._quiet = False
        self._channel: Channel | None = None
        self._exchange = ""

    # --- from any thread ------------------------------------------------------------

    def listen(
        self, listener: Callable[[Event], object], *, tasks: bool | None = None
    ) -> Callable[[], None]:
        """Call *listener* with every event from now on; returns what ends that.

        Whether those of *tasks* are wanted decides from the next `tune` on; whoever wants them
        gets them, whatever others say.
        """
        self._listeners.append(listener)
        if tasks is not None and self._wants_tasks is not True:
            self._wants_tasks = tasks

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return stop

    def lock_heard(self, name: str) -> float | None:
        """When anybody was last heard to take or to give back the lock *name*."""
        return self._view.lock_heard(name)

    # --- asked from other threads, on the loop --------------------------------------

    async def follow(self, layout: Layout) -> asyncio.Event:
        """Begin to follow the events, if not begun; the event tells of the first success
        or failure."""
        if self._subscribed is None:
            self._subscribed = asyncio.Event()
            exchange = layout.worker_exchange
            self._following = asyncio.create_task(self._follow(exchange, self._subscribed))
        return self._subscribed

    async def subscribed(self, layout: Layout, limit: float) -> None:
        """Return when the first attempt to subscribe was made, or after *limit* s."""
        attempted = await self.follow(layout)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(attempted.wait(), limit)

    async def tune(self) -> None:
        """Hear as much as is wanted: all events, or all but those of tasks on workers of ours."""
        if self._channel is not None and self._channel.is_open:
            await self._bind(await self._connection.session(), self._exchange)

    async def topics(self) -> frozenset[str]:
        """Return the topics that the workers speak of, as far as was heard."""
        return self._view.topics

    async def state(self, layout: Layout, settle: float, limit: float) -> ClusterState:
        """Return the picture, up to date as far as the events could be read in *limit* s."""
        await self.subscribed(layout, limit)
        self._wants_tasks = True
        await self.tune()
        lag = await self._catch_up() if self._deaf_since is None else None
        if self._deaf_since is None:
            await self._settle(self._since + settle - self._clock.time())
        now = self._clock.time() if self._deaf_since is None else self._deaf_since
        return self._view.state(now, self._source(lag))

    async def _settle(self, limit: float) -> None:
        """Wait until the picture is complete, for *limit* s at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(limit, 0.0)):
                while not self._view.is_settled:
                    self._news.clear()
                    await self._news.wait()

    def _source(self, lag: float | None) -> Source:
        notes = []
        age = lag
        if self._deaf_since is not None:
            age = self._clock.time() - self._deaf_since
            notes.append(f"no events for {age:.0f} s: {self._why_deaf}")
        elif not self._can_mark:
            notes.append("how far the events lag cannot be measured (no write permission)")
        elif lag is None:
            notes.append(f"the events are more than {_MARKER_LIMIT:g} s behind: too many come")
        if self._view.forgotten:
            notes.append(f"{self._view.forgotten} things were forgotten: the cluster is too large")
        if self._view.malformed:
            notes.append(f"{self._view.malformed} events could not be read")
        return Source(
            name="events",
            ok=self._deaf_since is None and (lag is not None or not self._can_mark),
            age=age,
            note="; ".join(notes) or None,
        )

    async def _catch_up(self) -> float | None:
        """Wait until all that is in our queue now has been folded in; returns the seconds."""
        if not self._can_mark:
            return None
        name = secrets.token_hex(8)
        loop = asyncio.get_running_loop()
        marker = self._markers[name] = loop.create_future()
        began = loop.time()
        try:
            publisher = await (await self._connection.session()).publisher()

            def settled(outcome: Outcome) -> None:
                if outcome != "confirmed":
                    fail(marker, publisher.closed_by or ConnectionLost())

            properties = pika.BasicProperties(type=_MARKER, message_id=name)
            publisher.send("", self._queue, b"", properties, settled)
            await asyncio.wait_for(marker, _MARKER_LIMIT)
            return loop.time() - began
        except PermissionDenied:
            self._can_mark = False  # it takes permission to write to the default exchange
        except (TimeoutError, BrokerError):
            pass  # too many events, or no connection: `_source` says which
        finally:
            self._markers.pop(name, None)
        return None

    # --- following ------------------------------------------------------------------

    async def _follow(self, exchange: str, subscribed: asyncio.Event) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                channel = await self._subscribe(await self._connection.session(), exchange)
                subscribed.set()
                pause = _FIRST_PAUSE
                await self._until_lost(channel)
            except (TaskToolsError, TimeoutError) as error:
                self._why_deaf = str(error)
                subscribed.set()  # those who wait learn why there is nothing
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _subscribe(self, session: Session, exchange: str) -> Channel:
        if self._declare:
            await topology.declare_worker_exchange(session, exchange)
        elif not await topology.exchange_exists(session, exchange):
            raise BrokerError(_NO_EXCHANGE.format(exchange))
        channel = await session.channel()
        await channel.queue(
            self._queue,
            exclusive=True,
            arguments={
                "x-queue-type": "classic",
                "x-max-length": _MOST_EVENTS,
                "x-max-length-bytes": _MOST_BYTES,
                "x-expires": 60_000,
            },
        )
        self._quiet, self._channel, self._exchange = False, channel, exchange
        await topology.bind(session, self._queue, exchange, "")
        await self._bind(session, exchange)
        await channel.consume(self._queue, self._arrived, auto_ack=True)
        if self._deaf_since is not None:
            self._view.forgive(self._clock.time() - self._deaf_since)
        self._deaf_since, self._since, self._can_mark = None, self._clock.time(), True
        await self._ask(session, exchange)
        return channel

    async def _bind(self, session: Session, exchange: str) -> None:
        """Change between the fanout and an exchange behind it that passes on only what has an
        empty routing key: peers say everything with one, our workers all but the task events."""
        if self._quiet == (self._wants_tasks is False) or not self._declare:
            return
        quiet = f"tasktools.quiet.{exchange}"
        try:
            if self._quiet:
                await topology.bind(session, self._queue, exchange, "")
                await topology.unbind(session, self._queue, quiet, "")
            else:
                await topology.declare_behind(session, quiet, exchange)
                await topology.bind(session, self._queue, quiet, "")
                await topology.unbind(session, self._queue, exchange, "")
        except (PermissionDenied, QueueNotFound, Refused):
            return  # no right to do so: we hear more than we need
        self._quiet = not self._quiet

    async def _ask(self, session: Session, exchange: str) -> None:
        """Ask who is alive and which settings topics have; without permission, just listen."""
        with contextlib.suppress(PermissionDenied):
            async with session.own_channel() as channel:
                for kind in ("who_is_alive", "config_request"):
                    question = events.Question(kind=kind, sender_id=self.sender_id)
                    channel.raw.basic_publish(exchange, "", events.encode(question))

    async def _until_lost(self, channel: Channel) -> None:
        """Return when the consumer is gone, however it went."""
        lost = asyncio.Event()
        channel.on_close = lambda _: lost.set()
        channel.raw.add_on_cancel_callback(lambda _: lost.set())
        if channel.is_open:
            await lost.wait()
        self._deaf_since = self._clock.time()
        self._why_deaf = "the connection to RabbitMQ was lost"

    def _arrived(
        self, _method: spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
    ) -> None:
        if properties.type == _MARKER:
            marker = self._markers.get(properties.message_id or "")
            if marker is not None:
                resolve(marker, None)
            return
        event = events.parse(body)
        self._view.fold(self._clock.time(), event)
        self._news.set()
        if not isinstance(event, events.Unknown | events.Malformed):
            self._tell(event)

    def _tell(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a stranger's code; the events go on
                _log.exception("a listener to the worker events failed")
