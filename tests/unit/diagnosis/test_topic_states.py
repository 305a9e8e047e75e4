"""States of topics over windows of wall-clock time, and what other tools' users report of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tasktools.core.duration_histogram import Histogram
from tasktools.core.frames.diagnosis_schemas import TOPIC_STATES
from tasktools.core.layout import FP
from tasktools.core.models import ClusterState, DurationReading, Source
from tasktools.core.series import Series
from tasktools.diagnosis.facts import Facts, TaskEnd, TopicFacts
from tasktools.diagnosis.service_times import usual_time
from tasktools.diagnosis.topic_states import (
    TopicSamples,
    TopicState,
    topic_state,
    topic_states,
    topic_states_frame,
)

AT = 10_000.0


def every(
    values: Sequence[float] | np.ndarray | Callable[[float], float],
    *,
    step: float = 5.0,
    span: float = 600.0,
) -> Series:
    """Return samples up to `AT`: *values*, or what a function of their age in seconds returns."""
    if callable(values):
        ages = np.arange(span, -step, -step)
        values = [values(age) for age in ages]
    times = AT - step * np.arange(len(values) - 1, -1, -1)
    return Series(tuple(times.tolist()), tuple(float(value) for value in values))


def counter(rate: float, *, until_age: float = 0.0) -> Series:
    """Return a counter that rises by *rate* a second, until *until_age* seconds ago."""
    return every(lambda age: rate * (600 - max(age, until_age)))


def state(queued: Any, **samples: Any) -> TopicState:
    """Return the state of a topic with these samples; tasks begin and end unless told otherwise."""
    samples = {
        "running": every(lambda _: 2),
        "began": counter(1),
        "ended": counter(1),
        "heard_since": AT - 900,
        "p95": 1.0,
        **samples,
    }
    series = queued if isinstance(queued, Series) else every(queued)
    return topic_state(TopicSamples(topic="emails", queued=series, **samples), AT)


def level(noise: int = 1) -> np.ndarray:
    return np.random.default_rng(noise).poisson(50, 121) + 1


def test_an_idle_topic_is_clear() -> None:
    assert state(lambda _: 0, running=every(lambda _: 0)).state == "clear"


def test_a_batch_that_was_worked_off_is_clear() -> None:
    assert state(lambda age: max(age - 300, 0)).state == "clear"


def test_a_level_is_steady_however_deep_it_is() -> None:
    assert state(level()).state == "steady"
    assert state(level() + 1_000_000).state == "steady"


def test_growth_is_falling_behind_however_small_the_queue_is() -> None:
    growing = state(level() / 10 + np.arange(121) / 20)
    assert growing.state == "falling behind"
    assert growing.growth is not None
    assert growing.growth.low > 0


def test_a_queue_that_shrinks_is_draining_and_has_an_end() -> None:
    draining = state(lambda age: 100 + 2 * age)
    assert draining.state == "draining"
    assert draining.empty_in == pytest.approx(50)


def test_a_sawtooth_is_steady() -> None:
    """Burrow's issue 738: a consumer that commits in steps looked as if it fell behind."""
    assert state(np.tile(np.arange(10), 13)[:121] + 5).state == "steady"


def test_a_stop_shows_though_the_queue_was_empty_before() -> None:
    """Burrow's issue 745: a window with a zero in it hid that nothing moved any more."""
    stopped = state(
        lambda age: 0 if age > 100 else 7,
        running=every(lambda _: 0),
        began=counter(1, until_age=110),
        ended=counter(1, until_age=110),
    )
    assert stopped.state == "stopped"
    assert stopped.since == AT - 100
    assert "7 messages queued" in stopped.why


def test_a_stop_takes_three_times_what_tasks_usually_take() -> None:
    quiet = {"began": counter(1, until_age=200), "ended": counter(1, until_age=200)}
    assert state(level(), **quiet, running=every(lambda _: 0)).state == "stopped"
    assert state(level(), **quiet, p95=100.0).state != "stopped"


def test_tasks_of_which_none_ends_are_stalled() -> None:
    stalled = state(lambda _: 0, ended=counter(1, until_age=150))
    assert stalled.state == "stalled"
    assert stalled.since == AT - 150
    assert state(lambda _: 0, ended=counter(1, until_age=150), p95=60.0).state == "clear"


def test_a_task_that_has_just_begun_is_not_stalled() -> None:
    idle = counter(1, until_age=500)
    assert state(lambda _: 0, ended=idle, running=every(lambda a: a < 6)).state == "clear"


def test_a_foreign_consumer_shows_by_its_acknowledgements() -> None:
    none = counter(0)
    assert state(level(), began=none, ended=none, acked=counter(3)).state == "steady"
    assert state(level(), began=none, ended=none, acked=counter(0)).state == "stopped"


