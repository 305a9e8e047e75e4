"""A forecast of when a queue is down to a level: a band, and the data behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tasktools.capacity.demand import FloatArray
from tasktools.capacity.drain import paths as futures
from tasktools.capacity.drain.bins import Bins, Timing
from tasktools.capacity.drain.scores import SHARES, Levels, levels, quantile
from tasktools.core.clock import moment
from tasktools.core.timespans import in_words

WILL_NOT: Final = 0.9
"""Share of paths that must not end for the words "will not" to be used of the drain."""
MAY_NOT: Final = 0.5
_SECONDS_UP_TO: Final = 600.0
"""The longest horizon with which moments are shown to the second."""
_BAND_POINTS: Final = 40


@dataclass(frozen=True, slots=True)
class Forecast:
    """The end of a drain, when a queue is down to *level*: spans in s from now, infinite beyond the
    *horizon* (s).

    *earliest* to *latest* hold 80 % of what may happen; *not_within* is the share of futures that
    do not end within the horizon; rates are per second. `times` are those of all paths.
    """

    depth: float
    level: float
    horizon: float
    earliest: float
    expected: float
    latest: float
    not_within: float
    arrivals: float
    completions: float
    slots: float | None
    times: FloatArray
    shown_levels: Levels = SHARES
    paths: futures.Paths | None = None

    @property
    def shown(self) -> tuple[float, float, float]:
        """Return the three quantiles that are shown."""
        return self.earliest, self.expected, self.latest

    def words(self, at: float, *, has_date: bool = False) -> str:
        """Return the forecast that was made *at* (s since the epoch) in words."""
        within = in_words(self.horizon)
        if self.not_within >= WILL_NOT:
            if self.slots == 0:
                return "will not end: no worker takes this topic"
            return "will not end at this rate"
        spelling = "%Y-%m-%d %H:%M" if has_date else "%H:%M"
        spelling += ":%S" if self.horizon <= _SECONDS_UP_TO else ""
        early, _, late = (
            f"{moment(at + span):{spelling}}" if math.isfinite(span) else None
            for span in self.shown
        )
        if self.not_within >= MAY_NOT:
            soonest = f"; at {early} UTC at the earliest" if early else ""
            return f"may not end within {within} ({self.not_within:.0%}){soonest}"
        goal = "empties" if self.level <= 0 else f"down to {self.level:,.0f}"
        if early is None:  # earlier forecasts were all too early
            return f"not within {within}, 80 %"
        if late is None:
            return f"{goal} after {early} UTC, 80 %, perhaps not within {within}"
        return f"{goal} between {early} and {late} UTC, 80 %"

    def band(self) -> list[tuple[float, float, float, float]]:
        """Return the future depth: seconds from now, each with the lower end, the middle and the
        upper end of the band, until the upper end is at the level; steps grow with time."""
        now = (0.0, self.depth, self.depth, self.depth)
        if self.paths is None:
            return [now]
        places = np.geomspace(1, len(self.paths.ends), _BAND_POINTS).round().astype(int) - 1
        places = np.unique(places)
        depth = np.quantile(self.paths.depth[places], self.shown_levels, axis=1)
        there = np.flatnonzero(depth[-1] <= self.level)
        end = int(there[0]) + 1 if len(there) else len(places)
        rows = np.column_stack([self.paths.ends[places], *np.maximum(depth, 0.0)])[:end]
        return [now, *((span, low, mid, high) for span, low, mid, high in rows.round(3).tolist())]


def forecast(
    bins: Bins,
    level: float,
    timing: Timing,
    ranks: Sequence[float],
    rng: np.random.Generator,
    *,
    slot_changes: float = futures.SLOT_CHANGES,
) -> Forecast | None:
    """Return when the queue of *bins* is down to *level*; `None`: its rates are not known.

    *ranks* are the ranks of the true times among the simulated paths of earlier forecasts: the band
    is the one that would have held 80 % of those times.
    """
    paths = futures.simulate(bins, level, timing, rng, slot_changes=slot_changes)
    if paths is None:
        return None
    times = paths.times if bins.depth > level else np.zeros(futures.PATHS)
    shown_levels = levels(ranks)
    earliest, expected, latest = (quantile(times, each) for each in shown_levels)
    return Forecast(
        depth=bins.depth,
        level=level,
        horizon=timing.horizon,
        earliest=earliest,
        expected=expected,
        latest=latest,
        not_within=float(np.isinf(times).mean()),
        arrivals=paths.arrivals,
        completions=paths.completions,
        slots=bins.slots_now,
        times=times,
        shown_levels=shown_levels,
        paths=paths,
    )
