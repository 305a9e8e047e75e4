"""Settings of topics: stored by the broker, and announced."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from tasktools.brokers.base import Broker
from tasktools.core.errors import InvalidTopic
from tasktools.core.events import Event, SettingsUpdate
from tasktools.core.models import TopicSettings
from tasktools.testing.conformance.base import Conformance
from tasktools.testing.eventually import eventually

SETTINGS = TopicSettings(
    concurrency_limit=3, max_retries=2, dead_letter_enabled=True, retention_seconds=3600
)


class Settings(Conformance):
    """Behaviours of `configure_topic` and `topic_settings`."""

    def test_at_first_there_are_none(self, broker: Broker) -> None:
        assert dict(broker.topic_settings()) == {}

    @pytest.mark.parametrize(
        "settings",
        [
            SETTINGS,
            TopicSettings(dead_letter_enabled=False),
            TopicSettings(concurrency_limit=0, max_retries=0, dead_letter_enabled=True),
        ],
    )
    def test_settings_are_kept(self, broker: Broker, settings: TopicSettings) -> None:
        broker.configure_topic("emails", settings)
        assert dict(broker.topic_settings()) == {"emails": settings}

    def test_new_settings_replace_all_earlier_ones_of_the_topic(self, broker: Broker) -> None:
        later = TopicSettings(max_retries=9, dead_letter_enabled=False)
        for topic in ("emails", "reports"):
            broker.configure_topic(topic, SETTINGS)
        broker.configure_topic("emails", later)
        assert dict(broker.topic_settings()) == {"emails": later, "reports": SETTINGS}

    def test_another_client_sees_them_also_when_the_first_has_gone(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        second_broker.configure_topic("emails", SETTINGS)
        assert broker.topic_settings()["emails"] == SETTINGS
        second_broker.close()
        assert broker.topic_settings()["emails"] == SETTINGS

    def test_two_clients_at_once_lose_nothing(self, broker: Broker, second_broker: Broker) -> None:
        wanted = {
            f"topic-{n}": TopicSettings(concurrency_limit=n, dead_letter_enabled=True)
            for n in range(20)
        }

        def configure(client: Broker, topics: list[str]) -> None:
            for topic in topics:
                client.configure_topic(topic, wanted[topic])

        topics = list(wanted)
        with ThreadPoolExecutor(2, thread_name_prefix="tasktools-clients") as pool:
            halves = ((broker, topics[:10]), (second_broker, topics[10:]))
            for done in [pool.submit(configure, *half) for half in halves]:
                done.result()
        assert dict(broker.topic_settings()) == wanted

    def test_all_are_told_of_new_settings(self, broker: Broker, second_broker: Broker) -> None:
        received: list[Event] = []
        second_broker.listen(received.append)
        broker.configure_topic("emails", SETTINGS)
        (update,) = eventually(lambda: [e for e in received if isinstance(e, SettingsUpdate)])
        assert (update.topic, update.settings) == ("emails", SETTINGS)
        eventually(lambda: second_broker.cluster_state().settings == {"emails": SETTINGS})

    def test_a_topic_with_settings_need_not_exist(self, broker: Broker) -> None:
        broker.configure_topic("emails", SETTINGS)
        assert not broker.topic_exists("emails")

    @pytest.mark.parametrize("name", ["concurrency_limit", "max_retries", "retention_seconds"])
    def test_a_value_below_zero_is_not_kept(self, broker: Broker, name: str) -> None:
        settings: TopicSettings = replace(SETTINGS, **{name: -1})
        with pytest.raises(InvalidTopic, match=name):
            broker.configure_topic("emails", settings)
        assert dict(broker.topic_settings()) == {}
