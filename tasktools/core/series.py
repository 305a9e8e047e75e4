"""A quantity over time, as samples."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import msgspec


class Series(msgspec.Struct, frozen=True, gc=False):
    """Samples of one quantity: *times* (seconds since the epoch, ascending) and their *values*.

    >>> queued = Series((0.0, 5.0, 10.0), (3.0, 4.0, 9.0))
    >>> queued.change(5), queued.change(10), queued.change(60)
    (5.0, 6.0, None)
    """

    times: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.times) != len(self.values):  # of a recording that a stranger made
            raise ValueError(f"{len(self.times)} times for {len(self.values)} values")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def last(self) -> float | None:
        """The newest value; `None` without samples."""
        return self.values[-1] if self.values else None

    @property
    def span(self) -> float:
        """Seconds from the first sample to the last."""
        return self.times[-1] - self.times[0] if self.times else 0.0

    def window(self, seconds: float) -> Series:
        """Return the samples of the last *seconds* before the newest, that at their start too."""
        if not self.times:
            return self
        return self.between(self.times[-1] - seconds, self.times[-1])

    def between(self, since: float, until: float) -> Series:
        """Return the samples from *since* to *until*, both included."""
        times = self.times
        if not times or (since <= times[0] and times[-1] <= until):
            return self
        first, end = bisect_left(times, since), bisect_right(times, until)
        return Series(times[first:end], self.values[first:end])

    def before(self, at: float) -> float | None:
        """Return the newest value at or before *at*; `None` if there is none."""
        place = bisect_right(self.times, at)
        return self.values[place - 1] if place else None

    def change(self, seconds: float, *, at_least: float | None = None) -> float | None:
        """Return by how much the value changed in the last *seconds*.

        `None` if the samples cover less than *at_least* (by default, 9 tenths of *seconds*).
        """
        window = self.window(seconds)
        wanted = 0.9 * seconds if at_least is None else at_least
        if len(window) < 2 or window.span < wanted:
            return None
        return window.values[-1] - window.values[0]

    def rate(self, seconds: float) -> float | None:
        """Return the change per second over the last *seconds*; `None` where `change` returns
        it."""
        change = self.change(seconds)
        return None if change is None else change / self.window(seconds).span

    def peak(self, seconds: float) -> float | None:
        """Return the highest value of the last *seconds*; `None` without samples."""
        return max(self.window(seconds).values, default=None)


def common(*series: Series) -> tuple[Series, ...]:
    """Return *series* at the times that all have in common: only such values may be subtracted."""
    times = sorted(set.intersection(*(set(each.times) for each in series))) if series else []
    return tuple(_at(each, times) for each in series)


def total(*series: Series) -> Series:
    """Return the sum of *series* at the times that all of them have.

    >>> total(Series((0.0, 5.0), (1.0, 2.0)), Series((5.0, 10.0), (3.0, 4.0)))
    Series(times=(5.0,), values=(5.0,))
    """
    at_common = common(*series)
    times = at_common[0].times if at_common else ()
    columns = zip(*(each.values for each in at_common), strict=True)
    return Series(times, tuple(float(sum(column)) for column in columns))


def _at(series: Series, times: Sequence[float]) -> Series:
    values = dict(zip(series.times, series.values, strict=True))
    return Series(tuple(times), tuple(values[at] for at in times))
