"""Axes of charts: where values and times lie, and which of them are labelled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec
import pandas as pd

WIDTH: Final = 1120
LEFT, RIGHT = 108, 20
_MAX_TIMES: Final = 9
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIME_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 4 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY, 91 * _DAY, 364 * _DAY),
)
"""Seconds between two labelled times."""
_VALUE_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


class TimeAxis(msgspec.Struct, frozen=True):
    """The horizontal axis of all charts of a report: the time from *since* to *until* (UTC)."""

    since: pd.Timestamp
    until: pd.Timestamp

    def place(self, at: pd.Timestamp) -> float:
        """Return the position of *at*, from the left (units of the chart), clipped to the axis."""
        share = (at - self.since) / (self.until - self.since)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def has(self, at: pd.Timestamp) -> bool:
        """Whether *at* is within the axis."""
        return bool(self.since <= at <= self.until)

    def labels(self) -> Iterator[tuple[float, str]]:
        """Yield the positions of round times, and the times in words."""
        span = (self.until - self.since).total_seconds()
        step = next((step for step in _TIME_STEPS if span / step <= _MAX_TIMES), _TIME_STEPS[-1])
        first = math.ceil(self.since.timestamp() / step) * step
        words = "%H:%M:%S" if step < _MINUTE else "%H:%M" if step < _DAY else "%Y-%m-%d"
        before: str | None = None
        for second in range(first, math.floor(self.until.timestamp()) + 1, step):
            at = pd.Timestamp(second, unit="s", tz="UTC")
            day = f"{at:%d %b}"
            is_new = step < _DAY and day != before and self.since.date() != self.until.date()
            yield self.place(at), f"{at:{words}}{f' · {day}' if is_new else ''}"
            before = day


class ValueAxis(msgspec.Struct, frozen=True):
    """A vertical axis from 0 to at least *highest*, *height* units high; *unit* names it.

    With *whole*, only whole numbers are labelled.
    """

    highest: float
    height: int
    unit: str
    percent: bool = False
    whole: bool = False

    @property
    def step(self) -> float:
        """The difference between two labelled values: about 4 of them fit."""
        highest = self.highest if self.highest > 0 else 1.0
        rough = highest / 4
        size = 10.0 ** math.floor(math.log10(rough))
        step = size * next(step for step in _VALUE_STEPS if size * step >= rough * 0.999)
        return float(math.ceil(step)) if self.whole else step

    @property
    def top(self) -> float:
        """The value at the upper end."""
        return self.step * max(math.ceil(self.highest / self.step - 1e-9), 1)

    def place(self, value: float) -> float:
        """Return the position of *value*, from the top."""
        return self.height * (1 - value / self.top)

    def labels(self) -> Iterator[tuple[float, str]]:
        """Yield the positions of round values, and the values in words."""
        for n in range(round(self.top / self.step) + 1):
            yield self.place(n * self.step), self.words(n * self.step)

    def words(self, value: float) -> str:
        """Return *value* for people: about three digits, or whole percents."""
        if self.percent:
            return f"{value:.0%}"
        if abs(value) >= 100:
            return f"{value:,.0f}"
        return f"{value:.3g}"
