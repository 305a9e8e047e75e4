"""Drains on a real node: `TaskRunner`s and a publisher, forecast from what a live cluster tells.

Time is shortened 60 times: bins are 0.5 s, the past is 30 s, the horizon 6 min.
``python -m tests.capacity.real_drains 10 100`` runs 10 of them, from seed 100 on
(`TASKTOOLS_RABBITMQ_ROOT`: of another version), and writes them into benchmarks/CAPACITY.md.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

import tasktools as tt
from tasktools.capacity.drain.bins import Timing
from tasktools.capacity.drain.drain_forecast import Answer, answer_of
from tasktools.capacity.drain.scores import is_covered
from tasktools.testing import RabbitMQNode
from tests.capacity.page import write_section

TIMING: Final = Timing(bin=0.5)
LEVEL: Final = 10.0
_SAMPLE_SECONDS: Final = 0.2
OBSERVED: Final = 12.0
"""Seconds for which a drain is watched before it is forecast."""
_GIVEN_UP: Final = 150.0


REGISTRY: Final = tt.TaskRegistry()


@REGISTRY.task
def work(seconds: float) -> None:
    """Take so long."""
    time.sleep(seconds)


_TASK: Final = f"{__name__}:work"


@dataclass(frozen=True)
class Conditions:
    """What a drain is made of: seconds of a task in the mean, their spread (of the log), slots of
    each runner, arrivals over what those can do, and the seconds that it is made to take."""

    service: float
    spread: float
    slots: tuple[int, ...]
    load: float
    lasts: float

    @property
    def capacity(self) -> float:
        """The tasks that may end in a second."""
        return sum(self.slots) / self.service


@dataclass(frozen=True)
class Seen:
    """A drain, its forecast, and when it really ended (s after the forecast)."""

    conditions: Conditions
    answer: Answer
    truth: float

    @property
    def is_covered(self) -> bool:
        """Whether the end was in the band."""
        made = self.answer.forecast
        return made is not None and is_covered(made.earliest, made.latest, self.truth)


def conditions(rng: np.random.Generator) -> Conditions:
    """Return a drain of 20 to 45 s after its forecast."""
    slots = [(4, 4), (6,), (2, 3, 3), (8,)][int(rng.integers(4))]
    return Conditions(
        service=float(rng.uniform(0.15, 0.4)),
        spread=float(rng.uniform(0.0, 0.8)),
        slots=slots,
        load=float(rng.uniform(0.3, 0.75)),
        lasts=float(rng.uniform(20, 45)),
    )


def drain(
    dsn: str,
    management_url: str,
    conditions: Conditions,
    rng: np.random.Generator,
    observed: float = OBSERVED,
) -> Seen:
    """Fill a queue, let runners drain it, and forecast its end after *observed* seconds."""
    topic = f"drain-{rng.integers(1_000_000)}"
    seconds = conditions.service * np.exp(
        conditions.spread * rng.standard_normal(50_000) - conditions.spread**2 / 2
    )

    def publish(cluster: tt.Cluster, number: int) -> None:
        took = float(seconds[number % len(seconds)])
        cluster.broker.publish(topic, {"task_name": _TASK, "args": [took]})

    with contextlib.ExitStack() as stack:

        def connect() -> tt.Cluster:
            return stack.enter_context(
                tt.connect(dsn, management_url=management_url, topics=[topic])
            )

        watched, publisher = connect(), connect()
        net = (1 - conditions.load) * conditions.capacity
        backlog = int(net * (conditions.lasts + observed) + LEVEL)
        publisher.broker.ensure_topic(topic)
        for number in range(backlog):
            publish(publisher, number)
        rate = conditions.load * conditions.capacity
        stack.enter_context(_arrivals(partial(publish, publisher), rate, rng))
        for slots in conditions.slots:
            runner = tt.TaskRunner(
                broker=connect().broker, topics=[topic], capacity=slots, registry=REGISTRY
            )
            stack.enter_context(runner)
        _watch(watched, observed)
        answer = answer_of(watched, topic, LEVEL, TIMING)
        return Seen(conditions, answer, _end(watched, topic, answer))


@contextlib.contextmanager
def _arrivals(
    publish: Callable[[int], None], rate: float, rng: np.random.Generator
) -> Iterator[None]:
    """Publish *rate* tasks a second at random moments, as long as the context."""
    ended = threading.Event()

    def go_on() -> None:
        due = time.monotonic()
        while not ended.is_set():
            due += float(rng.exponential(1 / rate))
            if not ended.wait(max(due - time.monotonic(), 0.0)):
                publish(int(rng.integers(50_000)))

    thread = threading.Thread(target=go_on, name="publisher")
    thread.start()
    yield
    ended.set()
    thread.join()


def _watch(cluster: tt.Cluster, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with cluster.sampled():
            time.sleep(_SAMPLE_SECONDS)


def _end(cluster: tt.Cluster, topic: str, answer: Answer) -> float:
    """Return how long after its forecast the queue was at the level, infinite if it never was."""
    until = time.monotonic() + _GIVEN_UP
    while time.monotonic() < until:
        with cluster.observed() as observation:
            sample = observation.sample
        assert sample.report is not None
        (stats,) = (each for each in sample.report.topics if each.topic == topic)
        if stats.queued is not None and stats.queued <= LEVEL:
            return sample.at - answer.at
        time.sleep(_SAMPLE_SECONDS)
    return math.inf


def run(count: int, first_seed: int) -> tuple[str | None, list[Seen]]:
    """Run *count* drains on a node of our own; return its version, and what was seen."""
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TASKTOOLS_LEDGER"] = str(Path(folder) / "ledger.db")
        with RabbitMQNode(root=Path(root) if root else None) as node:
            with tt.connect(node.dsn, management_url=node.management_url) as cluster:
                version = cluster.broker.server_version
            seen = []
            for seed in range(first_seed, first_seed + count):
                rng = np.random.default_rng(seed)
                seen.append(drain(node.dsn, node.management_url, conditions(rng), rng))
                print(_row(seen[-1]), file=sys.stderr)
    return version, seen


def section(count: int, first_seed: int) -> str:
    """Run *count* drains; return them as a section of the page."""
    return described(*run(count, first_seed), first_seed)


def described(version: str | None, seen: list[Seen], first_seed: int) -> str:
    """Return the drains *seen* as a section of the page."""
    count = len(seen)
    held = sum(each.is_covered for each in seen)
    return "\n".join(
        [
            f"{count} drains on RabbitMQ {version} with our runners, seeds {first_seed} to "
            f"{first_seed + count - 1}, 60 times as fast (bins of 0.5 s, a past of 30 s), each "
            f"forecast once, {OBSERVED:.0f} s after it began. The true end was in the 80 % band "
            f"of **{held} of {count}**. Times are in s.",
            "",
            "| slots | service (spread) | load | depth | earliest | expected | latest | true | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *map(_row, seen),
        ]
    )


def _row(seen: Seen) -> str:
    conditions, made = seen.conditions, seen.answer.forecast
    shown = ["?"] * 4 if made is None else [f"{made.depth:.0f}", *(f"{s:.1f}" for s in made.shown)]
    cells = [
        "+".join(map(str, conditions.slots)),
        f"{conditions.service:.2f} ({conditions.spread:.1f})",
        f"{conditions.load:.2f}",
        *shown,
        f"{seen.truth:.1f}",
        "in" if seen.is_covered else "out" if made else seen.answer.note,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    first = int(sys.argv[2])
    version, drains = run(int(sys.argv[1]), first)
    series = ".".join((version or "?").split(".")[:2])
    write_section(f"Drains on a real node, {series}", described(version, drains, first))
