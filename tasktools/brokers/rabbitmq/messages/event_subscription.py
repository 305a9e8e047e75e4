"""The subscription to worker events, on a connection of its own.

The queue is exclusive and bounded, so a forgotten notebook cannot fill the broker. To know
that everything sent so far has been folded in, a marker is published to the end of that
queue: when it comes back, so has all that was before it; the time it takes is our lag.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Final

import pika
from pika import spec

from tasktools.brokers.rabbitmq.connection.channel import Channel, resolve
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.connection.publisher import Publisher
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core import events
from tasktools.core.backoff import Backoff
from tasktools.core.clock import Clock, ClockWatch, in_words, moment
from tasktools.core.cluster_view import ClusterView
from tasktools.core.errors import (
    BrokerError,
    ConnectionLost,
    PermissionDenied,
    PublishingBlocked,
    QueueNotFound,
    TaskToolsError,
)
from tasktools.core.events import Event
from tasktools.core.layout import Layout
from tasktools.core.models import ClusterState, Source

_log = logging.getLogger("tasktools.events")

_MAX_EVENTS: Final = 20_000
_MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
_MARKER_TYPE: Final = "tasktools.marker"
_MARKER_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = (0.2, 5.0)  # the first pause after a loss, and the longest
_CLOCK_NOTE_SECONDS: Final = 600.0  # for which a note says that our clock was set
_NO_EXCHANGE: Final = "no worker has ever subscribed: the exchange {} does not exist"


def routing_key(event: Event) -> str:
    """Return the key of *event*: fanouts ignore it, `EventSubscription.tune` does not."""
    return "task" if isinstance(event, events.TaskEvent) else ""


class EventSubscription:
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
        self._view_changed = asyncio.Event()
        self._can_mark = True
        self._subscribed: asyncio.Event | None = None
        self._since = clock.time()
        self._unsubscribed_since: float | None = clock.time()
        self._why_unsubscribed = "not subscribed yet"
        self._following: asyncio.Task[None] | None = None
        self._wants_tasks: bool | None = None
        self._is_without_tasks = False
        self._channel: Channel | None = None
        self._exchange = ""
        self._last_event_at = clock.time()
        self._watch = ClockWatch(clock)
        self._clock_was_set: tuple[float, str] | None = None
        connection.on_unblocked = self._view.forgive  # no worker could say anything meanwhile

    # --- from any thread ------------------------------------------------------------

    def listen(
        self, listener: Callable[[Event], object], *, tasks: bool | None = None
    ) -> Callable[[], None]:
        """Call *listener* with every event from now on; returns what ends that.

        From the next `update_binding` on, events of tasks come if any listener wants *tasks*.
        """
        self._listeners.append(listener)
        if tasks is not None and self._wants_tasks is not True:
            self._wants_tasks = tasks

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return stop

    def seconds_since_lock_event(self, name: str) -> float | None:
        """Return the seconds since the last event of the lock *name*; `None` if there was none."""
        at = self._view.lock_heard(name)
        return None if at is None else self._clock.time() - self._watch.pending() - at

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

    async def update_binding(self) -> None:
        """Bind to the wanted events: all, or all but the task events of tasktools' workers."""
        if self._channel is not None and self._channel.is_open:
            await self._bind(await self._connection.session(), self._exchange)

    async def topics(self) -> frozenset[str]:
        """Return the topics named in the events that arrived."""
        return self._view.topics

    async def state(self, layout: Layout, settle: float, limit: float) -> ClusterState:
        """Return the picture, up to date as far as the events could be read in *limit* s."""
        await self.subscribed(layout, limit)
        self._wants_tasks = True
        await self.update_binding()
        lag = await self._catch_up() if self._unsubscribed_since is None else None
        self._follow_clock()
        if self._no_events_since is None:
            await self._settle(self._since + settle - self._clock.time())
        silent_since = self._no_events_since
        now = self._clock.time() if silent_since is None else silent_since
        return self._view.state(now, self._source(lag))

    def _follow_clock(self) -> None:
        """Shift what is remembered when the clock was set: no worker seems silent, no task old."""
        step = self._watch.take()
        if not step:
            return
        self._view.shift(step)
        self._since += step
        self._last_event_at += step
        if self._unsubscribed_since is not None:
            self._unsubscribed_since += step
        self._clock_was_set = self._clock.time(), in_words(step)

    @property
    def _no_events_since(self) -> float | None:
        """Since when no events can arrive.

        Either this client is not subscribed, or an alarm keeps all clients from publishing.
        """
        if self._unsubscribed_since is not None:
            return self._unsubscribed_since
        blocked = self._connection.blocked
        return None if blocked is None else max(blocked.since, self._last_event_at)

    async def _settle(self, limit: float) -> None:
        """Wait until the picture is complete, for *limit* s at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(limit, 0.0)):
                while not self._view.is_settled:
                    self._view_changed.clear()
                    await self._view_changed.wait()

    def _source(self, lag: float | None) -> Source:
        notes = []
        age = lag
        silent_since, blocked = self._no_events_since, self._connection.blocked
        if silent_since is not None:
            age = self._clock.time() - silent_since
            why = self._why_unsubscribed if self._unsubscribed_since is not None else str(blocked)
            notes.append(f"no events{f' for {age:.0f} s' if age >= 1 else ''}: {why}")
        elif not self._can_mark:
            notes.append("how far the events lag cannot be measured (no write permission)")
        elif lag is None:
            notes.append(f"the events are more than {_MARKER_SECONDS:g} s behind: too many come")
        if self._clock_was_set is not None:
            at, words = self._clock_was_set
            if self._clock.time() - at < _CLOCK_NOTE_SECONDS:
                notes.append(f"the clock of this machine was {words} at {moment(at):%H:%M:%S} UTC")
        if self._view.forgotten:
            notes.append(f"{self._view.forgotten} things were forgotten: the cluster is too large")
        if self._view.malformed:
            notes.append(f"{self._view.malformed} events could not be read")
        return Source(
            name="events",
            ok=silent_since is None and (lag is not None or not self._can_mark),
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
            async with asyncio.timeout(_MARKER_SECONDS):
                outgoing = await self._connection.outgoing()
                publisher = await outgoing.unproven_publisher()
                await outgoing.unless_blocked(asyncio.ensure_future(self._mark(publisher, name)))
                await outgoing.unless_blocked(marker)
            return loop.time() - began
        except PermissionDenied:
            self._can_mark = False  # no permission to write to the default exchange
        except (TimeoutError, BrokerError):
            pass  # too many events, an alarm, or no connection: `_source` says which
        finally:
            self._markers.pop(name, None)
        return None

    async def _mark(self, publisher: Publisher, name: str) -> None:
        """Send the marker *name* to the end of our queue."""
        properties = pika.BasicProperties(type=_MARKER_TYPE, message_id=name)
        if await publisher.publish("", self._queue, b"", properties) != "confirmed":
            raise publisher.closed_by or ConnectionLost()

    # --- following ------------------------------------------------------------------

    async def _follow(self, exchange: str, subscribed: asyncio.Event) -> None:
        backoff = Backoff(*_RETRY_SECONDS)
        while True:
            try:
                channel = await self._subscribe(await self._connection.session(), exchange)
                subscribed.set()
                backoff.reset()
                await channel.lost()
                self._unsubscribed_since = self._clock.time()
                self._why_unsubscribed = "the connection to RabbitMQ was lost"
            except (TaskToolsError, TimeoutError) as error:
                self._why_unsubscribed = str(error)
                subscribed.set()  # those who wait learn why there is nothing
            await asyncio.sleep(backoff.pause())

    async def _subscribe(self, session: Session, exchange: str) -> Channel:
        alone = False
        if self._declare:
            alone = await topology.declare_worker_exchange(session, exchange)
        elif not await topology.exchange_exists(session, exchange):
            raise BrokerError(_NO_EXCHANGE.format(exchange))
        channel = await session.channel()
        await channel.queue(
            self._queue,
            exclusive=True,
            arguments={
                "x-queue-type": "classic",
                "x-max-length": _MAX_EVENTS,
                "x-max-length-bytes": _MAX_EVENT_BYTES,
                "x-expires": 60_000,
            },
        )
        self._is_without_tasks, self._channel, self._exchange = False, channel, exchange
        await topology.bind(session, self._queue, exchange, "")
        await self._bind(session, exchange)
        await channel.consume(self._queue, self._arrived, auto_ack=True)
        self._follow_clock()
        if self._unsubscribed_since is not None:
            self._view.forgive(self._clock.time() - self._unsubscribed_since)
        self._unsubscribed_since, self._since, self._can_mark = None, self._clock.time(), True
        self._view.listen(self._since, alone=alone)
        await self._ask(session, exchange)
        return channel

    async def _bind(self, session: Session, exchange: str) -> None:
        """Change between the fanout and an exchange behind it that passes on only what has an
        empty routing key: peers say everything with one, our workers all but the task events."""
        if self._is_without_tasks == (self._wants_tasks is False) or not self._declare:
            return
        quiet = f"tasktools.quiet.{exchange}"
        try:
            if self._is_without_tasks:
                await topology.bind(session, self._queue, exchange, "")
                await topology.unbind(session, self._queue, quiet, "")
            else:
                await topology.declare_behind(session, quiet, exchange)
                await topology.bind(session, self._queue, quiet, "")
                await topology.unbind(session, self._queue, exchange, "")
        except (PermissionDenied, QueueNotFound, Refused):
            return  # no right to do so: we hear more than we need
        self._is_without_tasks = not self._is_without_tasks

    async def _ask(self, session: Session, exchange: str) -> None:
        """Ask who is alive and which settings topics have; without permission, just listen."""
        with contextlib.suppress(PublishingBlocked):
            outgoing = await session.outgoing()
            publisher = await outgoing.publisher()
            for kind in ("who_is_alive", "config_request"):
                question = events.Question(kind=kind, sender_id=self.sender_id)
                body, properties = events.encode(question), pika.BasicProperties()
                await outgoing.unless_blocked(
                    asyncio.ensure_future(publisher.publish(exchange, "", body, properties))
                )
                if not publisher.is_open:
                    return  # no permission

    def _arrived(
        self, _method: spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
    ) -> None:
        if properties.type == _MARKER_TYPE:
            marker = self._markers.get(properties.message_id or "")
            if marker is not None:
                resolve(marker, None)
            return
        event = events.parse(body)
        self._follow_clock()
        self._last_event_at = self._clock.time()
        self._view.fold(self._last_event_at, event)
        self._view_changed.set()
        if not isinstance(event, events.Unknown | events.Malformed):
            self._call_listeners(event)

    def _call_listeners(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a stranger's code; the events go on
                _log.exception("a listener to the worker events failed")
