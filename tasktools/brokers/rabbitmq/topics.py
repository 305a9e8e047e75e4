"""Topics on RabbitMQ: what exists, how it is doing, what is kept about it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Mapping

from tasktools.brokers.base import changes
from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.client import Client
from tasktools.brokers.rabbitmq.store import Store
from tasktools.core import events
from tasktools.core import layout as layouts
from tasktools.core.compose import check_topic
from tasktools.core.errors import BrokerError
from tasktools.core.models import QueueType, TopicReport, TopicSettings
from tasktools.core.topics import check_settings, queue_arguments


class Topics(Client):
    """The part of the broker that knows the topics."""

    @functools.cached_property
    def _settings(self) -> Store:
        return Store(f"settings.{self.layout.name}")

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
