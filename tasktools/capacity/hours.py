"""The offered load by hour of the week, and what follows from it without a simulation.

Source: Jimenez & Koole 2004, Scaling and comparison of fluid limits of queues applied to call
centers with time-varying parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.capacity.demand import Demand, FloatArray
from tasktools.capacity.interval import DAY, HOUR

IntArray = np.ndarray[Any, np.dtype[np.int64]]

_HOURS: Final = 168
_WEEK: Final = 7 * DAY
_MIN_SECONDS: Final = 900.0
"""Of an hour of the week that was recorded: of less its load is a guess."""
_EPOCH_HOUR: Final = 72  # 1970-01-01 was a Thursday; the week begins on Monday


@dataclass(frozen=True, slots=True)
class WeekLoad:
    """The offered load (erlang) of each recorded hour of the week, in order."""

    hours: IntArray
    loads: FloatArray
    tasks: FloatArray

    @property
    def peak(self) -> float:
        """The load of the busiest hour."""
        return float(self.loads.max())


def hour_of_week(times: FloatArray) -> IntArray:
    """Return the hour of the week (UTC) of *times*; 0 begins on Monday at midnight."""
    return ((times // HOUR).astype(np.int64) + _EPOCH_HOUR) % _HOURS


def week_load(times: FloatArray, service: float, demand: Demand) -> WeekLoad:
    """Return the offered load by hour of the week of tries at *times* of *service* seconds each."""
    seconds = np.zeros(_HOURS)
    for since, until in demand.recorded:
        edges = np.append(np.arange(since // HOUR, math.ceil(until / HOUR)) * HOUR, until)
        edges[0] = since
        np.add.at(seconds, hour_of_week((edges[:-1] + edges[1:]) / 2), np.diff(edges))
    tasks = np.bincount(hour_of_week(times), minlength=_HOURS).astype(np.float64)
    hours = np.flatnonzero(seconds >= _MIN_SECONDS)
    if not len(hours):
        hours = np.flatnonzero(seconds > 0)
    return WeekLoad(hours, tasks[hours] / seconds[hours] * service, tasks[hours])


def slots_to_clear(load: WeekLoad, within: float) -> int:
    """Return the fewest slots with which each backlog of a week is gone *within* seconds after
    the load has fallen below them, if tasks flowed like a fluid."""
    week = np.zeros(_HOURS)
    week[load.hours] = load.loads
    enough, too_few = math.ceil(load.peak), math.floor(float(week.mean()))
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if _longest_clearing(week, middle) <= within:
            enough = middle
        else:
            too_few = middle
    return max(enough, 1)


def _longest_clearing(week: FloatArray, slots: int) -> float:
    """Return the longest time (s) from the end of an overload until its backlog is gone."""
    backlog, since, longest = 0.0, 0.0, 0.0  # busy seconds of work; seconds since the overload
    for load in np.concatenate([week, week]):
        growth = (load - slots) * HOUR
        if growth >= 0:
            backlog, since = backlog + growth, 0.0
        elif backlog > 0:
            lasts = min(backlog / (slots - load), HOUR)
            since += lasts
            backlog = max(backlog + growth, 0.0)
            longest = max(longest, since)
    return math.inf if backlog > 0 and since >= _WEEK else longest
