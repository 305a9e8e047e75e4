"""The RabbitMQ broker: the contract of `tasktools.brokers.base` over the parts beside it."""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from tasktools.brokers.base import Capabilities, Look, Overhear, Receive
from tasktools.brokers.common import CommonBroker
from tasktools.brokers.peeked import PeekedMessages
from tasktools.brokers.rabbitmq.connection import pika_border
from tasktools.brokers.rabbitmq.connection.alarms import Alarms, Blocked
from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.connection.connections import Connections
from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.brokers.rabbitmq.messages import (
    event_subscription,
    publish_batch,
    published_copies,
    stream_reader,
    stream_tap,
)
from tasktools.brokers.rabbitmq.messages import peek as look
from tasktools.brokers.rabbitmq.messages.consumers import RabbitMQConsumer
from tasktools.brokers.rabbitmq.messages.deliveries import Deliveries
from tasktools.brokers.rabbitmq.messages.event_subscription import EventSubscription
from tasktools.brokers.rabbitmq.messages.mover import RabbitMQMover
from tasktools.brokers.rabbitmq.messages.peeked import look_of
from tasktools.brokers.rabbitmq.queues import begin_counts, deletion, topology
from tasktools.brokers.rabbitmq.queues.locks import Locks, RabbitMQLock
from tasktools.brokers.rabbitmq.queues.queue_facts import QueueInspector
from tasktools.brokers.rabbitmq.queues.server_facts import FactsRequest, ServerInspector
from tasktools.brokers.rabbitmq.queues.shared_value import SharedValue
from tasktools.brokers.read_only import changes
from tasktools.brokers.taps import ReceiveTapped
from tasktools.core import events, peek_verdict, taps
from tasktools.core import layout as layouts
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.dialects.choice import DialectChoice
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.topic_map import TopicMap
from tasktools.core.errors import (
    BrokerError,
    ConnectionLost,
    PermissionDenied,
    QueueUnavailable,
)
from tasktools.core.events import Event
from tasktools.core.layout import Layout
from tasktools.core.models import (
    BrokerIdentity,
    ClusterState,
    Delivery,
    Failure,
    Outgoing,
    PublishResults,
    TopicReport,
    TopicSettings,
)
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.server_facts import ServerFacts
from tasktools.core.tasks.compose import Composer, FunctionNames
from tasktools.core.topic_rules import check_deletable

_GIVE_BACK_SECONDS: Final = 60.0  # until all that a look held is ready again, at most
_MAX_READ_SECONDS: Final = 86_400.0  # of a tap; a reading that gets nothing more ends long before


