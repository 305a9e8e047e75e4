"""The RabbitMQ broker: the contract of `tasktools.brokers.base` over the parts beside it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Self

from tasktools.brokers.base import (
    Capabilities,
    Look,
    Overhear,
    Receive,
    changes,
    raise_unless_confirmed,
)
from tasktools.brokers.document import DocumentNames
from tasktools.brokers.rabbitmq import (
    feed,
    look,
    overhearing,
    tap,
    tap_reader,
    topology,
    translate,
)
from tasktools.brokers.rabbitmq.batch import Batch
from tasktools.brokers.rabbitmq.claims import Claims
from tasktools.brokers.rabbitmq.connection import Connection, Session
from tasktools.brokers.rabbitmq.consumers import RabbitMQConsumer
from tasktools.brokers.rabbitmq.dsn import DSN
from tasktools.brokers.rabbitmq.facts import Facts
from tasktools.brokers.rabbitmq.feed import Feed
from tasktools.brokers.rabbitmq.locks import Locks, RabbitMQLock
from tasktools.brokers.rabbitmq.management import Management
from tasktools.brokers.rabbitmq.mover import RabbitMQMover
from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.brokers.rabbitmq.seen import as_look
from tasktools.brokers.rabbitmq.store import Store
from tasktools.brokers.seen import Seen
from tasktools.brokers.tapping import ReceiveTapped
from tasktools.core import events, peek, taps
from tasktools.core import layout as layouts
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.compose import Composer, FunctionNames, check_topic
from tasktools.core.errors import (
    BrokerError,
    Closed,
    ConnectionLost,
    QueueNotFound,
    WouldBeLost,
)
from tasktools.core.events import Event
from tasktools.core.layout import Layout
from tasktools.core.models import (
    ClusterState,
    Delivery,
    Failure,
    Outgoing,
    PublishResult,
    QueueType,
    TopicReport,
    TopicSettings,
)
from tasktools.core.peek import Verdict
from tasktools.core.topics import check_settings, queue_arguments

_PROGRESS_EVERY: Final = 0.05
_GIVING_BACK: Final = 60.0  # seconds that it may take until all that a look held is ready again
_LONGEST_READ: Final = 86_400.0  # seconds; one that gets nothing more ends long before
_BOTH_LAYOUTS: Final = "both layouts, fp and taskworker, exist on this broker; fp is shown"


class RabbitMQBroker(DocumentNames):
    """A client of a task-worker cluster on RabbitMQ 3.10 or newer.

    *dsn* is ``amqp://user:password@host:port/vhost`` (``amqps`` for TLS). *layout* overrides
    what is found; *management_url* is for an HTTP API that is not at port 15672 (15671 with
    TLS) of the same host, `False` for none. *timeout*: seconds that any call may take. *functions*
    are those that are known from the start.
    """

    capabilities = Capabilities(
        quorum_queues=True, survives_restart=True, foreign_peers=True, streams=True
    )
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
        functions: FunctionNames | None = None,
    ) -> None:
        self._dsn = DSN.parse(dsn)
        self._read_only = read_only
        self._layout = None if layout is None else layouts.named(layout)
        self._timeout = timeout
        self._clock = clock or SystemClock()
        management = Management(self._dsn, management_url, timeout)
        self._main = Connection(self._dsn, purpose="main", timeout=timeout)
        self._listening = Connection(self._dsn, purpose="events", timeout=timeout)
        # A long look has all answers on its connection wait behind what it is shown.
        self._looking = Connection(self._dsn, purpose="looks", timeout=timeout)
        self._feed = Feed(self._listening, self._clock, declare=not read_only)
        self._facts = Facts(self._main, management, may_probe=not read_only)
        self._functions = functions or FunctionNames()
        self._composer: Composer | None = None
        self._composing = threading.Lock()
        self._claims = Claims(self._main, self._functions)
        self._locks = Locks(
            self._main,
            sender_id=self._feed.sender_id,
            broadcast=self.broadcast,
            heard=self._feed.lock_heard,
            clock=self._clock,
        )
        self._feed.listen(self._locks.obey)
        self._server_version: str | None = None
        self._note: str | None = None
        self._ensured: set[str] = set()
        self._turn = 0
        # A broker that is simply dropped (a notebook cell run again) leaves no thread behind.
        self._extra: list[Connection] = []
        connections = (self._looking, self._listening, self._main)
        self._let_go = weakref.finalize(self, _let_go, connections, self._extra, management)

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

    @functools.cached_property
    def _settings(self) -> Store:
        return Store(f"settings.{self.layout.name}")

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
        ttl: float | None = None,
        delay: float = 0.0,
    ) -> str:
        message = self.composer.compose(
            topic, payload, headers, priority=priority, ttl=ttl, delay=delay
        )
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
        batch = Batch(messages, self.layout, missing=missing)
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
        if topic == "*":
            return self._claim_any()
        return self._main.run(lambda session: self._claims.claim(session, topic), again=False)

    def _claim_any(self) -> Delivery | None:
        topics = sorted(filter(self.topic_exists, self.known_topics()))
        if not topics:
            raise QueueNotFound("No topic is known that exists; nothing was changed. Name one.")
        self._turn += 1
        first = self._turn % len(topics)
        for topic in (*topics[first:], *topics[:first]):
            delivery = self.claim(topic, "")
            if delivery is not None:
                return delivery
        return None

    @changes
    def consume(
        self,
        topic: str,
        receive: Callable[[Delivery], object],
        *,
        prefetch: int,
        limit: int | None = None,
    ) -> RabbitMQConsumer:
        consumer = RabbitMQConsumer(
            self._main, self._claims, topic, receive, prefetch=prefetch, limit=limit
        )
        consumer.start()
        return consumer

    @changes
    def ack(self, delivery_id: str) -> None:
        self._claims.ack(delivery_id)

    @changes
    def nack(
        self,
        delivery_id: str,
        *,
        requeue: bool = True,
        delay: float = 0.0,
        count_attempt: bool = True,
    ) -> bool:
        if not requeue:
            self._check_kept(delivery_id)
        if requeue and (delay or count_attempt):
            layout = self.layout
            published = self._main.run(
                lambda session: self._claims.publish_again(
                    session, layout, delivery_id, delay=delay, count=count_attempt
                ),
                again=False,
            )
            return published and delay > 0
        self._claims.give_back(delivery_id, requeue=requeue)
        return False

    @changes
    def dead_letter(
        self, delivery_id: str, failure: Failure, *, retention: float | None = None
    ) -> None:
        layout = self.layout
        self._main.run(
            lambda session: self._claims.dead_letter(
                session, layout, delivery_id, failure, retention
            ),
            again=False,
        )

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

    def look_verdict(self, queue: str, limit: int | None = None) -> Verdict:
        peek.check_limit(limit)
        return peek.judge(self._facts.of_queue(queue, self._version()))

    def peek(
        self,
        queue: str,
        limit: int | None = None,
        *,
        receive: Receive | None = None,
        force: bool = False,
    ) -> Look:
        verdict = self.look_verdict(queue, limit)
        peek.check(verdict, read_only=self._read_only, force=force)
        seen = Seen(self._functions, receive)

        def show(raw: RawProperties, body: bytes, redelivered: bool) -> bool:  # noqa: FBT001
            return seen.show(translate.properties_in(raw), body, redelivered=redelivered)

        taken = self._looking.run(
            lambda session: look.look(session, verdict, limit, show),
            timeout=look.TIMEOUT + _GIVING_BACK,
            again=False,
        )
        if taken.deliveries is not None:
            self._facts.saw_deliveries(queue, taken.deliveries)
        return as_look(verdict, taken, seen.messages)

    @changes
    def overhear(self, receive: Overhear) -> Callable[[], None]:
        connection = Connection(self._dsn, purpose="overhearing", timeout=self._timeout)
        try:
            connection.run(overhearing.Overhearing(connection, self.layout, receive).begin)
        except BaseException:
            connection.close()
            raise
        self._extra.append(connection)
        return connection.close

    @changes
    def tap(self, name: str, *, max_age: float, max_bytes: int) -> bool:
        arguments, layout = taps.arguments(name, max_age, max_bytes), self.layout
        return self._main.run(lambda session: tap.declare(session, layout, name, arguments))

    @changes
    def untap(self, name: str, *, delete: bool = False) -> bool:
        taps.check_name(name)
        layout = self.layout
        return self._main.run(
            lambda session: tap.remove(session, layout, name, delete=delete), again=False
        )

    def read_tap(
        self,
        name: str,
        receive: ReceiveTapped,
        *,
        since: float | None = None,
        until: float | None = None,
        offset: int = 0,
    ) -> None:
        taps.check_name(name)
        self._main.check_open()
        # What is read fills its connection, and others may read meanwhile.
        connection = Connection(self._dsn, purpose="tap", timeout=self._timeout)
        self._extra.append(connection)
        try:
            connection.run(
                lambda _session: tap_reader.read(
                    connection, name, receive, since=since, until=until, offset=offset
                ),
                timeout=_LONGEST_READ,
                again=False,
            )
        finally:
            self._extra.remove(connection)
            connection.close()

    @changes
    def mover(self, queue: str, *, force: bool = False) -> RabbitMQMover:
        def verdict() -> Verdict:
            found = self.look_verdict(queue, 1)
            peek.check(found, read_only=False, force=force)
            return found

        verdict()
        return RabbitMQMover(self._dsn, queue, verdict, timeout=self._timeout)

    # --- topics ---------------------------------------------------------------------

    @changes
    def ensure_topic(self, topic: str) -> None:
        check_topic(topic)
        layout = self.layout
        is_new = self._main.run(lambda session: topology.declare_topic(session, layout, topic))
        self._ensured.add(topic)
        if is_new:
            self._announce(topic)

    @changes
    def create_topic(
        self,
        topic: str,
        *,
        queue_type: QueueType = "classic",
        max_priority: int | None = None,
        message_ttl: float | None = None,
    ) -> None:
        layout = self.layout
        arguments = queue_arguments(topic, queue_type, max_priority, message_ttl)
        is_new = self._main.run(
            lambda session: topology.create_topic(session, layout, topic, arguments)
        )
        self._ensured.add(topic)
        if is_new:
            self._announce(topic)

    def _announce(self, topic: str) -> None:
        """Tell the workers of a new topic; it is there, whether or not they can be told."""
        with contextlib.suppress(BrokerError):
            self._tell_settings(topic, self.topic_settings().get(topic, TopicSettings()))

    def _tell_settings(self, topic: str, settings: TopicSettings) -> None:
        self.broadcast(
            events.SettingsUpdate(sender_id=self._feed.sender_id, topic=topic, settings=settings)
        )

    def topic_exists(self, topic: str) -> bool:
        return self._main.run(lambda session: topology.queue_ok(session, topic)) is not None

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        return self._facts.report(self.layout, topics)

    def known_topics(self) -> frozenset[str]:
        self._follow()
        layout = self.layout
        listed = self._facts.listed_topics(layout)
        heard = self._listening.start(self._feed.topics()).result(self._timeout)
        names = {"default", *listed, *heard, *self._ensured, *self.topic_settings()}
        return layouts.only_topics(layout, names)

    def topic_settings(self) -> Mapping[str, TopicSettings]:
        kept = self._main.run(self._settings.read)
        return {topic: events.settings_from(told) for topic, told in kept.items()}

    @changes
    def configure_topic(self, topic: str, settings: TopicSettings) -> None:
        check_settings(topic, settings)
        told = {topic: events.settings_json(settings)}
        self._main.run(lambda session: self._settings.change(session, lambda kept: kept | told))
        self._tell_settings(topic, settings)

    # --- locks ----------------------------------------------------------------------

    @changes
    def acquire_lock(
        self, name: str, task_id: str | None = None, worker_id: str | None = None
    ) -> RabbitMQLock | None:
        self._follow()  # to hear when an operator takes the lock away
        return self._locks.acquire(self.layout, name, task_id, worker_id)

    @changes
    def force_release_lock(self, name: str) -> bool:
        return self._locks.force_release(self.layout, name)

    # --- workers --------------------------------------------------------------------

    @changes
    def broadcast(self, *event: Event) -> None:
        exchange = self.layout.worker_exchange
        messages = [(feed.routing_key(one), events.encode(one)) for one in event]

        async def work(session: Session) -> None:
            await topology.declare_worker_exchange(session, exchange)
            async with session.asking() as channel:
                for key, body in messages:
                    channel.raw.basic_publish(exchange, key, body)

        self._listening.run(work, again=False)

    def listen(
        self, callback: Callable[[Event], object], *, tasks: bool = True
    ) -> Callable[[], None]:
        self._follow()
        stop = self._feed.listen(callback, tasks=tasks)
        self._listening.run(lambda _session: self._feed.tune())
        return stop

    def _follow(self) -> None:
        """Return once the worker events are followed, or cannot be for now."""
        self._listening.start(self._feed.subscribed(self.layout, self._timeout)).result()

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


def _let_go(
    connections: Iterable[Connection], extra: Iterable[Connection], management: Management
) -> None:
    for connection in (*extra, *connections):
        connection.close()
    management.close()
