"""Hung workers, stuck tasks and their look-alikes: long tasks as usual, silent workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as with_fields
from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.duration_histogram import Histogram
from tasktools.core.models import DurationReading
from tasktools.diagnosis.facts import EarlierEnd, Facts
from tasktools.diagnosis.finding import Finding
from tasktools.diagnosis.rules import hung
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

RULES = {rule.check: rule for rule in hung.RULES}
QUIET = make.ends(60, until=make.NOW - 25)
"""Ends up to 25 s ago."""


def judged(check: str, facts: Facts) -> list[Any]:
    return list(RULES[check].judge(facts))


def finding(check: str, facts: Facts) -> Finding:
    return judging.only(RULES[check].judge, facts)


def why_unknown(check: str, facts: Facts) -> str:
    (why,) = judging.unknown(RULES[check].judge, facts)
    return why


def four_running(age: float, **worker: Any) -> dict[str, Any]:
    """Return a worker that has run 4 tasks, all it can, for *age* seconds."""
    return {
        "workers": (make.worker(running=4, **worker),),
        "running": [make.running(f"t{number}", age=age + number) for number in range(4)],
        "ends": QUIET,
    }


def held(queued: int = 12) -> Any:
    """Return a topic of which consumers hold 4 messages, and acknowledge none for a minute."""
    stuck = make.queue(acked=make.level(1000), unacked_series=make.level(4))
    return make.topic(queued=queued, unacked=4, queue=stuck)


@pytest.mark.parametrize("check", RULES)
def test_a_healthy_cluster_has_none(check: str) -> None:
    busy = make.facts(running=[make.running("t", age=2)], ends=make.ends(60))
    assert judged(check, busy) == []


# --- workers_hung -----------------------------------------------------------------------


def test_workers_whose_places_are_all_taken_by_old_tasks_hang() -> None:
    hanging = finding("workers_hung", make.facts(held(), **four_running(22)))
    assert hanging.severity == "critical"
    assert hanging.subject == "emails"
    assert hanging.workers == ("worker-1",)
    assert hanging.needs_second_look
    assert "4 of 4 places" in hanging.finding
    assert hanging.since == make.NOW - 22


def test_one_of_each_is_told_in_the_singular() -> None:
    facts = make.facts(
        held(queued=1),
        workers=(make.worker(capacity=1, running=1),),
        running=[make.running("t", age=22)],
        ends=QUIET,
    )
    sentence = finding("workers_hung", facts).finding
    assert "1 worker of 'emails' has ended nothing" in sentence
    assert "1 of 1 place is taken" in sentence


def test_part_of_the_workers_hanging_is_a_warning() -> None:
    facts = four_running(22)
    facts["workers"] += (make.worker("worker-2"),)
    assert finding("workers_hung", make.facts(held(), **facts)).severity == "warning"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ends": make.ends(60, duration=8.0, until=make.NOW - 25)}, "such tasks are usual"),
        ({"ends": make.ends(60)}, "its tasks end"),
        ({"running": [make.running("t", age=30)]}, "three places are free"),
        (four_running(22, silence=6.0), "its heartbeats do not come: it is not there"),
        (four_running(18), "they are not old yet"),
    ],
)
def test_what_looks_like_hanging(change: dict[str, Any], why: str) -> None:
    facts = make.facts(held(), **(four_running(25) | change))
    assert judged("workers_hung", facts) == [], why


def test_peers_tasks_are_judged_by_their_histograms() -> None:
    unsaid = make.ends(60, duration=None, until=make.NOW - 25)
    usual = DurationReading(at=make.NOW, span=60, durations=Histogram(100, 2000.0, {30.0: 100}))
    running = four_running(70) | {"ends": unsaid}
    assert finding("workers_hung", make.facts(held(), **running)).severity == "suspect"
    known = replace(held(), durations=(usual,))
    assert judged("workers_hung", make.facts(known, **running)) == []


def test_how_long_tasks_take_must_be_known_to_find_them_hanging() -> None:
    few = four_running(70) | {"ends": make.ends(3, until=make.NOW - 80)}
    assert finding("workers_hung", make.facts(held(), **few)).severity == "suspect"
    assert (
        judged(
            "workers_hung", make.facts(held(), **(few | four_running(40) | {"ends": few["ends"]}))
        )
        == []
    )


def test_workers_that_have_hung_for_long_still_hang() -> None:
    """The demo: after 15 minutes without an end it was not known how long they take."""
    ended = tuple(EarlierEnd(make.NOW - 1000 - n, "emails", "send", 0.1) for n in range(20, 0, -1))
    long = four_running(1000) | {"ends": ()}
    assert finding("workers_hung", make.facts(held(), **long)).severity == "suspect"
    known = finding("workers_hung", make.facts(held(), **long, earlier_ends=ended))
    assert known.severity == "critical"
    usual = DurationReading(at=make.NOW - 1000, span=3, durations=Histogram(20, 2.0, {0.25: 20}))
    by_histogram = replace(held(), earlier_durations=(usual,))
    assert finding("workers_hung", make.facts(by_histogram, **long)).severity == "critical"
    lately = long | {"ends": make.ends(20, duration=500.0, until=make.NOW - 30)}
    assert judged("workers_hung", make.facts(held(), **lately, earlier_ends=ended)) == []


# --- nothing_acknowledged ---------------------------------------------------------------


def test_nothing_acknowledged_is_critical_while_messages_wait() -> None:
    facts = make.facts(held(), ends=QUIET)
    stuck = finding("nothing_acknowledged", facts)
    assert stuck.severity == "critical"
    assert stuck.since == make.NOW - 60
    assert stuck.against == {"ends received in that time": 36}
    assert finding("nothing_acknowledged", make.facts(held(0), ends=QUIET)).severity == "warning"


@pytest.mark.parametrize(
    "queue",
    [
        {"acked": make.growing(0.2, start=1000)},
        {"unacked_series": make.samples(*[4] * 10, 0, 4, 4)},
        {"acked": make.samples(*[1000] * 9, *[1001] * 4)},
        {"redelivered": make.growing(1.0)},
    ],
)
def test_what_looks_like_it(queue: dict[str, Any]) -> None:
    topic = held()
    assert topic.queue is not None
    topic = replace(topic, queue=replace(topic.queue, **queue))
    assert judged("nothing_acknowledged", make.facts(topic, ends=QUIET)) == []


def test_long_tasks_as_usual_are_not_acknowledged_for_long() -> None:
    long_ones = make.ends(20, duration=25.0, until=make.NOW - 25)
    assert judged("nothing_acknowledged", make.facts(held(), ends=long_ones)) == []


def test_a_process_that_has_just_connected_sees_it() -> None:
    cold = make.cold(make.facts(held()))
    assert finding("nothing_acknowledged", cold).severity == "warning"
    shorter = make.queue(acked=make.samples(*range(6), *[6] * 7), unacked_series=make.level(4))
    topic = replace(held(), queue=shorter)
    assert finding("nothing_acknowledged", make.cold(make.facts(topic))).severity == "suspect"


def test_without_samples_acknowledgements_are_not_known() -> None:
    without = make.amqp_only(make.facts(held()))
    assert make.NO_TAG in why_unknown("nothing_acknowledged", without)
    assert judged("nothing_acknowledged", make.amqp_only(make.facts())) == []
    runs = make.facts(make.topic(unacked=1), running=[make.running("long", age=40)])
    assert make.NO_TAG in why_unknown("nothing_acknowledged", make.amqp_only(runs))


# --- task_stuck -------------------------------------------------------------------------


def test_a_task_that_runs_far_longer_than_usual_is_stuck() -> None:
    facts = make.facts(running=[make.running("slow", age=22)], ends=make.ends(60, duration=0.5))
    stuck = finding("task_stuck", facts)
    assert stuck.severity == "warning"
    assert "'slow' (send)" in stuck.finding
    assert stuck.since == make.NOW - 22
    assert stuck.evidence["limit"] == 20


def test_a_topic_has_one_row_of_its_oldest_task() -> None:
    running = [make.running(f"t{age}", age=age) for age in (30, 90, 40)]
    stuck = finding("task_stuck", make.facts(running=running, ends=make.ends(60)))
    assert stuck.evidence["task"] == "t90"
    assert stuck.evidence["overdue tasks"] == 3


def test_tasks_of_a_name_are_judged_by_that_name() -> None:
    fast = make.ends(60, task_name="send", duration=0.1)
    slow = make.ends(60, task_name="report", duration=30.0)
    running = [with_name("t", "report", 60)]
    assert judged("task_stuck", make.facts(running=running, ends=(*fast, *slow))) == []
    assert (
        finding(
            "task_stuck", make.facts(running=[with_name("t", "send", 60)], ends=(*fast, *slow))
        ).evidence["task name"]
        == "send"
    )


def with_name(task_id: str, name: str, age: float) -> Any:
    return replace(make.running(task_id, age=age), task_name=name)


@pytest.mark.parametrize(
    ("age", "ends", "silence"),
    [(22, make.ends(60, duration=5.0), 1), (22, make.ends(60), 6), (50, make.ends(5), 1)],
)
def test_what_looks_like_a_stuck_task(age: float, ends: Iterable[Any], silence: float) -> None:
    facts = make.facts(
        workers=[make.worker(silence=silence)],
        running=[make.running("slow", age=age)],
        ends=tuple(ends),
    )
    assert judged("task_stuck", facts) == []


def test_how_long_it_takes_is_not_known_from_few() -> None:
    facts = make.facts(running=[make.running("slow", age=61)], ends=make.ends(5))
    stuck = finding("task_stuck", facts)
    assert stuck.severity == "suspect"
    assert "how long they usually take is not known" in stuck.finding


# --- head_of_line, ack_timeout ----------------------------------------------------------


def test_long_tasks_that_hold_half_of_the_places_block_the_rest() -> None:
    running = [make.running(f"t{age}", age=age) for age in (310, 320)]
    facts = make.facts(make.topic(queued=9), running=running, ends=make.ends(60))
    blocked = finding("head_of_line", facts)
    assert blocked.severity == "warning"
    assert "2 of 4 places" in blocked.finding
    assert "9 messages wait" in blocked.finding


@pytest.mark.parametrize(
    ("queued", "ages", "duration"), [(0, (310, 320), 0.1), (9, (310,), 0.1), (9, (310, 320), 40.0)]
)
def test_what_blocks_nobody(queued: int, ages: tuple[float, ...], duration: float) -> None:
    facts = make.facts(
        make.topic(queued=queued),
        running=[make.running(f"t{age}", age=age) for age in ages],
        ends=make.ends(60, duration=duration),
    )
    assert judged("head_of_line", facts) == []


def test_a_delivery_is_taken_back_after_the_timeout() -> None:
    def at_age(age: float, topic: Any = None) -> Facts:
        return make.facts(topic or make.topic(), running=[make.running("long", age=age)])

    assert judged("ack_timeout", at_age(890)) == []
    assert finding("ack_timeout", at_age(910)).severity == "suspect"
    over = finding("ack_timeout", at_age(1900))
    assert over.severity == "warning"
    assert over.since == make.NOW - 100
    known = make.queue_facts(server=(4, 3), queue_type="classic")
    assert judged("ack_timeout", at_age(1900, make.topic(queue=make.queue(facts=known)))) == []
    quorum = with_fields(known, queue_type="quorum", arguments={"x-consumer-timeout": 60_000})
    soon = finding("ack_timeout", at_age(61, make.topic(queue=make.queue(facts=quorum))))
    assert soon.evidence["consumer timeout"] == 60


def test_over_amqp_alone_a_timeout_is_only_suspected() -> None:
    def at_age(age: float) -> Facts:
        return make.amqp_only(make.facts(running=[make.running("long", age=age)]))

    assert finding("ack_timeout", at_age(1900)).severity == "suspect"
    assert "the consumer timeout of 'emails'" in why_unknown("ack_timeout", at_age(40))
    assert judged("ack_timeout", at_age(20)) == []


# --- a source taken away ----------------------------------------------------------------


@pytest.mark.parametrize("check", ["workers_hung", "task_stuck", "head_of_line", "ack_timeout"])
def test_without_events_it_cannot_be_told(check: str) -> None:
    facts = make.facts(held(), **four_running(400))
    assert "cannot be bound" in why_unknown(check, make.deaf(facts))
    idle = make.deaf(make.facts(make.topic()))
    assert judged(check, idle) == []


@pytest.mark.parametrize("check", ["workers_hung", "task_stuck", "head_of_line", "ack_timeout"])
def test_tasks_that_began_before_we_listened_have_no_age(check: str) -> None:
    cold = make.cold(
        make.facts(held(), running=[make.running("t", age=None)], workers=[make.worker(running=1)])
    )
    assert "since when 1 task" in why_unknown(check, cold)
