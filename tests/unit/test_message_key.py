"""The key of a message as it lies in a queue."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import structs

from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.amqp import x_death
from tasktools.core.amqp.message_key import Keys
from tasktools.core.amqp.opened_message import OpenedMessage
from tasktools.core.models import Death, Properties
from tasktools.testing import PUBLISHED, death, properties


def died(*entries: tuple[str, int]) -> tuple[Death, ...]:
    return x_death.parse({"x-death": [death(queue, count=count) for queue, count in entries]})


def key(
    message_properties: Properties | None = None,
    body: bytes = b"body",
    dead: tuple[Death, ...] = (),
) -> str:
    return Keys().next(message_properties or properties(), body, dead)


def test_a_key_is_the_same_in_every_look() -> None:
    assert key() == key()


@pytest.mark.parametrize(
    "change",
    [
        {"message_id": "other"},
        {"message_id": None},
        {"correlation_id": "task-1"},
        {"timestamp": PUBLISHED + timedelta(seconds=1)},
        {"timestamp": None},
    ],
)
def test_another_identity_is_another_key(change: dict[str, object]) -> None:
    assert key(structs.replace(properties(), **change)) != key()


def test_another_body_is_another_key() -> None:
    assert key(body=b"other") != key()


def test_one_death_more_is_another_key() -> None:
    assert len({key(), key(dead=died(("a", 1))), key(dead=died(("a", 2)))}) == 3
    assert key(dead=died(("a", 1), ("b", 1))) != key(dead=died(("a", 1)))


def test_a_message_that_was_replayed_and_died_again_is_another() -> None:
    stories = [{}, *({"x-tasktools-replay": f'{{"count":{n}}}'} for n in (1, 2))]
    assert len({key(properties(headers=story)) for story in stories}) == 3


@pytest.mark.parametrize("header", ["x-delivery-count", "x-acquired-count"])
def test_counters_of_deliveries_do_not_change_a_key(header: str) -> None:
    assert key(properties(headers={header: 3})) == key()


def test_the_nth_identical_message_is_numbered() -> None:
    keys = Keys()
    named = [keys.next(properties(), body, ()) for body in (b"a", b"b", b"a", b"a", b"b")]
    a, b = named[:2]
    assert named == [a, b, f"{a}#2", f"{a}#3", f"{b}#2"]


def test_what_belongs_to_one_field_is_not_taken_for_another() -> None:
    assert key(properties(message_id="ab", timestamp=None), b"c") != key(
        properties(message_id="a", timestamp=None), b"bc"
    )


def test_a_broken_id_has_a_key() -> None:
    assert key(properties(message_id="\udcff"))


@pytest.mark.parametrize(
    "change", [{"headers": {"task": "shop.refund"}}, {"headers": {"id": 1}}, {"type": "paid"}]
)
def test_what_alone_tells_two_messages_apart_is_in_their_keys(change: dict[str, object]) -> None:
    """Issue 11, "lost": tasks of Celery without arguments differ in their headers alone, and one
    that was to be left where it lies was sent in the place of another."""
    plain = properties(headers={"task": "shop.send", "id": 7})
    other = structs.replace(plain, **change)
    assert key(other) != key(plain)
    for each in (plain, other):
        assert OpenedMessage(amqp_properties.encode(each)).key(b"body") == key(each)
