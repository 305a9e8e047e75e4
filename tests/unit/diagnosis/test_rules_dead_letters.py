"""Dead letters that grow, failures without any, storms of retries, dead letters about to go."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.series import Series
from tasktools.diagnosis.facts import Facts, OwnRun, TopicFacts
from tasktools.diagnosis.finding import Finding
from tasktools.diagnosis.rules import dead_letters
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

RULES = {rule.check: rule for rule in dead_letters.RULES}
REFUSED: dict[str, Any] = {
    "error_type": "ConnectionError",
    "error": "ConnectionError: refused by 10.0.0.7",
}


def judged(check: str, facts: Facts) -> list[Any]:
    return list(RULES[check].judge(facts))


def finding(check: str, facts: Facts) -> Finding:
    return judging.only(RULES[check].judge, facts)


def why_unknown(check: str, facts: Facts) -> str:
    (why,) = judging.unknown(RULES[check].judge, facts)
    return why


@pytest.mark.parametrize("check", RULES)
def test_a_healthy_cluster_has_none(check: str) -> None:
    ends = make.ends(60, failed=3, **REFUSED)
    topic = make.topic(dead_letters=3, dead_ready=make.growing(0.05))
    assert judged(check, make.facts(topic, ends=ends, begins=make.begins(ends))) == []


# --- dead_growing -----------------------------------------------------------------------


def dying(per_second: float, **fields: Any) -> TopicFacts:
    series = make.growing(per_second, start=5)
    dead = make.dead_queue(ready=round(series.values[-1]), ready_series=series)
    return make.topic(
        **({"dead_letters": dead.ready, "dead_ready": series, "dead_queue": dead} | fields)
    )


def test_dead_letters_that_grow_name_the_error_and_its_share() -> None:
    failed = (*make.ends(30, failed=20, **REFUSED), *make.ends(5, failed=5, error="bad"))
    growing = finding("dead_growing", make.facts(dying(0.5), ends=failed))
    assert growing.severity == "warning"
    assert "grew by 30 in 1 min; 80% of the failures are 'ConnectionError" in growing.finding
    assert growing.against == {"succeeded or acknowledged": 10}
    assert finding("dead_growing", make.facts(dying(1.0))).severity == "critical"


def test_dead_letters_without_errors_have_other_reasons() -> None:
    assert "no worker reported an error" in finding("dead_growing", make.facts(dying(1))).finding
    deaf = finding("dead_growing", make.deaf(make.facts(dying(1))))
    assert "no events are received" in deaf.finding
    assert deaf.against == {"succeeded or acknowledged": 60}


def test_a_few_dead_letters_among_many_tasks_are_suspected() -> None:
    """Found on healthy days of faults: 5 % failed, as always, and a burst came."""
    few = make.ends(140, every=0.4, failed=12, **REFUSED)
    suspected = finding("dead_growing", make.facts(dying(0.2), ends=few))
    assert (suspected.severity, suspected.against["succeeded or acknowledged"]) == ("suspect", 128)
    deaf = make.deaf(make.facts(dying(0.2, queue=make.queue(acked=make.growing(10.0)))))
    assert finding("dead_growing", deaf).severity == "suspect"


@pytest.mark.parametrize("lag", [0.0, 8.0])
def test_what_a_run_took_out_does_not_make_fewer_of_those_that_came(lag: float) -> None:
    """A new user replayed some, and a critical finding became a warning."""
    came = make.growing(1.5, start=5)
    taken_at = make.NOW - 20 - lag
    left = Series(
        came.times,
        tuple(
            value - 50 * (at >= make.NOW - 20)
            for at, value in zip(came.times, came.values, strict=True)
        ),
    )
    run = OwnRun(
        run=3,
        started_at=taken_at - 1,
        ended_at=taken_at,
        verb="replay",
        to="emails",
        done=50,
        source="emails.dead",
        taken=Series((taken_at,), (50.0,)),
    )
    topic = dying(0, dead_ready=left, dead_queue=make.dead_queue(ready_series=left))
    facts = replace(make.facts(topic), runs=(run,))
    if not lag:
        facts = replace(facts, sources=())
    assert "grew by 90 in 1 min" in finding("dead_growing", facts).finding
    assert finding("dead_growing", facts).severity == "critical"
    assert finding("dead_growing", replace(facts, runs=())).severity == "warning"


def test_they_began_to_grow_when_they_were_fewest() -> None:
    series = make.samples(*[4] * 10, 10, 16, 22)
    topic = dying(0, dead_ready=series, dead_queue=make.dead_queue(ready_series=series))
    assert finding("dead_growing", make.facts(topic)).since == make.NOW - 15


def test_over_amqp_alone_two_samples_of_ours_tell_it() -> None:
    two = make.samples(5, 20, step=10)
    assert finding("dead_growing", make.amqp_only(make.facts(dying(1, dead_ready=two)))) is not None
    first = make.amqp_only(make.facts(dying(1, dead_ready=make.samples(20))))
    assert make.NO_TAG in why_unknown("dead_growing", first)


@pytest.mark.parametrize("per_second", [0.15, 0, -1])
def test_few_more_or_fewer_are_no_finding(per_second: float) -> None:
    assert judged("dead_growing", make.facts(dying(per_second))) == []


# --- failing ----------------------------------------------------------------------------


def test_peers_acknowledge_what_fails() -> None:
    failing = finding("failing", make.facts(ends=make.ends(40, failed=12, **REFUSED)))
    assert failing.severity == "warning"
    assert "12 of 40 attempts of 'emails' failed in 60 s" in failing.finding
    assert failing.since == make.NOW - 11
    assert finding("failing", make.amqp_only(make.facts(ends=make.ends(40, failed=12)))) is not None


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (make.facts(ends=make.ends(40, failed=9)), "few fail"),
        (make.facts(ends=make.ends(60, failed=11)), "not a fifth of them"),
        (make.facts(ends=make.ends(40, failed=40, until=make.NOW - 61)), "that is over"),
        (make.facts(dying(1), ends=make.ends(40, failed=12)), "they are dead letters"),
    ],
)
def test_what_is_no_failing(facts: Facts, why: str) -> None:
    assert judged("failing", facts) == [], why


@pytest.mark.parametrize("check", ["failing", "retry_storm"])
def test_without_events_failures_are_not_known(check: str) -> None:
    assert "cannot be bound" in why_unknown(check, make.deaf(make.facts()))
    assert "0 s only" in why_unknown(check, make.cold(make.facts()))
    idle = make.topic(queue=make.queue(acked=make.level(9)))
    assert judged(check, make.cold(make.facts(idle))) == []


# --- retry_storm ------------------------------------------------------------------------


def retried(times: int, *, tasks: int = 20, every: float = 60.0) -> dict[str, Any]:
    """Return begins and ends of tasks that fail and begin again so many times."""
    ends = tuple(
        end
        for place in range(times)
        for end in make.ends(tasks, failed=tasks, until=make.NOW - every * (times - 1 - place))
    )
    return {"ends": ends, "begins": make.begins(ends)}


def test_starts_that_are_mostly_retries_are_a_storm() -> None:
    storm = finding("retry_storm", make.facts(**retried(9)))
    assert storm.severity == "warning"
    assert "160 of 180 starts of 'emails'" in storm.finding
    assert storm.evidence["new before"] == 20


def test_a_replay_of_ones_own_begins_tasks_again() -> None:
    run = OwnRun(
        run=3, started_at=make.NOW - 60, ended_at=None, verb="replay", to="emails", done=100
    )
    storm = finding("retry_storm", make.facts(runs=(run,), **retried(9)))
    assert storm.severity == "suspect"
    assert storm.against == {"runs of this user's ledger in that time": [3]}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (retried(1), "they begin once"),
        (retried(9, tasks=2), "few starts"),
        (retried(3, every=1.0), "the tasks are new as well"),
    ],
)
def test_what_is_no_storm(fields: dict[str, Any], why: str) -> None:
    assert judged("retry_storm", make.facts(**fields)) == [], why


# --- dead_letters_expiring --------------------------------------------------------------


def expiring(series: Any, **arguments: int) -> Facts:
    dead = make.dead_queue(ready=round(series.values[-1]), ready_series=series)
    return make.facts(
        make.topic(
            dead_letters=dead.ready,
            dead_ready=series,
            dead_queue=make.with_arguments(dead, **arguments),
        )
    )


def test_a_dead_letter_queue_that_is_nearly_full_loses_some() -> None:
    full = finding("dead_letters_expiring", expiring(make.level(90), max_length=100))
    assert "90 dead letters of 'emails' are near the most that are kept, 100" in full.finding
    assert judged("dead_letters_expiring", expiring(make.level(89), max_length=100)) == []


def test_what_lies_there_for_long_expires() -> None:
    old = finding("dead_letters_expiring", expiring(make.growing(1, start=5), message_ttl=70_000))
    assert old.evidence == {"at least old": 60, "kept for": 70}


def test_what_was_not_there_a_minute_ago_does_not() -> None:
    fresh = expiring(make.samples(0, 0, 3, 4), message_ttl=600_000)
    assert judged("dead_letters_expiring", fresh) == []
    assert judged("dead_letters_expiring", expiring(make.level(0), message_ttl=70_000)) == []


def test_the_age_of_the_oldest_takes_a_look_into_the_queue() -> None:
    week = expiring(make.level(4), message_ttl=7 * 86_400_000)
    assert "only a look" in why_unknown("dead_letters_expiring", week)
    shrunk = expiring(make.samples(9, 9, 9, 4, 5), message_ttl=20_000)
    assert "only a look" in why_unknown("dead_letters_expiring", shrunk)


def test_without_the_queues_arguments_it_cannot_be_told() -> None:
    facts = make.amqp_only(expiring(make.level(90), max_length=100))
    assert make.NO_TAG in why_unknown("dead_letters_expiring", facts)
