"""The topics a worker consumes, each within its settings."""

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


class Subscriptions:
    """Consumers by topic. `give_back` is called with a topic, or `None` for all, once nothing
    more of it can come."""

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
        self.draining = False
        self._broker = broker
        self._always = frozenset(always)
        self._receive = receive
        self._give_back = give_back
        self._prefetch = prefetch
        self._own_prefetch: dict[str, int] = {}
        self._settings: dict[str, TopicSettings] = {}
        self._consumers: dict[str, Consumer] = {}
        self._left: set[str] = set()
        self._lock = threading.RLock()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are consumed now."""
        return tuple(sorted(self._consumers))

    @property
    def wants_all(self) -> bool:
        """Whether new topics are consumed as they become known."""
        return ALL in self.requested and not self.draining

    def is_new(self, topic: str) -> bool:
        """Whether *topic* is one that `refresh` would look at."""
        return self.wants_all and topic not in self._consumers and topic not in self._left

    def settings(self, topic: str) -> TopicSettings:
        """Return the settings of *topic* as last heard."""
        return self._settings.get(topic, _NO_SETTINGS)

    def start(self) -> None:
        """Consume all topics that were asked for, creating those that are missing."""
        with self._lock:
            self._settings.update(self._broker.topic_settings())
            for topic in self.requested:
                if topic != ALL:
                    self._create_and_consume(topic)
            if self.wants_all:
                for topic in sorted({"default", *self._always}):
                    self._create_and_consume(topic)
                self.refresh()

    def refresh(self) -> None:
        """With the wildcard: consume the topics that have become known and exist."""
        with self._lock:
            if not self.wants_all:
                return
            for topic in sorted(filter(self.is_new, self._broker.known_topics())):
                if self._broker.topic_exists(topic):
                    self._consume(topic)

    def join(self, topic: str) -> None:
        """Consume *topic* as well; it ends a drain for this topic."""
        with self._lock:
            self.draining = False
            self._left.discard(topic)
            if topic not in self._consumers:
                self._create_and_consume(topic)

    def leave(self, topic: str) -> None:
        """Take nothing more of *topic*; what runs is finished, what waits goes back."""
        with self._lock:
            self._left.add(topic)
            consumer = self._consumers.pop(topic, None)
        if consumer is not None:
            consumer.cancel()
            self._give_back(topic)
            _log.info("left topic %r", topic)

    def drain(self) -> None:
        """Take nothing more at all; what runs is finished, what waits goes back."""
        with self._lock:
            self.draining = True
            consumers, self._consumers = self._consumers, {}
        for consumer in consumers.values():
            consumer.cancel()
        self._give_back(None)

    def set_prefetch(self, topic: str, prefetch: int) -> None:
        """Hold at most *prefetch* messages of *topic*."""
        with self._lock:
            self._own_prefetch[topic] = max(prefetch, 1)
            self._adjust(topic)

    def set_default_prefetch(self, prefetch: int) -> None:
        """Hold at most *prefetch* messages of every topic that has no number of its own."""
        with self._lock:
            self._prefetch = prefetch
            for topic in self._consumers:
                self._adjust(topic)

    def set_settings(self, topic: str, settings: TopicSettings) -> None:
        """Go by *settings* from now on."""
        with self._lock:
            self._settings[topic] = settings
            self._adjust(topic)

    def problems(self) -> dict[str, str]:
        """Return why nothing can come, by topic."""
        return {t: c.problem for t, c in self._consumers.items() if c.problem is not None}

    # --- under the lock -------------------------------------------------------------

    def _create_and_consume(self, topic: str) -> None:
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
