"""Taps: published messages are kept, and can be read again."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tasktools.brokers.base import Broker
from tasktools.brokers.taps import Tapped
from tasktools.core import taps
from tasktools.core.amqp import properties
from tasktools.core.errors import InvalidTap, ReadOnly, TapConflict, UnknownTap
from tasktools.core.models import Outgoing, Properties
from tasktools.testing.conformance.base import (
    TASK,
    Backdoor,
    Conformance,
    fill,
    holds,
    needs,
    publish,
)
from tasktools.testing.factories import task_body

NAME = taps.NAME
DAY = 86_400.0
LEAST = 10_000_000


def begin(broker: Broker, name: str = NAME) -> bool:
    """Create the tap *name*, with limits that drop nothing."""
    return broker.tap(name, max_age=DAY, max_bytes=LEAST)


def read(broker: Broker, name: str = NAME, **options: Any) -> list[Tapped]:
    """Return the messages of a tap."""
    messages: list[Tapped] = []
    broker.read_tap(name, messages.append, **options)
    return messages


def numbers(messages: list[Tapped]) -> list[int]:
    """Return the numbers with which `publish` published them."""
    return [json.loads(message.body)["payload"]["kwargs"]["number"] for message in messages]


class Tapping(Conformance):
    """Behaviours of `Taps`."""

    @needs("streams")
    def test_what_is_published_can_be_read_as_it_was_again_and_again(
        self, broker: Broker, second_broker: Broker, backdoor: Backdoor
    ) -> None:
        begin(broker)
        ids = publish(second_broker, "emails", 3) + publish(broker, "images", 1)
        for reader in (broker, second_broker, broker):
            messages = read(reader)
            assert [message.topic for message in messages] == ["emails"] * 3 + ["images"]
            assert [properties.decode(message.properties).message_id for message in messages] == ids
        assert holds(backdoor, "emails", 3)  # nothing was taken away
        assert [message.body for message in messages[:3]] == backdoor.bodies("emails")

    @needs("streams")
    def test_only_what_is_published_from_then_on_is_kept(self, broker: Broker) -> None:
        publish(broker, "emails", 2)
        begin(broker)
        assert read(broker) == []
        publish(broker, "emails", 3)
        assert numbers(read(broker)) == [0, 1, 2]

    @needs("streams")
    def test_thousands_are_read_in_their_order(self, broker: Broker) -> None:
        begin(broker)
        fill(broker, "emails", 3_000)
        messages = read(broker)
        assert numbers(messages) == list(range(3_000))
        offsets = [message.offset for message in messages]
        assert offsets == sorted(set(offsets))

    @needs("streams")
    def test_it_is_read_from_any_offset_and_until_that_is_enough(self, broker: Broker) -> None:
        begin(broker)
        publish(broker, "emails", 10)
        offset = read(broker)[6].offset
        assert numbers(read(broker, offset=offset)) == [6, 7, 8, 9]
        few: list[Tapped] = []
        broker.read_tap(NAME, lambda message: few.append(message) or len(few) == 2)  # type: ignore[func-returns-value]
        assert numbers(few) == [0, 1]
        last = read(broker)[-1].offset
        assert read(broker, offset=last + 1) == []

    @needs("streams")
    def test_it_is_read_from_a_time_and_to_a_time(self, broker: Broker) -> None:
        begin(broker)
        publish(broker, "emails", 2)
        time.sleep(3.4)  # a second before and after are not told apart
        between = time.time() - 2.1
        publish(broker, "images", 1)
        assert [message.topic for message in read(broker, since=between)] == ["images"]
        assert [message.topic for message in read(broker, until=between)] == ["emails"] * 2
        assert len(read(broker, since=between - 60, until=between + 60)) == 3
        assert read(broker, since=between + 60) == []
        assert read(broker, until=between - 60) == []

    @needs("streams")
    def test_headers_that_are_tables_or_lists_are_dropped_and_all_else_is_kept(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        begin(broker)
        broker.ensure_topic("emails")
        headers = {"text": "x", "number": 7, "table": {"a": 1}, "list": [1, 2]}
        sent = Properties(
            headers=headers, message_id="m1", priority=3, content_type="application/json"
        )
        message = Outgoing(topic="emails", message_id="m1", body=task_body(), properties=sent)
        assert broker.publish_many([message]) == ["confirmed"]
        (tapped,) = read(broker)
        read_back = properties.decode(tapped.properties)
        assert tapped.body == message.body
        assert read_back.headers == {"text": "x", "number": 7}
        assert (read_back.message_id, read_back.priority, read_back.content_type) == (
            "m1",
            3,
            "application/json",
        )
        assert holds(backdoor, "emails", 1)

    @needs("streams")
    def test_what_is_sent_to_a_queue_by_its_name_is_not_kept(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        begin(broker)
        broker.ensure_topic("emails")
        backdoor.put("emails", task_body())
        assert read(broker) == []

    @needs("streams")
    def test_a_second_tap_that_is_the_same_changes_nothing(self, broker: Broker) -> None:
        assert begin(broker)
        publish(broker)
        assert not begin(broker)
        assert len(read(broker)) == 1

    @needs("streams")
    def test_a_tap_that_keeps_other_amounts_is_a_conflict_that_says_how(
        self, broker: Broker
    ) -> None:
        begin(broker)
        publish(broker)
        with pytest.raises(TapConflict, match="has x-max-age 1D instead of 2D"):
            broker.tap(NAME, max_age=2 * DAY, max_bytes=LEAST)
        with pytest.raises(TapConflict, match="x-max-length-bytes 10000000 instead of 20000000"):
            broker.tap(NAME, max_age=DAY, max_bytes=2 * LEAST)
        assert len(read(broker)) == 1

    @needs("streams")
    @pytest.mark.parametrize("name", ["emails", "tasktools.tapestry", "", "tasktools.tap.\n"])
    def test_a_tap_is_called_like_one(self, name: str, broker: Broker) -> None:
        with pytest.raises(InvalidTap):
            begin(broker, name)
        with pytest.raises(InvalidTap):
            broker.untap(name, delete=True)
        with pytest.raises(InvalidTap):
            read(broker, name)

    @needs("streams")
    def test_limits_that_no_tap_can_have_are_refused(self, broker: Broker) -> None:
        with pytest.raises(InvalidTap, match="max_age"):
            broker.tap(NAME, max_age=0.5, max_bytes=LEAST)
        with pytest.raises(InvalidTap, match="max_bytes"):
            broker.tap(NAME, max_age=DAY, max_bytes=LEAST - 1)
        assert not broker.untap(NAME)

    @needs("streams")
    def test_after_its_end_nothing_more_is_kept_but_it_can_be_read(self, broker: Broker) -> None:
        begin(broker)
        publish(broker, "emails", 2)
        assert broker.untap(NAME)
        publish(broker, "emails", 5)
        assert numbers(read(broker)) == [0, 1]
        assert not begin(broker)  # it is there, and goes on
        publish(broker, "images", 1)
        assert [message.topic for message in read(broker)] == ["emails", "emails", "images"]

    @needs("streams")
    def test_one_that_is_deleted_is_gone(self, broker: Broker) -> None:
        begin(broker)
        publish(broker)
        assert broker.untap(NAME, delete=True)
        assert not broker.untap(NAME, delete=True)
        assert not broker.untap(NAME)
        with pytest.raises(UnknownTap, match="Make one with"):
            read(broker)
        publish(broker)

    @needs("streams")
    def test_two_taps_are_two(self, broker: Broker) -> None:
        begin(broker)
        begin(broker, f"{NAME}.audit")
        publish(broker)
        broker.untap(NAME, delete=True)
        publish(broker)
        assert len(read(broker, f"{NAME}.audit")) == 2

    @needs("streams")
    def test_a_tap_is_no_topic(self, broker: Broker) -> None:
        begin(broker)
        publish(broker, "emails", 1)
        assert [stats.topic for stats in broker.topic_report().topics] == ["emails"]
        assert NAME not in broker.known_topics()
        delivery = broker.claim("*", "worker-1")
        assert delivery is not None
        assert delivery.topic == "emails"
        assert broker.claim("*", "worker-1") is None

    @needs("streams")
    def test_our_own_publishers_are_told_of_a_missing_topic_with_a_tap_too(
        self, broker: Broker
    ) -> None:
        begin(broker)
        message = broker.composer.compose("nobody", {"task_name": TASK})
        assert broker.publish_many([message]) == ["unroutable"]
        assert read(broker) == []

    @needs("streams")
    def test_dead_letters_are_not_kept_twice(self, broker: Broker, backdoor: Backdoor) -> None:
        begin(broker)
        publish(broker)
        delivery = broker.claim("emails", "worker-1")
        assert delivery is not None
        broker.nack(delivery.id, requeue=False)
        assert holds(backdoor, "emails.dead", 1)
        assert len(read(broker)) == 1

    @needs("streams")
    def test_what_the_receiver_raises_ends_the_reading(self, broker: Broker) -> None:
        begin(broker)
        publish(broker, "emails", 3)
        seen: list[Tapped] = []

        def fail(message: Tapped) -> None:
            seen.append(message)
            raise RuntimeError("no more")

        with pytest.raises(RuntimeError, match="no more"):
            broker.read_tap(NAME, fail)
        assert len(seen) == 1
        assert len(read(broker)) == 3

    @needs("streams")
    def test_a_read_only_broker_reads_a_tap_and_makes_and_ends_none(
        self, broker: Broker, read_only_broker: Broker
    ) -> None:
        with pytest.raises(ReadOnly):
            begin(read_only_broker)
        begin(broker)
        publish(broker)
        assert len(read(read_only_broker)) == 1
        with pytest.raises(ReadOnly):
            read_only_broker.untap(NAME)
        publish(broker)
        assert len(read(read_only_broker)) == 2
