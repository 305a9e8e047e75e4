"""The changes of a replay to a message: exactly the documented list, and nothing else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from tasktools.core.amqp import failure_headers
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.amqp.opened_message import OpenedMessage
from tasktools.core.amqp.replay_header import HEADER, Story, story
from tasktools.core.models import Properties
from tasktools.testing import PUBLISHED, death, properties
from tasktools.testing.factories import failure


def sent(
    message_properties: Properties, *, run: str = "ledger/1", user: str | None = None
) -> Properties:
    """Return the properties with which *told* is replayed."""
    return amqp_properties.decode(
        OpenedMessage(amqp_properties.encode(message_properties)).replayed(run=run, user=user)
    )


def put_back(message_properties: Properties, *, user: str | None = None) -> Properties:
    return amqp_properties.decode(
        OpenedMessage(amqp_properties.encode(message_properties)).restored(user=user)
    )


OF_THE_BROKER: dict[str, Any] = {
    "x-death": [death()],
    "x-first-death-queue": "emails",
    "x-first-death-reason": "rejected",
    "x-first-death-exchange": "fp.tasks",
    "x-last-death-queue": "emails",
    "x-last-death-reason": "rejected",
    "x-last-death-exchange": "fp.tasks",
    "x-delivery-count": 2,
    "x-acquired-count": 3,
    "x-stream-offset": 4,
    "CC": ["others"],
    "BCC": ["more"],
}
OF_PEOPLE: dict[str, Any] = {
    "type": "task",
    "x-deaths": "kept",
    "x-delivery": True,
    "cc": "kept",
    "ratio": 0.1,
    "table": {"x-death": 1, "list": [1, None, b"\xff"]},
    **failure_headers.to_headers(failure()),
}


def test_the_brokers_headers_and_copies_go_and_all_others_stay() -> None:
    after = sent(properties(headers=OF_PEOPLE | OF_THE_BROKER)).headers
    assert {name: value for name, value in after.items() if name != HEADER} == OF_PEOPLE


@pytest.mark.parametrize("name", OF_THE_BROKER)
def test_each_of_them_goes(name: str) -> None:
    assert set(sent(properties(headers={name: OF_THE_BROKER[name]})).headers) == {HEADER}


def test_every_property_stays_but_for_the_expiration() -> None:
    """Issue 11, row 9: it says how long a dead letter is kept, not how long the task lives."""
    message_properties = properties(
        content_type="application/json",
        content_encoding="utf-8",
        priority=7,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        type="t",
        app_id="a",
    )
    expected = structs.replace(message_properties, headers={}, expiration=None)
    assert structs.replace(sent(message_properties), headers={}) == expected


@pytest.mark.parametrize(
    ("theirs", "own_user", "stays"),
    [("ann", "bob", False), ("bob", "bob", True), (None, "bob", True), ("ann", None, True)],
)
def test_a_user_that_is_not_us_is_dropped_since_the_broker_would_refuse(
    theirs: str | None, own_user: str | None, *, stays: bool
) -> None:
    message_properties = properties(user_id=theirs)
    for after in (
        sent(message_properties, user=own_user),
        put_back(message_properties, user=own_user),
    ):
        assert after.user_id == (theirs if stays else None)


def test_the_story_tells_the_first_death_and_the_run() -> None:
    entries = [death(reason="expired", time=PUBLISHED + timedelta(1)), death("a", time=PUBLISHED)]
    header = sent(properties(headers={"x-death": entries})).headers[HEADER]
    assert json.loads(header) == {
        "count": 1,
        "run": "ledger/1",
        "first_death": {"queue": "a", "reason": "rejected", "time": "2026-11-24T02:49:03+00:00"},
    }


def test_a_second_replay_counts_on_and_keeps_the_first_death() -> None:
    once = sent(properties(headers={"x-death": [death("a")]}))
    again = structs.replace(once, headers={**once.headers, "x-death": [death("b")]})
    message_properties = story(sent(again, run="ledger/2").headers)
    assert (message_properties.count, message_properties.run) == (2, "ledger/2")
    assert message_properties.first_death is not None
    assert message_properties.first_death["queue"] == "a"


def test_a_death_without_a_time_is_told_without_one() -> None:
    unknown = {"x-death": [death("a", time=None)]}
    assert story(sent(properties(headers=unknown)).headers).first_death == {
        "queue": "a",
        "reason": "rejected",
    }
    mixed = {"x-death": [death("a", time=None), death("b")]}
    first = story(sent(properties(headers=mixed)).headers).first_death
    assert first is not None
    assert first["queue"] == "b"


def test_a_message_that_did_not_die_has_a_story_all_the_same() -> None:
    assert story(sent(properties()).headers) == Story(count=1, run="ledger/1")


@pytest.mark.parametrize(
    "lie",
    [
        *(None, "", "no JSON", "[]", "\ud83c", 3, b"{}", ["x"]),
        *('{"count": "many"}', '{"count": null}', '{"count": -5}', f'{{"count": {10**22}}}'),
    ],
)
def test_a_story_that_is_none_is_not_believed(lie: Any) -> None:
    assert story({HEADER: lie}) == Story()


def test_bytes_that_are_no_properties_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"."):
        OpenedMessage(b"\xff\xff\xff").replayed(run="r", user=None)


def test_a_restored_message_keeps_its_deaths_but_no_counters_and_makes_no_copies() -> None:
    message_properties = properties(headers=OF_PEOPLE | OF_THE_BROKER)
    gone = set(message_properties.headers) - set(put_back(message_properties).headers)
    assert gone == {"CC", "BCC", "x-delivery-count", "x-acquired-count", "x-stream-offset"}
    assert put_back(properties(headers=OF_PEOPLE)) == properties(headers=OF_PEOPLE)


def test_a_table_of_headers_that_held_counters_alone_is_not_restored() -> None:
    assert put_back(properties(headers={"x-delivery-count": 2})) == properties()
    raw = b"\x20\x00" + bytes(4)  # one that was empty
    assert OpenedMessage(raw).restored(user=None) == raw
    counted = amqp_properties.edited(raw, added={"x-delivery-count": 2})
    assert OpenedMessage(counted).restored(user=None) == b"\x00\x00"


def test_what_is_not_changed_stays_byte_for_byte() -> None:
    raw = amqp_properties.encode(properties(headers=OF_PEOPLE))
    assert OpenedMessage(raw).restored(user="us") == raw
