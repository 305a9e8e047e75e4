"""The memory broker: a client of a `MemoryServer`, with the whole contract."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from tasktools.brokers.base import Capabilities, Look, Overhear, Receive
from tasktools.brokers.common import CommonBroker
from tasktools.brokers.memory import peek as look
from tasktools.brokers.memory.client import Client
from tasktools.brokers.memory.consumers import MemoryConsumer
from tasktools.brokers.memory.locks import LockEntry, LockRequest, MemoryLock, check_name
from tasktools.brokers.memory.mover import MemoryMover
from tasktools.brokers.memory.server import MemoryServer
from tasktools.brokers.memory.server_facts import server_facts
from tasktools.brokers.read_only import changes
from tasktools.brokers.taps import ReceiveTapped
from tasktools.core import events, peek_verdict, taps
from tasktools.core.clock import Clock
from tasktools.core.errors import Closed
from tasktools.core.events import Event
from tasktools.core.layout import TASKWORKER, Layout, only_topics
from tasktools.core.models import (
    BrokerIdentity,
    ClusterState,
    Delivery,
    Failure,
    Outgoing,
    PublishResult,
    PublishResults,
    Source,
    TopicReport,
    TopicSettings,
)
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.server_facts import ServerFacts
from tasktools.core.tasks import codec
from tasktools.core.tasks.compose import Composer, FunctionNames
from tasktools.core.topic_rules import check_deletable

_CHUNK_MESSAGES: Final = 500
_POLL_SECONDS: Final = 0.05
_BROKER_COLUMNS: Final = (
    "queued",
    "unacked",
    "dead_letter",
    "consumers",
    "publish_rate",
    "ack_rate",
    "queue_type",
    "dead_lettering",
    "exists",
)


class MemoryBroker(CommonBroker):
    """A client of a task-worker cluster that lives in this process.

    Brokers given the same *server* are clients of one cluster. *clock* is for a server of its
    own, and for the times written into messages.

    >>> with MemoryBroker() as broker:
    ...     message_id = broker.publish("emails", {"task_name": "send", "kwargs": {"to": "a@b"}})
    ...     delivery = broker.claim("emails", "worker-1")
    ...     delivery.payload
    {'task_name': 'send', 'args': [], 'kwargs': {'to': 'a@b'}}
    """

    capabilities = Capabilities(quorum_queues=False, streams=True)
    note: str | None = None
    server_version: str | None = None

    def __init__(
        self,
        server: MemoryServer | None = None,
        *,
        layout: Layout = TASKWORKER,
        clock: Clock | None = None,
        read_only: bool = False,
        demo: bool = False,
        address: str = "memory://",
        functions: FunctionNames | None = None,
    ) -> None:
        self.server = server or MemoryServer(clock)
        clock = clock or self.server.clock
        super().__init__(read_only=read_only, clock=clock, functions=functions)
        self._layout = layout
        self._demo = demo
        self._address = address
        self._composer = Composer(self.dialect_of, clock, self._functions)
        self._client = Client(self.server, self, self._functions)
        self._deliveries = self._client.deliveries
        self._subscribed_at = 0.0
        self._closed = False

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def composer(self) -> Composer:
        return self._composer

    @property
    def address(self) -> str:
        return self._address

    @property
    def identity(self) -> BrokerIdentity:
        return self.server.identity

    @property
    def demo(self) -> bool:
        return self._demo

    # --- lifecycle ------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise Closed

    def connect(self) -> None:
        self._check_open()
        self._subscribe()

    @changes
    def setup(self) -> None:
        self._check_open()  # the exchanges are always there

    def close(self) -> None:
        self._closed = True
        self._client.close()

    # --- messages -------------------------------------------------------------------

    @changes
    def publish_many(
        self,
        messages: Sequence[Outgoing],
        progress: Callable[[int], object] | None = None,
    ) -> PublishResults:
        self._check_open()
        results: list[PublishResult] = []
        for start in range(0, len(messages), _CHUNK_MESSAGES):
            chunk = messages[start : start + _CHUNK_MESSAGES]
            results += [self._publish(message) for message in chunk]
            if progress is not None:
                progress(len(chunk))
        return PublishResults(results)

    def _publish(self, message: Outgoing) -> PublishResult:
        if not self.server.has_queue(message.target):
            self.server.count_unroutable()
            return "unroutable"  # whoever else listens to the exchange
        return self.server.publish(
            self._layout.task_exchange if message.queue is None else "",
            message.target,
            message.body,
            message.properties,
            delay=message.delay,
        )

    def _claim(self, topic: str) -> Delivery | None:
        return self._deliveries.claim(topic)

    @changes
    def consume(
        self,
        topic: str,
        receive: Callable[[Delivery], object],
        *,
        prefetch: int,
        limit: int | None = None,
    ) -> MemoryConsumer:
        self._check_open()
        return self._deliveries.consume(topic, receive, prefetch=prefetch, limit=limit)

    @changes
    def ack(self, delivery_id: str) -> None:
        self._check_open()
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
        self._check_open()
        if not requeue:
            self._deliveries.reject(delivery_id)
            return False
        body = self._deliveries.body_of(delivery_id)
        counted = codec.count_attempt(body) if count_attempt else None
        if delay > 0:
            self._deliveries.put_later(delivery_id, counted or body, self._layout, delay)
        elif counted is not None:
            self._deliveries.put_again(delivery_id, counted)
        else:
            self._deliveries.give_back(delivery_id)
        return delay > 0

    @changes
    def dead_letter(
        self, delivery_id: str, failure: Failure, *, retention: float | None = None
    ) -> None:
        self._check_open()
        self._deliveries.dead_letter(delivery_id, failure, self._layout, retention)

    @changes
    def count_begin(self, topic: str, task: str) -> int:
        self._check_open()
        return self.server.count_begin(topic, task)

    @changes
    def forget_begins(self, topic: str, task: str) -> None:
        self._check_open()
        self.server.forget_begins(topic, task)

    @changes
    def purge(self, queue: str) -> int:
        self._check_open()
        return self.server.purge(queue)

    def queue_facts(self, queue: str) -> QueueFacts:
        self._check_open()
        return look.facts(self.server, queue)

    def peek(
        self,
        queue: str,
        limit: int | None = None,
        *,
        receive: Receive | None = None,
        force: bool = False,
    ) -> Look:
        verdict = self.look_verdict(queue, limit)
        peek_verdict.check(verdict, read_only=self._read_only, force=force)
        dialect = self.dialect_of(queue)
        return look.look(self.server, verdict, limit, self._functions, receive, dialect)

    @changes
    def overhear(
        self, receive: Overhear, missed: Callable[[], object] = lambda: None
    ) -> Callable[[], None]:
        del missed  # none are: the publisher waits
        self._check_open()
        return self.server.overhear(self._layout.task_exchange, receive, self._client)

    @changes
    def tap(self, name: str, *, max_age: float, max_bytes: int) -> bool:
        self._check_open()
        arguments = taps.arguments(name, max_age, max_bytes)
        with self.server.now():
            streams = self.server.exchanges.streams
            return streams.tap(self._layout.task_exchange, name, arguments, max_age)

    @changes
    def untap(self, name: str, *, delete: bool = False) -> bool:
        self._check_open()
        taps.check_name(name)
        with self.server.now():
            streams = self.server.exchanges.streams
            return streams.untap(self._layout.task_exchange, name, delete=delete)

    def read_tap(
        self,
        name: str,
        receive: ReceiveTapped,
        *,
        since: float | None = None,
        until: float | None = None,
        offset: int = 0,
    ) -> None:
        self._check_open()
        taps.check_name(name)
        with self.server.now() as now:
            stream = self.server.exchanges.streams.named(name)
            messages = stream.read(now, since=since, until=until, offset=offset)
        for message in messages:
            if receive(message) is True:
                return

    @changes
    def mover(self, queue: str, *, force: bool = False) -> MemoryMover:
        self._check_open()
        self._run_verdict(queue, force=force)
        return MemoryMover(self.server, self._client.deliveries, self._client, queue)

    # --- topics ---------------------------------------------------------------------

    def _declare_topic(self, topic: str) -> bool:
        is_new = not self.server.has_queue(topic)
        self.server.ensure_topic(self._layout, topic)
        return is_new

    def _create_topic(self, topic: str, arguments: dict[str, Any]) -> bool:
        is_new = not self.server.has_queue(topic)
        self.server.create_topic(self._layout, topic, arguments)
        return is_new

    @changes
    def delete_topic(self, topic: str, *, force: bool = False) -> int:
        self._check_open()
        check_deletable(topic)
        return self.server.delete_topic(self._layout, topic, force=force)

    def queue_exists(self, queue: str) -> bool:
        self._check_open()
        return self.server.has_queue(queue)

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        self._check_open()
        names = {*topics, *self.server.topics(self._layout)}
        return TopicReport(
            topics=tuple(self.server.stats(self._layout, topic) for topic in sorted(names)),
            sources=(Source(name="broker", ok=True, columns=_BROKER_COLUMNS, age=0.0),),
        )

    def known_topics(self) -> frozenset[str]:
        self._check_open()
        self._subscribe()
        mentioned, listed = self._client.topics(), self.server.topics(self._layout)
        names = {"default", *mentioned, *listed, *self.topic_settings()}
        return only_topics(self._layout, names)

    def topic_settings(self) -> Mapping[str, TopicSettings]:
        self._check_open()
        return dict(self.server.settings[self._layout.name])

    def _store_settings(self, topic: str, settings: TopicSettings) -> None:
        stored = events.settings_from(events.settings_json(settings))  # as peers would read them
        with self.server.now():
            self.server.settings[self._layout.name][topic] = stored

    def server_facts(
        self, topics: Collection[str] = (), *, limits: Collection[str] = ()
    ) -> ServerFacts:
        del limits  # no queue stands for a permit here
        self._check_open()
        return server_facts(self.server, self._layout, topics)

    # --- workers --------------------------------------------------------------------

    @changes
    def broadcast(self, *event: Event) -> None:
        self._check_open()
        self.server.broadcast(*map(events.encode, event))

    def listen(
        self, callback: Callable[[Event], object], *, tasks: bool = True
    ) -> Callable[[], None]:
        del tasks  # they come all the same
        self._check_open()
        stop = self._client.listen(callback)
        self._subscribe()  # afterwards: a worker in this process must receive the question
        return stop

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        self._check_open()
        self._subscribe()
        while self._clock.time() < self._subscribed_at + settle and self._client.may_learn_more():
            self._clock.sleep(_POLL_SECONDS)
        return self._client.state()

    @property
    def _sender_id(self) -> str:
        return self._client.sender_id

    def _subscribe(self) -> None:
        if self._client.subscribe():
            self._subscribed_at = self._clock.time()

    # --- locks ----------------------------------------------------------------------

    @changes
    def acquire_lock(
        self, name: str, task_id: str | None = None, worker_id: str | None = None
    ) -> MemoryLock | None:
        self._check_open()
        check_name(name)
        held = self._client.acquire(LockRequest(name, task_id, worker_id))
        return None if held is None else MemoryLock(held, self._release)

    def _release(self, held: LockEntry) -> None:
        self._client.free(held)  # by way of us, since whoever has a lock needs its client

    @changes
    def force_release_lock(self, name: str) -> bool:
        self._check_open()
        check_name(name)
        return self._client.free_by_force(name)