@pytest.mark.parametrize("missing", ["began", "ended"])
def test_without_events_a_level_cannot_be_told_from_a_stop(missing: str) -> None:
    unheard = {"heard_since": None, missing: None}
    assert state(level(), **unheard).state == "cannot tell"
    assert state(level() + 2 * np.arange(121), **unheard).state == "falling behind"
    assert state(level(), **unheard, acked=counter(3)).state == "steady"


def test_without_events_the_broker_shows_a_stop_where_nobody_holds_a_message() -> None:
    unheard = {"heard_since": None, "began": None, "ended": None, "running": None}
    nobody = every(lambda _: 0)
    assert state(level(), **unheard, acked=counter(0), unacked=nobody).state == "stopped"
    held = every(lambda _: 4)
    assert state(level(), **unheard, acked=counter(0), unacked=held).state == "cannot tell"


@pytest.mark.parametrize("queued", [None, every([5, 6, 7]), every([5, 6, 7, 8, 9], step=5)])
def test_an_incomplete_window_is_never_well(queued: Series | None) -> None:
    judged = topic_state(TopicSamples(topic="emails", queued=queued), AT)
    assert judged.state == "cannot tell"
    assert judged.why


def test_samples_that_have_ended_tell_nothing_of_now() -> None:
    old = every(lambda _: 5)
    samples = TopicSamples(topic="emails", queued=old)
    assert topic_state(samples, AT + 300).state == "cannot tell"


def test_what_lies_before_a_gap_is_left_out() -> None:
    queued = every(lambda age: 1000 if age > 300 else 1 + (300 - age))
    gap = Series(queued.times[:30] + queued.times[-40:], queued.values[:30] + queued.values[-40:])
    judged = state(gap)
    assert judged.state == "falling behind"
    assert judged.samples == 40


def test_the_window_is_of_time_whatever_the_step() -> None:
    """Burrow's issue 303: a window of so many commits is of no certain length."""
    assert state(every(lambda age: 700 - age, step=1)).window == 600
    assert state(every(lambda age: 7000 - age, step=60, span=6000)).window == 39 * 60


def test_the_wait_is_what_is_queued_at_the_rate_of_ends() -> None:
    assert state(lambda _: 50, ended=counter(2)).wait == pytest.approx(25)
    assert state(lambda _: 50, ended=counter(0), acked=counter(5)).wait == pytest.approx(10)
    assert state(lambda _: 50, ended=counter(0)).wait is None


def test_it_is_judged_at_any_moment_of_the_samples() -> None:
    queued = every(lambda age: 100 + abs(age - 300))
    samples = TopicSamples(topic="emails", queued=queued, acked=counter(1))
    states = [topic_state(samples, AT - age).state for age in (320, 0)]
    assert states[0] == "draining"
    assert topic_state(samples, AT - 320).queued == 120


def facts(**topics: TopicFacts) -> Facts:
    nothing = ClusterState(at=None, events=Source(name="events", ok=True))  # type: ignore[arg-type]
    return Facts(at=AT, heard_since=AT - 900, state=nothing, layout=FP, topics=topics)


def test_each_topic_has_a_state_and_other_queues_have_none() -> None:
    emails = TopicFacts(topic="emails", ready=every(lambda _: 0))
    legacy = TopicFacts(topic="legacy", is_topic=False, ready=every(lambda _: 0))
    frame = topic_states_frame(topic_states(facts(emails=emails, legacy=legacy)))
    assert tuple(frame.columns) == TOPIC_STATES.names
    assert frame[["topic", "state"]].to_numpy().tolist() == [["emails", "clear"]]


def test_usual_times_are_the_workers_own() -> None:
    ends = tuple(
        TaskEnd(at=AT - i, task_id=f"t{i}", topic="emails", succeeded=True, duration=float(i))
        for i in range(1, 21)
    )
    unsaid = TaskEnd(at=AT, task_id="u", topic="emails", succeeded=True)
    cluster = Facts(at=AT, heard_since=AT, state=facts().state, layout=FP, ends=(*ends, unsaid))
    usual = usual_time(cluster, "emails")
    assert (usual.count, usual.p95, usual.longest) == (20, 19.0, 20.0)
    assert usual_time(cluster, "orders").p95 is None


def test_usual_times_of_peers_are_bounds_of_their_buckets() -> None:
    histogram = Histogram(count=20, sum=60.0, buckets={1.0: 18, 5.0: 1})
    reading = DurationReading(at=AT, span=30.0, durations=histogram)
    usual = usual_time(facts(emails=TopicFacts(topic="emails", durations=(reading,))), "emails")
    assert (usual.count, usual.p95, usual.longest) == (20, 5.0, 59.0)
