"""The demand of recordings with a known truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import tasktools as tt
from tasktools.capacity.demand import Demand
from tasktools.capacity.gather import gather
from tasktools.history.demand_reader import DemandReader
from tests.recorded_shop import DAY, MONDAY, Floats, load, poisson, record

LONG = 21_600.0  # seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ops.db"


def demand_of(path: Path, since: str = "28D") -> Demand:
    with tt.connect(f"sqlite:///{path}") as history:
        return gather(history, since=since)


def emails(rate: float = 0.05, seconds: float = LONG, seed: int = 1) -> tuple[Floats, Floats]:
    dice = np.random.default_rng(seed)
    arrivals = poisson(dice, rate, seconds)
    return arrivals, dice.exponential(20.0, len(arrivals))


def test_with_messages_all_is_as_it_was(path: Path) -> None:
    arrivals, services = emails()
    record(path, load({"emails": arrivals}, {"emails": services}, wait=3.0), (0, LONG))
    demand = demand_of(path)
    topic = demand.topics["emails"]
    assert demand.recorded == ((MONDAY, MONDAY + LONG),)
    assert topic.arrivals_from == "messages"
    assert topic.arrivals == pytest.approx(arrivals, abs=0.002)
    is_begun = arrivals + 3 < MONDAY + LONG
    is_ended = is_begun & (arrivals + 3 + services <= MONDAY + LONG)
    assert topic.service_times == pytest.approx(services[is_ended], abs=0.002)
    running = is_begun & ~is_ended
    seen = MONDAY + LONG - arrivals[running] - 3
    assert sorted(topic.censored) == pytest.approx(sorted(seen), abs=0.002)
    assert topic.waits is not None
    assert topic.waits == pytest.approx(np.full(len(topic.waits), 3.0), abs=0.002)
    assert len(topic.waits) > 400


def test_a_retry_whose_message_came_late_is_no_first_wait(path: Path) -> None:
    """Its start may be heard before its message; it did not wait since the task was new."""
    arrivals = MONDAY + 60.0 * np.arange(40)
    both = load({"emails": np.repeat(arrivals, 2)}, {"emails": np.full(80, 2.0)}, wait=3.0)
    again = np.tile([0, 1], 40)
    tries = dataclasses.replace(
        both.tries,
        task=np.repeat(np.arange(40), 2),
        attempts=again,
        published=both.tries.published + 5_600 * again,
        started=both.tries.started + 2_500 * again,  # 0.1 s before its message
        ended=both.tries.ended + 2_500 * again,
        failed=1 - again,
    )
    record(path, dataclasses.replace(both, tries=tries), (0, 3_600))

    waits = demand_of(path).topics["emails"].waits
    assert waits is not None
    assert waits == pytest.approx(np.full(40, 3.0), abs=0.002)


@pytest.mark.parametrize("every", [5.0, 60.0])
def test_without_messages_arrivals_are_those_of_the_balance(path: Path, every: float) -> None:
    arrivals, services = emails()
    cluster = load({"emails": arrivals}, {"emails": services}, wait=40.0)
    record(path, cluster, (0, LONG), every=every, messages=False)
    topic = demand_of(path).topics["emails"]
    assert topic.arrivals_from == "balance"
    assert topic.waits is None
    assert len(topic.arrivals) == pytest.approx(len(arrivals), abs=2)
    count = min(len(topic.arrivals), len(arrivals))
    assert np.abs(topic.arrivals[:count] - arrivals[:count]).max() < 2 * every
    assert topic.evidence is not None
    assert topic.evidence.resolution == every


def test_both_ways_count_the_same_in_each_minute(path: Path, tmp_path: Path) -> None:
    arrivals, services = emails()
    cluster = load({"emails": np.repeat(arrivals, 4)}, {"emails": np.repeat(services, 4)}, wait=9.0)
    record(path, cluster, (0, LONG))
    record(tmp_path / "other.db", cluster, (0, LONG), messages=False)
    edges = MONDAY + np.arange(0, LONG + 1, 60.0)
    exact, balance = (
        np.histogram(demand_of(file).topics["emails"].arrivals, edges)[0]
        for file in (path, tmp_path / "other.db")
    )
    assert exact.sum() == pytest.approx(balance.sum(), abs=8)
    assert np.corrcoef(exact, balance)[0, 1] > 0.95


@pytest.mark.parametrize("messages", [True, False])
def test_a_gap_has_no_arrivals_and_cuts_what_ran(path: Path, messages: bool) -> None:  # noqa: FBT001
    arrivals, services = emails()
    services[:] = 600.0
    gap = (8_000.0, 10_000.0)
    cluster = load({"emails": arrivals}, {"emails": services})
    record(path, cluster, (0, gap[0]), (gap[1], LONG), messages=messages)
    demand = demand_of(path)
    topic = demand.topics["emails"]
    assert demand.recorded == ((MONDAY, MONDAY + gap[0]), (MONDAY + gap[1], MONDAY + LONG))
    times = topic.arrivals - MONDAY
    assert not ((times > gap[0]) & (times < gap[1])).any()
    outside = arrivals - MONDAY
    expected = ((outside < gap[0]) | (outside >= gap[1])).sum()
    assert len(times) == pytest.approx(expected, abs=3)
    running = ((outside > gap[0] - 600) & (outside < gap[0])) | (outside > LONG - 600)
    assert len(topic.censored) == pytest.approx(running.sum(), abs=1)
    assert topic.censored.max() <= 600.0
    assert topic.service_times == pytest.approx(np.full(len(topic.service_times), 600.0), abs=0.01)
    assert demand.covered.sum() == pytest.approx(LONG - 2_000)


def test_a_task_that_waited_already_is_no_arrival(path: Path) -> None:
    arrivals, services = emails(seconds=7_200)
    cluster = load({"emails": arrivals}, {"emails": services}, wait=300.0)
    record(path, cluster, (3_600, 7_200), messages=False)
    topic = demand_of(path).topics["emails"]
    assert topic.evidence is not None
    assert (
        topic.evidence.backlog == ((arrivals - MONDAY > 3_300) & (arrivals - MONDAY <= 3_600)).sum()
    )
    assert len(topic.arrivals) == pytest.approx((arrivals - MONDAY > 3_600).sum(), abs=2)


def test_since_leaves_out_what_was_before(path: Path) -> None:
    arrivals, services = emails()
    record(path, load({"emails": arrivals}, {"emails": services}), (0, LONG))
    demand = demand_of(path, since="2h")
    assert demand.since == pytest.approx(MONDAY + LONG - 2 * 3_600, abs=1)
    assert demand.topics["emails"].arrivals.min() >= demand.since
    assert len(demand.hours) == 2
    assert demand.topics["emails"].hourly is not None
    assert demand.topics["emails"].hourly.sum() == len(demand.topics["emails"].arrivals)


def test_running_counts_tries_at_the_start_of_each(path: Path) -> None:
    arrivals = MONDAY + np.array([100.0, 101.0, 102.0, 200.0])
    services = np.array([10.0, 0.5, 10.0, 1.0])
    record(path, load({"emails": arrivals}, {"emails": services}), (0, 300))
    running = demand_of(path).topics["emails"].running
    assert running is not None
    assert running.tolist() == [1, 2, 2, 1]


def test_workers_are_there_from_their_first_sample_to_their_last(path: Path) -> None:
    arrivals, services = emails()
    record(path, load({"emails": arrivals}, {"emails": services}), (0, LONG))
    (worker,) = demand_of(path).workers
    assert (worker.worker, worker.capacity, worker.topics) == ("emails-worker", 100, ("emails",))
    assert worker.prefetch == {"emails": 100}
    assert (worker.since, worker.until) == pytest.approx((MONDAY, MONDAY + LONG), abs=601)


def test_a_topic_without_tasks_has_none(path: Path) -> None:
    record(path, load({"emails": np.empty(0)}, {"emails": np.empty(0)}), (0, 60))
    topic = demand_of(path).topics["emails"]
    for values in (topic.arrivals, topic.service_times, topic.censored, topic.failed):
        assert len(values) == 0


def test_of_many_tries_some_hours_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DemandReader, "max_tries", 1_000)
    monkeypatch.setattr(DemandReader, "sampled_tries", 2_000)
    arrivals, services = emails(seconds=2 * DAY)
    record(path, load({"emails": arrivals}, {"emails": services}), (0, 2 * DAY), every=60.0)
    demand = demand_of(path)
    topic = demand.topics["emails"]
    assert demand.sampled is not None
    assert len(topic.arrivals) < 0.7 * len(arrivals)
    starts = np.array([since for since, _ in demand.sampled])
    ends = np.array([until for _, until in demand.sampled])
    places = np.searchsorted(starts, topic.arrivals, side="right") - 1
    assert (topic.arrivals < ends[places]).all()
    # Each hour of the day is there; the counts of hours are those of all arrivals.
    assert {int((end - MONDAY - 1) % DAY // 3_600) for end in ends} == set(range(24))
    assert topic.hourly is not None
    assert topic.hourly.sum() == pytest.approx(len(arrivals), abs=2)
