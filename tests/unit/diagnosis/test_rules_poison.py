"""Poison: tasks that end their workers, or that never end."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.core.models import Orphan
from tasktools.diagnosis.facts import TaskBegin
from tasktools.diagnosis.rules.poison import poison_task
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import only, says_nothing, unknown


def orphan(worker_id: str, *, ran: float = 2.0, ago: float = 60.0, task: str = "bad") -> Orphan:
    """Return a task whose worker fell silent after it ran for so long."""
    task_run = make.running(task, worker_id=worker_id, age=ago + ran)
    return Orphan(task=task_run, silent_since=make.NOW - ago)


def begun(*seconds_ago: float, task: str = "bad") -> tuple[TaskBegin, ...]:
    """Return begins of a task."""
    return tuple(
        TaskBegin(at=make.NOW - ago, task_id=task, topic="emails", worker_id="w")
        for ago in seconds_ago
    )


def test_a_task_that_takes_its_workers_along_is_found() -> None:
    orphans = (orphan("w1"), orphan("w2", ago=20), orphan("w3", task="other"))
    finding = only(poison_task, make.facts(orphans=orphans))
    assert (finding.severity, finding.subject, finding.topics) == ("critical", "bad", ("emails",))
    assert finding.workers == ("w1", "w2")
    assert finding.finding == (
        "2 workers fell silent within 30 s of beginning the task bad of emails."
    )


def test_a_task_that_begins_again_and_again_is_found() -> None:
    finding = only(poison_task, make.facts(begins=begun(100, 60, 20)))
    assert (finding.severity, finding.subject) == ("warning", "bad")
    assert finding.finding == "The task bad of emails was begun 3 times, and never ended."
    assert finding.since == make.NOW - 100


def test_a_long_task_that_outlives_deploys_is_suspected_at_most() -> None:
    moved = (orphan("w1", ran=300), orphan("w2", ran=200))
    assert says_nothing(poison_task, make.facts(orphans=moved))
    assert only(poison_task, make.facts(begins=begun(800, 500, 200))).severity == "suspect"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"begins": begun(40, 20)},
        {"begins": begun(60, 40, 20), "ends": make.ends(1)},
        {"orphans": (orphan("w1"), orphan("w1", ago=20))},
    ],
    ids=["healthy", "begun twice", "it ended", "one worker"],
)
def test_no_poison(fields: dict[str, Any]) -> None:
    if "ends" in fields:
        fields = fields | {"begins": begun(60, 40, 20, task="emails-0")}
    assert says_nothing(poison_task, make.facts(**fields))


def test_poison_cannot_be_told_without_events() -> None:
    assert unknown(poison_task, make.cold(make.facts())) == [
        "which tasks begin and end: events are received for 0 s only"
    ]
