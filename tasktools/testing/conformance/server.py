"""Facts of the server itself: queues with their last minute, consumers, routes."""

from __future__ import annotations

from tasktools.brokers.base import Broker
from tasktools.core.models import Delivery
from tasktools.core.server_facts import ServerFacts, ServerQueue
from tasktools.testing.conformance.base import Backdoor, Conformance, fill, holds, take
from tasktools.testing.eventually import eventually


def facts_of(broker: Broker) -> ServerFacts:
    """Return the facts, with every part that a user with all rights is shown."""
    facts = broker.server_facts(["emails"])
    assert not set(facts.missing) - {"samples"}  # of a new queue there are none yet
    return facts


def queue_of(facts: ServerFacts, name: str = "emails") -> ServerQueue:
    """Return the facts of one queue."""
    assert facts.queues is not None
    return facts.queues[name]


def sampled(broker: Broker, counter: str, change: float) -> bool:
    """Wait until *counter* of `emails` has grown by *change* within the samples."""

    def has_grown() -> bool:
        series = getattr(queue_of(facts_of(broker)), counter)
        return series is not None and series.values[-1] - series.values[0] == change

    return eventually(has_grown)


class ServerKnowledge(Conformance):
    """Behaviours of `server_facts`."""

    def test_queues_that_get_tasks_are_there_with_their_dead_letter_queues(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("invoices")
        backdoor.declare_plain_queue("plain")
        facts = broker.server_facts()
        assert facts.queues is not None
        assert {"invoices", "invoices.dead"} <= facts.queues.keys()
        assert "plain" not in facts.queues
        assert "plain" in (broker.server_facts(["plain"]).queues or {})

    def test_a_topic_without_a_queue_is_no_queue(self, broker: Broker) -> None:
        facts = broker.server_facts(["emails"])
        assert facts.queues == {}

    def test_queues_come_with_what_decides_about_their_messages(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        queue = queue_of(facts_of(broker)).facts
        exchange, key = broker.layout.dead_letter_exchange, broker.layout.dead_key("emails")
        assert (queue.dead_letter_exchange, queue.dead_letter_key) == (exchange, key)

    def test_routes_show_where_tasks_and_dead_letters_go(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        routes, layout = facts_of(broker).routes, broker.layout
        assert routes is not None
        assert "emails" in routes.fed_by(layout.task_exchange)
        reached = routes.reached(layout.dead_letter_exchange, layout.dead_key("emails"))
        assert reached == frozenset({"emails.dead"})

    def test_samples_grow_with_what_is_published_and_acknowledged(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        fill(broker, count=3)
        broker.ack(take(broker).id)
        broker.nack(take(broker).id, count_attempt=False)
        take(broker)
        assert holds(backdoor, "emails", 1)
        assert sampled(broker, "published", 3)
        assert sampled(broker, "acked", 1)
        assert sampled(broker, "delivered", 3)
        assert sampled(broker, "redelivered", 1)
        assert sampled(broker, "ready_series", 1)
        assert sampled(broker, "unacked_series", 1)
        facts = facts_of(broker)
        assert facts.server_at is not None
        assert abs(facts.at - facts.server_at) < 60

    def test_a_consumer_is_there_with_its_prefetch_and_what_it_holds(self, broker: Broker) -> None:
        fill(broker, count=5)
        received: list[Delivery] = []
        broker.consume("emails", received.append, prefetch=2)

        def consumers() -> list[tuple[int | None, int | None]]:
            each = facts_of(broker).consumers or ()
            return [
                (consumer.prefetch, consumer.held)
                for consumer in each
                if consumer.queue == "emails"
            ]

        assert eventually(lambda: consumers() == [(2, 2)])
        assert queue_of(facts_of(broker)).consumers == 1

    def test_unroutable_messages_are_counted(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        lost = broker.composer.compose("nowhere", {"task_name": "demo_tasks:send_email"})

        def grew() -> bool:
            series = facts_of(broker).unroutable
            return series is not None and (series.change(60, at_least=0) or 0) >= 2

        assert not grew()
        assert broker.publish_many([lost, lost]) == ["unroutable", "unroutable"]
        assert eventually(grew)

    def test_no_alarm_is_an_empty_answer(self, broker: Broker) -> None:
        assert facts_of(broker).alarms == ()

    def test_a_read_only_client_may_ask_and_changes_nothing(
        self, broker: Broker, read_only_broker: Broker, backdoor: Backdoor
    ) -> None:
        fill(broker, count=2)
        facts = read_only_broker.server_facts(["emails", "missing"], limits=["emails"])
        assert queue_of(facts).facts.queue == "emails"
        assert not broker.queue_exists("missing")
        assert backdoor.depth("emails") == 2
        assert not take(broker).redelivered
