"""All rules together, on a healthy cluster, and with its sources taken away."""

from __future__ import annotations

import pytest

from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Row
from tasktools.diagnosis.ranking import judge
from tasktools.diagnosis.rules import RULES
from tasktools.diagnosis.symptoms import SYMPTOMS
from tests.unit.diagnosis import facts_factory as make


def healthy(topics: int = 3, workers: int = 4) -> Facts:
    """Return the facts of a healthy cluster."""
    names = [f"topic-{number}" for number in range(topics)]
    ends = tuple(end for name in names for end in make.ends(60, topic=name))
    return make.facts(
        *(make.topic(name, consumers=workers) for name in names),
        workers=[make.worker(f"worker-{n}", topics=tuple(names)) for n in range(workers)],
        ends=ends,
        begins=make.begins(ends),
    )


def verdicts(facts: Facts, second: Facts | None = None) -> dict[str, list[Row]]:
    """Return the rows by verdict."""
    rows: dict[str, list[Row]] = {}
    for row in judge(facts, second).rows:
        rows.setdefault(row.verdict, []).append(row)
    return rows


def test_checks_have_names_of_their_own_and_say_what_they_look_for() -> None:
    checks = [rule.check for rule in RULES]
    assert len(set(checks)) == len(checks)
    assert all(1 <= rule.level <= 8 for rule in RULES)
    assert all(rule.title and not rule.title.endswith(".") for rule in RULES)


def test_the_causes_and_symptoms_that_are_named_are_checks() -> None:
    named = {*SYMPTOMS, *(symptom for symptoms in SYMPTOMS.values() for symptom in symptoms)}
    assert named <= {rule.check for rule in RULES}


def test_on_a_healthy_cluster_every_check_is_answered_and_none_finds_anything() -> None:
    rows = verdicts(healthy(), healthy())
    assert "found" not in rows
    assert "suspected" not in rows
    answered = [row.check for each in rows.values() for row in each]
    assert sorted(answered) == sorted(rule.check for rule in RULES)


@pytest.mark.parametrize("take_away", [make.amqp_only, make.deaf, make.cold])
def test_without_a_source_nothing_is_found_and_something_cannot_be_told(take_away: object) -> None:
    assert callable(take_away)
    rows = verdicts(take_away(healthy()))
    assert "found" not in rows
    assert "suspected" not in rows
    assert rows["cannot tell"]
    assert all(row.finding.startswith("Cannot tell of ") for row in rows["cannot tell"])


def test_rules_say_the_same_of_the_same_facts_and_change_nothing() -> None:
    facts = healthy()
    assert judge(facts) == judge(facts)
    assert facts == healthy()
