"""Surges, replays of one's own and too few workers, with a batch and a limit as look-alikes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.models import TopicSettings
from tasktools.core.series import Series
from tasktools.diagnosis.facts import Facts, OwnRun, TopicFacts
from tasktools.diagnosis.finding import Finding
from tasktools.diagnosis.rules import load
from tasktools.history.earlier_days import EarlierDay
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

RULES = {rule.check: rule for rule in load.RULES}


def judged(check: str, facts: Facts) -> list[Any]:
    return list(RULES[check].judge(facts))


def finding(check: str, facts: Facts) -> Finding:
    return judging.only(RULES[check].judge, facts)


def why_unknown(check: str, facts: Facts) -> str:
    (why,) = judging.unknown(RULES[check].judge, facts)
    return why


def counter(*rates: float) -> Any:
    """Return a counter that rises by these rates a second, each for 5 s."""
    values = [0.0]
    for rate in rates:
        values.append(values[-1] + 5 * rate)
    return make.samples(*values)


def topic(*rates: float, acked: float = 3.0, **fields: Any) -> TopicFacts:
    """Return a topic to which messages are published at these rates, of which so many end."""
    published = counter(*rates)
    grown = [0.0]
    for rate in rates:
        grown.append(max(grown[-1] + 5 * (rate - acked), 0))
    ready = make.samples(*grown)
    queue = make.queue(published=published, acked=make.growing(acked), ready_series=ready)
    return make.topic(queued=round(grown[-1]), ready=ready, queue=queue, **fields)


SURGE = (*[3] * 9, 30, 30, 30)
BUSY = make.worker(running=4)


@pytest.mark.parametrize("check", RULES)
def test_a_healthy_cluster_has_none(check: str) -> None:
    assert judged(check, make.facts()) == []


# --- publisher_surge --------------------------------------------------------------------


def test_a_surge_is_high_in_each_of_the_last_samples() -> None:
    surge = finding("publisher_surge", make.facts(topic(*SURGE)))
    assert surge.severity == "warning"
    assert "30 messages/s are published to 'emails', 10 times the 3/s before" in surge.finding
    assert surge.since == make.NOW - 15
    assert surge.against == {"acknowledged a second": 3.0}
    assert surge.effect == pytest.approx(405 / 3)


def test_a_surge_after_nothing_is_one_too() -> None:
    surge = finding("publisher_surge", make.facts(topic(*[0] * 9, 10, 10, 10)))
    assert "after the 0/s before" in surge.finding


@pytest.mark.parametrize(
    ("rates", "acked", "why"),
    [
        ((*[3] * 11, 60), 3, "a batch of 300 at once is one high sample"),
        ((*[3] * 9, 8.9, 8.9, 8.9), 3, "not three times as many"),
        ((*[1] * 9, 5, 5, 5), 1, "only 4/s more"),
        (SURGE, 30, "the workers keep up with it"),
    ],
)
def test_what_looks_like_a_surge(rates: tuple[float, ...], acked: float, why: str) -> None:
    assert judged("publisher_surge", make.facts(topic(*rates, acked=acked))) == [], why


def test_a_process_that_has_just_connected_sees_a_surge() -> None:
    seen = make.cold(make.facts(replace(topic(*SURGE), ready=make.samples(400))))
    assert finding("publisher_surge", seen).severity == "warning"


def batches(*busiest: float, usual: float = 20) -> tuple[EarlierDay, ...]:
    return tuple(EarlierDay(busiest=most, usual=usual) for most in busiest)


@pytest.mark.parametrize(
    ("days", "peak", "why"),
    [
        (batches(400, 500, 450), None, "as many arrive every day at this time"),
        (batches(400, 500), 450, "two days are too few"),
        (batches(100, 120, 90, 110), 105, "far fewer arrive on other days"),
        (batches(500, 480, 470, usual=450), 0, "that much arrives all day long, without a peak"),
        (batches(500, 20, 20, 20), 0, "it was so on one day"),
    ],
)
def test_a_batch_of_every_day_is_no_surge(
    days: tuple[EarlierDay, ...], peak: float | None, why: str
) -> None:
    lasting = make.growing(0.1, seconds=600)  # 60 tasks began in 10 minutes, and 405 wait
    each = topic(*SURGE, earlier_days=days, began=lasting)
    ready = each.ready or Series()
    before = Series((make.NOW - 600, *ready.times), (0.0, *ready.values))
    surges = judged("publisher_surge", make.facts(replace(each, ready=before)))
    peaks = [each.evidence["peak on earlier days"] for each in surges]
    assert peaks == ([] if peak is None else [peak]), why


def test_over_amqp_alone_a_surge_cannot_be_told() -> None:
    assert make.NO_TAG in why_unknown("publisher_surge", make.amqp_only(make.facts(topic(*SURGE))))
    assert judged("publisher_surge", make.amqp_only(make.facts())) == []


# --- own_replay -------------------------------------------------------------------------


def run(**fields: Any) -> OwnRun:
    usual: dict[str, Any] = {
        "run": 7,
        "started_at": make.NOW - 20,
        "ended_at": None,
        "verb": "replay",
        "to": "emails",
        "done": 500,
    }
    return OwnRun(**(usual | fields))


def test_a_replay_of_ones_own_that_fills_a_queue_is_named() -> None:
    replay = finding("own_replay", make.facts(topic(*SURGE), runs=(run(),)))
    assert "Run 7 (replay)" in replay.finding
    assert replay.since == make.NOW - 20
    to_its_own = make.facts(topic(*SURGE), runs=(run(to=None),))
    assert finding("own_replay", to_its_own).topics == ("emails",)


@pytest.mark.parametrize(
    "fields", [{"ended_at": make.NOW - 5}, {"done": 50}, {"to": "orders"}, {"done": None}]
)
def test_other_runs_are_not_the_cause(fields: dict[str, Any]) -> None:
    assert judged("own_replay", make.facts(topic(*SURGE), runs=(run(**fields),))) == []


def test_a_replay_that_fills_no_queue_is_no_finding() -> None:
    assert judged("own_replay", make.facts(topic(*SURGE, acked=30), runs=(run(),))) == []


def test_without_samples_the_share_of_a_replay_is_not_known() -> None:
    facts = make.amqp_only(make.facts(topic(*SURGE), runs=(run(),)))
    assert "share of a replay in the arrivals" in why_unknown("own_replay", facts)


# --- too_few_workers --------------------------------------------------------------------


def test_full_workers_and_a_queue_that_grows_are_too_few() -> None:
    few = finding("too_few_workers", make.facts(topic(*[6] * 12), workers=[BUSY]))
    assert few.severity == "warning"
    assert "4 of 4 places on 1 worker of 'emails'" in few.finding
    assert few.effect == pytest.approx(180 / 3)


def test_a_queue_grows_to_the_length_of_the_same_samples() -> None:
    """A newcomer read that it grew by 220 to 213 messages: the count was of a later moment."""
    ready = make.samples(*[0] * 10, 80, 150, 220)
    growing = make.topic(queued=213, ready=ready, queue=make.queue(ready_series=ready))
    few = finding("too_few_workers", make.facts(growing, workers=[BUSY]))
    assert "its queue grew by 220 in 15 s to 220 messages" in few.finding
    assert (few.evidence["grew in 15 s"], few.evidence["queued"]) == (220, 220)


@pytest.mark.parametrize(
    ("rates", "worker", "fields", "why"),
    [
        ([6] * 12, make.worker(running=3), {}, "a place is free"),
        ([3] * 12, BUSY, {}, "the queue does not grow"),
        ([4] * 12, BUSY, {}, "it grows by 15 only"),
        ([*[3] * 10, 6, 6], BUSY, {}, "30 messages are no backlog"),
        (
            [6] * 12,
            BUSY,
            {"settings": TopicSettings(concurrency_limit=4)},
            "its limit holds it back",
        ),
    ],
)
def test_what_looks_like_too_few(
    rates: list[float], worker: Any, fields: dict[str, Any], why: str
) -> None:
    running = [make.running(f"t{number}") for number in range(4)]
    facts = make.facts(topic(*rates, **fields), workers=[worker], running=running)
    assert judged("too_few_workers", facts) == [], why


@pytest.mark.parametrize(
    ("running", "held", "is_found"),
    [
        ((3, 2, 4, 3), 32, True),
        ((2, 2, 3, 2), 32, True),
        ((1, 1, 2, 1), 32, False),
        ((3, 4, 4, 3), 3, True),
        ((2, 2, 3, 2), 3, False),
        ((3, 4, 4, 3), None, True),
        ((2, 2, 3, 2), None, False),
        ((0, 0, 0, 0), 32, False),
    ],
)
def test_a_look_between_two_tasks_does_not_hide_that_they_are_too_few(
    running: tuple[int, ...], held: int | None, *, is_found: bool
) -> None:
    """Issue 13: of a worker that held 32 messages 3 of 4 places were taken in most looks."""
    busy = make.samples(*[0] * 8, *running)
    few = topic(*[6] * 12, running=busy, unacked=held)
    rows = judged("too_few_workers", make.facts(few, workers=[make.worker(running=running[-1])]))
    assert [row.subject for row in rows] == ["emails"] * is_found
    if is_found:
        assert "On average" in rows[0].finding
        limit = replace(few, settings=TopicSettings(concurrency_limit=max(running)))
        limited = make.facts(limit, workers=[make.worker(running=running[-1])])
        assert judged("too_few_workers", limited) == []


@pytest.mark.parametrize("lengths", [(0, 0, 0, 280), (0, 280, 230, 180), (0, 0, 280, 260)])
def test_a_batch_that_is_published_at_once_is_no_lack_of_workers(lengths: tuple[int, ...]) -> None:
    """As publishers do every day: the queue grows in one moment, and then becomes shorter."""
    ready = make.samples(*[0] * 9, *lengths)
    batch = make.topic(queued=lengths[-1], ready=ready, queue=make.queue(ready_series=ready))
    assert judged("too_few_workers", make.facts(batch, workers=[BUSY])) == []


def test_over_amqp_alone_they_are_too_few_as_well() -> None:
    facts = make.amqp_only(make.facts(topic(*[6] * 12), workers=[BUSY]))
    assert finding("too_few_workers", facts).subject == "emails"


def test_until_all_workers_have_spoken_it_cannot_be_told() -> None:
    facts = make.facts(topic(*[6] * 12), workers=[BUSY], state={"settled": False})
    assert "which tasks workers run" in why_unknown("too_few_workers", facts)
    assert "cannot be bound" in why_unknown("too_few_workers", make.deaf(facts))


# --- utilisation_high -------------------------------------------------------------------


def busy_for(seconds: float, level: float = 4) -> TopicFacts:
    return make.topic(running=make.level(level, seconds=seconds, step=5))


def test_workers_without_reserve_are_suspected() -> None:
    busy = finding("utilisation_high", make.facts(busy_for(600), workers=[BUSY]))
    assert busy.severity == "suspect"
    assert "4 of 4 places" in busy.finding


def test_a_sample_between_two_tasks_is_no_pause() -> None:
    """As seen on real nodes: in one of ten samples a task has ended and the next not begun."""
    values = [2.0 if number % 10 == 5 else 4.0 for number in range(121)]
    between = make.topic(running=make.samples(*values))
    busy = finding("utilisation_high", make.facts(between, workers=[BUSY]))
    assert "3.8 of 4 places" in busy.finding
    ending = make.topic(running=make.samples(*values, 4.0))
    now = make.facts(ending, workers=[replace(BUSY, running=3)])
    assert finding("utilisation_high", now).check == "utilisation_high"


@pytest.mark.parametrize(
    ("topics", "workers"),
    [
        ([busy_for(600, 3)], [BUSY]),
        ([make.topic(running=make.samples(*[4.0] * 60, 3.0, 3.0, *[4.0] * 60))], [BUSY]),
        ([make.topic(running=make.samples(*[4.0, 2.0] * 60, 4.0))], [BUSY]),
        ([make.topic(running=make.samples(*[4.0] * 119, 1.0, 1.0))], [make.worker(running=1)]),
        ([busy_for(600)], [BUSY, make.worker("other", topics=("emails", "orders"), running=4)]),
    ],
)
def test_what_looks_like_it(topics: list[TopicFacts], workers: list[Any]) -> None:
    assert judged("utilisation_high", make.facts(*topics, workers=workers)) == []


def test_ten_minutes_of_samples_are_needed() -> None:
    short = make.facts(busy_for(60), workers=[BUSY], heard_since=make.NOW - 60)
    assert "1 min only" in why_unknown("utilisation_high", short)
    assert "cannot be bound" in why_unknown("utilisation_high", make.deaf(short))
