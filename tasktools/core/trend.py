"""The trend of a series: a slope that outliers do not move, with an interval (Theil and Sen)."""

from __future__ import annotations

import functools
import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from tasktools.core.series import Series

_MAX_SAMPLES: Final = 60
"""Samples of a series that are compared in pairs; more are thinned out evenly, as the pairs of 600
take 20 ms a topic."""
_NORMAL_95: Final = 1.96
_MAX_CORRELATION: Final = 0.9
"""The largest correlation of neighbouring samples: no window is long enough to measure a larger
one."""

_Floats = npt.NDArray[np.float64]


class Trend(msgspec.Struct, frozen=True):
    """The change of a quantity a second: the median *slope* of all pairs of samples, and the
    limits of its 95 % interval."""

    slope: float
    low: float
    high: float


def trend(series: Series) -> Trend | None:
    """Return the trend of *series*; `None` with fewer than 3 samples.

    The interval is Sen's, widened by the correlation of neighbouring samples: the length of a queue
    changes gradually, and 40 samples of it say less than 40 independent measurements.

    >>> trend(Series((0.0, 5.0, 10.0, 15.0), (0.0, 10.0, 20.0, 30.0)))
    Trend(slope=2.0, low=2.0, high=2.0)
    """
    times, values = _thinned(series)
    count = len(times)
    if count < 3:
        return None
    earlier, later = _pairs(count)
    spans = times[later] - times[earlier]
    slopes = np.sort((values[later] - values[earlier])[spans > 0] / spans[spans > 0])
    if not len(slopes):
        return None
    slope = float(np.median(slopes))
    half = _NORMAL_95 * math.sqrt(_variance(values) * _inflation(values - slope * times)) / 2
    # With few samples the interval would reach beyond the slopes: it then is all of them.
    low = max(math.floor(len(slopes) / 2 - half), 0)
    high = min(math.ceil(len(slopes) / 2 + half), len(slopes) - 1)
    return Trend(slope, float(slopes[low]), float(slopes[high]))


@functools.cache  # of 60 at most: they take a third of the time of a trend
def _pairs(count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the positions of all pairs of *count* samples."""
    earlier, later = np.triu_indices(count, 1)
    return earlier, later


def _thinned(series: Series) -> tuple[_Floats, _Floats]:
    times, values = np.array(series.times), np.array(series.values)
    if len(times) > _MAX_SAMPLES:
        places = np.linspace(0, len(times) - 1, _MAX_SAMPLES).round().astype(int)
        times, values = times[places], values[places]
    return times - times[0] if len(times) else times, values


def _variance(values: _Floats) -> float:
    """Return the variance of Kendall's S of *values* without a trend; equal values lower the
    variance."""
    _, counts = np.unique(values, return_counts=True)
    sizes: list[int] = [len(values), *counts.tolist()]
    terms = [size * (size - 1) * (2 * size + 5) for size in sizes]
    return max(terms[0] - sum(terms[1:]), 0) / 18


def _inflation(residuals: _Floats) -> float:
    """Return the factor by which the correlation of neighbouring samples raises the variance of
    S."""
    centred = residuals - residuals.mean()
    square = float(centred @ centred)
    if square <= 1e-9 * max(float(residuals @ residuals), 1e-9):
        return 1.0  # a straight line
    alike = float(centred[1:] @ centred[:-1]) / square
    alike = min(max(alike, 0.0), _MAX_CORRELATION)
    return float((1 + alike) / (1 - alike))
