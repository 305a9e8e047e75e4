"""Claiming, and the ways in which a delivery is settled."""

from __future__ import annotations

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.errors import QueueNotFound, UnknownDelivery
from tasktools.testing.conformance.base import (
    Backdoor,
    Conformance,
    holds,
    number_of,
    publish,
    take,
)
from tasktools.testing.eventually import eventually


class Claiming(Conformance):
    """Behaviours of `claim`, `ack` and `nack`."""

    def test_an_empty_queue_gives_nothing(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        assert broker.claim("emails", "worker-1") is None

    def test_a_topic_that_does_not_exist_cannot_be_claimed_from(self, broker: Broker) -> None:
        with pytest.raises(QueueNotFound):
            broker.claim("missing", "worker-1")
        assert not broker.topic_exists("missing")

    def test_the_wildcard_takes_from_all_topics_in_turn(self, broker: Broker) -> None:
        for topic in ("emails", "reports"):
            publish(broker, topic, count=2)
        topics = [take(broker, "*").topic for _ in range(4)]
        assert set(topics[:2]) == set(topics[2:]) == {"emails", "reports"}

    def test_the_wildcard_finds_a_topic_that_is_new(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        assert broker.claim("*", "worker-1") is None
        publish(broker, "brand-new")
        assert take(broker, "*").topic == "brand-new"

    def test_the_wildcard_of_no_topic_at_all_cannot_be_claimed(self, broker: Broker) -> None:
        with pytest.raises(QueueNotFound):
            broker.claim("*", "worker-1")

    def test_a_first_delivery_is_not_marked_redelivered(self, broker: Broker) -> None:
        publish(broker)
        delivery = take(broker)
        assert (delivery.topic, delivery.redelivered) == ("emails", False)

    def test_a_claimed_message_is_invisible_to_others(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        publish(broker)
        take(broker)
        assert second_broker.claim("emails", "worker-2") is None

    def test_two_clients_share_the_messages(self, broker: Broker, second_broker: Broker) -> None:
        publish(broker, count=2)
        assert {number_of(take(broker)), number_of(take(second_broker))} == {0, 1}

    def test_an_acknowledged_message_is_gone(
        self, broker: Broker, second_broker: Broker, backdoor: Backdoor
    ) -> None:
        publish(second_broker, count=2)
        broker.ack(take(broker).id)
        broker.close()
        assert holds(backdoor, "emails", 1)
        assert number_of(take(second_broker)) == 1

    def test_deliveries_are_settled_in_any_order(self, broker: Broker, backdoor: Backdoor) -> None:
        publish(broker, count=3)
        deliveries = [take(broker) for _ in range(3)]
        for delivery in (deliveries[1], deliveries[2], deliveries[0]):
            broker.ack(delivery.id)
        assert backdoor.depth("emails") == 0
        assert broker.claim("emails", "worker-1") is None

    def test_identical_messages_are_deliveries_of_their_own(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        for _ in range(2):
            backdoor.put("emails", b"the same")
        first, second = take(broker), take(broker)
        assert first.id != second.id
        broker.ack(first.id)
        broker.ack(second.id)

    def test_a_body_that_is_no_task_is_delivered_with_its_problem(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        backdoor.put("emails", b"no JSON")
        delivery = take(broker)
        assert delivery.body == b"no JSON"
        assert delivery.task.problem

    def test_a_requeued_message_has_one_attempt_more(self, broker: Broker) -> None:
        publish(broker)
        first = take(broker)
        broker.nack(first.id)
        second = take(broker)
        assert (first.task.attempts, second.task.attempts) == (0, 1)
        assert second.task.task_id == first.task.task_id

    def test_attempts_add_up(self, broker: Broker) -> None:
        publish(broker)
        for _ in range(3):
            broker.nack(take(broker).id)
        assert take(broker).task.attempts == 3

    def test_a_requeued_message_goes_to_the_end(self, broker: Broker) -> None:
        publish(broker, count=3)
        broker.nack(take(broker).id)
        assert [number_of(take(broker)) for _ in range(3)] == [1, 2, 0]

    def test_a_requeued_message_keeps_its_properties(self, broker: Broker) -> None:
        publish(broker)
        first = take(broker)
        broker.nack(first.id)
        assert take(broker).properties == first.properties

    def test_a_message_given_back_uncounted_returns_to_its_old_place(self, broker: Broker) -> None:
        publish(broker, count=3)
        broker.nack(take(broker).id, count_attempt=False)
        delivery = take(broker)
        assert number_of(delivery) == 0
        assert (delivery.task.attempts, delivery.redelivered) == (0, True)

    def test_a_body_that_cannot_be_counted_goes_back_as_it_was(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        backdoor.put("emails", b"no JSON")
        publish(broker)
        broker.nack(take(broker).id)
        delivery = take(broker)
        assert (delivery.body, delivery.redelivered) == (b"no JSON", True)

    @pytest.mark.parametrize("settle", ["ack", "nack"])
    def test_a_delivery_that_never_was_cannot_be_settled(self, broker: Broker, settle: str) -> None:
        with pytest.raises(UnknownDelivery):
            getattr(broker, settle)("no-such-delivery")

    @pytest.mark.parametrize("options", [{}, {"count_attempt": False}, {"requeue": False}])
    def test_a_settled_delivery_cannot_be_settled_again(
        self, broker: Broker, options: dict[str, bool]
    ) -> None:
        publish(broker)
        delivery = take(broker)
        broker.ack(delivery.id)
        with pytest.raises(UnknownDelivery):
            broker.ack(delivery.id)
        with pytest.raises(UnknownDelivery):
            broker.nack(delivery.id, **options)

    def test_a_delivery_of_another_client_cannot_be_settled(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        publish(broker)
        delivery = take(broker)
        with pytest.raises(UnknownDelivery):
            second_broker.ack(delivery.id)
        broker.ack(delivery.id)

    def test_what_a_closed_client_held_comes_back_redelivered(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        publish(broker, count=3)
        for _ in range(2):
            take(second_broker)
        second_broker.close()
        eventually(lambda: broker.peek("emails", 3).ready_before == 3)
        back = [take(broker) for _ in range(3)]
        assert [number_of(delivery) for delivery in back] == [0, 1, 2]
        assert [delivery.redelivered for delivery in back[:2]] == [True, True]

    def test_purge_deletes_what_is_ready_and_counts_it(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        publish(broker, count=4)
        held = take(broker)
        assert broker.purge("emails") == 3
        broker.nack(held.id, count_attempt=False)
        assert holds(backdoor, "emails", 1)

    def test_a_queue_that_does_not_exist_cannot_be_purged(self, broker: Broker) -> None:
        with pytest.raises(QueueNotFound):
            broker.purge("missing")
