"""Rejected messages: where they go, and their headers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.amqp import x_death
from tasktools.core.errors import WouldBeLost
from tasktools.core.models import Death
from tasktools.testing.conformance.base import (
    Backdoor,
    Conformance,
    holds,
    number_of,
    publish,
    take,
)
from tasktools.testing.factories import outgoing


def reject(broker: Broker, queue: str = "emails") -> None:
    """Take the next message and reject it."""
    broker.nack(take(broker, queue).id, requeue=False)


def deaths_of(broker: Broker, queue: str) -> tuple[Death, ...]:
    """Take the next message and return its deaths."""
    return x_death.parse(take(broker, queue).properties.headers)


class Failing(Conformance):
    """Behaviours of `nack(requeue=False)`."""

    def test_a_rejected_message_lies_in_the_dead_letter_queue(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        publish(broker)
        reject(broker)
        assert holds(backdoor, "emails.dead", 1)
        assert backdoor.depth("emails") == 0

    def test_a_rejected_message_keeps_body_and_properties(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        sent = outgoing("emails", b"\x00raw", headers={"trace": "abc"}, priority=2)
        broker.publish_many([sent])
        reject(broker)
        dead = take(broker, "emails.dead")
        assert dead.body == b"\x00raw"
        assert dead.properties.message_id == sent.message_id
        assert dead.properties.headers["trace"] == "abc"
        assert dead.properties.priority == 2

    def test_a_death_says_where_why_and_when(self, broker: Broker) -> None:
        publish(broker)
        reject(broker)
        (death,) = deaths_of(broker, "emails.dead")
        assert (death.queue, death.reason, death.count) == ("emails", "rejected", 1)
        assert death.exchange == broker.layout.task_exchange
        assert death.routing_keys == ("emails",)
        assert death.time is not None
        assert abs((datetime.now(UTC) - death.time).total_seconds()) < 60

    def test_a_message_rejected_twice_counts_its_deaths(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        backdoor.declare_loop("ping", "pong")
        backdoor.put("ping", b"a body")
        for queue in ("ping", "pong", "ping"):
            reject(broker, queue)
        deaths = [(death.queue, death.count) for death in deaths_of(broker, "pong")]
        assert deaths == [("ping", 2), ("pong", 1)]

    def test_a_message_rejected_twice_keeps_its_first_death(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        backdoor.declare_loop("ping", "pong")
        backdoor.put("ping", b"a body")
        for queue in ("ping", "pong"):
            reject(broker, queue)
        headers = take(broker, "ping").properties.headers
        assert headers["x-first-death-queue"] == "ping"
        assert headers["x-first-death-reason"] == "rejected"

    def test_dead_letters_are_in_the_order_of_their_deaths(self, broker: Broker) -> None:
        publish(broker, count=3)
        claimed = [take(broker) for _ in range(3)]
        for delivery in reversed(claimed):
            broker.nack(delivery.id, requeue=False)
            broker.peek("emails", 1)  # answered after the death: both go the same way
        assert [number_of(take(broker, "emails.dead")) for _ in range(3)] == [2, 1, 0]

    def test_a_rejection_that_would_lose_the_message_is_refused(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        backdoor.declare_plain_queue("old")
        publish(broker, "old")
        delivery = take(broker, "old")
        with pytest.raises(WouldBeLost):
            broker.nack(delivery.id, requeue=False)

    def test_a_delivery_is_still_ours_after_a_refused_rejection(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        backdoor.declare_plain_queue("old")
        publish(broker, "old")
        delivery = take(broker, "old")
        with pytest.raises(WouldBeLost):
            broker.nack(delivery.id, requeue=False)
        broker.nack(delivery.id, count_attempt=False)
        assert holds(backdoor, "old", 1)

    def test_begins_without_an_end_are_counted_for_all(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        counts = [client.count_begin("emails", "task-1") for client in (broker, second_broker)]
        assert [*counts, broker.count_begin("emails", "task-1")] == [0, 1, 2]
        assert broker.count_begin("emails", "another") == 0
        assert broker.count_begin("reports", "task-1") == 0

    def test_an_end_forgets_all_begins(self, broker: Broker, second_broker: Broker) -> None:
        broker.count_begin("emails", "task-1")
        for _ in range(2):  # idempotent
            second_broker.forget_begins("emails", "task-1")
        assert broker.count_begin("emails", "task-1") == 0

    def test_a_task_that_begins_is_no_topic(self, broker: Broker) -> None:
        broker.count_begin("emails", "task-1")
        assert broker.known_topics() == {"default"}
