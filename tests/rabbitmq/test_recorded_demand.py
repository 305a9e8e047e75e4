"""The demand of a real worker on a real node, as its recorder keeps it."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tasktools as tt
from tasktools.testing import eventually
from tests.conftest import Connect

REGISTRY = tt.TaskRegistry()
TASKS = {"images": 120, "emails": 160}
FAILS_EVERY = 10
RETRY_DELAY = 0.5
TOOK: list[tuple[str, float]] = []
FAILED: set[int] = set()
_WRITING = threading.Lock()


@REGISTRY.task(max_retries=2, retry_delay=RETRY_DELAY)
def work(topic: str, number: int, seconds: float) -> None:
    began = time.monotonic()
    time.sleep(seconds)
    with _WRITING:
        TOOK.append((topic, time.monotonic() - began))
        is_first = number not in FAILED
        FAILED.add(number)
    if number % FAILS_EVERY == 0 and is_first:
        raise ConnectionError("no answer")


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    TOOK.clear()
    FAILED.clear()


@pytest.mark.slow
def test_the_demand_is_what_was_published_and_what_ran(connect: Connect, tmp_path: Path) -> None:
    """Section 1 of the page: arrivals of both ways, service times of all tries, settings."""
    cluster, publisher = connect(), connect()
    for topic in TASKS:
        cluster.create_topic(topic)
    dice = random.Random(11)
    order = [topic for topic, count in TASKS.items() for _ in range(count)]
    dice.shuffle(order)
    published: dict[str, list[float]] = {topic: [] for topic in TASKS}
    tries = len(order) + len(range(0, len(order), FAILS_EVERY))
    runner = tt.TaskRunner(
        broker=connect().broker, topics=list(TASKS), capacity=4, prefetch=3, registry=REGISTRY
    )
    with (
        cluster.record(tmp_path / "messages.db", every=1, messages=True) as recorder,
        connect().record(tmp_path / "samples.db", every=1),
        runner,
    ):
        for number, topic in enumerate(order):
            published[topic].append(time.time())
            seconds = dice.expovariate(1 / 0.2)
            kwargs = {"topic": topic, "number": number, "seconds": seconds}
            publisher.publish(topic, f"{__name__}:work", kwargs=kwargs)
            time.sleep(dice.expovariate(1 / 0.06))
        assert eventually(lambda: len(TOOK) == tries, 120)
        ticks = recorder.ticks
        assert eventually(lambda: recorder.ticks > ticks + 5, 60)

    for name, is_exact in (("messages.db", True), ("samples.db", False)):
        with tt.connect(f"sqlite:///{tmp_path / name}") as history:
            demand = tt.capacity.inputs(history).demand
        assert set(demand.topics) == set(TASKS)
        for topic, count in TASKS.items():
            of_topic, true = demand.topics[topic], np.array(published[topic])
            assert of_topic.arrivals_from == ("messages" if is_exact else "balance")
            if is_exact:
                assert len(of_topic.arrivals) == count
                assert np.median(np.abs(of_topic.arrivals - true)) < 1.0
                assert of_topic.waits is not None
                assert len(of_topic.waits) == count
            else:
                assert len(of_topic.arrivals) == pytest.approx(count, rel=0.03)
                middle = (np.median(of_topic.arrivals), np.median(true))
                assert middle[0] == pytest.approx(middle[1], abs=2.0)
            took = np.array([seconds for of, seconds in TOOK if of == topic])
            assert len(of_topic.service_times) == len(took)
            assert of_topic.service_times.mean() == pytest.approx(took.mean(), abs=0.05)
            assert np.quantile(of_topic.service_times, 0.95) == pytest.approx(
                np.quantile(took, 0.95), rel=0.1
            )
            assert (of_topic.max_retries, of_topic.limit) == (2, None)
            assert of_topic.retry_delay == pytest.approx(RETRY_DELAY, abs=0.3)
        assert sum(int(topic.failed.sum()) for topic in demand.topics.values()) == tries - len(
            order
        )
        (worker,) = demand.workers
        assert (worker.capacity, dict(worker.prefetch)) == (4, dict.fromkeys(TASKS, 3))
