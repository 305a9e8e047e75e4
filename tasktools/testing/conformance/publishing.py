"""Publishing: which messages arrive, in which order, and what is reported of the others."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.errors import InvalidTask, PublishRefused, UnknownTask
from tasktools.testing.conformance.base import (
    TASK,
    Backdoor,
    Conformance,
    holds,
    needs,
    number_of,
    publish,
    take,
)
from tasktools.testing.factories import outgoing, task_body

BODIES = {
    "text": b'{"not": "a task"}',
    "binary": bytes(range(256)),
    "not UTF-8": b"\xff\xfe\x00broken",
    "empty": b"",
    "a megabyte": b"x" * 1_000_000,
}


class Publishing(Conformance):
    """Behaviours of `publish`, `publish_many` and the composer."""

    def test_a_published_task_is_claimed_with_its_arguments(self, broker: Broker) -> None:
        broker.publish("emails", {"task_name": TASK, "args": [1], "kwargs": {"to": "ä@b"}})
        task = take(broker).task
        assert (task.args, task.kwargs, task.problem) == ([1], {"to": "ä@b"}, None)

    def test_publish_returns_the_id_of_the_message(self, broker: Broker) -> None:
        message_id = publish(broker)[0]
        delivery = take(broker)
        assert delivery.properties.message_id == delivery.task.message_id == message_id

    def test_message_ids_are_never_the_same(self, broker: Broker, second_broker: Broker) -> None:
        ids = publish(broker, count=3) + publish(second_broker, count=3)
        assert len(set(ids)) == 6

    def test_a_task_gets_an_id_of_its_own(self, broker: Broker) -> None:
        publish(broker, count=2)
        assert take(broker).task.task_id != take(broker).task.task_id

    def test_a_given_task_id_is_kept(self, broker: Broker) -> None:
        broker.publish("emails", {"task_id": "mine", "task_name": TASK})
        assert take(broker).task.task_id == "mine"

    def test_publish_creates_the_topic(self, broker: Broker) -> None:
        publish(broker, "brand-new")
        assert broker.topic_exists("brand-new")

    def test_headers_go_into_the_body(self, broker: Broker) -> None:
        broker.publish("emails", {"task_name": TASK}, {"priority": "high"})
        delivery = take(broker)
        assert delivery.task.headers == {"priority": "high"}
        assert delivery.properties.priority is None

    def test_priority_is_a_property_of_the_message(self, broker: Broker) -> None:
        broker.publish("emails", {"task_name": TASK}, priority=7)
        assert take(broker).properties.priority == 7

    def test_a_task_is_published_as_persistent(self, broker: Broker) -> None:
        publish(broker)
        assert take(broker).properties.delivery_mode == 2

    def test_messages_are_claimed_in_the_order_of_publishing(self, broker: Broker) -> None:
        publish(broker, count=10)
        assert [number_of(take(broker)) for _ in range(10)] == list(range(10))

    @pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
    def test_a_body_arrives_byte_for_byte(self, broker: Broker, body: bytes) -> None:
        broker.ensure_topic("emails")
        assert broker.publish_many([outgoing("emails", body)]) == ["confirmed"]
        assert take(broker).body == body

    def test_message_headers_arrive_as_they_were(self, broker: Broker) -> None:
        headers: dict[str, Any] = {"trace": "abc", "hops": 3, "nested": {"list": [1, "two"]}}
        broker.ensure_topic("emails")
        broker.publish_many([outgoing(headers=headers)])
        assert take(broker).properties.headers == headers

    def test_other_properties_arrive_as_they_were(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        sent = outgoing(
            content_type="application/json",
            content_encoding="utf-8",
            correlation_id="c",
            reply_to="r",
            type="t",
            app_id="a",
            priority=3,
        )
        broker.publish_many([sent])
        assert take(broker).properties == sent.properties

    def test_publish_many_tells_of_each_message_in_order(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        backdoor.declare_full_queue("full", 1)
        for topic in ("full", "emails"):
            broker.ensure_topic(topic)
        sent = [outgoing(topic) for topic in ("full", "full", "missing", "emails")]
        assert broker.publish_many(sent) == ["confirmed", "refused", "unroutable", "confirmed"]

    def test_publish_many_keeps_the_order(self, broker: Broker, backdoor: Backdoor) -> None:
        broker.ensure_topic("emails")
        bodies = [b"%d" % n for n in range(1200)]
        results = broker.publish_many([outgoing("emails", body) for body in bodies])
        assert results == ["confirmed"] * len(bodies)
        assert backdoor.bodies("emails") == bodies

    def test_publish_many_creates_no_topic(self, broker: Broker) -> None:
        assert broker.publish_many([outgoing("missing")]) == ["unroutable"]
        assert not broker.topic_exists("missing")

    def test_publish_many_of_nothing_is_nothing(self, broker: Broker) -> None:
        assert broker.publish_many([]) == []

    def test_progress_adds_up_to_all_messages(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        steps: list[int] = []
        sent = [outgoing("emails" if n % 2 else "missing") for n in range(700)]
        broker.publish_many(sent, steps.append)
        assert sum(steps) == 700
        assert min(steps) > 0

    def test_a_full_queue_refuses_a_publish(self, broker: Broker, backdoor: Backdoor) -> None:
        backdoor.declare_full_queue("full", 1)
        publish(broker, "full")
        with pytest.raises(PublishRefused):
            publish(broker, "full")
        assert backdoor.depth("full") == 1

    def test_threads_may_publish_at_once(self, broker: Broker, backdoor: Backdoor) -> None:
        broker.ensure_topic("emails")
        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(lambda _: publish(broker, count=10), range(4)))
        assert len({message_id for some in ids for message_id in some}) == 40
        assert holds(backdoor, "emails", 40)

    @pytest.mark.parametrize("topic", ["", "*", "amq.mine", "x" * 251, "ä" * 126])
    def test_a_name_that_can_be_no_topic_is_refused(self, broker: Broker, topic: str) -> None:
        with pytest.raises(InvalidTask):
            publish(broker, topic)

    @pytest.mark.parametrize(
        "payload",
        [
            {},
            {"task_name": 5},
            {"task_name": TASK, "args": "no list"},
            {"task_name": TASK, "kwargs": ["no", "object"]},
            {"task_name": TASK, "kwargs": {"when": object()}},
            {"task_name": TASK, "kwargs": {"ratio": float("nan")}},
            {"task_name": TASK, "task_id": ""},
        ],
    )
    def test_a_payload_that_is_no_task_is_not_sent(
        self, broker: Broker, payload: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidTask):
            broker.publish("emails", payload)
        assert not broker.topic_exists("emails")

    def test_a_priority_out_of_range_is_not_sent(self, broker: Broker) -> None:
        with pytest.raises(InvalidTask):
            broker.publish("emails", {"task_name": TASK}, priority=256)
        assert not broker.topic_exists("emails")

    @needs("layout fp")
    def test_a_message_for_a_peer_has_all_that_it_needs(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.publish("emails", {"task_name": TASK})
        payload = json.loads(backdoor.bodies("emails")[0])["payload"]
        assert payload["func_name"] == TASK
        assert payload["task_name"] == "send_email"
        assert payload["topic"] == "emails"
        assert payload["task_id"]

    @needs("layout fp")
    def test_a_payload_that_would_loop_at_a_peer_is_not_sent(self, broker: Broker) -> None:
        with pytest.raises(InvalidTask, match="colour"):
            broker.publish("emails", {"task_name": TASK, "colour": "red"})
        assert not broker.topic_exists("emails")

    @needs("layout fp")
    def test_a_task_whose_function_is_unknown_is_not_sent(self, broker: Broker) -> None:
        with pytest.raises(UnknownTask):
            broker.publish("emails", {"task_name": "send_email"})
        assert not broker.topic_exists("emails")

    @needs("layout fp")
    @pytest.mark.parametrize("way", ["claim", "peek"])
    def test_a_function_is_learned_from_a_message_seen(
        self, broker: Broker, backdoor: Backdoor, way: str
    ) -> None:
        broker.ensure_topic("emails")
        backdoor.put("emails", task_body())
        _ = take(broker) if way == "claim" else broker.peek("emails", 1)
        broker.publish("reports", {"task_name": "send_email"})
        assert take(broker, "reports").task.func_name == TASK

    @needs("layout taskworker")
    def test_a_message_of_the_document_needs_no_function(self, broker: Broker) -> None:
        broker.publish("emails", {"task_name": "send_email"})
        assert take(broker).task.task_name == "send_email"
