"""The methods of the contract that are the same for every backend."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, Self

from tasktools.brokers.base import Broker
from tasktools.brokers.read_only import changes, refuse_if_read_only
from tasktools.brokers.unconfirmed import raise_unless_confirmed
from tasktools.core import events, peek_verdict
from tasktools.core.clock import Clock
from tasktools.core.errors import BrokerError, InvalidTopic, QueueNotFound
from tasktools.core.models import (
    Delivery,
    QueueType,
    TopicSettings,
)
from tasktools.core.peek_verdict import Verdict
from tasktools.core.tasks.compose import FunctionNames, check_topic
from tasktools.core.topic_rules import check_settings, queue_arguments


class CommonBroker(Broker):
    """The part of a broker that both backends share; a backend adds the rest, and its own steps."""

    def __init__(self, *, read_only: bool, clock: Clock, functions: FunctionNames | None) -> None:
        self._read_only = read_only
        self._clock = clock
        self._functions = functions or FunctionNames()
        self._ensured: set[str] = set()
        self._turn = 0

    # --- the steps of a backend -----------------------------------------------------

    @property
    @abstractmethod
    def _sender_id(self) -> str:
        """The name under which this client sends events."""

    @abstractmethod
    def _check_open(self) -> None:
        """Raise `Closed` if `close` was called."""

    @abstractmethod
    def _claim(self, topic: str) -> Delivery | None:
        """Take the next message of *topic*."""

    @abstractmethod
    def _declare_topic(self, topic: str) -> bool:
        """Declare the missing parts of *topic*; return whether its queue was missing."""

    @abstractmethod
    def _create_topic(self, topic: str, arguments: dict[str, Any]) -> bool:
        """Declare *topic* with exactly these *arguments*; return whether its queue was missing."""

    @abstractmethod
    def _store_settings(self, topic: str, settings: TopicSettings) -> None:
        """Store the settings of *topic* in the cluster."""

    # --- the client -----------------------------------------------------------------

    def __repr__(self) -> str:
        suffix = " read_only" if self._read_only else ""
        return f"<{type(self).__name__} {self.address}{suffix}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        return self._read_only

    def check_writable(self, action: str) -> None:
        refuse_if_read_only(self, action)

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
        layout = self.dialects[0]  # in which topics are created, as here
        message = self.composer.compose(
            topic, payload, headers, priority=priority, ttl=ttl, delay=delay, dialect=layout
        )
        is_created_here = message.queue is None
        if is_created_here and topic not in self._ensured:
            self.ensure_topic(topic)
        results = self.publish_many([message])
        if is_created_here and results[0] == "unroutable":  # deleted since we made sure of it
            self.ensure_topic(topic)
            results = self.publish_many([message])
        raise_unless_confirmed(results[0], topic, results.reasons.get(0))
        return message.message_id

    @changes
    def claim(self, topic: str, worker_id: str) -> Delivery | None:
        del worker_id  # what a worker holds shows in its own heartbeats
        self._check_open()
        return self._claim_any() if topic == "*" else self._claim(topic)

    def _claim_any(self) -> Delivery | None:
        """Take a message of any topic; each call begins with the next topic."""
        topics = sorted(filter(self.topic_exists, self.known_topics()))
        if not topics:
            raise QueueNotFound("No topic is known that exists; nothing was changed. Name one.")
        self._turn += 1
        first = self._turn % len(topics)
        deliveries = map(self._claim, (*topics[first:], *topics[:first]))
        return next((delivery for delivery in deliveries if delivery is not None), None)

    def look_verdict(self, queue: str, limit: int | None = None) -> Verdict:
        peek_verdict.check_limit(limit)
        return peek_verdict.judge(self.queue_facts(queue))

    def _run_verdict(self, queue: str, *, force: bool) -> Verdict:
        """Return the cost of holding the messages of *queue*; raises if a run must not."""
        facts = self.queue_facts(queue)
        verdict = peek_verdict.judge(facts)
        peek_verdict.check_run(verdict, facts, force=force)
        return verdict

    # --- topics ---------------------------------------------------------------------

    def topic_exists(self, topic: str) -> bool:
        return self.queue_exists(topic)

    @changes
    def command(
        self, action: str, workers: Collection[str], params: Mapping[str, Any], *, wait: float
    ) -> Mapping[str, str | None]:
        del action, workers, params, wait  # no worker has a control channel of its own
        return {}

    @changes
    def ensure_topic(self, topic: str) -> None:
        self._check_open()
        check_topic(topic)
        self._note_topic(topic, is_new=self._declare_topic(topic))

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
        if queue_type == "quorum" and not self.capabilities.quorum_queues:
            raise InvalidTopic(
                f"The topic {topic!r} cannot be like this: this broker has no quorum queues; "
                "nothing was changed. Create it as 'classic'."
            )
        self._note_topic(topic, is_new=self._create_topic(topic, arguments))

    def _note_topic(self, topic: str, *, is_new: bool) -> None:
        """Remember that *topic* exists, and announce a new one to the workers."""
        self._ensured.add(topic)
        if is_new:
            with contextlib.suppress(BrokerError):  # it exists, whether or not they can be told
                self._announce(topic, self.topic_settings().get(topic, TopicSettings()))

    @changes
    def configure_topic(self, topic: str, settings: TopicSettings) -> None:
        self._check_open()
        check_settings(topic, settings)
        self._store_settings(topic, settings)
        self._announce(topic, settings)

    def _announce(self, topic: str, settings: TopicSettings) -> None:
        """Tell all workers the settings of *topic*."""
        self.broadcast(
            events.SettingsUpdate(sender_id=self._sender_id, topic=topic, settings=settings)
        )
