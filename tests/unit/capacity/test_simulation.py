"""Tests of the two engines, against each other and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasktools.capacity.demand import FloatArray, TopicDemand
from tasktools.capacity.erlang import ln_erlang_c, wait_quantile
from tasktools.capacity.pools import PoolTopic, credits_of, pool_waits
from tasktools.capacity.simulation import (
    changed_traffic,
    completed_services,
    in_order,
    simulated_waits,
    tasks_of,
)
from tests.capacity.traffic import KINDS, topic_of, traffic, workers_of


def waits_of_pool(topics: dict[str, PoolTopic], count: int, capacity: int) -> dict[str, FloatArray]:
    return pool_waits(workers_of(count, capacity, tuple(topics)), topics)


def test_waits_of_many_slots_are_those_of_a_queue() -> None:
    """The mean and the 95 % quantile of M/M/c, within 3 %."""
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.exponential(1.0, 600_000))
    services = rng.exponential(7.0, len(times))
    waits = simulated_waits(times, services, 10)
    mean = math.exp(float(ln_erlang_c(10, 7.0))) * 7.0 / (10 - 7.0)
    assert waits.mean() == pytest.approx(mean, rel=0.03)
    assert np.quantile(waits, 0.95) == pytest.approx(wait_quantile(10, 7.0, 7.0, 0.95), rel=0.03)


def test_one_slot_is_computed_as_many_are() -> None:
    rng = np.random.default_rng(6)
    times = np.cumsum(rng.exponential(1.0, 5_000))
    services = rng.exponential(0.8, len(times))
    free, expected = -math.inf, []
    for at, service in zip(times, services, strict=True):
        start = max(free, at)
        free = start + service
        expected.append(start - at)
    assert simulated_waits(times, services, 1) == pytest.approx(expected, abs=1e-9)


def test_nothing_arrives() -> None:
    nothing = np.zeros(0)
    assert len(simulated_waits(nothing, nothing, 3)) == 0
    topic = PoolTopic(tasks_of(topic_of(nothing, np.ones(3))))
    assert len(waits_of_pool({"work": topic}, 2, 2)["work"]) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "capacity"), [(1, 9), (3, 3), (9, 1)])
def test_both_engines_agree_on_one_topic(kind: str, count: int, capacity: int) -> None:
    arrivals, services = traffic(kind, 2, days=0.25)
    tasks = tasks_of(topic_of(arrivals, services))
    waits = waits_of_pool({"work": PoolTopic(tasks)}, count, capacity)["work"]
    assert np.abs(waits - simulated_waits(arrivals, services, 9)).max() <= 1e-9


def pool_of(arrivals: dict[str, list[float]], service: float) -> dict[str, PoolTopic]:
    return {
        name: PoolTopic(tasks_of(topic_of(np.array(times), np.full(len(times), service), name)))
        for name, times in arrivals.items()
    }


def test_a_worker_fetches_more_than_it_can_run() -> None:
    """The message of b is pushed to the worker that runs a until 10; the other one idles."""
    topics = pool_of({"a": [0.0], "b": [1.0]}, 10.0)
    waits = waits_of_pool(topics, 2, 1)
    assert (waits["a"].tolist(), waits["b"].tolist()) == ([0.0], [9.0])


def test_the_first_workers_take_all_permits() -> None:
    arrivals = np.zeros(4)
    topic = PoolTopic(tasks_of(topic_of(arrivals, np.full(4, 10.0))), limit=3)
    workers = workers_of(3, 2, ("work",))
    assert credits_of(workers, {"work": topic}) == [[2], [1], [0]]
    assert pool_waits(workers, {"work": topic})["work"].tolist() == [0.0, 0.0, 0.0, 10.0]


def test_a_failed_try_holds_a_slot_and_comes_back_after_its_delay() -> None:
    topic = topic_of(
        np.array([0.0, 11.0, 20.0]),
        np.full(3, 10.0),
        failed=np.array([True, True, True]),
        max_retries=1,
        retry_delay=2.0,
    )
    tasks = tasks_of(topic)
    # 0 to 10, its retry comes at 12; 11 to 21, its retry at 23; the one of 20 waits for the first
    assert waits_of_pool({"work": PoolTopic(tasks)}, 1, 1)["work"].tolist() == [0.0, 0.0, 11.0]
    tries = in_order(tasks)
    assert tries.times.tolist() == [0.0, 11.0, 12.0, 20.0, 23.0, 32.0]
    assert tries.is_first.tolist() == [True, True, False, True, False, False]


def test_more_traffic_keeps_bursts_and_days() -> None:
    rng = np.random.default_rng(7)
    arrivals, _ = traffic("batches", 1, days=1.0)
    more = changed_traffic(arrivals, 1.5, rng)
    assert len(more) == pytest.approx(1.5 * len(arrivals), rel=0.03)
    assert (np.diff(more) >= 0).all()
    hours = [np.histogram(times, 24)[0] / len(times) for times in (arrivals, more)]
    assert np.abs(hours[0] - hours[1]).max() < 0.01
    assert len(changed_traffic(arrivals, 0.5, rng)) == pytest.approx(0.5 * len(arrivals), rel=0.05)
    assert changed_traffic(arrivals, 1.0, rng) is arrivals


def censored(services: FloatArray, seen: FloatArray) -> TopicDemand:
    is_ended = services <= seen
    return topic_of(np.arange(9.0), services[is_ended], censored=seen[~is_ended])


def test_a_try_that_runs_counts_with_what_it_may_take() -> None:
    """The mean without those that did not end is 23 % too small; with them it is within 5 %."""
    rng = np.random.default_rng(8)
    services = rng.exponential(60.0, 40_000)
    topic = censored(services, rng.uniform(0, 600.0, len(services)))
    completed, failed = completed_services(topic, rng)
    assert len(completed) == len(failed) == len(services)
    assert topic.service_times.mean() < 0.9 * 60
    assert completed.mean() == pytest.approx(60.0, rel=0.05)
