"""Replays at ``rate="auto"`` on a real node: what live tasks then wait, with our runner.

The history is a recording of a week of the same traffic, written as a recorder would have; the
replays are real. ``python -m tests.capacity.real_replays 5 100`` runs 5 of them at the same time,
from seed 100 on, and writes the result into benchmarks/CAPACITY.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

import tasktools as tt
from tasktools.capacity.simulation import simulated_waits
from tasktools.core.models import RetryRule
from tasktools.demo.recording_file import (
    Ints,
    SimulatedCluster,
    SimulatedTries,
    SimulatedWorker,
    milliseconds,
    write_recording,
)
from tasktools.testing import RabbitMQNode
from tests.capacity.page import write_section

TOPIC: Final = "work"
SLOTS: Final = 4
SERVICE: Final = 0.5
"""Mean seconds of a task; exponential."""
LOAD: Final = 2.4
"""Erlang of live tasks."""
MESSAGES: Final = 100
WAIT_BELOW: Final = 1.5
TITLE: Final = "Replays on a real node"
_DAY: Final = 86_400.0
_BEFORE: Final = 2.0 * 3600
_AFTER: Final = 2.25 * 3600
_WARM_UP: Final = 20.0
_TASK: Final = f"{__name__}:work"

REGISTRY: Final = tt.TaskRegistry()


@dataclass(frozen=True)
class Seen:
    """A replay: its rate, how long it took, and the p95 wait (s) of live tasks."""

    rate: float
    why: str
    lasted: float
    live: int
    p95: float

    @property
    def is_below(self) -> bool:
        """Whether live tasks waited no longer than was asked."""
        return self.p95 < WAIT_BELOW


class Starts:
    """The times at which tasks began, by number; the replayed ones have numbers below 0."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.by_number: dict[int, float] = {}

    def note(self, number: int) -> None:
        """Note that the task *number* begins now."""
        with self._lock:
            self.by_number[number] = time.monotonic()


STARTS: Final[dict[str, Starts]] = {}


@REGISTRY.task
def work(run: str, number: int, seconds: float) -> None:
    """Take so long."""
    STARTS[run].note(number)
    time.sleep(seconds)


def write_history(path: Path, now: float, rng: np.random.Generator, load: float = LOAD) -> None:
    """Write the hours around *now* of the 7 days before, with the traffic of today."""
    spans = [(now - day * _DAY - _BEFORE, now - day * _DAY + _AFTER) for day in range(7, 0, -1)]
    parts = []
    for since, until in spans:
        count = rng.poisson(load / SERVICE * (until - since))
        times = np.sort(rng.uniform(since, until, count))
        services = rng.exponential(SERVICE, count)
        started = times + simulated_waits(times, services, SLOTS)
        is_whole = started + services < until
        parts.append((times[is_whole], started[is_whole], (started + services)[is_whole]))
    columns = [milliseconds(np.concatenate(column)) for column in zip(*parts, strict=True)]
    published, begun, ended = columns
    none: Ints = np.zeros(len(published), dtype=np.int64)
    tries = SimulatedTries(
        none, none, none, np.arange(len(published)), none, published, begun, ended, none
    )
    cluster = SimulatedCluster(
        (TOPIC,),
        (_TASK,),
        (SimulatedWorker("worker-1", "host", SLOTS, (TOPIC,), SLOTS),),
        {},
        {_TASK: RetryRule(max_retries=0, retry_delay=1.0)},
        tries,
    )
    bounds = [(round(since * 1000), round(until * 1000)) for since, until in spans]
    write_recording(path, cluster, bounds, every=60_000)


def replay(node: RabbitMQNode, history: tt.Cluster, seed: int) -> Seen:
    """Replay dead letters at a chosen rate into live traffic."""
    rng = np.random.default_rng(seed)
    run = f"replay-{seed}"
    starts = STARTS[run] = Starts()
    dsn = node.add_vhost(run)

    def send(cluster: tt.Cluster, number: int) -> None:
        seconds = float(rng.exponential(SERVICE))
        cluster.publish(TOPIC, _TASK, args=[run, number, seconds], create=True)

    connect = partial(tt.connect, dsn, management_url=node.management_url)
    with connect() as cluster, connect() as publisher, connect() as working:
        for number in range(MESSAGES):
            send(cluster, -1 - number)
            delivery = cluster.broker.claim(TOPIC, "worker-0")
            assert delivery is not None
            cluster.broker.nack(delivery.id, requeue=False)
        dead = cluster.dead_letters(TOPIC)
        published: list[float] = []
        end = threading.Event()

        def live() -> None:
            while not end.wait(rng.exponential(SERVICE / LOAD)):
                published.append(time.monotonic())
                send(publisher, len(published) - 1)

        runner = tt.TaskRunner(
            broker=working.broker, topics=[TOPIC], capacity=SLOTS, registry=REGISTRY
        )
        with runner:
            thread = threading.Thread(target=live)
            thread.start()
            try:
                time.sleep(_WARM_UP)
                plan = cluster.plan_replay(
                    dead, rate="auto", keep_wait_below=WAIT_BELOW, history=history
                )
                began = time.monotonic()
                outcome = cluster.run(plan, reason="measured", progress=False)
                assert set(outcome["outcome"]) == {"replayed"}
                while len([number for number in starts.by_number if number < 0]) < MESSAGES:
                    time.sleep(0.05)
                lasted = time.monotonic() - began
                time.sleep(2 * WAIT_BELOW)
            finally:
                end.set()
                thread.join()
        waits = [
            starts.by_number[number] - at
            for number, at in enumerate(published)
            if began <= at <= began + lasted and number in starts.by_number
        ]
        assert plan.rate is not None
        return Seen(
            plan.rate, str(plan.rate_why), lasted, len(waits), float(np.quantile(waits, 0.95))
        )


def section(count: int, first_seed: int) -> str:
    """Run so many replays at the same time; return what was seen, for the page."""
    with tempfile.TemporaryDirectory() as folder, RabbitMQNode() as node:
        os.environ["TASKTOOLS_LEDGER"] = str(Path(folder) / "ledger.db")
        path = Path(folder) / "history.db"
        write_history(path, time.time(), np.random.default_rng(first_seed))
        with (
            tt.connect(f"sqlite:///{path}") as history,
            ThreadPoolExecutor(max_workers=count) as pool,
        ):
            seen = list(
                pool.map(partial(replay, node, history), range(first_seed, first_seed + count))
            )
    rows = [
        f"| {each.rate:g} | {each.lasted:.0f} s | {each.live} | {each.p95:.2f} s | "
        f"{'yes' if each.is_below else 'no'} |"
        for each in seen
    ]
    return "\n".join(
        [
            f'{count} replays of {MESSAGES} messages at `rate="auto"`, seeds {first_seed} to '
            f"{first_seed + count - 1}, all at the same time on one node with a `TaskRunner` of "
            f"{SLOTS} slots each; live tasks of {SERVICE:g} s in the mean are {LOAD:g} erlang, and "
            f"their p95 wait is to stay below {WAIT_BELOW:g} s. It did in "
            f"**{sum(each.is_below for each in seen)} of {count}**.",
            "",
            "| rate, /s | lasted | live tasks | p95 wait | below |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"Why the first had its rate: {seen[0].why}.",
        ]
    )


if __name__ == "__main__":
    write_section(TITLE, section(int(sys.argv[1]), int(sys.argv[2])))