class RabbitMQBroker(CommonBroker):
    """A client of a task-worker cluster on RabbitMQ 3.10 or newer.

    *dsn* is ``amqp://user:password@host:port/vhost`` (``amqps`` for TLS). *layout* overrides the
    detected layout; *management_url* is for an HTTP API that is not at port 15672 (15671 with TLS)
    of the same host, `False` for none. *timeout*: seconds that any call may take. *functions* are
    those that are known from the start.
    """

    capabilities = Capabilities(quorum_queues=True, streams=True)
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
        dialects: Collection[str] = (),
        dead: str | None = None,
    ) -> None:
        super().__init__(read_only=read_only, clock=clock or SystemClock(), functions=functions)
        self._dsn = DSN.parse(dsn)
        self._choice = DialectChoice(dialects, layout, dead)
        self._timeout = timeout
        self._connections = Connections(self._dsn, management_url, timeout=timeout)
        self._main, self._events_connection = self._connections.main, self._connections.events
        self._management = management = self._connections.management
        self._subscription = EventSubscription(
            self._events_connection, self._clock, declare=not read_only
        )
        self._alarms = Alarms(management, self._events_connection.probe, self._clock)
        self._inspector = QueueInspector(
            self._main, management, self._choice, may_probe=not read_only, dead=dead
        )
        self._server = ServerInspector(self._main, management, self._alarms, self._clock)
        self._composer: Composer | None = None
        self._composing = threading.Lock()
        self._deliveries = Deliveries(self._main, self._functions)
        self._locks = Locks(
            self._main,
            sender_id=self._subscription.sender_id,
            broadcast=self.broadcast,
            seconds_since_event=self._subscription.seconds_since_lock_event,
            clock=self._clock,
        )
        self._subscription.listen(self._locks.handle_command)
        self._server_version: str | None = None
        self._cluster_name: str | None = None
        # A broker that is simply dropped (a notebook cell run again) leaves no thread behind.
        self._release = weakref.finalize(self, self._connections.close)

    @property
    def address(self) -> str:
        return str(self._dsn)

    @functools.cached_property
    def identity(self) -> BrokerIdentity | None:
        self._version()  # connects
        if self._cluster_name is None:
            return None
        return BrokerIdentity(
            cluster=self._cluster_name,
            vhost=self._dsn.vhost,
            cluster_id=self._management.cluster_id(),
        )

    @property
    def server_version(self) -> str | None:
        return self._server_version

    @property
    def note(self) -> str | None:
        notes = [self._choice.note, *(str(blocked) for blocked in (self._blocked(),) if blocked)]
        return "; ".join(note for note in notes if note) or None

    def _blocked(self) -> Blocked | None:
        """Return the alarm that blocks publishers now; `None` if none is known."""
        return None if self._main.is_closed else self._alarms.current()

    @property
    def layout(self) -> Layout:
        if self._choice.layout is None:
            self.connect()
        if self._choice.layout is None:
            raise ConnectionLost
        return self._choice.layout

    # --- lifecycle ------------------------------------------------------------------

    def connect(self) -> None:
        self._main.run(self._read_server)
        self._events_connection.start(self._subscription.follow(self.layout))

    async def _read_server(self, session: Session) -> None:
        self._server_version = session.server_version
        self._cluster_name = session.cluster_name
        if not self._choice.spoken:
            present = await topology.present_exchanges(session, self._choice.exchanges)
            self._choice.decide(present)

    @changes
    def setup(self) -> None:
        layout = self.layout
        self._inspector.declare(lambda session: topology.declare_exchanges(session, layout))

    def close(self) -> None:
        self._release()

    def _check_open(self) -> None:
        self._main.check_open()

    def _version(self) -> str:
        if self._server_version is None:
            self.connect()
        return self._server_version or ""

    # --- messages -------------------------------------------------------------------

    @property
    def composer(self) -> Composer:
        with self._composing:
            if self._composer is None:
                self._composer = Composer(self.dialect_of, self._clock, self._functions)
            return self._composer

    @changes
    def publish_many(
        self,
        messages: Sequence[Outgoing],
        progress: Callable[[int], object] | None = None,
    ) -> PublishResults:
        return publish_batch.publish(self._main, self._inspector, self.layout, messages, progress)

    def _claim(self, topic: str) -> Delivery | None:
        return self._main.run(lambda session: self._deliveries.claim(session, topic), again=False)

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
            self._main, self._deliveries, topic, receive, prefetch=prefetch, limit=limit
        )
        consumer.start()
        return consumer

    @changes
    def ack(self, delivery_id: str) -> None:
        self._deliveries.ack(delivery_id)

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
            topic = self._deliveries.topic_of(delivery_id)
            self._inspector.check_dead_letters_arrive(self.layout, topic)
        if requeue and (delay or count_attempt):
            layout = self.layout
            published = self._main.run(
                lambda session: self._deliveries.publish_again(
                    session, layout, delivery_id, delay=delay, count=count_attempt
                ),
                again=False,
            )
            return published and delay > 0
        self._deliveries.give_back(delivery_id, requeue=requeue)
        return False

    @changes
    def dead_letter(
        self, delivery_id: str, failure: Failure, *, retention: float | None = None
    ) -> None:
        layout = self.layout
        self._main.run(
            lambda session: self._deliveries.dead_letter(
                session, layout, delivery_id, failure, retention
            ),
            again=False,
        )

    @changes
    def count_begin(self, topic: str, task: str) -> int:
        return self._main.run(lambda session: begin_counts.count(session, topic, task), again=False)

    @changes
    def forget_begins(self, topic: str, task: str) -> None:
        self._main.run(lambda session: begin_counts.forget(session, topic, task))

    @changes
    def purge(self, queue: str) -> int:
        return self._main.run(lambda session: deletion.purge(session, queue), again=False)

    # --- looks and moves ------------------------------------------------------------

    def queue_facts(self, queue: str) -> QueueFacts:
        return self._inspector.of_queue(queue, self._version())

    def peek(
        self,
        queue: str,
        limit: int | None = None,
        *,
        receive: Receive | None = None,
        force: bool = False,
    ) -> Look:
        peek_verdict.check_limit(limit)
        facts = self.queue_facts(queue)
        verdict = peek_verdict.judge(facts)
        peek_verdict.check(verdict, read_only=self._read_only, force=force)
        expired_to = self._expired_to(facts)
        seen = PeekedMessages(self._functions, receive, self.dialect_of(queue))

        def show(raw: RawProperties, body: bytes, redelivered: bool) -> bool:  # noqa: FBT001
            return seen.show(pika_border.properties_in(raw), body, redelivered=redelivered)

        taken = self._connections.looks.run(
            lambda session: look.look(session, verdict, limit, show, expired_to),
            timeout=look.TIMEOUT_SECONDS + _GIVE_BACK_SECONDS,
            again=False,
        )
        if taken.deliveries is not None:
            counted = 1 if facts.server < (4, 3) else 0  # by this look, if it was not interrupted
            self._inspector.note_deliveries(queue, taken.deliveries + counted)
        return look_of(facts, verdict, taken, seen.messages)

    def _expired_to(self, facts: QueueFacts) -> str | None:
        """Return the queue to which the messages of a queue expire; `None` if it is not known."""
        exchange, key = facts.dead_letter_exchange, facts.dead_letter_key
        if exchange == "":
            return key
        topic, layout = facts.queue, self.layout
        is_ours = (exchange, key) == (layout.dead_letter_exchange, layout.dead_key(topic))
        return layout.dead_queue(topic) if is_ours else None

    @changes
    def overhear(
        self, receive: Overhear, missed: Callable[[], object] = lambda: None
    ) -> Callable[[], None]:
        connection = self._connections.another("overhearing")
        try:
            connection.run(
                published_copies.PublishedCopies(connection, self.layout, receive, missed).begin
            )
        except BaseException:
            self._connections.release(connection)
            raise
        return functools.partial(self._connections.release, connection)

    @changes
    def tap(self, name: str, *, max_age: float, max_bytes: int) -> bool:
        arguments, layout = taps.arguments(name, max_age, max_bytes), self.layout
        return self._main.run(lambda session: stream_tap.declare(session, layout, name, arguments))

    @changes
    def untap(self, name: str, *, delete: bool = False) -> bool:
        taps.check_name(name)
        layout = self.layout
        return self._main.run(
            lambda session: stream_tap.remove(session, layout, name, delete=delete), again=False
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
        connection = self._connections.another("tap")
        try:
            connection.run(
                lambda _session: stream_reader.read(
                    connection, name, receive, since=since, until=until, offset=offset
                ),
                timeout=_MAX_READ_SECONDS,
                again=False,
            )
        finally:
            self._connections.release(connection)

    @changes
    def mover(self, queue: str, *, force: bool = False) -> RabbitMQMover:
        verdict = functools.partial(self._run_verdict, queue, force=force)
        verdict()
        return RabbitMQMover(self._dsn, queue, verdict, timeout=self._timeout)

    # --- topics ---------------------------------------------------------------------

    def _declare_topic(self, topic: str) -> bool:
        layout = self.layout
        return self._inspector.declare(
            lambda session: topology.declare_topic(session, layout, topic)
        )

    def _create_topic(self, topic: str, arguments: dict[str, Any]) -> bool:
        layout = self.layout
        return self._inspector.declare(
            lambda session: topology.create_topic(session, layout, topic, arguments)
        )

    @changes
    def delete_topic(self, topic: str, *, force: bool = False) -> int:
        check_deletable(topic)
        layout = self.layout
        queues = (topic, layout.dead_queue(topic))
        classic, unacked = (frozenset(), {}) if force else self._inspector.for_deletion(queues)
        deleted = self._main.run(
            lambda session: deletion.delete_topic(
                session, layout, topic, classic=classic, unacked=unacked, force=force
            ),
            again=False,
        )
        self._ensured.discard(topic)
        with contextlib.suppress(BrokerError):  # it is gone, whether or not they can be read
            if topic in self.topic_settings():
                self._main.run(
                    lambda session: self._settings.change(
                        session, lambda old: {name: old[name] for name in old if name != topic}
                    )
                )
        return deleted

    def queue_exists(self, queue: str) -> bool:
        try:
            return self._main.run(lambda session: topology.queue_ok(session, queue)) is not None
        except QueueUnavailable:
            return True

    @property
    def dialects(self) -> Sequence[Dialect]:
        self._version()  # connects
        return self._choice.spoken

    def topic_map(self, queue: str) -> TopicMap:
        return self._inspector.topic_map(queue, self._announced())

    def _announced(self) -> Mapping[str, str]:
        """Return the dialect of each topic as its workers announced it, once connected."""
        self._version()
        return self._events_connection.wait(self._subscription.dialects(), self._timeout)

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        return self._inspector.report(topics, self._announced())

    def known_topics(self) -> frozenset[str]:
        self._follow()
        layout = self.layout
        listed = self._inspector.listed_topics(self._announced())
        mentioned = self._events_connection.wait(self._subscription.topics(), self._timeout)
        names = {"default", *listed, *mentioned, *self._ensured, *self._topics_with_settings()}
        return layouts.only_topics(layout, names)

    def _topics_with_settings(self) -> Collection[str]:
        """Return the topics with settings; none if these cannot be read (permissions, limits)."""
        try:
            return self.topic_settings()
        except (PermissionDenied, Refused, QueueUnavailable):
            return ()

    def topic_settings(self) -> Mapping[str, TopicSettings]:
        stored = self._main.run(self._settings.read)
        return {topic: events.settings_from(content) for topic, content in stored.items()}

    def _store_settings(self, topic: str, settings: TopicSettings) -> None:
        added = {topic: events.settings_json(settings)}
        self._main.run(lambda session: self._settings.change(session, lambda old: old | added))

    @functools.cached_property
    def _settings(self) -> SharedValue:
        return SharedValue(f"settings.{self.layout.name}")

    def server_facts(
        self, topics: Collection[str] = (), *, limits: Collection[str] = ()
    ) -> ServerFacts:
        self._check_open()
        request = FactsRequest(layout=self.layout, topics=topics, limits=limits)
        return self._server.facts(request, self._version())

    # --- workers --------------------------------------------------------------------

    @changes
    def broadcast(self, *event: Event) -> None:
        exchange = self.layout.worker_exchange
        messages = [(event_subscription.routing_key(each), events.encode(each)) for each in event]

        async def work(session: Session) -> None:
            await topology.declare_worker_exchange(session, exchange)
            await (await session.outgoing()).broadcast(exchange, messages)

        self._events_connection.run(work, again=False)

    @changes
    def command(
        self, action: str, workers: Collection[str], params: Mapping[str, Any], *, wait: float
    ) -> Mapping[str, str | None]:
        sending = self._subscription.command(action, workers, params, wait)
        return self._events_connection.wait(sending, wait + self._timeout)

    def listen(
        self, callback: Callable[[Event], object], *, tasks: bool = True
    ) -> Callable[[], None]:
        self._follow()
        stop = self._subscription.listen(callback, tasks=tasks)
        self._events_connection.run(lambda _session: self._subscription.update_binding())
        return stop

    def _follow(self) -> None:
        """Wait until worker events are subscribed to, or the first attempt has failed."""
        layout, limit = self.layout, self._timeout
        self._events_connection.wait(self._subscription.subscribed(layout, limit), limit)

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        layout, limit = self.layout, self._timeout
        if settle:
            self._subscription.expect_answers(layout, self._management, limit)
        return self._events_connection.wait(
            self._subscription.state(layout, settle, limit), settle + 3 * limit
        )

    @property
    def _sender_id(self) -> str:
        return self._subscription.sender_id

    # --- locks ----------------------------------------------------------------------

    @changes
    def acquire_lock(
        self, name: str, task_id: str | None = None, worker_id: str | None = None
    ) -> RabbitMQLock | None:
        self._follow()  # to learn that an operator has released the lock
        return self._locks.acquire(self.layout, name, task_id, worker_id)

    @changes
    def force_release_lock(self, name: str) -> bool:
        return self._locks.force_release(self.layout, name)
