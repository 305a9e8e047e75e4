"""The demand as a real recorder keeps it, of real workers on the broker in memory."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.capacity.demand import Demand
from tasktools.capacity.gather import gather
from tasktools.cluster.cluster import Cluster
from tasktools.core.layout import FP
from tasktools.testing import eventually

Recordings = tuple[Path, Path, list[float]]
TASKS = 40
RETRY_DELAY = 0.2


registry = tt.TaskRegistry()
failed: set[int] = set()


@registry.task(max_retries=2, retry_delay=RETRY_DELAY)
def resize(number: int) -> None:
    time.sleep(0.02)
    if number % 5 == 0 and number not in failed:
        failed.add(number)
        raise ConnectionError("no answer")


@pytest.fixture(scope="module")
def recordings(
    tmp_path_factory: pytest.TempPathFactory,
) -> Recordings:
    """Return a recording with messages, one without, and when tasks were published."""
    folder = tmp_path_factory.mktemp("demand")
    published: list[float] = []

    with Cluster(MemoryBroker(MemoryServer(), layout=FP)) as cluster:
        for topic in ("images", "thumbnails"):
            cluster.create_topic(topic)
        runner = tt.TaskRunner(
            broker=cluster.broker, topics=["images", "thumbnails"], capacity=2, registry=registry
        )
        with (
            cluster.record(folder / "messages.db", every=0.1, messages=True) as recorder,
            cluster.record(folder / "samples.db", every=0.1),
            runner,
        ):
            eventually(lambda: recorder.ticks > 2)
            dice = random.Random(1)
            for number in range(TASKS):
                topic = "images" if number % 4 else "thumbnails"
                published.append(time.time())
                cluster.publish(topic, f"{__name__}:resize", kwargs={"number": number})
                time.sleep(dice.random() * 0.06)
            eventually(lambda: runner._counts.counts()[0].total() == TASKS)
            ticks = recorder.ticks
            eventually(lambda: recorder.ticks > ticks + 2)
    return folder / "messages.db", folder / "samples.db", published


def demand_of(path: Path) -> Demand:
    with tt.connect(f"sqlite:///{path}") as history:
        return gather(history)


def test_retries_are_no_arrivals(recordings: Recordings) -> None:
    demand = demand_of(recordings[0])
    arrivals = np.sort(np.concatenate([topic.arrivals for topic in demand.topics.values()]))
    assert len(arrivals) == TASKS
    assert np.abs(arrivals - recordings[2]).max() < 1.0
    assert {topic.arrivals_from for topic in demand.topics.values()} == {"messages"}


def test_each_try_holds_a_slot(recordings: Recordings) -> None:
    topics = demand_of(recordings[0]).topics.values()
    assert sum(len(topic.service_times) for topic in topics) == TASKS + TASKS // 5
    assert sum(int(topic.failed.sum()) for topic in topics) == TASKS // 5
    assert all((topic.service_times >= 0.02).all() for topic in topics)


def test_the_balance_counts_the_same_arrivals(recordings: Recordings) -> None:
    exact, balance = map(demand_of, recordings[:2])
    for name, topic in exact.topics.items():
        other = balance.topics[name]
        assert other.arrivals_from == "balance"
        assert len(other.arrivals) == pytest.approx(len(topic.arrivals), abs=2)
        assert np.median(other.arrivals) == pytest.approx(np.median(topic.arrivals), abs=0.5)


def test_what_workers_tell_is_kept(recordings: Recordings) -> None:
    for path in recordings[:2]:
        demand = demand_of(path)
        (worker,) = demand.workers
        assert worker.capacity == 2
        assert worker.prefetch == {"images": 2, "thumbnails": 2}
        assert [topic.max_retries for topic in demand.topics.values()] == [2, 2]
        for topic in demand.topics.values():
            assert topic.retry_delay == pytest.approx(RETRY_DELAY, abs=0.15)


def test_a_task_has_one_row_with_its_worker_and_version(
    recordings: Recordings,
) -> None:
    with tt.connect(f"sqlite:///{recordings[0]}") as history:
        tasks = history.tasks()
    assert len(tasks) == TASKS
    assert (tasks["outcome"] == "succeeded").all()
    assert (tasks["tries"] == 2).sum() == TASKS // 5
    assert tasks["version"].notna().all()
    assert tasks["first_wait"].notna().all()


def test_a_live_cluster_answers_from_what_it_has_heard() -> None:
    with tt.connect("demo://") as cluster:
        began = time.time()
        demand = gather(cluster, since="1h")
    assert demand.since == pytest.approx(began - 120, abs=10)  # what has passed when it is opened
    assert len(demand.topics["orders"].arrivals) > 100
    assert {worker.host for worker in demand.workers} >= {"mail-1"}
