"""The memory broker: a client of a `MemoryServer`, with the whole contract."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Self

from tasktools.brokers.base import Capabilities, Look, changes, raise_unless_confirmed
from tasktools.brokers.memory.exchanges import as_on_the_wire
from tasktools.brokers.memory.queue import Message
from tasktools.brokers.memory.server import MemoryServer
from tasktools.core import codec, deaths, events, peek
from tasktools.core.clock import Clock
from tasktools.core.cluster_view import ClusterView
from tasktools.core.compose import Composer, FunctionNames, check_topic
from tasktools.core.errors import Closed
from tasktools.core.events import Event
from tasktools.core.keys import Keys
from tasktools.core.layout import TASKWORKER, Layout
from tasktools.core.models import (
    ClusterState,
    Delivery,
    Outgoing,
    PublishResult,
    SeenMessage,
    Source,
    TopicReport,
)
from tasktools.core.peek import QueueFacts, Verdict

_MOST_SHOWN: Final = 65_535
_CHUNK: Final = 500
_GLANCE: Final = 0.05
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


class MemoryBroker:
    """A client of a task-worker cluster that lives in this process.

    Brokers given the same *server* are clients of one cluster. *clock* is for a server of its
    own, and for the times written into messages.

    >>> with MemoryBroker() as broker:
    ...     message_id = broker.publish("emails", {"task_name": "send", "kwargs": {"to": "a@b"}})
    ...     delivery = broker.claim("emails", "worker-1")
    ...     delivery.payload
    {'task_name': 'send', 'args': [], 'kwargs': {'to': 'a@b'}}
    """

    capabilities = Capabilities(quorum_queues=False, survives_restart=False, foreign_peers=False)
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
    ) -> None:
        self.server = server or MemoryServer(clock)
        self._clock = clock or self.server.clock
        self._layout = layout
        self._read_only = read_only
        self._demo = demo
        self._address = address
        self._functions = FunctionNames()
        self._composer = Composer(layout, self._clock, self._functions)
        self._sender_id = f"tasktools-{secrets.token_hex(4)}"
        self._subscribed_at = 0.0
        self._closed = False
        self._client = self.server.attach(self)

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
        self.server.detach(self._client)

    # --- messages -------------------------------------------------------------------

    @changes
    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any],
        headers: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
    ) -> str:
        self._check_open()
        message = self._composer.compose(topic, payload, headers, priority=priority)
        self.server.ensure_topic(self._layout, topic)
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
        exchange = self._layout.task_exchange
        return self.server.publish(exchange, message.topic, message.body, message.properties)

    @changes
    def claim(self, topic: str, worker_id: str) -> Delivery | None:
        del worker_id  # what a worker holds shows in its own heartbeats
        self._check_open()
        claimed = self.server.claim(self._client, topic)
        if claimed is None:
            return None
        delivery_id, message, redelivered = claimed
        properties = as_on_the_wire(message.properties)
        task = codec.decode(message.body, properties)
        self._functions.learn(task)
        return Delivery(
            id=delivery_id,
            topic=topic,
            body=message.body,
            properties=properties,
            task=task,
            redelivered=redelivered,
        )

    @changes
    def ack(self, delivery_id: str) -> None:
        self._check_open()
        self.server.ack(self._client, delivery_id)

    @changes
    def nack(self, delivery_id: str, *, requeue: bool = True, count_attempt: bool = True) -> None:
        self._check_open()
        if not requeue:
            self.server.reject(self._client, delivery_id)
            return
        body = self.server.held_body(self._client, delivery_id)
        counted = codec.count_attempt(body) if count_attempt else None
        if counted is None:
            self.server.give_back(self._client, delivery_id)
        else:
            self.server.put_again(self._client, delivery_id, counted)

    @changes
    def purge(self, queue: str) -> int:
        self._check_open()
        return self.server.purge(queue)

    def look_verdict(self, queue: str, limit: int) -> Verdict:
        self._check_open()
        if not 1 <= limit <= _MOST_SHOWN:
            raise ValueError(f"limit is {limit}; a look shows 1 to {_MOST_SHOWN} messages.")
        return peek.judge(
            QueueFacts(
                queue=queue,
                server=(4, 3),  # of no matter for a classic queue
                queue_type="classic",
                limit_argument=None,
                arguments_known=True,
                policy_limit=None,
                policies_known=True,
                consumers=self.server.consumers(queue),
                dead_letters=queue.endswith(".dead"),
            )
        )

    def peek(self, queue: str, limit: int, *, force: bool = False) -> Look:
        verdict = self.look_verdict(queue, limit)
        peek.check(verdict, read_only=self._read_only, force=force)
        found, ready = self.server.look(queue, limit)
        keys = Keys()
        return Look(
            queue=queue,
            verdict=verdict,
            messages=tuple(
                self._seen(position, message, keys, redelivered=redelivered)
                for position, (message, redelivered) in enumerate(found)
            ),
            ready_before=ready,
            ready_after=ready,
        )

    def _seen(
        self, position: int, message: Message, keys: Keys, *, redelivered: bool
    ) -> SeenMessage:
        properties = as_on_the_wire(message.properties)
        task, died = (
            codec.decode(message.body, properties),
            deaths.parse(properties.headers),
        )
        self._functions.learn(task)
        return SeenMessage(
            key=keys.next(properties, message.body, died),
            position=position,
            task=task,
            properties=properties,
            deaths=died,
            redelivered=redelivered,
            size=len(message.body),
        )

    # --- topics ---------------------------------------------------------------------

    @changes
    def ensure_topic(self, topic: str) -> None:
        self._check_open()
        check_topic(topic)
        self.server.ensure_topic(self._layout, topic)

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

    # --- workers --------------------------------------------------------------------

    @changes
    def broadcast(self, event: Event) -> None:
        self._check_open()
        self.server.broadcast(events.encode(event))

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        self._check_open()
        self._subscribe()
        while self._clock.time() < self._subscribed_at + settle and self._may_learn_more():
            self._clock.sleep(_GLANCE)
        with self.server.view_of(self._client) as view:
            return view.state(self.server.clock.time(), _events_source(view))

    def _subscribe(self) -> None:
        if self.server.subscribe(self._client):
            self._subscribed_at = self._clock.time()
            for question in ("who_is_alive", "config_request"):
                asked = events.Question(kind=question, sender_id=self._sender_id)
                self.server.broadcast(events.encode(asked))

    def _may_learn_more(self) -> bool:
        with self.server.view_of(self._client) as view:
            return not view.is_settled and self.server.may_hear_more(self._client)


def _events_source(view: ClusterView) -> Source:
    notes = []
    if view.forgotten:
        notes.append(f"{view.forgotten} things were forgotten: the cluster is too large")
    if view.malformed:
        notes.append(f"{view.malformed} events could not be read")
    return Source(name="events", ok=True, age=0.0, note="; ".join(notes) or None)
