"""Families of traffic whose need is known: arrivals and service times of about six erlang."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tasktools.capacity.demand import Demand, FloatArray, TopicDemand, WorkerSlots

Rng = np.random.Generator
DAY: Final = 86_400.0
SINCE: Final = 1_767_571_200.0  # Monday 2026-01-05 00:00 UTC
MEAN_SERVICE: Final = 60.0
LOAD: Final = 6.0
RATE: Final = LOAD / MEAN_SERVICE


def thinned(
    rng: Rng, seconds: float, rate: Callable[[FloatArray], FloatArray], most: float
) -> FloatArray:
    """Return arrivals of a Poisson process whose rate changes (Lewis & Shedler 1979)."""
    times = np.sort(rng.uniform(0, seconds, rng.poisson(most * seconds)))
    return times[rng.random(len(times)) * most < rate(times)]


def poisson(rng: Rng, seconds: float) -> FloatArray:
    return np.sort(rng.uniform(0, seconds, rng.poisson(RATE * seconds)))


def on_off(rng: Rng, seconds: float) -> FloatArray:
    """A process of two states: 5 minutes at 3 times the rate, 15 at a third of it, on average."""
    count = int(seconds / 600) + 50
    spans = np.empty(2 * count)
    spans[::2] = rng.exponential(300.0, count)
    spans[1::2] = rng.exponential(900.0, count)
    ends = np.cumsum(spans)
    while ends[-1] < seconds:  # never in practice
        ends = np.concatenate([ends, ends[-1] + ends])
    return thinned(
        rng,
        seconds,
        lambda t: np.where(np.searchsorted(ends, t) % 2 == 0, 3.0, 1 / 3) * RATE,
        3.0 * RATE,
    )


def batches(rng: Rng, seconds: float, size: int = 8) -> FloatArray:
    heads = np.sort(rng.uniform(0, seconds, rng.poisson(RATE / size * seconds)))
    return np.repeat(heads, rng.geometric(1 / size, len(heads)))


def daily(rng: Rng, seconds: float) -> FloatArray:
    return thinned(
        rng, seconds, lambda t: RATE * (1 - 0.7 * np.cos(2 * np.pi * t / DAY)), 1.7 * RATE
    )


def weekly(rng: Rng, seconds: float) -> FloatArray:
    def rate(t: FloatArray) -> FloatArray:
        day = (SINCE + t) // DAY
        weight = np.where((day + 3) % 7 >= 5, 0.3, 1.28)
        return RATE * weight * (1 - 0.7 * np.cos(2 * np.pi * t / DAY))

    return thinned(rng, seconds, rate, 1.28 * 1.7 * RATE)


def daily_bursts(rng: Rng, seconds: float) -> FloatArray:
    """Batches of four whose heads follow the day."""
    heads = thinned(
        rng, seconds, lambda t: RATE / 4 * (1 - 0.7 * np.cos(2 * np.pi * t / DAY)), 1.7 * RATE / 4
    )
    return np.repeat(heads, rng.geometric(1 / 4, len(heads)))


def exponential(rng: Rng, count: int) -> FloatArray:
    return rng.exponential(MEAN_SERVICE, count)


def lognormal(rng: Rng, count: int) -> FloatArray:
    return rng.lognormal(np.log(MEAN_SERVICE) - 1.5**2 / 2, 1.5, count)


def pareto(rng: Rng, count: int) -> FloatArray:
    """Infinite variance: shape 1.8."""
    return (1 + rng.pareto(1.8, count)) * MEAN_SERVICE * 0.8 / 1.8


KINDS: Final[
    dict[str, tuple[Callable[[Rng, float], FloatArray], Callable[[Rng, int], FloatArray]]]
] = {
    "M/M": (poisson, exponential),
    "on/off": (on_off, exponential),
    "batches": (batches, exponential),
    "lognormal": (poisson, lognormal),
    "Pareto": (poisson, pareto),
    "daily": (daily, exponential),
    "all three": (daily_bursts, lognormal),
    "weekly": (weekly, exponential),
}


def traffic(kind: str, seed: int, days: float = 7.0) -> tuple[FloatArray, FloatArray]:
    """Return arrivals (seconds since the epoch) and service times of *days* of a kind."""
    arrivals_of, services_of = KINDS[kind]
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    arrivals = arrivals_of(rng, days * DAY)
    return SINCE + arrivals, services_of(rng, len(arrivals))


def topic_of(
    arrivals: FloatArray, services: FloatArray, topic: str = "work", **options: Any
) -> TopicDemand:
    values: dict[str, Any] = {
        "arrivals_from": "messages",
        "failed": np.zeros(len(services), dtype=bool),
        "censored": np.zeros(0),
        "limit": None,
        "retry_delay": None,
        "max_retries": None,
    }
    return TopicDemand(topic, arrivals=arrivals, service_times=services, **(values | options))


def demand_of(
    topics: list[TopicDemand], days: float = 7.0, workers: tuple[WorkerSlots, ...] = ()
) -> Demand:
    span = (SINCE, SINCE + days * DAY)
    return Demand(*span, (span,), {each.topic: each for each in topics}, workers)


def workers_of(
    count: int, capacity: int, topics: tuple[str, ...], prefetch: int | None = None
) -> tuple[WorkerSlots, ...]:
    held = dict.fromkeys(topics, capacity if prefetch is None else prefetch)
    return tuple(WorkerSlots(f"w{n}", "host", capacity, topics, held) for n in range(count))
