"""Topics: what is created, what is used as it is, what is told of them."""

from __future__ import annotations

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.errors import InvalidTask
from tasktools.core.models import TopicStats
from tasktools.testing.conformance.base import Backdoor, Conformance, holds, publish, take
from tasktools.testing.eventually import eventually


def stats_of(broker: Broker, topic: str) -> TopicStats:
    """Return the statistics of one topic."""
    (stats,) = [s for s in broker.topic_report([topic]).topics if s.topic == topic]
    return stats


class Topics(Conformance):
    """Behaviours of `ensure_topic`, `topic_exists` and `topic_report`."""

    def test_a_topic_exists_once_it_was_ensured(self, broker: Broker) -> None:
        assert not broker.topic_exists("emails")
        broker.ensure_topic("emails")
        assert broker.topic_exists("emails")

    def test_a_topic_comes_with_its_dead_letter_queue(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        assert broker.topic_exists("emails.dead")

    def test_another_client_sees_the_topic(self, broker: Broker, second_broker: Broker) -> None:
        broker.ensure_topic("emails")
        assert second_broker.topic_exists("emails")

    def test_ensuring_a_topic_again_keeps_its_messages(
        self, broker: Broker, second_broker: Broker, backdoor: Backdoor
    ) -> None:
        publish(broker, count=2)
        for client in (broker, second_broker):
            client.ensure_topic("emails")
        assert backdoor.depth("emails") == 2

    @pytest.mark.parametrize("topic", ["", "*", "amq.mine", "x" * 251])
    def test_a_name_that_can_be_no_topic_is_not_ensured(self, broker: Broker, topic: str) -> None:
        with pytest.raises(InvalidTask):
            broker.ensure_topic(topic)

    def test_a_queue_that_exists_is_used_as_it_is(self, broker: Broker, backdoor: Backdoor) -> None:
        backdoor.declare_plain_queue("old")
        backdoor.put("old", b"from before")
        broker.ensure_topic("old")
        publish(broker, "old")
        assert take(broker, "old").body == b"from before"
        assert holds(backdoor, "old", 1)

    def test_the_report_counts_what_is_queued(self, broker: Broker) -> None:
        publish(broker, count=3)
        assert stats_of(broker, "emails").queued == 3

    def test_the_report_does_not_count_what_is_claimed_as_queued(self, broker: Broker) -> None:
        publish(broker, count=3)
        take(broker)
        assert stats_of(broker, "emails").queued == 2

    def test_the_report_counts_dead_letters(self, broker: Broker) -> None:
        publish(broker)
        assert stats_of(broker, "emails").dead_letter == 0
        broker.nack(take(broker).id, requeue=False)
        eventually(lambda: stats_of(broker, "emails").dead_letter == 1)

    def test_the_report_says_that_a_topic_dead_letters(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        assert stats_of(broker, "emails").dead_lettering is True

    def test_the_report_says_that_a_plain_queue_does_not_dead_letter(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        backdoor.declare_plain_queue("old")
        broker.ensure_topic("old")
        assert stats_of(broker, "old").dead_lettering is False

    def test_the_report_says_that_an_unknown_topic_does_not_exist(self, broker: Broker) -> None:
        stats = stats_of(broker, "missing")
        assert stats.exists is False
        assert (stats.queued, stats.consumers, stats.dead_lettering) == (None, None, None)

    def test_the_report_lists_topics_that_nobody_named(self, broker: Broker) -> None:
        for topic in ("reports", "emails"):
            broker.ensure_topic(topic)
        eventually(lambda: [s.topic for s in broker.topic_report().topics] == ["emails", "reports"])

    def test_the_report_says_where_its_columns_come_from(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        told = {c for source in broker.topic_report().sources if source.ok for c in source.columns}
        assert {"queued", "dead_letter", "consumers", "exists"} <= told
