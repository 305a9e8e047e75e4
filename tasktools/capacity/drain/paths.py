"""Simulated futures of a queue: when each of them is empty, and how deep it is until then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tasktools.capacity.demand import FloatArray
from tasktools.capacity.drain.bins import Bins, Timing
from tasktools.capacity.drain.filters import RateFilter, filter_rate

PATHS: Final = 400
_FINE: Final = 120
"""Bins that are simulated singly: the next hour. Those after it are taken together."""
_COARSE: Final = 5
SLOT_CHANGES: Final = 0.15 / 120
"""Changes of the number of slots in a bin: 0.15 an hour at 30 s."""
_SLOT_FACTOR: Final = 0.45
"""Standard deviation of the log of the factor by which the slots change."""
_MAX_LOG_RATE: Final = 16.0
"""Tasks in a bin, as a log: no queue gets more, and Poisson numbers stay small integers."""
_NORMAL_FROM: Final = 64.0
"""Poisson numbers of a larger mean are drawn as rounded normal ones, in a fifth of the time."""

Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Paths:
    """The futures of a queue.

    *times* are the seconds until each path is at the level, infinite beyond the horizon; *depth* is
    that of each path (a column) at the end of each step (a row), from its first step at the level
    on that level. *ends* are the seconds until the end of each step. *arrivals* and *completions*
    are the rates now (per s).
    """

    times: FloatArray
    ends: FloatArray
    depth: FloatArray
    arrivals: float
    completions: float


def simulate(
    bins: Bins,
    level: float,
    timing: Timing,
    rng: Generator,
    *,
    slot_changes: float = SLOT_CHANGES,
) -> Paths | None:
    """Return `PATHS` futures after *bins*, each until it is at *level* or for the whole horizon;
    `None`: the rates cannot be known. *slot_changes* is the number of changes of slots in a bin."""
    capacity = bins.capacity
    arriving = filter_rate(bins.arrivals, timing.bin * bins.shape)
    working = filter_rate(np.where(bins.is_busy, bins.completions, np.nan), timing.bin * capacity)
    if arriving is None or (working is None and capacity[-1] > 0):
        return None
    steps = _steps(timing.ahead)
    first = (np.cumsum(steps) - steps).astype(np.intp)
    shape = np.add.reduceat(bins.shape_ahead[: timing.ahead], first)
    comes = _log_rates(arriving, steps, rng) + _logs(timing.bin * shape)[:, None]
    arrivals = _counts(comes, rng)
    completions = 0.0
    goes: FloatArray = np.zeros_like(arrivals)
    if working is not None and capacity[-1] > 0:
        completions = working.mean * float(capacity[-1])
        rates = _log_rates(working, steps, rng) + _slot_factors(steps, slot_changes, rng)
        goes = _counts(rates + _logs(timing.bin * capacity[-1] * steps)[:, None], rng)
    depth = bins.depth + np.cumsum(arrivals - goes, axis=0)
    ends = timing.bin * np.cumsum(steps)
    times, until = _first_passage(bins.depth, depth, level, ends)
    after = np.arange(len(steps))[:, None] >= until
    return Paths(
        times=times,
        ends=ends,
        depth=np.where(after, level, depth),
        arrivals=arriving.mean,
        completions=completions,
    )


def _steps(ahead: int) -> FloatArray:
    """Return the lengths in bins of the steps of *ahead* bins."""
    fine = min(ahead, _FINE)
    coarse, rest = divmod(ahead - fine, _COARSE)
    steps = [*[1.0] * fine, *[float(_COARSE)] * coarse, *[float(rest)] * bool(rest)]
    return np.array(steps)


def _log_rates(rate: RateFilter, steps: FloatArray, rng: Generator) -> FloatArray:
    """Return the log of the rate in each step (a row) of each path (a column)."""
    chosen = rng.choice(len(rate.weight), PATHS, p=rate.weight)
    first, second = rng.standard_normal((2, PATHS))
    spread = np.sqrt(rate.level_variance[chosen])
    level = rate.level[chosen] + spread * first
    along = rate.covariance[chosen] / np.maximum(spread, 1e-12)
    rest = np.sqrt(np.maximum(rate.wander_variance[chosen] - along**2, 0))
    wander = rate.wander[chosen] + along * first + rest * second
    deviation, decay = rate.deviation[chosen], rate.decay[chosen]
    logs = np.empty((len(steps), PATHS))
    rng.standard_normal(out=logs)
    step = decay ** steps[:, None]
    logs *= deviation * np.sqrt(1 - step**2)
    for at, lasting in enumerate(step):
        logs[at] += lasting * wander
        wander = logs[at]
    logs += level
    return logs


def _slot_factors(steps: FloatArray, changes: float, rng: Generator) -> FloatArray:
    """Return the log of the factor by which the slots have changed by each step of each path."""
    logs = np.zeros((len(steps), PATHS))
    count = rng.poisson(changes * steps.sum() * PATHS)
    places = rng.choice(len(steps), count, p=steps / steps.sum()), rng.integers(PATHS, size=count)
    np.add.at(logs, places, _SLOT_FACTOR * rng.standard_normal(count))
    return np.cumsum(logs, axis=0)


def _logs(values: FloatArray) -> FloatArray:
    return np.log(np.maximum(values, 1e-9))


def _counts(log_rates: FloatArray, rng: Generator) -> FloatArray:
    """Return Poisson numbers for the given logs of rates."""
    rates = np.exp(np.minimum(log_rates, _MAX_LOG_RATE))
    counts = rates + np.sqrt(rates) * rng.standard_normal(rates.shape)
    is_small = rates < _NORMAL_FROM
    counts[is_small] = rng.poisson(rates[is_small])
    return np.maximum(np.rint(counts), 0.0)


def _first_passage(
    start: float, depth: FloatArray, level: float, ends: FloatArray
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Return when (s) and in which step each path reaches *level*; infinite if it does not."""
    is_there = depth <= level
    until = np.where(is_there.any(axis=0), is_there.argmax(axis=0), len(depth))
    reached = np.minimum(until, len(depth) - 1)
    paths = np.arange(depth.shape[1])
    end = depth[reached, paths]
    before = np.where(reached > 0, depth[reached - 1, paths], start)
    begin = np.where(reached > 0, ends[reached - 1], 0.0)
    part = np.clip((before - level) / np.maximum(before - end, 1e-9), 0, 1)
    times = np.where(until < len(depth), begin + part * (ends[reached] - begin), np.inf)
    return times, until
