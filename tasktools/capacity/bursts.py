"""Burstiness of arrivals: how much more their counts vary than those of independent arrivals."""

from __future__ import annotations

from typing import Final

import numpy as np

from tasktools.capacity.demand import FloatArray
from tasktools.capacity.hour_of_week import DAY, HOUR, is_weekend

_SERVICES_PER_WINDOW: Final = 10.0
_MAX_WINDOW: Final = HOUR
_MIN_WINDOW: Final = 1.0


def window_of(mean_service: float) -> float:
    """Return the length of the windows in which arrivals are counted: ten mean service times, from
    a second to an hour; seconds."""
    return min(max(_SERVICES_PER_WINDOW * mean_service, _MIN_WINDOW), _MAX_WINDOW)


def dispersion(
    arrivals: FloatArray, recorded: tuple[tuple[float, float], ...], window: float
) -> float:
    """Return the index of dispersion of counts: their variance over their mean.

    The mean of each hour of the day is removed, on weekdays and on weekends, so that a daily or
    weekly shape is no burst. Independent arrivals have 1, batches of 8 have 8. It is NaN where
    fewer than two whole windows of any hour are recorded.

    Parameters
    ----------
    arrivals
        Seconds since the epoch, ascending.
    recorded
        The spans that were recorded, likewise.
    window
        The length of the windows; seconds.

    References
    ----------
    Cox and Lewis 1966, The Statistical Analysis of Series of Events.

    Examples
    --------
    >>> import numpy as np
    >>> dice = np.random.default_rng(1)
    >>> times = np.sort(dice.uniform(0, 86_400, 20_000))
    >>> round(dispersion(times, ((0.0, 86_400.0),), 20.0), 1)
    1.0

    """
    counts, starts = _counts(arrivals, recorded, window)
    if not len(counts):
        return float("nan")
    middle = starts + window / 2
    groups = (middle % DAY // HOUR).astype(np.int64) + 24 * is_weekend(middle)
    size = np.bincount(groups, minlength=48)
    total = np.bincount(groups, counts, minlength=48)
    squares = np.bincount(groups, counts**2, minlength=48)
    usable = size >= 2
    mean = total[usable] / size[usable]
    variance = (squares[usable] - size[usable] * mean**2) / (size[usable] - 1)
    expected = float((size[usable] * mean).sum())
    return float((size[usable] * variance).sum()) / expected if expected else float("nan")


def _counts(
    arrivals: FloatArray, recorded: tuple[tuple[float, float], ...], window: float
) -> tuple[FloatArray, FloatArray]:
    """Return the arrivals in each whole window within *recorded*, and the starts of the windows."""
    counts: list[FloatArray] = [np.empty(0)]
    starts: list[FloatArray] = [np.empty(0)]
    for since, until in recorded:
        edges: FloatArray = since + window * np.arange(int((until - since) / window) + 1.0)
        counts.append(np.diff(np.searchsorted(arrivals, edges)).astype(np.float64))
        starts.append(edges[:-1])
    return np.concatenate(counts), np.concatenate(starts)
