"""The offered load by hour of the week, and the slots that its backlogs need.

Source: Jimenez & Koole 2004, Scaling and comparison of fluid limits of queues applied to call
centers with time-varying parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tasktools.capacity.demand import FloatArray
from tasktools.capacity.hour_of_week import DAY, HOUR, HOURS_OF_WEEK, Whole

_WEEK = 7 * DAY


@dataclass(frozen=True, slots=True)
class WeekLoad:
    """The offered load (erlang) of each known hour of the week, in order."""

    hours: Whole
    loads: FloatArray
    tasks: FloatArray
    """Tasks a second in each hour."""
    mean: float
    """The load over all that was recorded, hours of which too little was recorded included."""

    @property
    def peak(self) -> float | None:
        """The load of the busiest hour, which is no less than the mean; `None`: too little was
        recorded of any."""
        return max(float(self.loads.max()), self.mean) if len(self.loads) else None


def slots_to_clear(load: WeekLoad, within: float) -> int:
    """Return the fewest slots with which each backlog of a week is gone *within* seconds after
    the load has fallen below them, if tasks flowed like a fluid."""
    week = np.zeros(HOURS_OF_WEEK)
    week[load.hours] = load.loads
    enough, too_few = math.ceil(load.peak or 0.0), math.floor(float(week.mean()))
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
