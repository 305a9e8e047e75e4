"""How often the chosen rate of a replay keeps live tasks from waiting, on days that it did not see.

``python -m tests.capacity.replays 20 100`` tries 20 histories of six kinds of traffic, from seed
100 on, and writes the result into benchmarks/CAPACITY.md.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from tasktools.capacity.demand import Demand, FloatArray
from tasktools.capacity.replay_rates import (
    LOWEST_RATE,
    fastest_useful,
    highest_rate,
    hours_of,
    impact_of,
)
from tasktools.capacity.simulation import simulated_waits
from tests.capacity.page import write_section
from tests.capacity.traffic import DAY, SINCE, demand_of, topic_of, traffic, workers_of

MESSAGES: Final = 400
WAIT_BELOW: Final = 30.0
_WARM_UP: Final = 3 * 3600.0
_HOLDS: Final = 0.9  # of the futures, at the best rate
_FUTURES: Final = 100


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of traffic at an hour of the day, with so many slots."""

    name: str
    kind: str
    hour: float
    slots: int


CASES: Final = (
    Case("M/M", "M/M", 12.0, 12),
    Case("on/off", "on/off", 12.0, 25),
    Case("lognormal", "lognormal", 12.0, 13),
    Case("daily, peak", "daily", 12.0, 17),
    Case("daily, 3 h", "daily", 3.0, 17),
    Case("all three", "all three", 12.0, 26),
)


@dataclass(frozen=True, slots=True)
class Future:
    """Live tasks around a replay that begins at 0, and the service times of what is replayed."""

    times: FloatArray
    services: FloatArray
    replayed: FloatArray

    def p95(self, slots: int, rate: float) -> float:
        """Return the p95 wait (s) of the live tasks that come while messages are sent."""
        sent = np.arange(len(self.replayed)) / rate
        times = np.concatenate([self.times, sent])
        services = np.concatenate([self.services, self.replayed])
        order = np.argsort(times, kind="stable")
        order = order[times[order] <= sent[-1]]
        waits = simulated_waits(times[order], services[order], slots)
        is_live = (order < len(self.times)) & (times[order] >= 0)
        return float(np.quantile(waits[is_live], 0.95)) if is_live.any() else 0.0


def futures(case: Case, seeds: range) -> list[Future]:
    """Return futures that no history has seen, a day of traffic each."""
    replays = []
    for seed in seeds:
        arrivals, services = traffic(case.kind, seed, days=3.0)
        start = SINCE + DAY + case.hour * 3600
        chosen = arrivals >= start - _WARM_UP
        rng = np.random.default_rng(seed)
        replays.append(
            Future(arrivals[chosen] - start, services[chosen], rng.choice(services, MESSAGES))
        )
    return replays


def history(case: Case, seed: int, days: float = 7.0) -> Demand:
    """Return what was recorded of a week."""
    arrivals, services = traffic(case.kind, seed, days)
    workers = workers_of(case.slots, 1, ("work",))
    return demand_of([topic_of(arrivals, services)], days, workers)


def best_rate(case: Case, known: list[Future]) -> float:
    """Return the rate at which 9 of 10 futures stay below the target."""

    def holds(rate: float) -> bool:
        held = sum(each.p95(case.slots, rate) <= WAIT_BELOW for each in known)
        return held >= _HOLDS * len(known)

    low, high = LOWEST_RATE, 2 * case.slots / 60.0
    if not holds(low):
        return 0.0
    for _ in range(10):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice, and what the futures made of it."""

    rate: float
    best: float
    holds: float
    """Share of the futures below the target at the chosen rate."""
    covered: float
    """Share of the futures whose p95 is in the band at the chosen rate."""
    covered_above: float
    """The same at 1.2 times the best rate."""


def trial(case: Case, seed: int, known: list[Future], best: float) -> Trial:
    """Choose a rate by one history, and try it on the futures."""
    demand = history(case, seed)
    at = demand.until + case.hour * 3600
    hours = hours_of(demand, "work", at=at, messages=MESSAGES)
    rate = highest_rate(hours, WAIT_BELOW, most=fastest_useful(demand, hours))
    if rate is None:
        return Trial(0.0, best, 1.0, math.nan, math.nan)
    covered = []
    for each_rate in (rate, 1.2 * best):
        impact = impact_of(hours, each_rate)
        assert impact is not None
        waits = [each.p95(case.slots, each_rate) for each in known]
        covered.append(np.mean([impact.low <= wait <= impact.high for wait in waits]))
    holds = np.mean([each.p95(case.slots, rate) <= WAIT_BELOW for each in known])
    return Trial(rate, best, float(holds), float(covered[0]), float(covered[1]))


TITLE: Final = "Rates of replays, chosen by history"


def section(seeds: int, first_seed: int) -> str:
    """Choose rates by *seeds* histories of each kind; return what became of them, for the page."""
    began = time.process_time()
    rows, everything = [], []
    for case in CASES:
        known = futures(case, range(90_000, 90_000 + _FUTURES))
        best = best_rate(case, known)
        trials = [trial(case, seed, known, best) for seed in range(first_seed, first_seed + seeds)]
        everything += trials
        ratios = [each.rate / best for each in trials]
        rows.append(
            f"| {case.name} | {case.slots} | {best:.3f} | {np.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {_percent(trials, 'holds')} | "
            f"{_percent(trials, 'covered')} / {_percent(trials, 'covered_above')} |"
        )
    within = np.mean([0.5 <= each.rate / each.best <= 1.3 for each in everything])
    return "\n".join(
        [
            f"{MESSAGES} messages are replayed into traffic of which 7 days were recorded; the p95 "
            f"wait of live tasks is to stay below {WAIT_BELOW:g} s. {seeds} histories of each kind "
            f"(seeds {first_seed} to {first_seed + seeds - 1}), each rate tried on {_FUTURES} days "
            "that no history holds; at the best rate 90 % of them stay below. Band: 80 %.",
            "",
            "| traffic | slots | best rate, /s | chosen / best, median (all) | days below, % | "
            "band covers, %, at the chosen rate / at 1.2 best |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            f"| **all** | | | {within:.0%} within 0.5 to 1.3 | {_percent(everything, 'holds')} | "
            f"{_percent(everything, 'covered')} / {_percent(everything, 'covered_above')} |",
            "",
            f"{(time.process_time() - began) / len(everything):.1f} s of CPU a trial.",
        ]
    )


def _percent(trials: list[Trial], name: str) -> str:
    return f"{100 * np.nanmean([getattr(each, name) for each in trials]):.0f}"


if __name__ == "__main__":
    write_section(TITLE, section(int(sys.argv[1]), int(sys.argv[2])))
