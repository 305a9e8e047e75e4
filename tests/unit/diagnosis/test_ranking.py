"""The order of findings: causes above symptoms, two looks, and an answer to every check."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.models import Source
from tasktools.diagnosis.facts import Change, Facts
from tasktools.diagnosis.finding import CannotTell, Finding, Judgement, Row, Rule
from tasktools.diagnosis.ranking import judge
from tasktools.diagnosis.symptoms import SYMPTOMS
from tests.unit.diagnosis import facts_factory as make


def finding(check: str, severity: Any = "critical", **fields: Any) -> Finding:
    """Return a finding about the topic `emails`."""
    values = {"subject_kind": "topic", "subject": "emails", "finding": f"{check}."} | fields
    return Finding(check=check, severity=severity, **values)


def rule(check: str, level: int, *judgements: Judgement) -> Rule:
    """Return a rule that always says the same."""

    def judged(_facts: Facts) -> Iterable[Judgement]:
        return judgements

    return Rule(check, level, judged, f"the check {check}")


def rows(*rules: Rule, facts: Facts | None = None, second: Facts | None = None) -> list[Row]:
    """Return the rows of *rules* about a healthy cluster."""
    return list(judge(facts or make.facts(), second, rules=rules).rows)


def test_severity_comes_before_level_and_level_before_name() -> None:
    ranked = rows(
        rule("near", 1, finding("near", "suspect")),
        rule("clock_off", 8, finding("clock_off")),
        rule("failing", 7, finding("failing", "warning")),
        rule("workers_gone", 4, finding("workers_gone")),
    )
    assert [row.check for row in ranked] == ["workers_gone", "clock_off", "failing", "near"]
    assert [row.verdict for row in ranked] == ["found", "found", "found", "suspected"]


def test_the_more_frequent_cause_comes_first_in_a_level() -> None:
    checks = ["too_few_workers", "prefetch_hoarding", "publisher_surge", "service_time_risen"]
    each = [rule(check, 6, finding(check, "warning", subject=check)) for check in checks]
    assert [row.check for row in rows(*each)] == checks[::-1]


def test_a_symptom_names_its_cause_sorts_below_it_and_is_a_warning_at_most() -> None:
    ranked = rows(
        rule("no_consumer", 5, finding("no_consumer")),
        rule("worker_frozen", 6, finding("worker_frozen", "warning", subject="w", topics=("t",))),
        rule("nothing_acknowledged", 1, finding("nothing_acknowledged", subject="t")),
    )
    assert [(row.check, row.severity, row.because) for row in ranked] == [
        ("no_consumer", "critical", None),
        ("worker_frozen", "warning", None),
        ("nothing_acknowledged", "warning", "worker_frozen:w"),
    ]


def test_a_cause_explains_only_its_own_topics_and_workers() -> None:
    frozen = finding(
        "worker_frozen", subject_kind="worker", subject="w", topics=("a",), workers=("w",)
    )
    ranked = rows(
        rule("worker_frozen", 4, frozen),
        rule("nothing_acknowledged", 6, finding("nothing_acknowledged", subject="b")),
        rule("worker_gone", 4, finding("worker_gone", subject_kind="worker", subject="w")),
    )
    because = {row.check: row.because for row in ranked}
    assert because["nothing_acknowledged"] is None
    assert because["worker_gone"] == "worker_frozen:w"


def test_what_is_only_suspected_explains_nothing() -> None:
    ranked = rows(
        rule("queue_full", 2, finding("queue_full", "suspect")),
        rule("vanishing", 5, finding("vanishing")),
    )
    assert [(row.check, row.severity, row.because) for row in ranked] == [
        ("vanishing", "critical", None),
        ("queue_full", "suspect", None),
    ]


def test_an_empty_cluster_whose_queues_are_listed_is_judged() -> None:
    """`status` found nothing in it, `diagnose` could tell nothing: its statistics came later."""
    empty = replace(make.facts(), topics={}, missing={"management": "samples: not there yet"})
    listed = replace(empty, server=make.server([]))
    unlisted = replace(empty, server=replace(make.server([]), queues=None))
    quiet = rule("queue_full", 2)
    assert [row.verdict for row in rows(quiet, facts=listed)] == ["ruled out"]
    (row,) = rows(quiet, facts=unlisted)
    assert row.verdict == "cannot tell"
    assert "no topic is known" in row.finding


def test_a_chain_of_causes_is_in_order() -> None:
    ranked = rows(
        rule("lock_orphaned", 7, finding("lock_orphaned", "warning", subject="l", workers=("w",))),
        rule("worker_gone", 4, finding("worker_gone", "warning", subject="w", workers=("w",))),
        rule("workers_gone", 4, finding("workers_gone", subject="t", workers=("w",))),
    )
    assert [(row.check, row.because) for row in ranked] == [
        ("workers_gone", None),
        ("worker_gone", "workers_gone:t"),
        ("lock_orphaned", "workers_gone:t"),
    ]


@pytest.mark.parametrize("grew", [0, 40])
def test_vanishing_explains_dead_letters_that_grew_alike(grew: int) -> None:
    ranked = rows(
        rule("vanishing", 5, finding("vanishing", evidence={"dead letters": grew})),
        rule("dead_growing", 7, finding("dead_growing")),
    )
    assert ranked[1].because == ("vanishing:emails" if grew else None)


def test_an_alarm_explains_every_silence_and_what_it_stopped() -> None:
    alarm = finding("node_alarm", subject_kind="node", subject="rabbit@one", topics=("emails",))
    ranked = rows(
        rule("worker_frozen", 4, finding("worker_frozen", subject_kind="worker", subject="w")),
        rule("nothing_acknowledged", 6, finding("nothing_acknowledged")),
        rule("no_consumer", 5, finding("no_consumer", subject="bills")),
        rule("node_alarm", 1, alarm),
    )
    because = {row.check: row.because for row in ranked}
    assert ranked[0].check == "node_alarm"
    assert because["worker_frozen"] == because["nothing_acknowledged"] == "node_alarm:rabbit@one"
    assert because["no_consumer"] is None


def test_the_pairs_of_causes_and_symptoms_have_no_circle() -> None:
    def reached(check: str, path: tuple[str, ...]) -> None:
        assert check not in path, (*path, check)
        for symptom in SYMPTOMS.get(check, ()):
            reached(symptom, (*path, check))

    for cause in SYMPTOMS:
        reached(cause, ())
        assert "node_alarm" not in SYMPTOMS[cause]


def test_a_condition_that_is_no_series_must_be_seen_twice() -> None:
    both = rule("a", 4, finding("a", needs_second_look=True))
    facts, later = make.facts(), replace(make.facts(), at=make.NOW + 5)
    first = judge(facts, rules=[both])
    assert first.wants_second_look
    assert [(row.verdict, row.severity) for row in first.rows] == [("suspected", "suspect")]
    second = judge(facts, later, rules=[both])
    assert not second.wants_second_look
    assert [(row.verdict, row.severity) for row in second.rows] == [("found", "critical")]


def test_what_only_the_second_look_sees_is_suspected() -> None:
    def judged(facts: Facts) -> Iterable[Judgement]:
        if facts.at > make.NOW:
            yield finding("a", needs_second_look=True)
            yield finding("a", subject="b")

    later = replace(make.facts(), at=make.NOW + 5)
    ranking = judge(make.facts(), later, rules=[Rule("a", 4, judged, "a")])
    assert [(row.subject, row.verdict) for row in ranking.rows] == [
        ("b", "found"),
        ("emails", "suspected"),
    ]
    gone = judge(later, make.facts(), rules=[Rule("a", 4, judged, "a")])
    assert [row.verdict for row in gone.rows] == ["ruled out"]


def test_a_suspicion_wants_no_second_look() -> None:
    weak = rule("a", 4, finding("a", "suspect", needs_second_look=True))
    assert not judge(make.facts(), rules=[weak]).wants_second_look


def test_every_check_is_answered_with_one_row_at_least() -> None:
    ranked = rows(
        rule("a", 1),
        rule("b", 2, CannotTell(why="why.", needs=("management",)), CannotTell(why="why.")),
        rule("c", 3, finding("c"), CannotTell(why="of bills: no samples")),
    )
    assert [(row.check, row.verdict) for row in ranked] == [
        ("c", "found"),
        ("b", "cannot tell"),
        ("c", "cannot tell"),
        ("a", "ruled out"),
    ]
    assert ranked[1].finding == "Cannot tell of the check b: why."
    assert ranked[1].needs == ("management",)
    assert all(row.severity is None for row in ranked[1:])


def test_a_row_says_how_old_its_sources_are_and_how_long_a_new_task_waits() -> None:
    facts = make.facts(make.topic(queued=30))
    (row,) = rows(rule("a", 1, finding("a", needs=("events", "management"))), facts=facts)
    assert row.age == 3.0
    assert row.effect == pytest.approx(30.0)  # at one a second
    still = make.topic(queued=30, ended=make.level(), queue=make.queue(acked=make.level(7)))
    (row,) = rows(rule("a", 1, finding("a")), facts=make.facts(still))
    assert (row.effect, row.age) == (None, None)


def test_a_row_names_what_changed_within_15_minutes_before_it_began() -> None:
    changes = tuple(
        Change(at=make.NOW - ago, kind="worker", subject="w", text=text)
        for ago, text in [
            *((1200, "long ago"), (400, "w started"), (130, "w stopped")),
            *((98, "v started"), (5, "later")),
        ]
    )
    facts = make.facts(changes=changes)
    (row,) = rows(rule("a", 1, finding("a", since=make.NOW - 100)), facts=facts)
    # Its own sample was the last without it: what came until the next one counts.
    expected = ("w started (5 min before)", "w stopped (30 s before)", "v started (2 s after)")
    assert row.changed == expected
    (row,) = rows(rule("a", 1, finding("a")), facts=facts)
    assert row.changed[-1] == "later (5 s before)"


def test_rules_do_not_see_a_stale_source() -> None:
    seen: list[Facts] = []

    def judged(facts: Facts) -> Iterable[Judgement]:
        seen.append(facts)
        return ()

    each = Rule("a", 1, judged, "a")
    facts = make.facts()
    state = replace(facts.state, events=Source(name="events", ok=True, age=9.0))
    old = Source(name="management", ok=True, age=timedelta(seconds=40).total_seconds())
    judge(replace(facts, state=state, sources=(old,)), rules=[each])
    assert seen[0].heard_since is None
    assert seen[0].state.workers == ()
    assert seen[0].topics["emails"].queue is None
    assert seen[0].topics["emails"].queued == 0
    assert seen[0].missing == {
        "events": "the events are 9 s behind",
        "management": "the statistics of the management API are 40 s old",
    }
    judge(facts, rules=[each])
    assert seen[1] == facts


def test_what_was_heard_before_the_broker_went_away_is_not_judged() -> None:
    """After 20 s its tasks had all hung, as nobody could tell that they ended."""
    running = [make.running(f"t{n}", age=60.0) for n in range(4)]
    ended = make.ends(60, until=make.NOW - 60)
    busy = make.facts(workers=[make.worker(running=4)], running=running, ends=ended)
    assert "workers_hung" in {row.check for row in judge(busy).rows if row.severity}
    away = Source(name="events", ok=False, note="no events for 60 s")
    state = replace(busy.state, events=away)
    rows = judge(replace(busy, state=state, heard_since=None)).rows
    verdicts = {row.check: row.verdict for row in rows}
    assert {"found", "suspected"}.isdisjoint(verdicts.values())
