"""The topics that a worker consumes, each with its settings."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final

from tasktools.brokers.base import Broker, Consumer
from tasktools.core.errors import BrokerError
from tasktools.core.models import Delivery, TopicSettings

_log = logging.getLogger("tasktools.worker")

ALL: Final = "*"
"""The wildcard: every topic that can be known."""
_NO_SETTINGS: Final = TopicSettings()
_MAX_PREFETCH: Final = 65_535  # AMQP's


class Subscriptions:
    """Consumers by topic. *give_back* is called with a topic, or `None` for all, when no more
    deliveries of it can come."""

    def __init__(
        self,
        broker: Broker,
        topics: Iterable[str],
        *,
        always: Iterable[str],
        receive: Callable[[Delivery], object],
        give_back: Callable[[str | None], object],
        prefetch: int,
    ) -> None:
        self.requested = tuple(dict.fromkeys(topics))
        self._broker = broker
        self._always = frozenset(always)
        self._receive = receive
        self._give_back = give_back
        self._prefetch = prefetch
        self._own_prefetch: dict[str, int] = {}
        self._settings: dict[str, TopicSettings] = {}
        self._consumers: dict[str, Consumer] = {}
        self._left: set[str] = set()
        self._was_drained = False
        self._troubles: dict[str, str] = {}
        self._lock = threading.RLock()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are consumed now."""
        return tuple(sorted(self._consumers))

    @property
    def prefetch(self) -> dict[str, int]:
        """The largest number of unacknowledged messages of each topic that is consumed now."""
        return {topic: self._prefetch_of(topic) for topic in self.topics}

    @property
    def draining(self) -> bool:
        """Whether the worker drains: no new tasks, and no topic joined since."""
        return self._was_drained and not self._consumers

    @property
    def _wants_all(self) -> bool:
        return ALL in self.requested and not self._was_drained

    def is_new(self, topic: str) -> bool:
        """Whether `look` would try to consume *topic*."""
        if topic == ALL or topic in self._consumers or topic in self._left:
            return False
        return self._wants_all

    def settings(self, topic: str) -> TopicSettings:
        """Return the last received settings of *topic*."""
        return self._settings.get(topic, _NO_SETTINGS)

    def start(self) -> None:
        """Consume all requested topics; create missing ones."""
        with self._lock:
            self._settings.update(self._broker.topic_settings())
            self._consume_requested()

    def look(self) -> None:
        """Consume topics that are newly known, if the wildcard was requested."""
        with self._lock:
            if not self._wants_all:
                return
            for topic in sorted(filter(self.is_new, self._broker.known_topics())):
                if self._broker.topic_exists(topic):
                    self._consume(topic)

    def join(self, topic: str) -> None:
        """Consume *topic* as well, also after a drain; the wildcard ends a drain for all topics
        that were asked for."""
        with self._lock:
            if topic == ALL:
                self._was_drained = False
                self._left.clear()
                self._consume_requested()
            else:
                self._left.discard(topic)
                self._create_and_consume(topic)

    def leave(self, topic: str) -> None:
        """Stop consuming *topic*; running tasks finish, waiting ones are requeued."""
        with self._lock:
            self._left.add(topic)
            consumer = self._consumers.pop(topic, None)
        if consumer is not None:
            self._end(consumer)
            self._give_back(topic)

    def drain(self) -> None:
        """Stop consuming all topics; running tasks finish, waiting ones are requeued."""
        with self._lock:
            self._was_drained = True
            consumers, self._consumers = self._consumers, {}
        for consumer in consumers.values():
            self._end(consumer)
        self._give_back(None)

    def _end(self, consumer: Consumer) -> None:
        try:
            consumer.cancel()
        except (BrokerError, TimeoutError) as error:  # what still comes is given back at the end
            _log.warning("topic %r could not be left in time: %s", consumer.topic, error)
        else:
            _log.info("topic %r is consumed no more", consumer.topic)

    def set_prefetch(self, topic: str, prefetch: int) -> None:
        """Hold at most *prefetch* messages of *topic*."""
        with self._lock:
            self._own_prefetch[topic] = min(max(prefetch, 1), _MAX_PREFETCH)
            self._adjust(topic)

    def set_default_prefetch(self, prefetch: int) -> None:
        """Hold at most *prefetch* messages of every topic that has no number of its own."""
        with self._lock:
            self._prefetch = prefetch
            for topic in self._consumers:
                self._adjust(topic)

    def set_settings(self, topic: str, settings: TopicSettings) -> None:
        """Apply *settings* from now on."""
        with self._lock:
            if self._settings.get(topic) != settings:
                self._settings[topic] = settings
                self._adjust(topic)

    def check(self) -> None:
        """Catch up on missed events, and log topics that cannot be consumed."""
        for topic, settings in self._broker.topic_settings().items():
            self.set_settings(topic, settings)
        consumers = list(self._consumers.values())
        troubles = {
            consumer.topic: consumer.problem
            for consumer in consumers
            if consumer.problem is not None
        }
        for topic, problem in troubles.items():
            if self._troubles.get(topic) != problem:
                _log.warning("nothing comes from topic %r: %s", topic, problem)
        self._troubles = troubles

    # --- under the lock -------------------------------------------------------------

    def _consume_requested(self) -> None:
        wanted = {"default", *self._always} if self._wants_all else set()
        for topic in sorted(wanted.union(self.requested) - {ALL}):
            self._create_and_consume(topic)
        self.look()

    def _create_and_consume(self, topic: str) -> None:
        if topic not in self._consumers:
            self._broker.ensure_topic(topic)
            self._consume(topic)

    def _consume(self, topic: str) -> None:
        if topic in self._consumers:
            return
        try:
            self._consumers[topic] = self._broker.consume(
                topic,
                self._receive,
                prefetch=self._prefetch_of(topic),
                limit=self.settings(topic).concurrency_limit,
            )
        except BrokerError as error:
            if topic in self.requested:
                raise
            _log.warning("topic %r is not consumed: %s", topic, error)
        else:
            _log.info("consuming topic %r", topic)

    def _prefetch_of(self, topic: str) -> int:
        return self._own_prefetch.get(topic, self._prefetch)

    def _adjust(self, topic: str) -> None:
        consumer = self._consumers.get(topic)
        if consumer is not None:
            limit = self.settings(topic).concurrency_limit
            consumer.adjust(prefetch=self._prefetch_of(topic), limit=limit)
