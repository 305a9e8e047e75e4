"""Waits on a real node beside those of the event simulation: three runners, two topics, a limit."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

import tasktools as tt
from tasktools.capacity.demand import FloatArray
from tasktools.capacity.pools import PoolTopic, pool_waits
from tasktools.capacity.simulation import tasks_of
from tasktools.testing import RabbitMQNode, eventually
from tests.capacity.traffic import topic_of, workers_of

TOPICS: Final = ("a", "b")
RUNNERS: Final = 3
CAPACITY: Final = 2
_SHARES: Final = (0.42, 0.58)
"""Of the load, of each topic: a limit of 3 leaves the first one enough."""
_LOAD: Final = 5.2  # erlang, of six slots
_MEAN: Final = 0.4  # seconds

REGISTRY: Final = tt.TaskRegistry()
RAN: Final[dict[tuple[str, int], tuple[float, float]]] = {}


@REGISTRY.task
def work(topic: str, number: int, seconds: float) -> None:
    """Take so long, and note from when to when that was."""
    began = time.time()
    time.sleep(seconds)
    RAN[topic, number] = began, time.time()


def measured(
    dsn: str, seconds: float, seed: int, limit: int | None
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return by topic the waits on the node, and those of the simulation of the same tasks."""
    rng = np.random.default_rng(seed)
    plans = {
        topic: (
            np.sort(rng.uniform(0, seconds, rng.poisson(share * _LOAD / _MEAN * seconds))),
            share,
        )
        for topic, share in zip(TOPICS, _SHARES, strict=True)
    }
    services = {topic: rng.exponential(_MEAN, len(times)) for topic, (times, _) in plans.items()}
    RAN.clear()
    with contextlib.ExitStack() as stack:
        clusters = [
            stack.enter_context(tt.connect(dsn, management_url=False)) for _ in range(RUNNERS + 1)
        ]
        publisher = clusters.pop()
        for topic in TOPICS:
            publisher.create_topic(topic)
        if limit is not None:
            publisher.configure_topic("a", concurrency_limit=limit)
        for number, cluster in enumerate(clusters):
            runner = tt.TaskRunner(
                broker=cluster.broker,
                topics=TOPICS,
                capacity=CAPACITY,
                registry=REGISTRY,
                worker_id=f"w{number}",
            )
            stack.enter_context(runner)
            time.sleep(1.0)  # the first one takes its permits first
        published = _publish(publisher, {t: plans[t][0] for t in TOPICS}, services)
        count = sum(map(len, services.values()))
        eventually(lambda: len(RAN) == count, timeout=60 + 10 * seconds)
    ran = {
        topic: np.array([RAN[topic, n] for n in range(len(times))])
        for topic, times in published.items()
    }
    real = {topic: ran[topic][:, 0] - times for topic, times in published.items()}
    took = {topic: ran[topic][:, 1] - ran[topic][:, 0] for topic in TOPICS}
    pool = {
        topic: PoolTopic(tasks_of(topic_of(times, took[topic])), limit if topic == "a" else None)
        for topic, times in published.items()
    }
    simulated = pool_waits(workers_of(RUNNERS, CAPACITY, TOPICS), pool)
    return {topic: (real[topic], simulated[topic]) for topic in TOPICS}


def _publish(
    cluster: tt.Cluster, plans: dict[str, FloatArray], services: dict[str, FloatArray]
) -> dict[str, FloatArray]:
    """Publish each task when it is due; return when that was."""
    due = sorted((float(at), topic, n) for topic in plans for n, at in enumerate(plans[topic]))
    published = {topic: np.zeros(len(plans[topic])) for topic in plans}
    start, wait = time.time() + 0.2, threading.Event()
    for at, topic, number in due:
        wait.wait(max(start + at - time.time(), 0.0))
        published[topic][number] = time.time()
        seconds = float(services[topic][number])
        args = [topic, number, seconds]
        cluster.broker.publish(topic, {"task_name": f"{__name__}:work", "args": args})
    return published


def section(runs: int, first: int, seconds: float = 60.0) -> Iterator[str]:
    """Yield a table of runs on a node, without and with a limit."""
    yield (
        f"{RUNNERS} runners of {CAPACITY} slots, {_LOAD:g} erlang, {seconds:g} s each; 95 % "
        "quantile of the wait in ms, of the node / of the simulation of the same tasks."
    )
    yield ""
    yield "| seed | limit of a | topic a | topic b | both: difference |"
    yield "| --- | --- | --- | --- | --- |"
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with RabbitMQNode(root=Path(root) if root else None) as node:
        for number, limit in enumerate([None] * runs + [3] * runs):
            seed = first + number % runs
            waits = measured(node.add_vhost(f"pool-{number}"), seconds, seed, limit)
            cells = [
                f"{1000 * np.quantile(real, 0.95):,.0f} / {1000 * np.quantile(model, 0.95):,.0f}"
                for real, model in waits.values()
            ]
            real, model = (
                float(np.quantile(np.concatenate(parts), 0.95))
                for parts in zip(*waits.values(), strict=True)
            )
            yield f"| {seed} | {limit or '-'} | {' | '.join(cells)} | {model / real - 1:+.0%} |"
