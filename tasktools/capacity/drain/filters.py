"""The rate of a topic's arrivals or completions, estimated by Kalman filters.

The log of a count over what was expected is m + u + noise: m an unknown constant, u an AR(1)
process. The variance of u and its correlation time are not known either, so there is a filter for
each pair of a grid, weighted by how well it predicted each bin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from tasktools.capacity.demand import BoolArray, FloatArray

_DEVIATIONS: Final = (0.02, 0.08, 0.2, 0.45, 0.9)
"""Standard deviations of u: from steady to bursty."""
_PRIOR: Final = (0.15, 0.3, 0.3, 0.15, 0.1)
_MEMORIES: Final = (4.0, 16.0, 60.0)
"""Time constants of u in bins: 2, 8 and 30 min at 30 s."""
_LEVEL_VARIANCE: Final = 1.0
"""Prior variance of m around the log of the mean rate; the counts soon outweigh it."""
_MIN_MEAN_COUNT: Final = 8.0
"""Bins with fewer tasks are taken together: the log of a small count is biased."""
_MAX_MERGED: Final = 15


@dataclass(frozen=True, slots=True)
class RateFilter:
    """The posterior of each model of the grid: its *weight*, the *mean* of (m, u), their
    covariance (*level_variance*, *covariance*, *wander_variance*), and the model's own numbers,
    per bin."""

    weight: FloatArray
    level: FloatArray
    wander: FloatArray
    level_variance: FloatArray
    covariance: FloatArray
    wander_variance: FloatArray
    decay: FloatArray
    deviation: FloatArray

    @property
    def mean(self) -> float:
        """The expected rate now, over the base."""
        spread = self.level_variance + 2 * self.covariance + self.wander_variance
        return float(self.weight @ np.exp(self.level + self.wander + np.minimum(spread, 1.0) / 2))


def filter_rate(counts: FloatArray, base: FloatArray) -> RateFilter | None:
    """Return the posterior of the rate after *counts*, a bin each, where *base* is the expected
    count at rate 1; NaN, or a base of 0, is a bin without information. `None`: no bin has any.

    References
    ----------
    Kalman 1960, A new approach to linear filtering and prediction problems.

    """
    is_known = ~np.isnan(counts) & ~np.isnan(base) & (np.nan_to_num(base) > 0)
    if not is_known.any():
        return None
    merged = _merged_bins(counts, is_known)
    counts, base = _merge(counts, is_known, merged), _merge(base, is_known, merged)
    deviation = np.repeat(_DEVIATIONS, len(_MEMORIES))
    decay = np.tile(np.exp(-1 / np.array(_MEMORIES)), len(_DEVIATIONS))
    step = decay**merged
    jitter = deviation**2 * (1 - step**2)
    models = len(deviation)
    level = np.full(models, math.log((counts.sum() + 0.5) / base.sum()))
    wander = np.zeros(models)
    a, b, c = np.full(models, _LEVEL_VARIANCE), np.zeros(models), deviation**2
    fit = np.log(np.repeat(_PRIOR, len(_MEMORIES)) / len(_MEMORIES))
    for count, expected in zip(counts, base, strict=True):
        wander, b, c = step * wander, step * b, step**2 * c + jitter
        if not expected > 0:
            continue
        innovation = math.log((count + 0.5) / expected) - level - wander
        variance = a + 2 * b + c + 1 / (count + 0.5)
        fit -= (np.log(variance) + innovation**2 / variance) / 2
        gain_level, gain_wander = (a + b) / variance, (b + c) / variance
        level = level + gain_level * innovation
        wander = wander + gain_wander * innovation
        a, b, c = a - gain_level * (a + b), b - gain_level * (b + c), c - gain_wander * (b + c)
    weight = np.exp(fit - fit.max())
    return RateFilter(weight / weight.sum(), level, wander, a, b, c, decay, deviation)


def _merged_bins(counts: FloatArray, is_known: BoolArray) -> int:
    """Return how many bins to take together, so that their mean count is large enough."""
    mean = counts[is_known].mean()
    longest = max(min(_MAX_MERGED, len(counts) // 4), 1)
    return int(np.clip(math.ceil(_MIN_MEAN_COUNT / max(mean, 1e-9)), 1, longest))


def _merge(values: FloatArray, is_known: BoolArray, merged: int) -> FloatArray:
    """Return the sums over groups of *merged* bins, the newest last; an unknown bin counts as 0."""
    known = np.where(is_known, values, 0.0)
    padded = np.concatenate([np.zeros(-len(known) % merged), known])
    sums: FloatArray = padded.reshape(-1, merged).sum(axis=1)
    return sums
