"""Readings of facts that rules share."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tasktools.diagnosis import readings
from tests.unit.diagnosis import facts_factory as make


def test_a_counter_that_began_anew_did_not_fall() -> None:
    topic = make.topic(queue=make.queue(acked=make.samples(90, 95, 0, 2, 4)))
    assert readings.change_of(topic, "acked", 20) == 0
    assert readings.change_of(topic, "acked", 10) == 4
    assert readings.change_of(topic, "acked", 60) is None
    assert readings.change_of(make.topic(queue=None), "acked", 10) is None


@pytest.mark.parametrize(
    ("values", "ago"),
    [((0, 0, 3, 4), 5.0), ((1, 2, 3), None), ((3, 0), None), ((0, 3, 0, 2), 0.0), ((), None)],
)
def test_a_condition_began_when_its_series_rose_for_good(
    values: tuple[float, ...], ago: float | None
) -> None:
    began = readings.begin_above(make.samples(*values))
    assert began == (None if ago is None else make.NOW - ago)


def test_a_wait_is_what_is_queued_by_what_ends() -> None:
    assert readings.wait_of(make.topic(queued=0)) == 0.0
    assert readings.wait_of(make.topic(queued=10)) == pytest.approx(10.0)
    by_events = make.topic(queued=10, queue=None, ended=make.growing(2.0))
    assert readings.wait_of(by_events) == pytest.approx(5.0)
    assert readings.wait_of(make.topic(queued=10, queue=None, ended=None)) is None
    assert readings.wait_of(make.topic(queued=None)) is None


def test_why_something_is_missing_is_said_with_what_would_show_it() -> None:
    facts = make.amqp_only(make.facts())
    assert readings.needs_server(facts, "samples", "redeliveries").why == (
        f"redeliveries: {make.NO_TAG}"
    )
    nothing = replace(facts, server=None, missing={})
    assert readings.why_missing(nothing, "nodes") == "the broker does not report it"
    assert readings.why_missing(replace(nothing, is_recorded=True), "nodes") == (
        "a recording does not hold it"
    )
    assert readings.needs_events(make.deaf(facts), "what ends").why == (
        "what ends: the exchange of events cannot be bound"
    )
    assert readings.needs_events(make.cold(facts), "what ends").why == (
        "what ends: events are received for 0 s only"
    )
