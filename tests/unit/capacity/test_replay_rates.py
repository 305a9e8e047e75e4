"""Waits of live tasks during a simulated replay, and the rate that is chosen by them."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasktools.capacity.demand import Demand, FloatArray, WorkerSlots
from tasktools.capacity.like_hours import LikeHours, merged
from tasktools.capacity.replay_rates import (
    LOWEST_RATE,
    fastest_useful,
    highest_rate,
    hours_of,
    impact_of,
)
from tasktools.capacity.simulation import Retries, Tasks, in_order
from tasktools.core.errors import NotRecorded
from tests.capacity import replays
from tests.capacity.traffic import DAY, SINCE, demand_of, topic_of, traffic, workers_of


def demand(kind: str = "M/M", slots: int = 12, days: float = 7.0, seed: int = 5) -> Demand:
    arrivals, services = traffic(kind, seed, days)
    return demand_of([topic_of(arrivals, services)], days, workers_of(slots, 1, ("work",)))


def hours(known: Demand, messages: int = 200, backlog: int = 0) -> LikeHours:
    at = known.until + 12 * 3600
    return hours_of(known, "work", at=at, messages=messages, backlog=backlog)


def waits_by_hand(times: FloatArray, services: FloatArray, slots: int) -> list[float]:
    """The wait of each task, with a list of the slots' free times that is sorted each time."""
    free, waits = [-math.inf] * slots, []
    for at, service in zip(times, services, strict=True):
        free.sort()
        begin = max(free[0], at)
        waits.append(begin - at)
        free[0] = begin + service
    return waits


def test_the_waits_are_those_of_one_queue_of_live_and_replayed_tasks() -> None:
    known = hours(demand(), messages=60)
    window, rate = known.windows[7], 0.05
    simulated = known.waits(window, rate)
    live, sent = window.live["work"], np.arange(60) / rate
    times = np.concatenate([live.times, sent])
    order = np.argsort(times, kind="stable")
    services = np.concatenate([live.services, window.replayed.services])[order]
    waits = np.empty(len(order))
    waits[order] = waits_by_hand(times[order], services, 12)
    last_begun = (sent + waits[len(live.times) :]).max()
    assert simulated.lasts == pytest.approx(max(last_begun, 60 / rate))
    is_counted = (live.times >= 0) & (live.times <= simulated.lasts)
    assert simulated.waits.tolist() == pytest.approx(waits[: len(live.times)][is_counted].tolist())


def test_a_replay_that_is_sent_at_once_is_judged_until_all_of_it_has_begun() -> None:
    known = hours(demand(), messages=200)
    at_once = known.waits(known.windows[3], 1_000.0)
    assert at_once.lasts > 500  # and all was sent within 0.2 s
    assert np.quantile(at_once.waits, 0.5) > 60


def test_a_replay_that_lasts_for_days_is_judged_as_far_as_it_is_simulated() -> None:
    """The traffic of a window is simulated in steps that double; the last was counted for two."""
    known = hours(demand(slots=7), messages=30_000)
    judged = known.waits(known.windows[3], 1_000.0)
    assert judged.lasts > 2**7 * 600  # longer than all steps together
    assert len(judged.waits)
    assert np.isfinite(judged.waits).all()


def test_many_messages_are_simulated_in_fewer_windows() -> None:
    """A thousand million of them filled the memory."""
    known = hours(demand(), messages=50_000)
    assert (len(known.windows), known.days) == (14, 7)


def test_windows_are_at_the_same_hour_of_seven_days_and_have_an_hour_before() -> None:
    known = hours(demand())
    assert known.days == 7
    assert len(known.windows) == 42
    for window in known.windows:
        assert abs((window.start - SINCE) % DAY - 12 * 3600) <= 45 * 60
        assert window.live["work"].times[0] < -3400


def test_gaps_hold_no_window() -> None:
    whole = demand()
    gap = (SINCE + 2 * DAY + 11.6 * 3600, SINCE + 2 * DAY + 16 * 3600)
    known = hours(replace(whole, recorded=((whole.since, gap[0]), (gap[1], whole.until))))
    assert known.days == 6
    assert not [window for window in known.windows if gap[0] < window.start < gap[1]]


def test_the_band_is_around_the_expected_wait_and_grows_with_the_rate() -> None:
    known = hours(demand())
    impacts = [impact_of(known, rate, wait_below=30.0) for rate in (0.01, 0.05, 0.09)]
    for impact in impacts:
        assert impact is not None
        assert impact.low <= impact.wait <= impact.high
        assert impact.added_low <= impact.added_high
        assert impact.late is not None
    highs = [impact.high for impact in impacts if impact is not None]
    lates = [impact.late for impact in impacts if impact is not None]
    assert highs == sorted(highs)
    assert lates == sorted(lates)  # type: ignore[type-var]


