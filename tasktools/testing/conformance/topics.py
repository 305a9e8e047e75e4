"""Topics: creation, reuse of existing queues, and reports on them."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.errors import (
    InvalidTask,
    InvalidTopic,
    QueueNotFound,
    TopicConflict,
    TopicInUse,
)
from tasktools.core.events import Event, SettingsUpdate, WorkerEvent
from tasktools.core.models import TopicSettings, TopicStats
from tasktools.testing.conformance.base import (
    Backdoor,
    Conformance,
    holds,
    needs,
    publish,
    take,
)
from tasktools.testing.eventually import eventually
from tasktools.testing.factories import worker_event


def stats_of(broker: Broker, topic: str) -> TopicStats:
    """Return the statistics of one topic."""
    (stats,) = [s for s in broker.topic_report([topic]).topics if s.topic == topic]
    return stats


class Topics(Conformance):
    """Behaviours of `ensure_topic`, `create_topic`, `known_topics` and `topic_report`."""

    def test_a_topic_exists_once_it_was_ensured(self, broker: Broker) -> None:
        assert not broker.topic_exists("emails")
        broker.ensure_topic("emails")
        assert broker.topic_exists("emails")

    def test_a_topic_comes_with_its_dead_letter_queue(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        assert broker.queue_exists("emails.dead")

    def test_any_queue_exists_that_somebody_declared(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        assert not broker.queue_exists("plain")
        backdoor.declare_plain_queue("plain")
        assert broker.queue_exists("plain")

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

    @pytest.mark.parametrize(
        "topic", ["", "*", "#", "mail.*", "amq.mine", "x" * 251, "a\nb", "a\x00b", "emails.dead"]
    )
    def test_a_name_that_can_be_no_topic_is_not_created(self, broker: Broker, topic: str) -> None:
        """Issue 11, misleading: the queue `mail.*` would get a copy of others' tasks."""
        broker.ensure_topic("emails")
        with pytest.raises(InvalidTask):
            broker.ensure_topic(topic)
        with pytest.raises(InvalidTask):
            publish(broker, topic)
        with pytest.raises(InvalidTopic):
            broker.create_topic(topic)
        assert broker.known_topics() == {"default", "emails"}

    def test_a_queue_that_exists_is_used_as_it_is(self, broker: Broker, backdoor: Backdoor) -> None:
        backdoor.declare_plain_queue("old")
        backdoor.put("old", b"from before")
        broker.ensure_topic("old")
        publish(broker, "old")
        assert take(broker, "old").body == b"from before"
        assert holds(backdoor, "old", 1)

    # --- creating with arguments ----------------------------------------------------

    def test_a_created_topic_is_one_as_any_other(self, broker: Broker, backdoor: Backdoor) -> None:
        broker.create_topic("emails", max_priority=5, message_ttl=3600)
        publish(broker)
        broker.nack(take(broker).id, requeue=False)
        assert holds(backdoor, "emails.dead", 1)

    def test_creating_a_topic_again_changes_nothing(
        self, broker: Broker, second_broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.create_topic("emails", max_priority=5)
        publish(broker)
        second_broker.create_topic("emails", max_priority=5)
        assert backdoor.depth("emails") == 1

    @pytest.mark.parametrize(
        ("options", "argument"),
        [({"max_priority": 3}, "x-max-priority"), ({"message_ttl": 60}, "x-message-ttl")],
    )
    def test_a_topic_that_exists_and_differs_is_used_as_it_is(
        self, broker: Broker, options: dict[str, Any], argument: str
    ) -> None:
        broker.create_topic("emails", **options)
        publish(broker)
        with pytest.raises(TopicConflict, match=argument):
            broker.create_topic("emails", **{name: n + 1 for name, n in options.items()})
        publish(broker)
        for _ in range(2):
            broker.ack(take(broker).id)

    @pytest.mark.parametrize(
        "options",
        [
            {"max_priority": 0},
            {"max_priority": 256},
            {"message_ttl": 0},
            {"message_ttl": -1},
            {"queue_type": "stream"},
            {"queue_type": "quorum", "max_priority": 5},
        ],
    )
    def test_what_no_queue_can_have_is_not_created(
        self, broker: Broker, options: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidTopic):
            broker.create_topic("emails", **options)
        assert not broker.topic_exists("emails")

    @needs("quorum_queues")
    def test_a_topic_can_be_a_quorum_queue(self, broker: Broker) -> None:
        broker.create_topic("emails", queue_type="quorum")
        publish(broker)
        broker.ack(take(broker).id)
        eventually(lambda: stats_of(broker, "emails").queue_type == "quorum")
        with pytest.raises(TopicConflict, match="x-queue-type"):
            broker.create_topic("emails")

    # --- deleting -------------------------------------------------------------------

    def test_an_empty_topic_is_deleted_with_all_that_belongs_to_it(self, broker: Broker) -> None:
        """Issue 11, new user: a topic that was made to try something can be taken away."""
        broker.ensure_topic("emails")
        broker.configure_topic("emails", TopicSettings(max_retries=1))
        assert broker.delete_topic("emails") == 0
        assert not broker.topic_exists("emails")
        assert not broker.queue_exists("emails.dead")
        assert broker.topic_settings() == {}
        assert broker.known_topics() == {"default"}

    def test_a_deleted_topic_can_be_made_again(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        broker.delete_topic("emails")
        publish(broker)
        broker.nack(take(broker).id, requeue=False)
        eventually(lambda: stats_of(broker, "emails").dead_letter == 1)

    @pytest.mark.parametrize("queue", ["emails", "emails.dead"])
    def test_a_topic_with_messages_is_kept_unless_forced(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        """Issue 11, new user: dead letters are messages, too."""
        broker.ensure_topic("emails")
        backdoor.put(queue, b"precious")
        with pytest.raises(TopicInUse, match=r"1 message.*nothing was deleted"):
            broker.delete_topic("emails")
        assert backdoor.depth(queue) == 1
        assert broker.topic_exists("emails")
        assert broker.queue_exists("emails.dead")
        assert broker.delete_topic("emails", force=True) == 1
        assert not broker.topic_exists("emails")

    def test_a_topic_with_a_consumer_is_kept_unless_forced(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        broker.ensure_topic("emails")
        consumer = second_broker.consume("emails", lambda _delivery: None, prefetch=1)
        eventually(lambda: stats_of(broker, "emails").consumers == 1)
        with pytest.raises(TopicInUse, match="1 consumer"):
            broker.delete_topic("emails")
        assert broker.topic_exists("emails")
        consumer.cancel()
        eventually(lambda: stats_of(broker, "emails").consumers == 0)
        assert broker.delete_topic("emails") == 0

    def test_of_half_a_topic_the_rest_is_deleted(self, broker: Broker, backdoor: Backdoor) -> None:
        for queue in ("emails", "reports.dead"):
            backdoor.declare_plain_queue(queue)
        for topic in ("emails", "reports"):
            assert broker.delete_topic(topic) == 0
        assert not broker.topic_exists("emails")
        assert not broker.queue_exists("reports.dead")

    @needs("quorum_queues")
    def test_a_quorum_topic_is_deleted_as_others_are(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.create_topic("emails", queue_type="quorum")
        backdoor.put("emails", b"precious")
        eventually(lambda: backdoor.depth("emails") == 1)
        with pytest.raises(TopicInUse, match="1 message"):
            broker.delete_topic("emails")
        backdoor.bodies("emails")
        eventually(lambda: backdoor.depth("emails") == 0)
        assert broker.delete_topic("emails") == 0
        assert not broker.topic_exists("emails")

    def test_what_is_no_topic_is_not_deleted(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        with pytest.raises(QueueNotFound):
            broker.delete_topic("missing", force=True)
        for name in ("emails.dead", "tasktools.settings.fp", "", "amq.x"):
            with pytest.raises(InvalidTopic):
                broker.delete_topic(name, force=True)
        assert broker.queue_exists("emails.dead")

    def test_a_queue_of_an_impossible_name_can_be_deleted(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        """Issue 11, misleading: one that an earlier version has made gets a copy of every task."""
        backdoor.declare_plain_queue("mail.*")
        assert broker.delete_topic("mail.*") == 0
        assert not broker.topic_exists("mail.*")

    # --- what is known --------------------------------------------------------------

    def test_the_default_topic_is_always_known(self, broker: Broker) -> None:
        assert broker.known_topics() == {"default"}
        assert not broker.topic_exists("default")

    def test_topics_are_known_that_we_made_sure_of(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        broker.create_topic("reports")
        publish(broker, "images")
        assert broker.known_topics() == {"default", "emails", "images", "reports"}

    def test_topics_are_known_that_have_settings(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        broker.configure_topic("emails", TopicSettings(max_retries=1))
        assert "emails" in second_broker.known_topics()

    def test_topics_are_known_that_workers_speak_of(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        def is_known() -> bool:
            second_broker.broadcast(worker_event(topics=("emails", "*")))
            return "emails" in broker.known_topics()

        eventually(is_known)
        assert "*" not in broker.known_topics()

    def test_no_queue_of_a_program_is_a_known_topic_although_a_worker_speaks_of_it(
        self, broker: Broker
    ) -> None:
        names = ("tasktools.x", "fp.node.1", "tw.lock.nightly", "emails.dead", "emails", "last")
        broker.listen(lambda _event: None)
        broker.broadcast(worker_event(topics=names))
        eventually(lambda: "last" in broker.known_topics())
        assert broker.known_topics() == {"default", "emails", "last"}

    def test_a_new_topic_is_announced_once(self, broker: Broker, second_broker: Broker) -> None:
        received: list[Event] = []
        second_broker.listen(received.append)
        broker.ensure_topic("emails")
        broker.ensure_topic("emails")
        broker.create_topic("reports")
        publish(broker, "images")
        broker.broadcast(worker_event())
        eventually(lambda: any(isinstance(event, WorkerEvent) for event in received))
        updated = [event.topic for event in received if isinstance(event, SettingsUpdate)]
        assert updated == ["emails", "reports", "images"]

    def test_queues_that_are_no_topics_are_not_known(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        broker.configure_topic("emails", TopicSettings(max_retries=1))
        lock = broker.acquire_lock("nightly")
        assert lock is not None
        publish(broker)
        broker.nack(take(broker).id, delay=0.1)
        take(broker)
        eventually(lambda: broker.known_topics() == {"default", "emails"})

    # --- the report -----------------------------------------------------------------

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
        columns = {
            c for source in broker.topic_report().sources if source.ok for c in source.columns
        }
        assert {"queued", "dead_letter", "consumers", "exists"} <= columns
