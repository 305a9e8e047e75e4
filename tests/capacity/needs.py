"""The needs that `tt.capacity.solve` finds, against known ones: many seeds and kinds of traffic."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import tasktools as tt
from tasktools.capacity.demand import FloatArray
from tasktools.capacity.erlang import slots_needed
from tasktools.capacity.simulation import simulated_waits
from tests.capacity.traffic import DAY, KINDS, SINCE, demand_of, topic_of, traffic
from tests.capacity.truth import NEEDS, QUANTILE, WAIT
from tests.recorded_shop import MONDAY, load, record


@dataclass(frozen=True)
class Try:
    """One recording: what was answered, beside the truth and the answers of formulas."""

    kind: str
    seed: int
    slots: int
    need: float
    low: float
    high: float
    determined: bool
    by_hour: int
    by_week: int
    by_keda: int

    @property
    def true_slots(self) -> int:
        return math.ceil(NEEDS[self.kind])

    @property
    def is_near(self) -> bool:
        return abs(self.slots - self.true_slots) <= 1

    @property
    def is_covered(self) -> bool:
        return self.low <= NEEDS[self.kind] <= self.high


def tried(kind: str, seed: int, days: float = 7.0) -> Try:
    """Solve a recording of *days*."""
    arrivals, services = traffic(kind, seed, days)
    row = tt.capacity.solve(demand_of([topic_of(arrivals, services)], days), WAIT, QUANTILE).iloc[0]
    erlang = len(arrivals) * float(services.mean()) / (days * DAY)
    week = np.array([erlang])
    return Try(
        kind,
        seed,
        int(row["slots"]),
        float(row["need"]),
        float(row["need_low"]),
        math.inf if pd.isna(row["need_high"]) else float(row["need_high"]),
        bool(row["determined"]),
        int(row["erlang_c"]),
        slots_needed(week, week, float(services.mean()), WAIT, QUANTILE),
        _keda(arrivals, services, erlang),
    )


def _keda(arrivals: FloatArray, services: FloatArray, erlang: float) -> int:
    """Return the slots at which KEDA's expected consumption time is at its target of 30 s.

    Its RabbitMQ scaler adds (published - delivered) / delivered, a ratio, to messages / delivered,
    seconds. Of a queue that does not grow that is 0 and the mean wait, if messages that workers
    hold are left out.
    """
    slots = math.ceil(erlang)
    while simulated_waits(arrivals, services, slots).mean() > WAIT:
        slots += 1
    return slots


def section(seeds: int, first: int, days: float) -> Iterator[str]:
    """Yield the lines of a section: a row a kind."""
    began = time.process_time()
    tries = {
        kind: [tried(kind, seed, days) for seed in range(first, first + seeds)] for kind in KINDS
    }
    spent = (time.process_time() - began) / (seeds * len(KINDS))
    yield (
        f"{seeds} seeds ({first} to {first + seeds - 1}) of each kind, {days:g} days, about "
        f"{8_640 * days:,.0f} tasks and 6 erlang, 95 % below {WAIT:g} s. The truth is the mean of "
        "60 other weeks. Errors of formulas are in slots; KEDA: ExpectedQueueConsumptionTime with "
        "value 30 and without unacknowledged messages, once it has settled."
    )
    yield ""
    yield (
        "| kind | true need | ±1 | interval covers | its width | determined | Erlang C by hour ±1 "
        "| its error | by week | KEDA |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for kind, each in tries.items():
        yield f"| {kind} | {NEEDS[kind]:.2f} | {_row(each)} |"
    everything = [each for some in tries.values() for each in some]
    yield f"| **all** | | {_row(everything)} |"
    yield ""
    yield f"{1000 * spent:.0f} ms of CPU a recording, traffic and KEDA's answer included."


def _row(tries: list[Try]) -> str:
    def share(values: list[bool]) -> str:
        return f"{np.mean(values):.0%}"

    def error(answers: list[int]) -> str:
        return f"{np.mean([a - t.true_slots for a, t in zip(answers, tries, strict=True)]):+.1f}"

    by_hour = [each.by_hour for each in tries]
    return " | ".join(
        [
            share([each.is_near for each in tries]),
            share([each.is_covered for each in tries]),
            f"{np.median([each.high - each.low for each in tries]):.1f}",
            share([each.determined for each in tries]),
            share([abs(each.by_hour - each.true_slots) <= 1 for each in tries]),
            error(by_hour),
            error([each.by_week for each in tries]),
            error([each.by_keda for each in tries]),
        ]
    )


def speed() -> Iterator[str]:
    """Yield what solving a week of 20 topics costs, from its file, and one of ten times the tasks,
    each of a tenth of the time."""
    for times in (1, 10):
        topics = {f"t{n:02}": _merged(list(KINDS)[n % 8], 900 + n, times) for n in range(20)}
        arrivals = {name: at - SINCE + MONDAY for name, (at, _) in topics.items()}
        services = {name: took / times for name, (_, took) in topics.items()}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ops.db"
            record(path, load(arrivals, services, wait=1.0), (0, 7 * DAY), every=60.0)
            with tt.connect(f"sqlite:///{path}") as history:
                began = time.process_time()
                demand = tt.capacity.inputs(history).demand
                read = time.process_time() - began
                began = time.process_time()
                tt.capacity.solve(history)
                both = time.process_time() - began
                began = time.process_time()
                tt.capacity.solve(demand)
                solved = time.process_time() - began
        tasks = sum(map(len, arrivals.values()))
        yield (
            f"A week of 20 topics, {tasks:,} tasks: `solve` from the file {both:.1f} s of CPU, "
            f"{solved:.1f} s of it after reading (`inputs` takes {read:.1f} s)."
        )
        yield ""


def _merged(kind: str, seed: int, times: int) -> tuple[FloatArray, FloatArray]:
    """Return so many times the traffic of *kind*, as arrivals and service times."""
    parts = [traffic(kind, seed + 1000 * n) for n in range(times)]
    arrivals, services = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    order = np.argsort(arrivals, kind="stable")
    return arrivals[order], services[order]


def balance(seeds: int, first: int) -> Iterator[str]:
    """Yield how near the slots are of recordings without messages, with a sample each 5 s."""
    yield (
        f"{seeds} weeks of each kind (seeds {first} to {first + seeds - 1}), recorded without "
        "messages, with a sample each 5 s: arrivals are the balance of starts and queue lengths."
    )
    yield ""
    yield "| kind | same slots ±1 as with messages | difference of the need |"
    yield "| --- | --- | --- |"
    for kind in KINDS:
        pairs = []
        for seed in range(first, first + seeds):
            arrivals, services = traffic(kind, seed)
            known = tt.capacity.solve(demand_of([topic_of(arrivals, services)]), WAIT, QUANTILE)
            with tempfile.TemporaryDirectory() as folder:
                cluster = load({"work": arrivals - SINCE + MONDAY}, {"work": services}, wait=1.0)
                path = Path(folder) / "ops.db"
                record(path, cluster, (0, 7 * DAY), every=5.0, messages=False)
                with tt.connect(f"sqlite:///{path}") as history:
                    pairs.append((known.iloc[0], tt.capacity.solve(history).iloc[0]))
        near = sum(abs(exact["slots"] - row["slots"]) <= 1 for exact, row in pairs)
        apart = [float(row["need"] - exact["need"]) for exact, row in pairs]
        yield f"| {kind} | {near} of {len(pairs)} | {np.mean(apart):+.2f} |"
