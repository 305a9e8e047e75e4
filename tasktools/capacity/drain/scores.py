"""Bands of forecasts, and how well earlier ones held: coverage, pinball loss, recalibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tasktools.capacity.demand import FloatArray

SHARES: Final = (0.1, 0.5, 0.9)
"""The quantiles that are shown: the band between the outer two holds 80 %."""
REMEMBERED: Final = 300
"""Scored forecasts that the next one learns from, and whose coverage is shown."""
_EVEN: Final = 40
"""Evenly spread ranks that stand for a band without faults, until there are others."""

Levels = tuple[float, float, float]


def levels(ranks: Sequence[float]) -> Levels:
    """Return the quantiles of the paths to show as 10, 50 and 90 %, recalibrated by the *ranks* of
    the true times among the paths of earlier forecasts, the newest last.

    References
    ----------
    Kuleshov, Fenner & Ermon 2018, Accurate uncertainties for deep learning using calibrated
    regression.

    Examples
    --------
    >>> [round(level, 2) for level in levels([])]
    [0.1, 0.5, 0.9]
    >>> levels([0.0, 1.0] * 150)[0] < 0.05  # the truth was always outside: a wider band
    True

    """
    even = np.linspace(0, 1, _EVEN)
    low, middle, high = np.quantile([*ranks[-REMEMBERED:], *even], SHARES).tolist()
    return low, middle, high


def quantile(times: FloatArray, level: float) -> float:
    """Return the quantile *level* of *times*, of which some may be infinite."""
    ordered = np.sort(times)
    return float(ordered[min(int(level * len(ordered)), len(ordered) - 1)])


def rank(times: FloatArray, truth: float, chance: float) -> float:
    """Return the share of *times* below the *truth*, counting *chance* of the equal ones: a truth
    beyond the horizon gets a random rank among the paths beyond it.

    >>> rank(np.array([1.0, 2.0, 3.0, 4.0]), 2.5, 0.5), rank(np.array([1.0, np.inf]), np.inf, 0.5)
    (0.5, 0.75)
    """
    return float((times < truth).mean() + chance * (times == truth).mean())


def is_covered(earliest: float, latest: float, truth: float) -> bool:
    """Whether the *truth* is in the band; times beyond the horizon are infinite."""
    return earliest <= truth <= latest


def pinball(shown: Sequence[float], truth: float, horizon: float) -> float:
    """Return the mean pinball loss of the three quantiles *shown*, in the log of time; times beyond
    the *horizon* count as the horizon.

    References
    ----------
    Koenker & Bassett 1978, Regression quantiles.

    Examples
    --------
    >>> pinball((60.0, 60.0, 60.0), 60.0, 21_600.0)
    0.0

    """
    logs = np.log(np.clip([*shown, truth], 1.0, max(horizon, 1.0)))
    errors, shares = logs[-1] - logs[:-1], np.array(SHARES)
    return float(np.maximum(shares * errors, (shares - 1) * errors).mean())
