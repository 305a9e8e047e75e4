"""Sources that are too old to judge by, and those that cannot be seen."""

from __future__ import annotations

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
    assert rows["blind"].verdict == "cannot tell"
    assert rows["publisher_surge"].verdict == "ruled out"  # nothing grows


def test_what_cannot_be_seen_is_said_with_its_reason() -> None:
    (why,) = judging.unknown(RULES["blind"], make.amqp_only(make.facts()))
    assert why == f"management not seen: {make.NO_TAG}"
    (deaf,) = judging.unknown(RULES["blind"], make.deaf(make.facts()))
    assert "events not seen" in deaf
