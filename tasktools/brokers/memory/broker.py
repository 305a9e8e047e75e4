"""The memory broker: a client of a `MemoryServer`, with the whole contract."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Self

from tasktools.brokers.base import (
    Capabilities,
    Look,
    Overhear,
    Receive,
    changes,
    raise_unless_confirmed,
)
from tasktools.brokers.document import DocumentNames
from tasktools.brokers.memory import look
from tasktools.brokers.memory.client import Client
from tasktools.brokers.memory.consumers import MemoryConsumer
from tasktools.brokers.memory.locks import HeldBy, LockRequest, MemoryLock, check_name
from tasktools.brokers.memory.mover import MemoryMover
from tasktools.brokers.memory.server import MemoryServer
from tasktools.brokers.tapping import ReceiveTapped
from tasktools.core import codec, peek, taps
from tasktools.core.clock import Clock
from tasktools.core.compose import Composer, FunctionNames, check_topic
from tasktools.core.errors import BrokerError, Closed, InvalidTopic, QueueNotFound
from tasktools.core.events import Event
from tasktools.core.layout import TASKWORKER, Layout, only_topics
from tasktools.core.models import (
    ClusterState,
    Delivery,
    Failure,
    Outgoing,
    PublishResult,
    QueueType,
    Source,
    TopicReport,
    TopicSettings,
)
from tasktools.core.peek import Verdict
from tasktools.core.topics import check_settings, queue_arguments

_CHUNK: Final = 500
_GLANCE: Final = 0.05
"""How queues of programs begin."""
_COLUMNS: Final = (
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


class MemoryBroker(DocumentNames):
    """A client of a task-worker cluster that lives in this process.

    Brokers given the same *server* are clients of one cluster. *clock* is for a server of its
    own, and for the times written into messages.

    >>> with MemoryBroker() as broker:
    ...     message_id = broker.publish("emails", {"task_name": "send", "kwargs": {"to": "a@b"}})
    ...     delivery = broker.claim("emails", "worker-1")
    ...     delivery.payload
    {'task_name': 'send', 'args': [], 'kwargs': {'to': 'a@b'}}
    """

    capabilities = Capabilities(
        quorum_queues=False, survives_restart=False, foreign_peers=False, streams=True
    )
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
        self._clock = clock or self.server.clock
        self._layout = layout
        self._read_only = read_only
        self._demo = demo
        self._address = address
        self._functions = functions or FunctionNames()
        self._composer = Composer(layout, self._clock, self._functions)
        self._client = Client(self.server, self, self._functions)
        self._claims = self._client.claims
        self._subscribed_at = 0.0
        self._turn = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<MemoryBroker {self._address}{' read_only' if self._read_only else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def composer(self) -> Composer:
        return self._composer

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def address(self) -> str:
        return self._address

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
        self._check_open()
        message = self._composer.compose(
            topic, payload, headers, priority=priority, ttl=ttl, delay=delay
        )
        self.ensure_topic(topic)
        result = self.publish_many([message])[0]
        raise_unless_confirmed(result, topic)
        self._functions.learn(codec.decode(message.body, message.properties))
        return message.message_id

    @changes
    def publish_many(
        self,
        messages: Sequence[Outgoing],
        progress: Callable[[int], object] | None = None,
    ) -> list[PublishResult]:
        self._check_open()
        results: list[PublishResult] = []
        for start in range(0, len(messages), _CHUNK):
            chunk = messages[start : start + _CHUNK]
            results += [self._publish(message) for message in chunk]
            if progress is not None:
                progress(len(chunk))
        return results

    def _publish(self, message: Outgoing) -> PublishResult:
        if not self.server.has_queue(message.topic):
            return "unroutable"  # whoever else listens to the exchange
        return self.server.publish(
            self._layout.task_exchange,
            message.topic,
            message.body,
            message.properties,
            delay=message.delay,
        )

    @changes
    def claim(self, topic: str, worker_id: str) -> Delivery | None:
        del worker_id  # what a worker holds shows in its own heartbeats
        self._check_open()
        return self._claim_any() if topic == "*" else self._claims.claim(topic)

    def _claim_any(self) -> Delivery | None:
        topics = sorted(filter(self.server.has_queue, self.known_topics()))
        if not topics:
            raise QueueNotFound("No topic is known that exists; nothing was changed. Name one.")
        self._turn += 1
        first = self._turn % len(topics)
        in_turn = (*topics[first:], *topics[:first])
        deliveries = map(self._claims.claim, in_turn)
        return next((one for one in deliveries if one is not None), None)

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
        return self._claims.consume(topic, receive, prefetch=prefetch, limit=limit)

    @changes
    def ack(self, delivery_id: str) -> None:
        self._check_open()
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
        self._check_open()
        if not requeue:
            self._claims.reject(delivery_id)
            return False
        body = self._claims.body_of(delivery_id)
        counted = codec.count_attempt(body) if count_attempt else None
        if delay > 0:
            self._claims.put_later(delivery_id, counted or body, self._layout, delay)
        elif counted is not None:
            self._claims.put_again(delivery_id, counted)
        else:
            self._claims.give_back(delivery_id)
        return delay > 0

    @changes
    def dead_letter(
        self, delivery_id: str, failure: Failure, *, retention: float | None = None
    ) -> None:
        self._check_open()
        self._claims.dead_letter(delivery_id, failure, self._layout, retention)

    @changes
    def purge(self, queue: str) -> int:
        self._check_open()
        return self.server.purge(queue)

    def look_verdict(self, queue: str, limit: int | None = None) -> Verdict:
        self._check_open()
        return look.verdict(self.server, queue, limit)

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
        return look.look(self.server, verdict, limit, self._functions, receive)

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
        peek.check(self.look_verdict(queue, 1), read_only=False, force=force)
        return MemoryMover(self.server, self._client.claims, self._client, queue)

    # --- topics ---------------------------------------------------------------------

    @changes
    def ensure_topic(self, topic: str) -> None:
        self._check_open()
        check_topic(topic)
        is_new = not self.server.has_queue(topic)
        self.server.ensure_topic(self._layout, topic)
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
        self._check_open()
        arguments = queue_arguments(topic, queue_type, max_priority, message_ttl)
        if queue_type == "quorum":
            raise InvalidTopic(
                f"The topic {topic!r} cannot be like this: the memory broker has no quorum "
                "queues; nothing was changed. Create it as 'classic'."
            )
        is_new = not self.server.has_queue(topic)
        self.server.create_topic(self._layout, topic, arguments)
        if is_new:
            self._announce(topic)

    def _announce(self, topic: str) -> None:
        """Tell the workers of a new topic; it is there, whether or not they can be told."""
        with contextlib.suppress(BrokerError):
            self._client.tell_settings(topic, self.topic_settings().get(topic, TopicSettings()))

    def topic_exists(self, topic: str) -> bool:
        self._check_open()
        return self.server.has_queue(topic)

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        self._check_open()
        names = {*topics, *self.server.topics(self._layout)}
        return TopicReport(
            topics=tuple(self.server.stats(self._layout, topic) for topic in sorted(names)),
            sources=(Source(name="broker", ok=True, columns=_COLUMNS, age=0.0),),
        )

    def known_topics(self) -> frozenset[str]:
        self._check_open()
        self._subscribe()
        heard, listed = self._client.topics(), self.server.topics(self._layout)
        names = {"default", *heard, *listed, *self.topic_settings()}
        return only_topics(self._layout, names)

    def topic_settings(self) -> Mapping[str, TopicSettings]:
        self._check_open()
        return dict(self.server.settings[self._layout.name])

    @changes
    def configure_topic(self, topic: str, settings: TopicSettings) -> None:
        self._check_open()
        check_settings(topic, settings)
        self._client.configure(self._layout, topic, settings)

    # --- workers --------------------------------------------------------------------

    @changes
    def broadcast(self, *events: Event) -> None:
        self._check_open()
        self._client.broadcast(*events)

    def listen(
        self, callback: Callable[[Event], object], *, tasks: bool = True
    ) -> Callable[[], None]:
        del tasks  # they come all the same
        self._check_open()
        stop = self._client.listen(callback)
        self._subscribe()  # afterwards: a worker of our own is to hear the question
        return stop

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        self._check_open()
        self._subscribe()
        while self._clock.time() < self._subscribed_at + settle and self._client.may_learn_more():
            self._clock.sleep(_GLANCE)
        return self._client.state()

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

    def _release(self, held: HeldBy) -> None:
        self._client.free(held)  # by way of us, since whoever has a lock needs its client

    @changes
    def force_release_lock(self, name: str) -> bool:
        self._check_open()
        check_name(name)
        return self._client.free_by_force(name)
