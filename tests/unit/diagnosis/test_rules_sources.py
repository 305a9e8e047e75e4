"""Sources that are too old to judge by, and those that cannot be seen."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.models import Source
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.ranking import judge
from tasktools.diagnosis.rules import sources
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

RULES = {rule.check: rule.judge for rule in sources.RULES}


def aged(name: str, age: float) -> Facts:
    facts = make.facts()
    source = Source(name=name, ok=True, age=age)  # type: ignore[arg-type]
    others = tuple(each for each in facts.sources if each.name != name)
    state = replace(facts.state, events=source) if name == "events" else facts.state
    return replace(facts, sources=(*others, source), state=state)


@pytest.mark.parametrize("check", RULES)
def test_a_healthy_cluster_is_seen_whole(check: str) -> None:
    assert judging.says_nothing(RULES[check], make.facts())


@pytest.mark.parametrize(("name", "fresh", "old"), [("events", 1.9, 2.1), ("management", 14, 16)])
def test_what_is_old_is_said(name: str, fresh: float, old: float) -> None:
    assert judging.says_nothing(RULES["statistics_stale"], aged(name, fresh))
    (why,) = judging.unknown(RULES["statistics_stale"], aged(name, old))
    assert why.startswith(f"{name} are ")
    recorded = replace(aged(name, old), is_recorded=True)
    assert judging.says_nothing(RULES["statistics_stale"], recorded)


def test_the_whole_diagnosis_says_it() -> None:
    rows = {row.check: row for row in judge(aged("management", 40)).rows}
    assert rows["statistics_stale"].verdict == "cannot tell"
    assert "of the management API are 40 s old" in rows["statistics_stale"].finding
    assert rows["blind"].verdict == "cannot tell"
    assert rows["publisher_surge"].verdict == "ruled out"  # nothing grows


def test_a_management_api_that_does_not_answer_is_not_stale() -> None:
    """Found on healthy days: while it was away, `blind` said so, and `statistics_stale` too."""
    facts = make.amqp_only(make.facts())
    away = Source(name="management", ok=False, note="no management API answers")
    away_facts = replace(facts, sources=(*facts.sources, away))
    assert judging.says_nothing(RULES["statistics_stale"], away_facts)
    assert judging.unknown(RULES["blind"], away_facts)


def repeated(tasks: float, *, acked: float = 0.0, **fields: Any) -> Facts:
    """Return a topic of which *tasks* began and ended a second, and what its queue counts."""
    queue = make.queue(acked=make.growing(acked, start=50))
    told = make.growing(tasks)
    return make.facts(make.topic(queue=queue, **({"began": told, "ended": told} | fields)))


def test_statistics_that_repeat_old_values_are_stale_however_new_their_samples() -> None:
    """Issue 13: so RabbitMQ 3.10 and 4.3 answer when the collectors of statistics stand still."""
    rows = {row.check: row for row in judge(repeated(0.4)).rows}
    assert rows["statistics_stale"].verdict == "cannot tell"
    assert "they count none of 14 tasks that began and ended" in rows["statistics_stale"].finding
    assert "repeat old values" in rows["redelivery_loop"].finding
    assert not [row for row in rows.values() if row.verdict in ("found", "suspected")]


def unpublished(*values: float, **worker: Any) -> Facts:
    """Return facts of which the exchange of heartbeats counts *values*."""
    topic = make.topic(queue=make.queue(acked=make.level(50)), began=None, ended=None)
    counted = {"fp.workers": make.samples(*values), "fp.tasks": make.level(7), "other": None}
    server = make.server([topic], published_to=counted)
    return make.facts(topic, workers=[make.worker(**worker)], server=server)


def test_statistics_that_count_no_heartbeat_are_stale_for_a_newcomer_too() -> None:
    """As that node answered: a process that had just connected found a task unacknowledged."""
    rows = {row.check: row for row in judge(make.cold(unpublished(*[30] * 12))).rows}
    assert rows["statistics_stale"].verdict == "cannot tell"
    assert "they count no heartbeat" in rows["statistics_stale"].finding


@pytest.mark.parametrize(
    "facts",
    [
        unpublished(*[30] * 10, 31, 31),
        unpublished(30, 30),
        unpublished(*[30] * 12, silence=7.0),
        unpublished(*[30] * 12, started_at=make.moment(20)),
        unpublished(*[30] * 12, started_at=None),
        repeated(0.4, acked=0.01),
        repeated(0.1),
        repeated(0.4, began=make.level()),  # acknowledged when they began
        repeated(0.4, began=None, ended=None),
        make.deaf(repeated(0.4)),
    ],
    ids=[
        "a heartbeat",
        "too short",
        "a silent worker",
        "a new worker",
        "a worker of unknown age",
        "it moves",
        "few tasks",
        "none began",
        "no events of tasks",
        "no events",
    ],
)
def test_what_does_not_show_that_statistics_repeat_old_values(facts: Facts) -> None:
    rows = {row.check: row for row in judge(facts).rows}
    assert rows["statistics_stale"].verdict == "ruled out"


def test_what_cannot_be_seen_is_said_with_its_reason() -> None:
    (why,) = judging.unknown(RULES["blind"], make.amqp_only(make.facts()))
    assert why == f"management not seen: {make.NO_TAG}"
    (deaf,) = judging.unknown(RULES["blind"], make.deaf(make.facts()))
    assert "events not seen" in deaf
