"""The subscription to worker events, on a connection of its own.

The queue is exclusive and bounded, so a forgotten notebook cannot fill the broker. To know that all
events sent so far have been processed, a marker is published to the end of that queue: when it
arrives, so have all events before it. The time that it takes is the lag.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import pika
from msgspec.structs import replace
from pika import spec

from tasktools.brokers.rabbitmq.connection.channel import Channel, resolve
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.management import Management, ManagementUnavailable
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.connection.publisher import Publisher
from tasktools.brokers.rabbitmq.connection.raw_connection import Delivered
from tasktools.brokers.rabbitmq.messages import celery_subscription
from tasktools.brokers.rabbitmq.messages.celery_subscription import CelerySubscription
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core import events
from tasktools.core.backoff import Backoff
from tasktools.core.clock import Clock, ClockWatch, in_words, moment
from tasktools.core.cluster_view import ClusterView
from tasktools.core.dialects import celery_control
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
from tasktools.core.models import ClusterState, EventGap, Source

_log = logging.getLogger("tasktools.events")

_MAX_EVENTS: Final = 100_000
_MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
_MARKER_TYPE: Final = "tasktools.marker"
_MARKER_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = (0.2, 5.0)  # the first pause after a loss, and the longest
_NOTE_SECONDS: Final = 600.0  # for which a note says that our clock was set, or events missed
_MAX_GAPS: Final = 100
_JOIN_SECONDS: Final = 30.0  # between two looks for a fanout that does not exist
_SEEK_SECONDS: Final = (10.0, 300.0)  # between two looks for Celery; the longer one with workers
_NO_EXCHANGE: Final = "no worker has ever subscribed: the exchange {} does not exist"


def routing_key(event: Event) -> str:
    """Return the routing key of *event*: a fanout ignores it, the binding of `update_binding` does
    not."""
    return "task" if isinstance(event, events.TaskEvent) else ""


class EventSubscription:
    """Updates a `ClusterView` with each worker event. All methods run on the connection's loop."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        declare: bool,
    ) -> None:
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
        self._unmarked: BrokerError | None = None
        """Why nothing could be published to find out how far the events lag."""
        self._subscribed: asyncio.Event | None = None
        self._since = clock.time()
        self._unsubscribed_since: float | None = clock.time()
        self._why_unsubscribed = "not subscribed yet"
        self._was_subscribed = False
        self._gaps: deque[EventGap] = deque(maxlen=_MAX_GAPS)
        self._following: asyncio.Task[None] | None = None
        self._takes_tasks: bool | None = None
        self._is_without_tasks = False
        self._channel: Channel | None = None
        self._exchange = ""
        self._last_event_at = clock.time()
        self._watch = ClockWatch(clock)
        self._celery = CelerySubscription(
            connection, clock, self._take, self._view.note_connected, declare=declare
        )
        self._has_fanout = False
        self._refused: PermissionDenied | None = None
        """The error with which binding to the fanout was refused; Celery's events arrive in any
        case."""
        self._celery_sought_at = float("-inf")
        self._awaiting: asyncio.Task[None] | None = None
        self._clock_was_set: tuple[float, str] | None = None
        connection.on_unblocked = self._view.forgive  # no worker could say anything meanwhile

    # --- from any thread ------------------------------------------------------------

    def listen(
        self, listener: Callable[[Event], object], *, tasks: bool | None = None
    ) -> Callable[[], None]:
        """Call *listener* with every event from now on; return a function that ends this.

        From the next `update_binding` on, events of tasks come if any listener takes *tasks*.
        """
        self._listeners.append(listener)
        if tasks is not None and self._takes_tasks is not True:
            self._takes_tasks = tasks

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return stop

    def seconds_since_lock_event(self, name: str) -> float | None:
        """Return the seconds since the last event of the lock *name*; `None` if there was none."""
        at = self._view.last_lock_event(name)
        return None if at is None else self._clock.time() - self._watch.pending() - at

    def expect_answers(self, layout: Layout, management: Management, limit: float) -> None:
        """Ask *management* which workers of Celery should answer, so that the wait ends when all of
        them have answered."""
        self._connection.wait(self.subscribed(layout, limit), limit)
        if self._view.is_awaiting:
            with contextlib.suppress(ManagementUnavailable):
                bindings = management.bound_to(celery_control.EXCHANGE)
                self._connection.post(lambda: self._celery.expect(bindings))

    # --- asked from other threads, on the loop --------------------------------------

    async def follow(self, layout: Layout) -> asyncio.Event:
        """Begin to follow the events, unless begun already; the returned event is set at the first
        success or failure."""
        if self._subscribed is None:
            self._subscribed = asyncio.Event()
            self._following = asyncio.create_task(self._follow(layout, self._subscribed))
        return self._subscribed

    async def subscribed(self, layout: Layout, limit: float) -> None:
        """Return when the first attempt to subscribe was made, or after *limit* s."""
        attempted = await self.follow(layout)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(attempted.wait(), limit)

    async def update_binding(self) -> None:
        """Bind to the events that listeners take: all events, or all but task events."""
        if self._channel is not None and self._channel.is_open:
            await self._bind(await self._connection.session(), self._exchange)

    async def command(
        self, action: str, workers: Collection[str], params: Mapping[str, Any], wait: float
    ) -> Mapping[str, str | None]:
        """Send a command to *workers* of another dialect; return their replies."""
        session = await self._connection.session()
        return await self._celery.command(session, action, workers, params, wait)

    async def topics(self) -> frozenset[str]:
        """Return the topics named in the events that arrived."""
        return self._view.topics

    async def dialects(self) -> dict[str, str]:
        """Return the dialect of each topic whose workers have announced it."""
        return self._view.dialects()

    async def state(self, layout: Layout, settle: float, limit: float) -> ClusterState:
        """Return the state of the cluster from all events that could be read within *limit* s."""
        await self.subscribed(layout, limit)
        self._takes_tasks = True
        await self.update_binding()
        await self._seek_celery()
        lag = await self._catch_up() if self._unsubscribed_since is None else None
        self._follow_clock()
        if self._no_events_since is None:
            await self._settle(self._since + settle - self._clock.time())
        silent_since = self._no_events_since
        now = self._clock.time() if silent_since is None else silent_since
        state = replace(self._view.state(now, self._source(lag)), gaps=tuple(self._gaps))
        return self._celery.completed(state)

    def _follow_clock(self) -> None:
        """Shift all remembered times when the clock was set, so that no worker seems silent and no
        task old."""
        step = self._watch.take()
        if not step:
            return
        self._view.shift(step)
        self._celery.shift(step)
        self._celery_sought_at += step
        self._since += step
        self._last_event_at += step
        if self._unsubscribed_since is not None:
            self._unsubscribed_since += step
        self._clock_was_set = self._clock.time(), in_words(step)

    @property
    def _no_events_since(self) -> float | None:
        """Return since when no events can arrive; `None` if they can.

        Either this client is not subscribed, or an alarm keeps all clients from publishing.
        """
        if self._unsubscribed_since is not None:
            return self._unsubscribed_since
        blocked = self._connection.blocked
        return None if blocked is None else max(blocked.since, self._last_event_at)

    async def _settle(self, limit: float) -> None:
        """Wait until all known workers have reported, for *limit* s at most."""
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
            notes.append(f"no events{f' for {in_words(age)}' if age >= 1 else ''}: {why}")
        elif not self._can_mark:
            notes.append("how far the events lag cannot be measured (no write permission)")
        elif self._unmarked is not None:
            notes.append(f"how far the events lag cannot be measured ({self._unmarked})")
        elif lag is None:
            notes.append(f"the events are more than {_MARKER_SECONDS:g} s behind: too many come")
        if self._refused is not None and silent_since is None:
            notes.append(f"only events of Celery's workers are received ({self._refused})")
        notes += self._recent_notes()
        if self._view.forgotten:
            notes.append(f"{self._view.forgotten} things were forgotten: the cluster is too large")
        if self._view.malformed:
            notes.append(f"{self._view.malformed} events could not be read")
        return Source(
            name="events",
            ok=silent_since is None and (lag is not None or self._is_unmeasured),
            age=age,
            note="; ".join(notes) or None,
        )

    def _recent_notes(self) -> Iterator[str]:
        """Yield notes on a clock that was set, and on missed events, within the last minutes."""
        now = self._clock.time()
        if self._clock_was_set is not None:
            at, words = self._clock_was_set
            if now - at < _NOTE_SECONDS:
                yield f"the clock of this machine was {words} at {moment(at):%H:%M:%S} UTC"
        if self._gaps and now - self._gaps[-1].until.timestamp() < _NOTE_SECONDS:
            gap = self._gaps[-1]
            span = f"{gap.since:%H:%M:%S} to {gap.until:%H:%M:%S} UTC"
            yield f"events of {span} were missed: {gap.why}"

    @property
    def _is_unmeasured(self) -> bool:
        return not self._can_mark or self._unmarked is not None

    async def _catch_up(self) -> float | None:
        """Wait until all events that are in our queue now have been processed; returns the
        seconds."""
        if not self._can_mark:
            return None
        name = secrets.token_hex(8)
        loop = asyncio.get_running_loop()
        marker = self._markers[name] = loop.create_future()
        began, self._unmarked = loop.time(), None
        try:
            async with asyncio.timeout(_MARKER_SECONDS):
                outgoing = await self._connection.outgoing()
                publisher = await outgoing.unproven_publisher()
                await outgoing.unless_blocked(asyncio.ensure_future(self._mark(publisher, name)))
                await outgoing.unless_blocked(marker)
            return loop.time() - began
        except PermissionDenied:
            self._can_mark = False  # no permission to write to the default exchange
        except (TimeoutError, PublishingBlocked):
            pass  # too many events, or an alarm: `_source` says which
        except BrokerError as error:
            self._unmarked = error
        finally:
            self._markers.pop(name, None)
        return None

    async def _mark(self, publisher: Publisher, name: str) -> None:
        """Send the marker *name* to the end of our queue."""
        properties = pika.BasicProperties(type=_MARKER_TYPE, message_id=name)
        if await publisher.publish("", self._queue, b"", properties) != "confirmed":
            raise publisher.closed_by or ConnectionLost()

    # --- following ------------------------------------------------------------------

    async def _follow(self, layout: Layout, subscribed: asyncio.Event) -> None:
        backoff = Backoff(*_RETRY_SECONDS)
        while True:
            try:
                session = await self._connection.session()
                channel = await self._subscribe(session, layout)
                subscribed.set()
                backoff.reset()
                await self._lost(channel, session, layout.worker_exchange)
                self._unsubscribed_since = self._clock.time()
                self._why_unsubscribed = "the connection to RabbitMQ was lost"
            except (TaskToolsError, TimeoutError) as error:
                self._why_unsubscribed = str(error)
                if self._unsubscribed_since is None:
                    self._unsubscribed_since = self._clock.time()
                subscribed.set()  # those who wait learn why there is nothing
            await asyncio.sleep(backoff.pause())

    async def _subscribe(self, session: Session, layout: Layout) -> Channel:
        exchange = layout.worker_exchange
        alone, refused = await self._prepare_fanout(session, exchange)
        channel = await session.channel()
        try:
            await self._consume(channel, session, exchange, refused)
            alone = alone or not self._has_fanout or await self._is_celery_alone(session, layout)
            self._view.listen(self._since, alone=alone)
            if self._has_fanout:
                await self._ask(session, exchange)
            await self._ask_celery(session)
        except BaseException:
            await channel.close()
            raise
        return channel

    async def _consume(
        self,
        channel: Channel,
        session: Session,
        exchange: str,
        refused: PermissionDenied | None,
    ) -> None:
        """Declare, bind and consume our queue, for all events that this user may receive."""
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
        self._celery_sought_at = self._clock.time()
        await self._celery.bind(session, self._queue)
        if self._has_fanout:
            await self._join(session, exchange)
        if not (self._has_fanout or self._celery.is_bound):
            raise self._refused or refused or BrokerError(_NO_EXCHANGE.format(exchange))
        await self._bind(session, exchange)
        await channel.consume(self._queue, self._arrived, auto_ack=True)
        self._follow_clock()
        self._note_gap()
        self._unsubscribed_since, self._since = None, self._clock.time()
        self._can_mark, self._unmarked = True, None

    def _note_gap(self) -> None:
        """Note since when no events arrived, if they did before."""
        since, now = self._unsubscribed_since, self._clock.time()
        if since is not None:
            self._view.forgive(now - since)
            if self._was_subscribed:
                self._gaps.append(EventGap(moment(since), moment(now), self._why_unsubscribed))
                self._celery.count_anew()
        self._was_subscribed = True

    async def _is_celery_alone(self, session: Session, layout: Layout) -> bool:
        """Whether only workers of Celery use this vhost: there is no task exchange. The fanout
        shows nothing, since clients that only look declare it too."""
        with contextlib.suppress(PermissionDenied):
            is_here = self._celery.is_here
            return is_here and not await topology.exchange_exists(session, layout.task_exchange)
        return False

    async def _prepare_fanout(
        self, session: Session, exchange: str
    ) -> tuple[bool, PermissionDenied | None]:
        """Find the fanout, or declare it. Return whether it was missing (then nobody else listens),
        and the error if it could not be declared; Celery's events arrive in any case."""
        alone, self._refused = False, None
        try:
            self._has_fanout = self._declare or await topology.exchange_exists(session, exchange)
            if self._declare:
                alone = await topology.declare_worker_exchange(session, exchange)
        except PermissionDenied as error:
            self._has_fanout = False
            return False, error
        return alone, None

    async def _join(self, session: Session, exchange: str) -> None:
        """Bind to the fanout; without permission note that."""
        self._has_fanout, self._refused = True, None
        try:
            await topology.bind(session, self._queue, exchange, "")
        except PermissionDenied as error:
            self._has_fanout, self._refused = False, error

    async def _lost(self, channel: Channel, session: Session, exchange: str) -> None:
        """Wait until the channel is lost; join the fanout as soon as it exists."""
        while not self._has_fanout:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_JOIN_SECONDS):
                    await channel.lost()
                return
            with contextlib.suppress(PermissionDenied):
                if await topology.exchange_exists(session, exchange):
                    await self._join(session, exchange)
            if self._has_fanout:
                await self._ask(session, exchange)
        await channel.lost()

    async def _seek_celery(self) -> None:
        """Look again for Celery's event exchange, which may be created later; sooner if no worker
        has sent an event."""
        since = self._clock.time() - self._celery_sought_at
        limit = _SEEK_SECONDS[bool(self._view.has_workers)]
        if self._celery.is_here or since < limit or self._unsubscribed_since is not None:
            return
        self._celery_sought_at = self._clock.time()
        with contextlib.suppress(BrokerError, TimeoutError):
            session = await self._connection.session()
            await self._celery.bind(session, self._queue)
            await self._ask_celery(session)

    async def _ask_celery(self, session: Session) -> None:
        await self._celery.begin(session)
        self._view.is_awaiting = self._celery.is_awaited
        if self._celery.is_mute:
            self._view.await_heartbeats()
        if self._view.is_awaiting:
            self._awaiting = asyncio.create_task(self._await_answers())

    async def _await_answers(self) -> None:
        await self._celery.answers()
        self._view.is_awaiting = False
        self._view_changed.set()

    async def _bind(self, session: Session, exchange: str) -> None:
        """Bind to the fanout, or to an exchange behind it that passes on only events with an empty
        routing key: all events of peers, and all but the task events of tasktools workers."""
        await self._celery.pause(session, self._queue, paused=self._takes_tasks is False)
        if self._is_without_tasks == (self._takes_tasks is False) or not self._declare:
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
            return  # no right to do so: more events than needed are received
        self._is_without_tasks = not self._is_without_tasks

    async def _ask(self, session: Session, exchange: str) -> None:
        """Ask who is alive and which settings topics have; if asking is not possible, only
        listen."""
        with contextlib.suppress(BrokerError):
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
        self,
        method: spec.Basic.Deliver | Delivered,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        if method.exchange == celery_subscription.EVENTS:
            self._follow_clock()
            self._celery.arrived(body)
            return
        if properties.type == _MARKER_TYPE:
            marker = self._markers.get(properties.message_id or "")
            if marker is not None:
                resolve(marker, None)
            return
        self._follow_clock()
        self._take(events.parse(body))

    def _take(self, event: Event | events.Unknown | events.Malformed) -> None:
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
