"""The RabbitMQ broker: the contract of `tasktools.brokers.base` over the parts beside it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Self

import pika

from tasktools.brokers.base import Capabilities, Look, changes, raise_unless_confirmed
from tasktools.brokers.rabbitmq import look, topology, translate
from tasktools.brokers.rabbitmq.claims import Claims
from tasktools.brokers.rabbitmq.connection import Connection, Session
from tasktools.brokers.rabbitmq.dsn import DSN
from tasktools.brokers.rabbitmq.facts import Facts
from tasktools.brokers.rabbitmq.feed import Feed
from tasktools.brokers.rabbitmq.management import Management
from tasktools.brokers.rabbitmq.publisher import Batch
from tasktools.core import codec, deaths, events, peek
from tasktools.core import layout as layouts
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.compose import Composer, FunctionNames, check_topic
from tasktools.core.errors import (
    Closed,
    ConnectionLost,
    QueueNotFound,
    WouldBeLost,
)
from tasktools.core.events import Event
from tasktools.core.keys import Keys
from tasktools.core.layout import Layout
from tasktools.core.models import (
    ClusterState,
    Delivery,
    Outgoing,
    PublishResult,
    SeenMessage,
    TopicReport,
)
from tasktools.core.peek import Verdict

_PROGRESS_EVERY: Final = 0.05
_LOOK_TIMEOUT: Final = 300.0
_BOTH_LAYOUTS: Final = "both layouts, fp and taskworker, exist on this broker; fp is shown"


class RabbitMQBroker:
    """A client of a task-worker cluster on RabbitMQ 3.10 or newer.

    *dsn* is ``amqp://user:password@host:port/vhost`` (``amqps`` for TLS). *layout* overrides
    what is found; *management_url* is for an HTTP API that is not at port 15672 (15671 with
    TLS) of the same host, `False` for none. *timeout*: seconds that any call may take.
    """

    capabilities = Capabilities(quorum_queues=True, survives_restart=True, foreign_peers=True)
    demo = False

    def __init__(
        self,
        dsn: str,
        *,
        read_only: bool = False,
        layout: str | None = None,
        management_url: str | Literal[False] | None = None,
        timeout: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        self._dsn = DSN.parse(dsn)
        self._read_only = read_only
        self._layout = None if layout is None else layouts.named(layout)
        self._timeout = timeout
        self._clock = clock or SystemClock()
        management = Management(self._dsn, management_url, timeout)
        self._main = Connection(self._dsn, purpose="main", timeout=timeout)
        self._listening = Connection(self._dsn, purpose="events", timeout=timeout)
        self._feed = Feed(self._listening, self._clock, declare=not read_only)
        self._facts = Facts(self._main, management, may_probe=not read_only)
        self._functions = FunctionNames()
        self._composer: Composer | None = None
        self._composing = threading.Lock()
        self._claims = Claims()
        self._server_version: str | None = None
        self._note: str | None = None
        self._ensured: set[str] = set()
        # A broker that is simply dropped (a notebook cell run again) leaves no thread behind.
        self._let_go = weakref.finalize(self, _let_go, self._main, self._listening, management)

    def __repr__(self) -> str:
        return f"<RabbitMQBroker {self._dsn}{' read_only' if self._read_only else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def address(self) -> str:
        return str(self._dsn)

    @property
    def server_version(self) -> str | None:
        return self._server_version

    @property
    def note(self) -> str | None:
        return self._note

    @property
    def layout(self) -> Layout:
        if self._layout is None:
            self.connect()
        if self._layout is None:
            raise ConnectionLost
        return self._layout

    # --- lifecycle ------------------------------------------------------------------

    def connect(self) -> None:
        self._main.run(self._find_out)
        self._listening.start(self._feed.follow(self.layout))

    async def _find_out(self, session: Session) -> None:
        self._server_version = session.server_version
        if self._layout is None:
            present = await topology.find_layouts(session)
            self._note = _BOTH_LAYOUTS if len(present) > 1 else None
            self._layout = layouts.choose(present)

    @changes
    def setup(self) -> None:
        layout = self.layout
        self._main.run(lambda session: topology.declare_exchanges(session, layout))

    def close(self) -> None:
        self._let_go()

    # --- messages -------------------------------------------------------------------

    @property
    def composer(self) -> Composer:
        layout = self.layout
        with self._composing:
            if self._composer is None:
                self._composer = Composer(layout, self._clock, self._functions)
            return self._composer

    @changes
    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any],
        headers: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
    ) -> str:
        message = self.composer.compose(topic, payload, headers, priority=priority)
        if topic not in self._ensured:
            self.ensure_topic(topic)
        result = self.publish_many([message])[0]
        if result == "unroutable":  # deleted since we made sure of it
            self.ensure_topic(topic)
            result = self.publish_many([message])[0]
        raise_unless_confirmed(result, topic)
        return message.message_id

    @changes
    def publish_many(
        self,
        messages: Sequence[Outgoing],
        progress: Callable[[int], object] | None = None,
    ) -> list[PublishResult]:
        topics = {message.topic for message in messages}
        missing = self._main.run(lambda session: topology.missing(session, topics))
        batch = Batch(messages, self.layout.task_exchange, missing=missing)
        ended = threading.Event()

        async def work() -> None:
            try:
                await self._main.once(batch.publish)
            finally:
                ended.set()

        future = self._main.start(work())
        try:
            self._wait_for(batch, future, progress or (lambda _settled: None))
        finally:
            # Also when interrupted: once this returns or raises, nothing more is sent.
            future.cancel()
            ended.wait(self._timeout)
        return list(batch.results)

    def _wait_for(
        self,
        batch: Batch,
        future: concurrent.futures.Future[None],
        progress: Callable[[int], object],
    ) -> None:
        """Return when *batch* is through, or when RabbitMQ has said nothing for too long."""
        reported, heard = 0, time.monotonic()
        while not future.done():
            concurrent.futures.wait([future], _PROGRESS_EVERY)
            settled = batch.settled
            if settled > reported:
                progress(settled - reported)
                reported, heard = settled, time.monotonic()
            elif time.monotonic() - heard > self._timeout:
                return
        if batch.settled > reported:
            progress(batch.settled - reported)
        with contextlib.suppress(concurrent.futures.CancelledError):  # closed meanwhile
            future.result()

    @changes
    def claim(self, topic: str, worker_id: str) -> Delivery | None:
        del worker_id  # what a worker holds shows in its own heartbeats
        delivery = self._main.run(lambda session: self._claims.claim(session, topic), again=False)
        if delivery is not None:
            self._functions.learn(delivery.task)
        return delivery

    @changes
    def ack(self, delivery_id: str) -> None:
        async def work(_session: Session) -> None:
            self._claims.ack(delivery_id)

        self._main.run(work, again=False)

    @changes
    def nack(self, delivery_id: str, *, requeue: bool = True, count_attempt: bool = True) -> None:
        async def give_back(session: Session) -> None:
            if requeue and count_attempt:
                await self._claims.publish_again(session, delivery_id)
            else:
                self._claims.give_back(delivery_id, requeue=requeue)

        if not requeue:
            self._check_kept(delivery_id)
        self._main.run(give_back, again=False)

    def _check_kept(self, delivery_id: str) -> None:
        topic = self._claims.topic_of(delivery_id)
        if not self._facts.dead_letters_kept(self.layout, topic):
            raise WouldBeLost(
                f"The queue {topic!r} is not known to dead-letter, so RabbitMQ would drop the "
                "message; it is still ours. Requeue it, or give the queue a dead-letter policy."
            )

    @changes
    def purge(self, queue: str) -> int:
        async def work(session: Session) -> int:
            if await topology.queue_ok(session, queue) is None:
                raise QueueNotFound(f"There is no queue {queue!r}; nothing was changed.")
            async with session.asking() as channel:
                answer = await channel.call(channel.raw.queue_purge, queue)
                return int(answer.method.message_count)

        return self._main.run(work, again=False)

    def look_verdict(self, queue: str, limit: int) -> Verdict:
        _check_limit(limit)
        return peek.judge(self._facts.of_queue(queue, self._version()))

    def peek(self, queue: str, limit: int, *, force: bool = False) -> Look:
        _check_limit(limit)
        verdict = peek.judge(self._facts.of_queue(queue, self._version()))
        peek.check(verdict, read_only=self._read_only, force=force)
        seen = _Seen(self._functions)
        taken = self._main.run(
            lambda session: look.look(session, verdict, limit, seen.receive),
            timeout=max(_LOOK_TIMEOUT, self._timeout),
            again=False,
        )
        if taken.deliveries is not None:
            self._facts.saw_deliveries(queue, taken.deliveries)
        return Look(
            queue=queue,
            verdict=verdict,
            messages=tuple(seen.messages),
            ready_before=taken.ready_before,
            ready_after=taken.ready_after,
            note=_note(taken),
        )

    # --- topics ---------------------------------------------------------------------

    @changes
    def ensure_topic(self, topic: str) -> None:
        check_topic(topic)
        layout = self.layout
        self._main.run(lambda session: topology.declare_topic(session, layout, topic))
        self._ensured.add(topic)

    def topic_exists(self, topic: str) -> bool:
        return self._main.run(lambda session: topology.queue_ok(session, topic)) is not None

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        return self._facts.report(self.layout, topics)

    # --- workers --------------------------------------------------------------------

    @changes
    def broadcast(self, event: Event) -> None:
        exchange = self.layout.worker_exchange

        async def work(session: Session) -> None:
            await topology.declare_worker_exchange(session, exchange)
            async with session.asking() as channel:
                channel.raw.basic_publish(exchange, "", events.encode(event))

        self._main.run(work, again=False)

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        layout, limit = self.layout, self._timeout
        future = self._listening.start(self._feed.state(layout, settle, limit))
        try:
            return future.result(settle + 3 * limit)
        except concurrent.futures.CancelledError:
            raise Closed from None
        except TimeoutError:
            future.cancel()
            raise self._listening.no_answer(settle + 3 * limit) from None

    def _version(self) -> str:
        if self._server_version is None:
            self.connect()
        return self._server_version or ""


class _Seen:
    """Turns messages into `SeenMessage`s as they come, so that no body is kept."""

    def __init__(self, functions: FunctionNames) -> None:
        self.messages: list[SeenMessage] = []
        self._functions = functions
        self._keys = Keys()

    def receive(
        self,
        raw: pika.BasicProperties,
        body: bytes,
        redelivered: bool,  # noqa: FBT001 - a callback
    ) -> None:
        properties = translate.properties_in(raw)
        task = codec.decode(body, properties)
        died = deaths.parse(properties.headers)
        self._functions.learn(task)
        self.messages.append(
            SeenMessage(
                key=self._keys.next(properties, body, died),
                position=len(self.messages),
                task=task,
                properties=properties,
                deaths=died,
                redelivered=redelivered,
                size=len(body),
            )
        )


def _note(taken: look.Taken) -> str | None:
    notes = []
    if taken.ready_after != taken.ready_before:
        notes.append(
            f"{taken.ready_before} messages were ready before and {taken.ready_after} after: "
            "somebody else used the queue meanwhile"
        )
    if taken.lost:
        notes.append(
            f"{taken.lost} messages had reached their delivery limit and could not be published "
            "again, so RabbitMQ may have dropped them"
        )
    if taken.rescued:
        notes.append(
            f"{taken.rescued} messages had reached their delivery limit and would have been "
            "dropped; they were published again, unchanged, to the end of the queue"
        )
    return "; ".join(notes) or None


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= look.MOST:
        raise ValueError(f"limit is {limit}; a look shows 1 to {look.MOST} messages.")


def _let_go(main: Connection, listening: Connection, management: Management) -> None:
    listening.close()
    main.close()
    management.close()
