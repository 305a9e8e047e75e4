"""Time: messages that are queued later, and messages that expire; and priorities."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.amqp import x_death
from tasktools.core.errors import InvalidTask
from tasktools.testing.conformance.base import (
    TASK,
    Backdoor,
    Conformance,
    holds,
    number_of,
    publish,
    take,
)
from tasktools.testing.factories import outgoing

SOON = 0.3
"""Seconds of a delay."""
_EARLY = 0.01  # clocks of two processes


class Delaying(Conformance):
    """Behaviours of `publish` with a delay, a time to live or a priority, and of a late `nack`."""

    # --- delays ---------------------------------------------------------------------

    def test_a_task_with_a_delay_is_queued_after_it(self, broker: Broker) -> None:
        began = time.monotonic()
        message_id = broker.publish("emails", {"task_name": TASK}, delay=SOON)
        delivery = take(broker)
        assert time.monotonic() - began >= SOON - _EARLY
        assert delivery.properties.message_id == message_id

    def test_each_message_of_a_batch_has_a_delay_of_its_own(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        sent = [outgoing(body=b"%d" % n, delay=n / 4) for n in (2, 0, 1)]
        assert broker.publish_many(sent) == ["confirmed"] * 3
        assert [take(broker).body for _ in sent] == [b"0", b"1", b"2"]

    def test_a_message_with_a_delay_for_a_topic_that_is_missing_is_unroutable(
        self, broker: Broker
    ) -> None:
        assert broker.publish_many([outgoing("missing", delay=0.1)]) == ["unroutable"]
        assert not broker.topic_exists("missing")

    def test_a_delayed_message_arrives_as_it_was_sent(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        sent = outgoing(body=b"\x00raw", delay=0.1, priority=2, headers={"trace": "abc"}, type="t")
        broker.publish_many([sent])
        delivery = take(broker)
        assert (delivery.body, delivery.properties) == (sent.body, sent.properties)

    def test_a_message_requeued_with_a_delay_comes_back_after_it_counted(
        self, broker: Broker
    ) -> None:
        publish(broker)
        first = take(broker)
        began = time.monotonic()
        assert broker.nack(first.id, delay=SOON) is True
        second = take(broker)
        assert time.monotonic() - began >= SOON - _EARLY
        assert (second.task.attempts, second.task.task_id) == (1, first.task.task_id)
        assert second.properties == first.properties

    def test_a_message_can_be_delayed_again_and_again(self, broker: Broker) -> None:
        publish(broker)
        for _ in range(3):
            assert broker.nack(take(broker).id, delay=0.1)
        delivery = take(broker)
        assert (delivery.task.attempts, dict(delivery.properties.headers)) == (3, {})

    def test_a_delay_need_not_count_as_an_attempt(self, broker: Broker) -> None:
        publish(broker)
        first = take(broker)
        assert broker.nack(first.id, delay=0.1, count_attempt=False) is True
        second = take(broker)
        assert (second.body, second.task.attempts) == (first.body, 0)

    def test_a_body_that_cannot_be_counted_can_be_delayed(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        backdoor.put("emails", b"no JSON")
        assert broker.nack(take(broker).id, delay=0.1) is True
        assert take(broker).body == b"no JSON"

    def test_a_delay_works_on_a_queue_that_another_program_made(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        backdoor.declare_plain_queue("old")
        backdoor.put("old", b"from before")
        assert broker.nack(take(broker, "old").id, delay=0.1) is True
        assert take(broker, "old").body == b"from before"

    @pytest.mark.parametrize("options", [{}, {"count_attempt": False}, {"requeue": False}])
    def test_without_a_delay_none_is_honoured(
        self, broker: Broker, options: dict[str, bool]
    ) -> None:
        publish(broker)
        assert broker.nack(take(broker).id, **options) is False

    def test_a_dead_letter_is_not_delayed(self, broker: Broker, backdoor: Backdoor) -> None:
        publish(broker)
        assert broker.nack(take(broker).id, requeue=False, delay=60) is False
        assert holds(backdoor, "emails.dead", 1)

    # --- time to live ---------------------------------------------------------------

    def test_a_task_that_is_not_delivered_in_time_is_dead_lettered(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.publish("emails", {"task_name": TASK}, ttl=0.2)
        assert holds(backdoor, "emails.dead", 1)
        assert backdoor.depth("emails") == 0
        (death,) = x_death.parse(take(broker, "emails.dead").properties.headers)
        assert (death.queue, death.reason) == ("emails", "expired")

    def test_a_task_that_was_delivered_in_time_does_not_expire(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.publish("emails", {"task_name": TASK}, ttl=0.8)
        delivery = take(broker)
        broker.publish("emails", {"task_name": TASK}, ttl=0.8)  # expires later than the first
        assert holds(backdoor, "emails.dead", 1)
        broker.ack(delivery.id)

    def test_messages_expire_as_their_topic_has_it(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.create_topic("emails", message_ttl=0.2)
        publish(broker, count=2)
        assert holds(backdoor, "emails.dead", 2)

    @pytest.mark.parametrize(
        "options",
        [
            {"ttl": 5, "delay": 1},
            {"ttl": 0},
            {"ttl": -1},
            {"delay": -1},
            {"ttl": float("nan")},
            {"delay": float("inf")},
        ],
    )
    def test_times_that_cannot_be_are_not_sent(
        self, broker: Broker, options: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidTask):
            broker.publish("emails", {"task_name": TASK}, **options)
        assert not broker.topic_exists("emails")

    # --- priorities -----------------------------------------------------------------

    def test_a_topic_with_priorities_obeys_them(self, broker: Broker) -> None:
        broker.create_topic("emails", max_priority=9)
        for number, priority in enumerate((None, 5, 9, 5)):
            task = {"task_name": TASK, "kwargs": {"number": number}}
            broker.publish("emails", task, priority=priority)
        assert [number_of(take(broker)) for _ in range(4)] == [2, 1, 3, 0]
