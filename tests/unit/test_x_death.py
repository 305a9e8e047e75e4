"""`x-death`, read and written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core.amqp import x_death
from tasktools.testing import PUBLISHED, death

FEW = settings(max_examples=50, deadline=None, derandomize=True)
LATER = PUBLISHED + timedelta(hours=1)


def record(
    headers: dict[str, Any], queue: str = "emails", reason: str = "rejected", at: datetime = LATER
) -> dict[str, Any]:
    return x_death.record(
        headers, queue=queue, reason=reason, at=at, exchange="fp.tasks", routing_key=queue
    )


def test_deaths_are_read_in_their_order() -> None:
    headers = {"x-death": [death("b", "expired", count=2), death("a")]}
    deaths = [(d.queue, d.reason, d.count) for d in x_death.parse(headers)]
    assert deaths == [("b", "expired", 2), ("a", "rejected", 1)]


def test_a_death_keeps_its_time_in_utc() -> None:
    (naive,) = x_death.parse({"x-death": [death(time=datetime(2026, 1, 1, 12))]})  # noqa: DTZ001
    assert naive.time == datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_hop_through_our_own_queues_is_no_death() -> None:
    headers = {"x-death": [death("tasktools.delay.5", "expired"), death("emails")]}
    assert [d.queue for d in x_death.parse(headers)] == ["emails"]


def test_a_death_in_a_topic_with_our_prefix_is_a_death() -> None:
    """A task that expired in the topic `tasktools.replay` "did not die"."""
    headers = {"x-death": [death("tasktools.replay", "expired")]}
    assert [(d.queue, d.reason) for d in x_death.parse(headers)] == [
        ("tasktools.replay", "expired")
    ]
    assert x_death.without_hops(headers) is headers


@pytest.mark.parametrize("entry", [None, 5, "x", {}, [5, "x", None, {}], [{"queue": "a"}]])
def test_what_is_no_death_is_left_out(entry: Any) -> None:
    assert x_death.parse({"x-death": entry}) == ()


@pytest.mark.parametrize("count", [None, "2", -1, 0.5])
def test_a_count_that_is_none_counts_as_one(count: Any) -> None:
    assert x_death.parse({"x-death": [death(count=count)]})[0].count == 1


def test_a_first_death_is_recorded_as_rabbitmq_does() -> None:
    headers = record({"trace": "abc"}, at=LATER.replace(microsecond=5))
    assert headers == {
        "trace": "abc",
        "x-first-death-exchange": "fp.tasks",
        "x-first-death-queue": "emails",
        "x-first-death-reason": "rejected",
        "x-death": [
            {
                "count": 1,
                "reason": "rejected",
                "queue": "emails",
                "time": LATER,
                "exchange": "fp.tasks",
                "routing-keys": ["emails"],
            }
        ],
    }


def test_the_same_death_counts_up_and_keeps_its_first_time() -> None:
    twice = record(record({}, at=PUBLISHED), at=LATER)
    (merged,) = x_death.parse(twice)
    assert (merged.count, merged.time) == (2, PUBLISHED)


def test_the_latest_death_is_in_front() -> None:
    headers = record(record(record({}, "a"), "b"), "a")
    assert [(d.queue, d.count) for d in x_death.parse(headers)] == [("a", 2), ("b", 1)]


def test_another_reason_is_another_death() -> None:
    headers = record(record({}), reason="expired")
    assert [d.reason for d in x_death.parse(headers)] == ["expired", "rejected"]


def test_the_first_death_is_never_overwritten() -> None:
    assert record(record({}, "a"), "b")["x-first-death-queue"] == "a"


def test_recording_leaves_its_argument_alone() -> None:
    headers = record({})
    record(headers)
    assert headers["x-death"][0]["count"] == 1


@pytest.mark.parametrize("headers", [None, 5, "x", [5, {}], [{"queue": "emails", "reason": 5}]])
def test_a_death_is_recorded_upon_any_nonsense(headers: Any) -> None:
    assert x_death.parse(record({"x-death": headers}))[0].queue == "emails"


def test_a_forged_count_does_no_harm() -> None:
    assert x_death.parse(record({"x-death": [death(count="many")]}))[0].count == 1


@FEW
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["rejected", "expired"]))))
def test_counts_add_up_to_the_number_of_deaths(story: list[tuple[str, str]]) -> None:
    headers: dict[str, Any] = {}
    for queue, reason in story:
        headers = record(headers, queue, reason)
    deaths = x_death.parse(headers)
    assert sum(d.count for d in deaths) == len(story)
    assert len({(d.queue, d.reason) for d in deaths}) == len(deaths)
    if story:
        assert (deaths[0].queue, deaths[0].reason) == story[-1]
        assert headers["x-first-death-queue"] == story[0][0]
