"""Waits on a real node beside those of the event simulation: three runners, two topics, a limit."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

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
_SIMULATIONS: Final = 41
_JITTER_SECONDS: Final = 0.002
"""Of arrivals, from one simulation to the next: a message is in its queue that much later."""
_HAND_OVER: Final = (
    "Near its limit a topic feels each millisecond until a permit has its next task, which the "
    "simulation takes for none. In one more run of seed 34 with the limit, at a load of 8 on 2 "
    "cores, these were timed: 1.1 ms in the median, 4.7 ms in the mean. The 95 % quantile of topic "
    "a was 7,915 ms on the node, 6,099 ms in the simulation, and 7,965 ms in that of tasks which "
    "are longer by what was timed."
)
_WAITED_SECONDS: Final = 0.1
"""From which on a task has waited for another one to end."""
_BOUNDS: Final = {None: 0.10, 3: 0.25}
"""Of the difference of the 95 % quantiles, by limit: what the design asks for."""

REGISTRY: Final = tt.TaskRegistry()
RAN: Final[dict[tuple[str, int], tuple[float, float, str]]] = {}
"""When a task began and ended, and the worker, by topic and number."""


class Run(NamedTuple):
    """The waits (s) of a run on the node by topic, those of simulations, and the hand-overs."""

    real: dict[str, FloatArray]
    simulated: list[dict[str, FloatArray]]
    hand_overs: FloatArray
    """Seconds from the end of a task to the begin of one that waited for it, on its worker."""


@REGISTRY.task
def work(topic: str, number: int, seconds: float) -> None:
    """Take so long, and note from when to when that was, and where."""
    began = time.time()
    time.sleep(seconds)
    RAN[topic, number] = began, time.time(), tt.current_task().worker_id


def measured(dsn: str, seconds: float, seed: int, limit: int | None) -> Run:
    """Run tasks on the node, and simulate the same ones."""
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
        topic: np.array([RAN[topic, n][:2] for n in range(len(times))])
        for topic, times in published.items()
    }
    took = {topic: ran[topic][:, 1] - ran[topic][:, 0] for topic in TOPICS}
    real = {topic: ran[topic][:, 0] - times for topic, times in published.items()}
    return Run(
        real,
        [_simulated(published, took, limit, rng) for _ in range(_SIMULATIONS)],
        _hand_overs(published),
    )


def _simulated(
    published: dict[str, FloatArray],
    took: dict[str, FloatArray],
    limit: int | None,
    rng: np.random.Generator,
) -> dict[str, FloatArray]:
    """Return the waits of a simulation; who is second to take permits is chance on the node."""
    pool = {}
    for topic, times in published.items():
        arrivals = np.sort(times + rng.uniform(0, _JITTER_SECONDS, len(times)))
        tasks = tasks_of(topic_of(arrivals, took[topic]))
        pool[topic] = PoolTopic(tasks, limit if topic == "a" else None)
    first, *others = workers_of(RUNNERS, CAPACITY, TOPICS)
    return pool_waits([first, *(others[n] for n in rng.permutation(len(others)))], pool)


def _hand_overs(published: dict[str, FloatArray]) -> FloatArray:
    ends: dict[str, list[float]] = {}
    for _, ended, worker in RAN.values():
        ends.setdefault(worker, []).append(ended)
    waited = (
        (began, [end for end in ends[worker] if end <= began])
        for (topic, number), (began, _, worker) in RAN.items()
        if began - published[topic][number] > _WAITED_SECONDS
    )
    return np.array([began - max(before) for began, before in waited if before])


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


def section(runs: int, first: int, seconds: float = 180.0) -> Iterator[str]:
    """Yield a table of runs on a node, without and with a limit."""
    yield (
        f"{RUNNERS} runners of {CAPACITY} slots, {_LOAD:g} erlang, {seconds:g} s each; 95 % "
        f"quantile of the wait in ms, of the node / the median of {_SIMULATIONS} simulations of "
        f"the same tasks, in each of which they arrive up to {1000 * _JITTER_SECONDS:g} ms later: "
        "so little changes which worker gets them, and with it the quantile, by what the last "
        "column shows (90 % of the simulations, against their median)."
    )
    yield ""
    yield "| seed | limit of a | topic a | topic b | both | difference | of simulations |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    differences: dict[int | None, list[float]] = {limit: [] for limit in _BOUNDS}
    hand_overs = []
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with RabbitMQNode(root=Path(root) if root else None) as node:
        for number, (limit, seed) in enumerate(
            itertools.product(_BOUNDS, range(first, first + runs))
        ):
            run = measured(node.add_vhost(f"pool-{number}"), seconds, seed, limit)
            hand_overs.append(run.hand_overs)
            real, each = _quantiles(run.real), [_quantiles(waits) for waits in run.simulated]
            model = np.median(each, axis=0)
            cells = [f"{1000 * a:,.0f} / {1000 * b:,.0f}" for a, b in zip(real, model, strict=True)]
            low, high = np.quantile([both for *_, both in each], [0.05, 0.95]) / model[-1] - 1
            differences[limit].append(model[-1] / real[-1] - 1)
            shown = f"{differences[limit][-1]:+.0%} | {low:+.0%} to {high:+.0%}"
            yield f"| {seed} | {limit or '-'} | {' | '.join(cells)} | {shown} |"
    yield ""
    for limit, values in differences.items():
        within = sum(abs(value) <= _BOUNDS[limit] for value in values)
        yield (
            f"{'Without a limit' if limit is None else f'With a limit of {limit}'}: "
            f"{np.mean(values):+.0%} in the mean, {within} of {len(values)} within "
            f"{_BOUNDS[limit]:.0%}. "
        )
    median, most = 1000 * np.quantile(np.concatenate(hand_overs), [0.5, 0.95])
    yield (
        "From the end of a task to the begin of one that waited for its slot or its permit: "
        f"{median:.1f} ms in the median, 95 % within {most:.1f} ms."
    )
    yield ""
    yield _HAND_OVER


def _quantiles(waits: dict[str, FloatArray]) -> list[float]:
    """Return the 95 % quantile of the wait in each topic, and in both together."""
    parts = [waits[topic] for topic in TOPICS]
    return [float(np.quantile(part, 0.95)) for part in (*parts, np.concatenate(parts))]
