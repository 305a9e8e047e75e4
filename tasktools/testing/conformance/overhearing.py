"""Overhearing what is published: copies, which take nothing away."""

from __future__ import annotations

import json

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.amqp import properties
from tasktools.core.errors import ReadOnly
from tasktools.testing.conformance.base import (
    TASK,
    Backdoor,
    Conformance,
    fill,
    holds,
    never,
    publish,
)
from tasktools.testing.eventually import eventually

Copies = list[tuple[str, bytes, bytes]]


class Overhearing(Conformance):
    """Behaviours of `overhear`."""

    @pytest.fixture
    def copies(self) -> Copies:
        """Collect topic, properties and body of each published message."""
        return []

    def test_every_message_is_overheard_as_it_is_published(
        self, broker: Broker, second_broker: Broker, backdoor: Backdoor, copies: Copies
    ) -> None:
        broker.overhear(lambda *copy: copies.append(copy))
        ids = publish(second_broker, "emails", 3) + publish(broker, "images", 1)
        assert eventually(lambda: len(copies) == 4)
        assert [topic for topic, _, _ in copies] == ["emails"] * 3 + ["images"]
        assert [properties.decode(raw).message_id for _, raw, _ in copies] == ids
        assert [json.loads(body)["id"] for _, _, body in copies] == ids
        assert holds(backdoor, "emails", 3)  # nothing was taken away
        assert [body for _, _, body in copies[:3]] == backdoor.bodies("emails")

    def test_what_was_published_before_is_not_overheard(
        self, broker: Broker, copies: Copies
    ) -> None:
        publish(broker, "emails", 2)
        broker.overhear(lambda *copy: copies.append(copy))
        publish(broker, "emails", 1)
        assert eventually(lambda: len(copies) == 1)
        never(lambda: len(copies) > 1)

    def test_it_ends_when_it_is_ended(self, broker: Broker, copies: Copies) -> None:
        stop = broker.overhear(lambda *copy: copies.append(copy))
        stop()
        stop()
        publish(broker)
        never(lambda: copies)

    def test_it_ends_with_its_broker(
        self, broker: Broker, second_broker: Broker, copies: Copies
    ) -> None:
        second_broker.overhear(lambda *copy: copies.append(copy))
        second_broker.close()
        publish(broker)
        never(lambda: copies)

    def test_thousands_come_in_their_order(self, broker: Broker, copies: Copies) -> None:
        broker.overhear(lambda *copy: copies.append(copy))
        fill(broker, "emails", 3_000)
        assert eventually(lambda: len(copies) == 3_000)
        numbers = [json.loads(body)["payload"]["kwargs"]["number"] for _, _, body in copies]
        assert numbers == list(range(3_000))

    def test_one_who_fails_to_receive_disturbs_nobody(
        self, broker: Broker, backdoor: Backdoor, copies: Copies
    ) -> None:
        def fail(*copy: object) -> None:
            raise RuntimeError(copy)

        broker.overhear(fail)
        broker.overhear(lambda *copy: copies.append(copy))
        publish(broker, "emails", 2)
        assert holds(backdoor, "emails", 2)
        assert eventually(lambda: len(copies) == 2)

    def test_our_own_publishers_are_told_of_a_missing_topic_all_the_same(
        self, broker: Broker, copies: Copies
    ) -> None:
        broker.overhear(lambda *copy: copies.append(copy))
        message = broker.composer.compose("nobody", {"task_name": TASK})
        assert broker.publish_many([message]) == ["unroutable"]

    def test_a_read_only_broker_does_not_overhear(self, read_only_broker: Broker) -> None:
        with pytest.raises(ReadOnly):
            read_only_broker.overhear(lambda *_told: None)
