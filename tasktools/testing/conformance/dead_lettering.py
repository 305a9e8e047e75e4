"""Dead letters with the failure that a worker reports."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.amqp import failure_headers
from tasktools.core.errors import UnknownDelivery
from tasktools.core.models import Delivery, Failure
from tasktools.testing.conformance.base import (
    Backdoor,
    Conformance,
    holds,
    publish,
    take,
)
from tasktools.testing.factories import PUBLISHED, failure, outgoing, task_body


def dead(broker: Broker, topic: str = "emails") -> Delivery:
    """Take the next dead letter of *topic*."""
    return take(broker, broker.layout.dead_queue(topic))


def failure_of(delivery: Delivery) -> Failure | None:
    """Return the failure that the message reports."""
    return failure_headers.from_headers(delivery.properties.headers)


class DeadLettering(Conformance):
    """Behaviours of `dead_letter`."""

    def test_a_dead_letter_tells_what_went_wrong(self, broker: Broker, backdoor: Backdoor) -> None:
        reported = failure(reason="timed out", error="ünlücky")
        publish(broker)
        broker.dead_letter(take(broker).id, reported)
        assert holds(backdoor, "emails.dead", 1)
        assert backdoor.depth("emails") == 0
        assert failure_of(dead(broker)) == reported

    @pytest.mark.parametrize("body", [task_body(), b"no JSON", b"\xff\x00", b""])
    def test_its_body_is_unchanged(self, broker: Broker, body: bytes) -> None:
        broker.ensure_topic("emails")
        broker.publish_many([outgoing(body=body)])
        broker.dead_letter(take(broker).id, failure(reason="invalid"))
        assert dead(broker).body == body

    def test_it_keeps_its_other_headers_and_properties(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        sent = outgoing(headers={"trace": "abc", "n": 5}, priority=2, correlation_id="c")
        broker.publish_many([sent])
        broker.dead_letter(take(broker).id, failure())
        letter = dead(broker).properties
        assert {name: letter.headers[name] for name in sent.properties.headers} == {
            "trace": "abc",
            "n": 5,
        }
        assert (letter.message_id, letter.timestamp) == (
            sent.message_id,
            PUBLISHED,
        )
        assert (
            letter.priority,
            letter.correlation_id,
            letter.delivery_mode,
        ) == (2, "c", 2)

    def test_a_second_failure_replaces_the_first(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        first = failure_headers.to_headers(failure(error="the first"))
        broker.publish_many([outgoing(headers=first)])
        second = failure(
            reason="unknown task", error="the second", traceback=None, worker_id=None, attempts=None
        )
        broker.dead_letter(take(broker).id, second)
        assert failure_of(dead(broker)) == second

    def test_its_key_is_not_that_of_the_message_before_nor_of_another_failure(
        self, broker: Broker
    ) -> None:
        broker.ensure_topic("emails")
        sent = [outgoing(), outgoing()]
        broker.publish_many(sent)
        alive = broker.peek("emails", 2).messages[0].key
        for seconds in range(2):
            reported = failure(failed_at=PUBLISHED + timedelta(seconds=seconds))
            broker.dead_letter(take(broker).id, reported)
        keys = {message.key for message in broker.peek("emails.dead", 2).messages}
        assert len({alive, *keys}) == 3

    def test_it_does_not_expire_as_the_message_would_have(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        broker.publish_many([outgoing(expiration="60000")])
        broker.dead_letter(take(broker).id, failure())
        assert dead(broker).properties.expiration is None

    def test_it_is_kept_as_long_as_was_said(self, broker: Broker, backdoor: Backdoor) -> None:
        publish(broker, count=2)
        broker.dead_letter(take(broker).id, failure(), retention=1.0)
        broker.dead_letter(take(broker).id, failure())
        assert holds(backdoor, "emails.dead", 2)
        assert holds(backdoor, "emails.dead", 1)
        assert dead(broker).task.kwargs == {"number": 1}

    def test_a_queue_that_does_not_dead_letter_has_dead_letters_all_the_same(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        backdoor.declare_plain_queue("old")
        backdoor.put("old", b"from before")
        assert not broker.queue_exists("old.dead")
        broker.dead_letter(take(broker, "old").id, failure(reason="invalid"))
        assert holds(backdoor, "old.dead", 1)
        assert dead(broker, "old").body == b"from before"
        assert backdoor.depth("old") == 0

    def test_what_is_settled_cannot_be_dead_lettered(self, broker: Broker) -> None:
        publish(broker)
        delivery = take(broker)
        broker.dead_letter(delivery.id, failure())
        for settled in (delivery.id, "no-such-delivery"):
            with pytest.raises(UnknownDelivery):
                broker.dead_letter(settled, failure())
        with pytest.raises(UnknownDelivery):
            broker.ack(delivery.id)