def test_the_highest_rate_holds_and_a_little_more_does_not() -> None:
    known = hours(demand())
    rate = highest_rate(known, 30.0, most=1.0)
    assert rate is not None
    at_rate, above = impact_of(known, rate), impact_of(known, 1.1 * rate)
    assert at_rate is not None
    assert above is not None
    assert at_rate.high <= 30 < above.high


def test_no_rate_holds_where_live_tasks_wait_too_long_already() -> None:
    assert highest_rate(hours(demand(slots=7)), 10.0, most=1.0) is None


def test_a_backlog_leaves_less_room() -> None:
    known = demand()
    rates = [highest_rate(hours(known, backlog=backlog), 60.0, most=1.0) for backlog in (0, 25)]
    assert rates[0] is not None
    assert rates[1] is None or rates[1] < rates[0]
    assert highest_rate(hours(known, backlog=500), 60.0, most=1.0) is None


def test_few_messages_may_go_as_fast_as_is_of_use() -> None:
    known = demand(slots=12)
    few = hours(known, messages=2)
    most = fastest_useful(known, few)
    assert most == pytest.approx(2 * 12 / 60, rel=0.1)
    assert highest_rate(few, 60.0, most=most) == most


def test_topics_that_share_workers_are_simulated_together() -> None:
    arrivals, services = traffic("M/M", 3, 7.0)
    is_mine = np.arange(len(arrivals)) % 2 == 0
    topics = [
        topic_of(arrivals[chosen], services[chosen], name)
        for name, chosen in (("work", is_mine), ("other", ~is_mine))
    ]
    # A single worker that holds all it can get takes them as one queue does.
    worker = WorkerSlots("w", "h", 12, ("work", "other"), {"work": 10_000, "other": 10_000})
    known = hours(demand_of(topics, 7.0, (worker,)), messages=40)
    assert known.is_pool
    window, rate = known.windows[4], 0.05
    sent = np.arange(40) / rate
    mine, other = window.live["work"], window.live["other"]
    times = np.concatenate([mine.times, sent, other.times])
    order = np.argsort(times, kind="stable")
    parts = [mine.services, window.replayed.services, other.services]
    waits = np.empty(len(order))
    waits[order] = waits_by_hand(times[order], np.concatenate(parts)[order], 12)
    simulated = known.waits(window, rate)
    is_counted = (mine.times >= 0) & (mine.times <= simulated.lasts)
    expected = waits[: len(mine.times)][is_counted]
    assert simulated.waits.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_merged_tasks_keep_their_own_retries() -> None:
    def tasks(start: float, retried: list[int], again: list[int]) -> Tasks:
        times = start + np.arange(4.0)
        first = Retries(np.array(retried), np.full(len(retried), start + 0.5), 100.0)
        second = Retries(np.array(again), np.full(len(again), start + 0.25), 1000.0)
        return Tasks(times, np.full(4, start + 0.1), (first, second))

    parts = tasks(0.0, [0, 2], [1]), tasks(0.5, [1], [0])
    both, order = merged(*parts)
    assert order.tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    expected = sorted([*_tries(parts[0]), *_tries(parts[1])])
    assert np.allclose(sorted(_tries(both)), expected)


def _tries(tasks: Tasks) -> list[tuple[float, float]]:
    tries = in_order(tasks)
    return list(zip(tries.times.round(6).tolist(), tries.services.tolist(), strict=True))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"arrivals": np.zeros(0)}, "No task of 'work' was recorded to arrive"),
        ({"service_times": np.zeros(0), "failed": np.zeros(0, bool)}, "recorded to end"),
        ({}, "No worker of 'work' was there at the end"),
    ],
)
def test_what_was_not_recorded_is_said(change: Any, why: str) -> None:
    known = demand(days=1.0)
    gone = tuple(replace(each, until=known.until - 3600) for each in known.workers)
    topics = {"work": replace(known.topics["work"], **change)}
    with pytest.raises(NotRecorded, match=why):
        hours(replace(known, topics=topics, workers=known.workers if change else gone))
    with pytest.raises(NotRecorded, match="No task of 'other'"):
        hours_of(known, "other", at=known.until, messages=1)


def test_a_chosen_rate_spares_the_futures_that_it_has_not_seen() -> None:
    """A sample of `make capacity`, which has more kinds and seeds."""
    trials = deque[replays.Trial]()
    for case in replays.CASES[:2]:
        known = replays.futures(case, range(90_000, 90_020))
        best = replays.best_rate(case, known)
        assert best > LOWEST_RATE
        trials.append(replays.trial(case, 100, known, best))
    assert np.mean([each.holds for each in trials]) >= 0.75
    assert all(0.4 <= each.rate / each.best <= 1.7 for each in trials)
    assert 0.6 <= np.mean([each.covered for each in trials]) <= 0.98
