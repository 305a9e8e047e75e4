"""The samples of a look: what is known has its value, what is not is absent."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.frames.build import frame_from
from tasktools.core.frames.capacity_schemas import SOLUTIONS
from tasktools.core.models import Source, Worker
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Row
from tasktools.metrics.families import (
    FAMILIES,
    MAX_LABEL_VALUES,
    Reading,
    Samples,
    samples_of,
    samples_of_counts,
    topics_with_task_events,
)
from tasktools.metrics.needed_workers import samples_of_needs
from tests.unit.diagnosis import facts_factory as make

COUNTS = ("succeeded", "failed", "dead_lettered")


def read(facts: Facts, *rows: Row, **waits: float) -> Samples:
    return samples_of(Reading(facts=facts, rows=rows, head_waits=waits, duration=0.1))


def row(verdict: Any, check: str, severity: Any = None) -> Row:
    return Row(verdict=verdict, check=check, severity=severity, finding="")


def test_a_topic_has_what_is_known_of_it() -> None:
    emails = make.topic("emails", queued=7, dead_letters=2)
    images = make.topic("images", queued=None, dead_letters=None)
    workers = [
        make.worker("a", running=3, capacity=4, topics=("emails", "images")),
        make.worker("b", running=1, capacity=1, topics=("emails",)),
        make.worker("c", silence=60.0, topics=("emails",)),
    ]
    running = [make.running("1"), make.running("2", topic="images")]
    samples = read(make.facts(emails, images, workers=workers, running=running), emails=12.5)
    assert samples["tasktools_topic_head_wait_seconds"] == [(("emails",), 12.5)]
    assert samples["tasktools_topic_queued_messages"] == [(("emails",), 7)]
    assert samples["tasktools_topic_dead_letter_messages"] == [(("emails",), 2)]
    assert samples["tasktools_topic_running_tasks"] == [(("emails",), 1), (("images",), 1)]
    assert samples["tasktools_topic_capacity_tasks"] == [(("emails",), 5), (("images",), 4)]
    assert samples["tasktools_topic_utilisation_ratio"] == [(("emails",), 0.8), (("images",), 0.75)]
    assert samples["tasktools_worker_running_tasks"] == [(("a",), 3), (("b",), 1)]
    states = [(("alive",), 2), (("late",), 0), (("gone",), 1)]
    assert samples["tasktools_workers"] == states
    assert samples["tasktools_capacity_tasks"] == [((), 5)]


@pytest.mark.parametrize("heard_before", [(), (make.worker(running=2),)])
def test_without_events_nothing_is_said_of_workers(heard_before: tuple[Worker, ...]) -> None:
    deaf = {"events": Source(name="events", ok=False), "workers": heard_before, "settled": False}
    samples = read(make.facts(make.topic(queued=7), state=deaf))
    assert samples["tasktools_topic_queued_messages"] == [(("emails",), 7)]
    for name in ("running_tasks", "capacity_tasks", "utilisation_ratio"):
        assert not samples.get(f"tasktools_topic_{name}")
        assert not samples.get(f"tasktools_{name}")
    assert "tasktools_workers" not in samples
    assert not samples["tasktools_worker_running_tasks"]


def test_a_topic_without_workers_has_no_capacity_and_no_utilisation() -> None:
    samples = read(make.facts(make.topic(queued=7), workers=[]))
    assert samples["tasktools_topic_capacity_tasks"] == [(("emails",), 0)]
    assert samples["tasktools_topic_utilisation_ratio"] == []


def test_findings_are_counted_by_check_and_severity_and_what_cannot_be_told_is_absent() -> None:
    rows = (
        row("found", "failing", "critical"),
        row("found", "failing", "critical"),
        row("suspected", "failing", "suspect"),
        row("found", "churn", "warning"),
        row("cannot tell", "churn"),
        row("cannot tell", "ack_timeout"),
        row("ruled out", "clock_off"),
    )
    counts = dict(read(make.facts(), *rows)["tasktools_findings"])
    assert counts == {
        ("failing", "critical"): 2,
        ("failing", "warning"): 0,
        ("failing", "suspect"): 1,
        ("churn", "warning"): 1,
        **{("clock_off", severity): 0 for severity in ("critical", "warning", "suspect")},
    }


def test_labels_are_bounded_and_what_is_left_out_is_counted() -> None:
    topics = [make.topic(f"t{n:05}", queue=None, dead_queue=None) for n in range(1_200)]
    workers = [make.worker(f"w{n:05}") for n in range(1_100)]
    samples = read(make.facts(*topics, workers=workers, server=None))
    assert samples["tasktools_omitted"] == [(("topic",), 200), (("worker",), 100)]
    assert len(samples["tasktools_topic_queued_messages"]) == MAX_LABEL_VALUES
    assert len(samples["tasktools_worker_capacity_tasks"]) == MAX_LABEL_VALUES
    counts = samples_of_counts({"failed": {"t99999": 3}}, [each.topic for each in topics])
    assert len(counts["tasktools_topic_failed_total"]) == MAX_LABEL_VALUES


def test_a_topic_of_which_nothing_was_heard_has_counted_0() -> None:
    counts = samples_of_counts({"failed": {"emails": 3}, "succeeded": {}}, ["images"])
    assert counts == {
        "tasktools_topic_failed_total": [(("emails",), 3), (("images",), 0)],
        "tasktools_topic_succeeded_total": [(("emails",), 0), (("images",), 0)],
    }


def test_workers_that_send_nothing_are_not_none_and_have_not_failed_0_times() -> None:
    silent = make.facts(
        make.topic("orders", dialect="dramatiq"),
        workers=[],
        heard_since=None,
        missing={"events": ""},
    )
    samples = read(silent)
    unknown = ("workers", "running_tasks", "topic_running_tasks", "topic_capacity_tasks")
    assert [samples.get(f"tasktools_{name}", []) for name in unknown] == [[]] * len(unknown)
    assert samples["tasktools_topic_queued_messages"] == [(("orders",), 0)]
    both = make.facts(make.topic(), make.topic("orders", dialect="dramatiq"))
    assert topics_with_task_events(both) == {"emails"}


def test_a_broker_that_did_not_answer_is_not_up() -> None:
    facts = make.facts()
    for missing, is_up in (({}, True), ({"broker": "gone"}, False)):
        reading = Reading(
            facts=replace(facts, missing=missing), rows=(), head_waits={}, duration=0.1
        )
        assert reading.is_up is is_up


def test_every_sample_is_of_a_family() -> None:
    counts: dict[str, dict[str, int]] = {name: {} for name in COUNTS}
    served = {*read(make.facts()), *samples_of_counts(counts, ["emails"])}
    served |= {*samples_of_needs(frame_from(SOLUTIONS, []), 0.0), "tasktools_up", "tasktools_info"}
    assert served == {family.name for family in FAMILIES}


def test_needs_that_are_not_known_are_absent() -> None:
    rows: list[list[Any]] = [[None] * len(SOLUTIONS.names) for _ in range(2)]
    for row_values, topic, workers in zip(rows, ("emails", "images"), (3, None), strict=True):
        row_values[SOLUTIONS.names.index("topic")] = topic
        row_values[SOLUTIONS.names.index("workers")] = workers
    needs = samples_of_needs(frame_from(SOLUTIONS, rows), 7.0)
    assert needs["tasktools_topic_needed_workers"] == [(("emails",), 3.0)]
    assert needs["tasktools_topic_needed_workers_high"] == []
    assert needs["tasktools_needed_timestamp_seconds"] == [((), 7.0)]
