"""Service times that have risen, by the workers' own figures, and other mixes of tasks."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.duration_histogram import Histogram
from tasktools.core.models import DurationReading
from tasktools.diagnosis.facts import EarlierEnd, Facts, TaskEnd
from tasktools.diagnosis.finding import CannotTell, Finding
from tasktools.diagnosis.rules import service_times
from tasktools.history.earlier_days import EarlierDay
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

(RULE,) = service_times.RULES


def judged(facts: Facts) -> list[Any]:
    return list(RULE.judge(facts))


def finding(facts: Facts) -> Finding:
    return judging.only(RULE.judge, facts)


def ends(before: float, recent: float, *, count: int = 30, **fields: Any) -> tuple[TaskEnd, ...]:
    """Return ends over a minute; those of the last 30 s took *recent* seconds."""
    earlier = make.ends(count, duration=before, until=make.NOW - 30, **fields)
    return (*earlier, *make.ends(10, duration=recent, every=2, **fields))


def readings(*means: float, count: int = 3, until: float = make.NOW) -> tuple[DurationReading, ...]:
    """Return what heartbeats added every 3 s: *count* tasks of each mean."""
    return tuple(
        DurationReading(
            at=until - 3 * (len(means) - 1 - place),
            span=3,
            durations=Histogram(count, count * mean, {}),
        )
        for place, mean in enumerate(means)
    )


RISEN = readings(*[0.1] * 12, *[0.8] * 8)


@pytest.mark.parametrize(
    ("durations", "is_risen"), [((0.7, 0.8, 0.9), False), ((0.1, 0.1, 0.8), True)]
)
def test_long_tasks_of_every_night_have_not_risen(
    durations: tuple[float, ...],
    is_risen: bool,  # noqa: FBT001
) -> None:
    days = tuple(EarlierDay(duration=each) for each in durations)
    facts = make.facts(make.topic(durations=RISEN, earlier_days=days))
    assert bool(judged(facts)) == is_risen
    named = make.ends(30, duration=0.1, until=make.NOW - 30, task_name="shop:send")
    named += make.ends(10, duration=0.8, every=2, task_name="shop:send")
    days = tuple(EarlierDay(durations={"shop:send": each}, duration=9.0) for each in durations)
    assert bool(judged(make.facts(make.topic(earlier_days=days), ends=named))) == is_risen


def test_a_healthy_cluster_has_none() -> None:
    topic = make.topic(durations=readings(*[0.1] * 20))
    assert judged(make.facts(topic, ends=ends(0.1, 0.12))) == []


def test_the_median_of_ends_has_risen() -> None:
    risen = finding(make.facts(ends=ends(0.1, 0.8)))
    assert risen.severity == "warning"
    assert "'send' of 'emails' take 0.8 s, 8 times the 0.1 s before" in risen.finding
    assert risen.since == make.NOW - 18


def test_the_mean_of_histograms_has_risen() -> None:
    names = {("worker-1", "send"): RISEN}
    risen = finding(make.facts(make.topic(durations=RISEN), durations=names))
    assert risen.evidence["before"] == 0.1
    assert risen.since == make.NOW - 24


@pytest.mark.parametrize(
    "ended",
    [
        ends(0.1, 0.29),
        ends(0.01, 0.05),
        ends(0.1, 0.8, count=19),
        make.ends(60, duration=None),
    ],
    ids=["not 3 times", "not 0.05 s more", "too few before", "arrival times are no durations"],
)
def test_what_has_not_risen(ended: tuple[TaskEnd, ...]) -> None:
    assert judged(make.facts(ends=ended)) == []


def test_a_slow_task_among_many_moves_no_median() -> None:
    slow = make.ends(1, duration=60.0, until=make.NOW - 1)
    assert judged(make.facts(ends=(*ends(0.1, 0.1), *slow))) == []


@pytest.mark.parametrize("slow", [30.0, 400.0], ids=["in a bucket", "beyond the last"])
def test_a_slow_task_among_many_moves_no_mean(slow: float) -> None:
    """Found by injecting a task that holds a lock for 30 s, among others of 0.1 s."""
    usual = Histogram(3, 0.39, {0.25: 3})
    buckets = {0.25: 3} | ({60.0: 1} if slow < 300 else {})
    with_slow = Histogram(4, 0.39 + slow, buckets)
    moments = [make.NOW - 3 * place for place in reversed(range(20))]
    for last in (usual, with_slow):
        durations = tuple(
            DurationReading(at=at, span=3, durations=last if at == make.NOW else usual)
            for at in moments
        )
        assert judged(make.facts(make.topic(durations=durations))) == []


def test_many_slow_tasks_in_buckets_are_a_rise() -> None:
    fast, slow = Histogram(3, 0.39, {0.25: 3}), Histogram(3, 3.2, {2.5: 3})
    durations = tuple(
        DurationReading(at=make.NOW - 3 * place, span=3, durations=slow if place < 8 else fast)
        for place in reversed(range(20))
    )
    assert finding(make.facts(make.topic(durations=durations))).evidence["tasks"] == 24


def test_a_batch_of_short_tasks_makes_no_others_long() -> None:
    """Found on healthy days of faults: 300 tasks of 0.02 s, and then the usual ones again."""
    usual = make.ends(100, duration=0.3, every=0.8, until=make.NOW)
    batch = make.ends(300, duration=0.02, every=0.01, until=make.NOW - 50)
    assert judged(make.facts(ends=(*usual, *batch))) == []
    slots = (*readings(*[0.3] * 11), *readings(0.02, count=300), *readings(*[0.3] * 8))
    timed = tuple(
        replace(reading, at=make.NOW - 3 * (len(slots) - 1 - place))
        for place, reading in enumerate(slots)
    )
    assert judged(make.facts(make.topic(durations=timed))) == []


def test_a_rise_is_still_one_after_a_while() -> None:
    lasting = readings(*[0.1] * 12, *[0.8] * 14)
    assert finding(make.facts(make.topic(durations=lasting))).evidence["before"] == 0.1


def test_a_rise_is_still_one_after_a_while_in_which_some_were_as_short_as_before() -> None:
    lasting = readings(*[0.1] * 40, *[0.8, 0.9, 0.8, 0.2, 0.9, 0.7, 0.8] * 4)
    assert finding(make.facts(make.topic(durations=lasting))).evidence["before"] == 0.1


def test_a_rise_is_still_one_when_it_has_lasted_longer_than_what_is_known_before() -> None:
    """Issue 13: `demo://?incident=slow_tasks` was not found from its fifth minute on."""
    topic = make.topic(durations=readings(*[0.1, 0.2] * 20, *[0.8, 1.4, 0.9] * 60))
    risen = finding(make.facts(topic))
    assert risen.evidence["before"] == 0.2
    assert risen.since == make.NOW - 180 * 3
    ended = ends(0.1, 0.8, count=60)
    lasting = make.ends(300, duration=0.8, until=make.NOW - 30)
    earlier = [replace(end, at=end.at - 300) for end in ended if end.at <= make.NOW - 30]
    risen = finding(make.facts(ends=(*earlier, *lasting, *ended[-10:])))
    assert risen.evidence["before"] == 0.1
    assert risen.since == pytest.approx(make.NOW - 329)


def test_a_rise_is_one_for_as_long_as_the_hour_before_is_known() -> None:
    long = make.ends(600, duration=0.8, every=1.5)
    before = tuple(
        EarlierEnd(make.NOW - 1000 - 21 * place + second, "emails", "send", 0.1)
        for place in reversed(range(20))
        for second in (0, 1)
    )
    risen = finding(make.facts(ends=long, earlier_ends=before))
    assert (risen.evidence["before"], risen.evidence["seconds"]) == (0.1, 0.8)
    assert risen.since == pytest.approx(long[0].at)
    risen_before = readings(*[0.1] * 20, until=make.NOW - 700)
    topic = make.topic(durations=readings(*[0.8] * 180), earlier_durations=risen_before)
    assert finding(make.facts(topic)).since == pytest.approx(make.NOW - 540)
    other = tuple(replace(end, task_name="report") for end in before)
    for earlier in ((), other, before[-10:]):
        assert judged(make.facts(ends=long, earlier_ends=earlier)) == []


def test_a_rise_that_ended_in_between_is_none() -> None:
    twice = readings(*[0.1] * 20, *[0.8] * 30, *[0.1] * 10, *[0.8] * 30)
    assert judged(make.facts(make.topic(durations=twice))) == []


def test_a_batch_of_short_tasks_long_ago_is_not_what_was_usual() -> None:
    batch = readings(*[0.02] * 7, *[0.3] * 60, count=50)
    assert judged(make.facts(make.topic(durations=batch))) == []
    short = readings(*[0.02] * 10, *[0.3] * 150, count=50)
    assert judged(make.facts(make.topic(durations=short))) == []


@pytest.mark.parametrize(
    ("before", "after", "is_risen"),
    [
        ({"send": 60}, {"send": 60}, True),
        ({"send": 60, "report": 10}, {"send": 60, "report": 20}, True),
        ({"send": 60}, {"report": 60}, False),
        ({"send": 60, "report": 5}, {"send": 20, "report": 40}, False),
        ({"send": 60}, {}, True),
        ({"send": 5}, {"report": 60}, True),
    ],
)
def test_readings_by_name_that_begin_after_a_rise_do_not_refute_it(
    before: dict[str, int], after: dict[str, int], *, is_risen: bool
) -> None:
    """Of names the last two minutes are known, in which all tasks of a lasting rise are long."""
    topic = make.topic(durations=readings(*[0.1] * 60, *[0.8] * 60))
    names = {("worker-1", name): readings(*[0.8] * 40) for name in after or ("send",)}
    ended: list[TaskEnd] = []
    for counts, until in ((before, 200), (after, 1)):
        for name, count in counts.items():
            ended += make.ends(
                count, duration=None, task_name=name, until=make.NOW - until, topic="emails"
            )
    rows = judged(make.facts(topic, durations=names, ends=tuple(ended)))
    assert [row.subject for row in rows] == ["emails"] * is_risen


@pytest.mark.parametrize("slots", [4, 20])
def test_readings_by_name_of_a_moment_before_a_rise_do_not_refute_it(slots: int) -> None:
    """A real peer, 100 s after its tasks became slower: they were known for 12 s before that."""
    topic = make.topic(durations=readings(*[0.1] * 60, *[0.8] * 30))
    names = {("worker-1", "send"): readings(*[0.1] * slots, *[0.8] * 30)}
    same = (*make.ends(60, duration=None, until=make.NOW - 100), *make.ends(80, duration=None))
    assert finding(make.facts(topic, durations=names, ends=same)).subject == "emails"


@pytest.mark.parametrize("is_usual", [True, False])
def test_tasks_without_a_name_may_be_of_any_that_ended_before(*, is_usual: bool) -> None:
    """Issue 13, a healthy node: of the usual tasks of 3 s those before were heard with a name."""
    before = list(make.ends(30, duration=0.3, every=3.6, task_name=None, until=make.NOW - 32))
    if is_usual:
        before[::7] = [replace(end, task_name="report", duration=3.0) for end in before[::7]]
    recent = make.ends(8, duration=3.0, every=3.6, task_name=None)
    rows = judged(make.facts(ends=(*before, *recent)))
    assert len(rows) == (not is_usual)


def test_long_tasks_that_are_usual_are_no_rise_when_some_come_together() -> None:
    mixed = readings(*[0.1, 0.3, 3.0] * 4, *[3.0] * 5, *[0.1] * 3)
    assert judged(make.facts(make.topic(durations=mixed))) == []


def test_some_long_tasks_after_each_other_are_no_rise_for_taking_a_millisecond_more() -> None:
    """Issue 13, healthy days: of tasks that take 0.1, 0.3 or 3 s, eight of 3 s came together."""
    mixed = readings(*[0.1, 0.3, 3.0, 0.3] * 5, *[3.004] * 8)
    assert judged(make.facts(make.topic(durations=mixed))) == []


def test_another_mix_of_tasks_is_no_rise() -> None:
    other = make.ends(10, duration=5.0, every=2, task_name="report")
    assert judged(make.facts(ends=(*ends(0.1, 0.1), *other))) == []
    names = {
        ("worker-1", "send"): readings(*[0.1] * 20),
        ("worker-1", "report"): readings(*[5.0] * 20, count=1),
    }
    mixed = make.topic(durations=readings(*[0.1] * 12, *[1.3] * 8, count=4))
    assert judged(make.facts(mixed, durations=names)) == []


def test_a_task_name_that_rose_is_put_with_the_topic_on_which_it_is_seen() -> None:
    """Of which topic the tasks of a histogram are, heartbeats often do not tell."""
    names = {("worker-1", "send"): RISEN, ("worker-1", "report"): readings(*[0.2] * 20)}
    both = [make.worker(topics=("emails", "bills"))]
    topics = [make.topic(), make.topic("bills")]
    seen = make.facts(*topics, workers=both, durations=names, running=[make.running("t")])
    assert finding(seen).subject == "emails"
    assert "'send' of 'emails'" in finding(seen).finding
    unseen = finding(make.facts(*topics, workers=both, durations=names))
    assert (unseen.subject_kind, unseen.subject) == ("task", "send")
    assert unseen.topics == ("bills", "emails")
    assert "Workers of 'bills', 'emails' run them." in unseen.finding
    alone = finding(make.facts(durations=names))
    assert alone.subject == "emails"


def test_a_name_of_which_little_is_known_does_not_outweigh_its_topic_that_has_no_other() -> None:
    """Issue 13, healthy days: some usual tasks of 3 s came together where one worker ran them."""
    usual = [0.1, 0.3, 3.0]
    together = [*usual * 4, *[3.0] * 5, *[0.1, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]]
    topic = make.topic(durations=readings(*usual * 30, *together))
    little = {("worker-1", "send"): readings(*[0.1] * 12, *[3.0] * 8)}
    running = [make.running("t"), replace(make.running("u"), task_name=None)]
    assert judged(make.facts(topic, durations=little, running=running)) == []
    others = [*running, replace(make.running("v"), task_name="report")]
    assert finding(make.facts(topic, durations=little, running=others)).subject == "emails"


def test_all_topics_of_a_host_rising_alike_is_its_processor() -> None:
    workers = [make.worker(), make.worker("worker-2", topics=("orders",))]
    topics = [make.topic(), make.topic("orders")]
    both = (*ends(0.1, 0.8), *ends(0.2, 1.0, topic="orders"))
    rows = judged(make.facts(*topics, workers=workers, ends=both))
    assert [each.subject for each in rows] == ["emails", "orders"]
    assert "'orders' on the same hosts" in rows[0].finding
    steady = (*ends(0.1, 0.8), *ends(0.2, 0.2, topic="orders"))
    assert "same hosts" not in finding(make.facts(*topics, workers=workers, ends=steady)).finding


def test_without_events_it_cannot_be_told() -> None:
    facts = make.facts(make.topic(unacked=2), ends=ends(0.1, 0.8))
    for blind in (make.deaf(facts), make.cold(facts)):
        (only,) = judged(blind)
        assert isinstance(only, CannotTell)
        assert "how long tasks took before" in only.why
    idle = make.topic(queue=make.queue(acked=make.level(1000)))
    assert judged(make.cold(make.facts(idle))) == []
