"""The subscription to Celery's events, and the queries to its workers over their pidbox.

The events come into the queue of `EventSubscription`, the answers into one of their own, so that a
flood of events does not delay them. All runs on the loop of its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import pika
from msgspec.structs import replace
from pika import spec

from tasktools.brokers.rabbitmq.connection.channel import Channel
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.connection.raw_connection import Delivered
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.brokers.rabbitmq.messages.first_answers import FirstAnswers
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core.backoff import Backoff
from tasktools.core.bounded_dict import BoundedDict
from tasktools.core.clock import Clock
from tasktools.core.dialects import celery_control, celery_inspect, celery_notes
from tasktools.core.dialects.celery_events import CeleryEvents, Read
from tasktools.core.dialects.celery_workers import DIALECT, CeleryWorker
from tasktools.core.errors import (
    BrokerError,
    ConnectionLost,
    InvalidName,
    PermissionDenied,
    PublishingBlocked,
    QueueNotFound,
    QueueUnavailable,
    TaskToolsError,
)
from tasktools.core.events import WorkerEvent
from tasktools.core.known_workers import GONE_AFTER, LATE_AFTER, ONE_HEARTBEAT
from tasktools.core.models import ClusterState
from tasktools.core.routes import Binding

EVENTS: Final = "celeryev"
_CONTROL: Final = celery_control.EXCHANGE
_REPLIES: Final = f"reply.{_CONTROL}"
_MAX_ANSWERS: Final = 50_000
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_MAX_TICKETS: Final = 10_000
_MAX_PROBES: Final = 20  # silent workers whose connection is checked at once
_EVERY_SECONDS: Final = 30.0  # between two questions to all workers
_CHECK_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = (2.0, 30.0)  # the first pause before a worker is asked again; the longest
_SOON_SECONDS: Final = 2.0  # between two questions to one that sends no events, or was commanded
_PROBE_SECONDS: Final = 5.0
_FIRST_ANSWER_SECONDS: Final = 1.0  # after which nobody is expected to answer
_QUIET_SECONDS: Final = 0.3  # without a further answer, after which all have answered
_QUESTION_TTL_MS: Final = 30_000
_PROPERTIES: Final = pika.BasicProperties(
    content_type="application/json",
    content_encoding="utf-8",
    expiration=str(_QUESTION_TTL_MS),
)
_AFTER_COMMAND_SECONDS: Final = 15.0  # within which a pool has the processes that it was to have
_RESOURCE_LOCKED: Final = 405  # the queue is exclusive to a connection that is open


class _Replies:
    """The replies of *workers* to a command."""

    def __init__(self, workers: frozenset[str]) -> None:
        self.replies: dict[str, str | None] = {}
        self.are_complete = asyncio.Event()
        self._workers = workers

    def add(self, replies: Mapping[str, str | None]) -> None:
        """Add those of *replies* that are still awaited."""
        self.replies |= {name: why for name, why in replies.items() if name in self._workers}
        if self.replies.keys() >= self._workers:
            self.are_complete.set()


class CelerySubscription:
    """Receives the events of Celery's workers on one vhost, and queries these workers.

    *take* is called with each of their events; *note_connected* with the name of each worker that
    is silent but connected, and the time.
    """

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        take: Callable[[Read], object],
        note_connected: Callable[[str, float], object],
        *,
        declare: bool,
    ) -> None:
        self.is_awaited = False
        """Whether answers to the first question are still to be expected."""
        self.is_bound = False
        self.is_here = False
        """Whether Celery's exchanges exist on this vhost."""
        self._note_connected = note_connected
        self._connection = connection
        self._clock = clock
        self._take = take
        self._declare = declare
        self._events = CeleryEvents()
        self._replies = f"tasktools.events.{secrets.token_hex(8)}.answers"
        self._tickets: BoundedDict[str, tuple[str, float]] = BoundedDict(_MAX_TICKETS)
        self._first = FirstAnswers()
        self._asked_all_at = self._answered_at = self._changing_until = float("-inf")
        self._asked: BoundedDict[str, float] = BoundedDict(_MAX_TICKETS)
        self._again: BoundedDict[str, tuple[float, Backoff]] = BoundedDict(_MAX_TICKETS)
        """The time at which a worker that has not answered is asked again."""
        self._connected: dict[str, float] = {}
        self._disconnected: set[str] = set()
        self._probed_at = float("-inf")
        self._problems: dict[str, str] = {}
        self._why_no_events: str | None = None
        """Why no events can be received, as a part of a sentence; `None` if they can."""
        self._may_ask = self._is_paused = False
        self._queue = ""
        self._answers: Channel | None = None
        """The channel on which answers are consumed."""
        self._seek_at, self._seeking = float("-inf"), Backoff(*_AGAIN_SECONDS)
        self._commands: dict[str, _Replies] = {}
        """The replies to a command by its ticket, while they are awaited."""
        self._checking: asyncio.Task[None] | None = None

    @property
    def is_mute(self) -> bool:
        """Whether Celery is on this vhost, and its workers are known by their heartbeats alone."""
        return self.is_here and not self._may_ask

    # --- subscribing ------------------------------------------------------------------

    async def bind(self, session: Session, queue: str) -> None:
        """Bind *queue* to the events, and prepare for questions, if Celery is on this vhost."""
        self._queue, self._answers = queue, None
        self.is_bound = self._may_ask = self._is_paused = False
        self._seeking.reset()
        await self._seek(session)

    async def _seek(self, session: Session) -> None:
        """Bind to the events and prepare for questions, as far as neither was done yet."""
        self._seek_at = self._clock.time() + self._seeking.pause()
        self._problems.clear()
        has_events = self.is_bound or await self._exists(session, EVENTS)
        has_control = self._may_ask or await self._exists(session, _CONTROL)
        self.is_here = has_events or has_control
        if has_events and not self.is_bound:
            await self._bind_events(session)
        if has_control and not self._may_ask:
            await self._prepare_answers(session)
        self._events.workers.are_subscribed = self.is_bound
        if has_control and not has_events:
            self._problems["events"] = celery_notes.no_events(EVENTS)
            self._why_no_events = celery_notes.why_no_events(EVENTS)
        if has_events and not has_control:
            self._problems["answers"] = celery_notes.no_control(_CONTROL)

    async def _bind_events(self, session: Session) -> None:
        try:
            await topology.bind(session, self._queue, EVENTS, "#")
            self.is_bound, self._why_no_events = True, None
        except (PermissionDenied, QueueNotFound, Refused) as error:
            self._problems["events"] = celery_notes.no_subscription(EVENTS, error)
            self._why_no_events = celery_notes.why_no_events(EVENTS, error)

    async def pause(self, session: Session, queue: str, *, paused: bool) -> None:
        """Unbind *queue* from the events if *paused*, since no listener takes events of tasks; else
        bind it again."""
        if self.is_bound and paused is not self._is_paused:
            change = topology.unbind if paused else topology.bind
            await change(session, queue, EVENTS, "#")
            self._is_paused = paused

    async def _exists(self, session: Session, exchange: str) -> bool:
        with contextlib.suppress(PermissionDenied):
            return await topology.exchange_exists(session, exchange)
        return False

    async def _prepare_answers(self, session: Session) -> None:
        """Consume a queue for answers."""
        try:
            if self._answers is None or not self._answers.is_open:
                self._answers = await self._consume_answers(session)
            self._may_ask = True
        except (PermissionDenied, QueueNotFound, Refused) as error:
            self._problems["answers"] = celery_notes.unasked(_REPLIES, error, "`read`")

    async def _consume_answers(self, session: Session) -> Channel:
        if self._declare:
            await topology.declare_celery_replies(session, _REPLIES)
        channel = await session.channel()
        arguments = {
            "x-queue-type": "classic",
            "x-max-length": _MAX_ANSWERS,
            "x-max-length-bytes": _MAX_ANSWER_BYTES,
            "x-expires": 60_000,
        }
        try:
            await channel.queue(self._replies, exclusive=True, arguments=arguments)
            await topology.bind(session, self._replies, _REPLIES, self._replies)
            await channel.consume(self._replies, self._answered, auto_ack=True)
        except BaseException:
            await channel.close()
            raise
        return channel

    async def begin(self, session: Session) -> None:
        """Ask all workers now, and later each new worker."""
        if self._may_ask:
            self.is_awaited, self._first = True, FirstAnswers()
            await self._ask(session, celery_inspect.METHODS)
        if self._checking is None and self.is_here:
            self._checking = asyncio.create_task(self._keep_checking())

    # --- events and answers -----------------------------------------------------------

    def arrived(self, body: bytes) -> None:
        """Hand on the events in *body*."""
        for event in self._events.read(body, self._clock.time()):
            if not self._may_ask and isinstance(event, WorkerEvent) and event.kind == "register":
                self._seeking.reset()  # the worker has just declared what was missing
                self._seek_at = float("-inf")
            self._take(event)

    def _answered(
        self, _method: spec.Basic.Deliver | Delivered, properties: RawProperties, body: bytes
    ) -> None:
        ticket = properties.decoded.headers.get("ticket")
        ticket = ticket if isinstance(ticket, str) else ""
        method, asked = self._tickets.get(ticket, (None, 0.0))
        if (awaited := self._commands.get(ticket)) is not None:
            awaited.add(celery_control.replies(body))
        if method is None:
            return
        now = self._answered_at = self._clock.time()
        for worker_id, answer in celery_inspect.answers(method, body):
            self._first.add(method, worker_id)
            report = self._events.workers.answer(method, worker_id, answer, asked, now)
            if report is not None:
                self._take(report)

    def count_anew(self) -> None:
        """Restart the counts of ended tasks, since some events were not received."""
        self._events.workers.count_anew()

    def shift(self, seconds: float) -> None:
        """Shift all times by *seconds*, by which our clock was set."""
        self._events.workers.shift(seconds)
        self._asked_all_at += seconds
        self._answered_at += seconds
        self._probed_at += seconds
        self._changing_until += seconds
        self._seek_at += seconds
        for times in (self._asked, self._connected):
            times.update({name: at + seconds for name, at in times.items()})
        self._again.clear()

    def completed(self, state: ClusterState) -> ClusterState:
        """Return *state* completed with Celery's workers and tasks, and with notes on unknown facts
        about them."""
        if not self.is_here:
            return state
        gone = {worker.worker_id for worker in state.workers if worker.state in ("gone", "stopped")}
        prefetched = self._events.workers.prefetched(gone.__contains__)
        notes = [*self._problems.values()]
        notes += celery_notes.notes(state, prefetched, self._events.workers, set(self._connected))
        note = "; ".join(filter(None, (state.events.note, *notes))) or None
        without_events = {} if self._why_no_events is None else {DIALECT: self._why_no_events}
        return replace(
            state,
            prefetched=prefetched,
            events=replace(state.events, note=note),
            without_events=without_events,
        )

    # --- questions --------------------------------------------------------------------

    async def command(
        self,
        session: Session,
        action: str,
        workers: Collection[str],
        params: Mapping[str, Any],
        wait: float,
    ) -> Mapping[str, str | None]:
        """Send a command to *workers*; return the replies that came within *wait* s."""
        method, arguments = celery_control.request(action, params)
        ticket = secrets.token_hex(16)
        awaited = self._commands[ticket] = _Replies(frozenset(workers))
        try:
            publisher = await session.publisher()
            body = self._question(method, ticket, list(workers), **arguments)
            if await publisher.publish(_CONTROL, "", body, _PROPERTIES) != "confirmed":
                raise publisher.closed_by or ConnectionLost()
            if action not in celery_control.SILENT:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(awaited.are_complete.wait(), wait)
        finally:
            del self._commands[ticket]
        if self._may_ask:
            await self._ask(session, celery_inspect.METHODS, list(workers))
            self._changing_until = self._clock.time() + _AFTER_COMMAND_SECONDS
        return awaited.replies

    def _question(
        self, method: str, ticket: str, workers: list[str] | None, **arguments: Any
    ) -> bytes:
        return celery_inspect.question(
            method,
            ticket=ticket,
            reply_exchange=_REPLIES,
            reply_key=self._replies,
            destination=workers,
            **arguments,
        )

    async def _ask(
        self, session: Session, methods: Iterable[str], workers: list[str] | None = None
    ) -> None:
        """Ask *workers*, or all, over the pidbox; note a missing permission."""
        now = self._clock.time()
        if workers is None:
            self._asked_all_at = now
        for worker in workers if workers is not None else self._events.workers.known:
            self._asked.put(worker, now)
        try:
            await self._publish(session, methods, workers, now)
        except PublishingBlocked:
            pass
        except BrokerError as error:
            self._may_ask = self.is_awaited = False
            self._problems["answers"] = celery_notes.unasked(_CONTROL, error, "`write`")

    async def _publish(
        self, session: Session, methods: Iterable[str], workers: list[str] | None, now: float
    ) -> None:
        outgoing = await session.outgoing()
        publisher = await outgoing.publisher()
        for method in methods:
            ticket = secrets.token_hex(16)
            self._tickets.put(ticket, (method, now))
            body = self._question(method, ticket, workers)
            sending = publisher.publish(_CONTROL, "", body, _PROPERTIES)
            await outgoing.unless_blocked(asyncio.ensure_future(sending))
            if not publisher.is_open:
                raise publisher.closed_by or ConnectionLost()

    def expect(self, bindings: Iterable[Binding]) -> None:
        """Expect first answers from the workers behind *bindings*, all bindings of the query
        exchange."""
        self._first.expect(bindings)

    async def answers(self) -> None:
        """Wait until all workers have answered the first queries, as far as the workers are known.

        Where the workers are not known, wait until no more answers come.
        """
        while self.is_awaited:
            since = max(self._answered_at, self._asked_all_at) + _QUIET_SECONDS
            has_answers = self._answered_at >= self._asked_all_at
            until = since if has_answers else self._asked_all_at + _FIRST_ANSWER_SECONDS
            remaining = until - self._clock.time()
            if remaining <= 0 or self._first.are_complete:
                self.is_awaited = False
                return
            self._first.changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._first.changed.wait(), remaining)

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            for event in self._events.due(self._clock.time()):
                self._take(event)
            if self._is_paused:
                continue
            with contextlib.suppress(TaskToolsError, TimeoutError):
                session = await self._connection.session()
                await self._seek_missing(session)
                if self._may_ask:
                    await self._ask_what_is_due(session)
                await self._probe_silent(session)

    async def _seek_missing(self, session: Session) -> None:
        """Try again what could not be done: workers declare the exchanges when they start, also
        after a restart of the broker, limits are raised, and permissions are granted."""
        if (self.is_bound and self._may_ask) or self._clock.time() < self._seek_at:
            return
        could_ask = self._may_ask
        await self._seek(session)
        if self._may_ask and not could_ask:
            await self._ask(session, celery_inspect.METHODS)

    async def _ask_what_is_due(self, session: Session) -> None:
        now = self._clock.time()
        is_changing = now < self._changing_until
        if now - self._asked_all_at >= (_SOON_SECONDS if is_changing else _EVERY_SECONDS):
            await self._ask(session, celery_inspect.METHODS)
            return
        present = [w for w in self._events.workers.known.values() if now - w.heard_at < GONE_AFTER]
        new = [worker.worker_id for worker in present if self._is_due(worker, now)]
        if new:
            await self._ask(session, celery_inspect.METHODS, new)
        changed = [worker.worker_id for worker in present if self._is_stale(worker, now)]
        if changed:
            await self._ask(session, ("active",), changed)

    def _is_due(self, worker: CeleryWorker, now: float) -> bool:
        """Whether a worker that has not answered yet is to be asked again."""
        if worker.has_answered:
            self._again.pop(worker.worker_id, None)
            return False
        due, backoff = self._again.get(worker.worker_id, (now, Backoff(*_AGAIN_SECONDS)))
        if now >= due:
            self._again.put(worker.worker_id, (now + backoff.pause(), backoff))
        return now >= due

    def _is_stale(self, worker: CeleryWorker, now: float) -> bool:
        """Whether a worker without task events runs other tasks than its last answer listed, or
        one whose heartbeats are not received has said nothing for as long as one of them takes."""
        if not self.is_bound:
            silent_since = max(worker.heard_at, self._asked.get(worker.worker_id, 0.0))
            return now - silent_since >= ONE_HEARTBEAT
        if worker.sends_task_events or worker.active in (None, len(worker.running)):
            return False
        return worker.has_answered and now - self._asked.get(worker.worker_id, 0.0) >= _SOON_SECONDS

    async def _probe_silent(self, session: Session) -> None:
        """Find out which silent workers are connected: a solo pool is silent while it is busy.

        The pidbox of a worker is an exclusive queue, which lasts as long as its connection.
        """
        now = self._clock.time()
        known = self._events.workers.known.values()
        silent = {worker.worker_id for worker in known if now - worker.heard_at >= LATE_AFTER}
        self._disconnected &= silent
        for worker_id in set(self._connected) - silent:
            del self._connected[worker_id]
        if now - self._probed_at < _PROBE_SECONDS:
            return
        self._probed_at = now
        for worker_id in sorted(silent - self._disconnected)[:_MAX_PROBES]:
            if await self._is_connected(session, worker_id):
                self._connected[worker_id] = now
                self._note_connected(worker_id, now)
            else:
                self._connected.pop(worker_id, None)
                self._disconnected.add(worker_id)

    async def _is_connected(self, session: Session, worker_id: str) -> bool:
        try:
            pidbox = await topology.queue_ok(session, celery_control.pidbox(worker_id))
        except Refused as refused:
            return refused.code == _RESOURCE_LOCKED
        except (PermissionDenied, QueueUnavailable, InvalidName):
            return False
        return pidbox is not None and pidbox.consumers > 0
