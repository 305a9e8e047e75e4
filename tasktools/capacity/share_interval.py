"""Interval of a share over time: stratified means of blocks, on the logit.

Tasks that arrive together have similar waits, so single tasks are not independent observations;
blocks of hours are. Only blocks at the same time of day are compared with each other, since traffic
depends on the time of day.

Sources: Schmeiser 1982, Batch size effects in the analysis of simulation output; Satterthwaite
1946, An approximate distribution of estimates of variance components; Cornish & Fisher 1938.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np

from tasktools.capacity.demand import BoolArray, FloatArray
from tasktools.capacity.hour_of_week import DAY, HOUR, is_weekend
from tasktools.capacity.simulation import wait_quantile

IntArray = np.ndarray[Any, np.dtype[np.int64]]

LEVEL: Final = 0.9
"""The confidence level of all intervals."""
_LONG_DAYS: Final = 5.0
_MIN_DAYS: Final = 2.0
_WEEK_DAYS: Final = 7.0
_SHORT_BLOCKS: Final = 24


class Share(NamedTuple):
    """A share with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Blocks:
    """The block of each task, and the stratum of each block."""

    block: IntArray
    stratum: IntArray
    tasks: FloatArray
    """Number of tasks in each block."""

    def share(self, is_late: BoolArray) -> Share:
        """Return the share of late tasks, with its interval."""
        late = np.bincount(self.block, weights=is_late, minlength=len(self.tasks))
        total = float(self.tasks.sum())
        value = (float(late.sum()) + 0.5) / (total + 1.0)
        variance, freedom = self._variance(late - value * self.tasks, total)
        error = math.sqrt(max(variance, value * (1 - value) / (total + 1.0)))
        half = student_quantile((1 + LEVEL) / 2, freedom) * error / (value * (1 - value))
        logit = math.log(value / (1 - value))
        return Share(value, _expit(logit - half), _expit(logit + half))

    def _variance(self, errors: FloatArray, total: float) -> tuple[float, float]:
        """Return the variance of the share, and its degrees of freedom."""
        members = np.bincount(self.stratum).astype(np.float64)
        means = np.bincount(self.stratum, weights=errors) / members
        squares = np.bincount(self.stratum, weights=(errors - means[self.stratum]) ** 2)
        parts = np.where(members > 1, members / np.maximum(members - 1, 1) * squares, 0.0)
        variance = float(parts.sum()) / total**2
        weights = float(np.sum(parts**2 / np.maximum(members - 1, 1)))
        least = max(float(members.max()) - 1, 1.0)
        return variance, float(parts.sum()) ** 2 / weights if weights else least


def blocks_of(times: FloatArray, since: float, until: float) -> Blocks:
    """Return the blocks of tasks that came at *times*, of a recording from *since* to *until*.

    Six hours are a block from five days on, three from two days on, and a 24th of less than that.
    """
    days = (until - since) / DAY
    if days >= _MIN_DAYS:
        length = (6 if days >= _LONG_DAYS else 3) * HOUR
    else:
        length = (until - since) / _SHORT_BLOCKS
    count = max(int((until - since) / length + 0.5), 1)
    number = np.clip(((times - since) / length).astype(np.int64), 0, count - 1)
    places = np.arange(count)
    strata = np.zeros(count, dtype=np.int64)
    if days >= _MIN_DAYS:
        strata = places % round(DAY / length)
    if days >= _WEEK_DAYS:
        strata = 2 * strata + is_weekend(np.asarray(since + (places + 0.5) * length))
    return _without_empty(number, strata)


def sampled_blocks(number: IntArray, strata: IntArray) -> Blocks:
    """Return the blocks of tasks from a sampled recording, each sample a block: *number* is the
    sample of each task, *strata* the stratum of each sample."""
    return _without_empty(number, strata)


def _without_empty(number: IntArray, strata: IntArray) -> Blocks:
    """Leave out blocks without a task, and put blocks that are alone in their stratum together."""
    tasks = np.bincount(number, minlength=len(strata)).astype(np.float64)
    has_tasks = tasks > 0
    place = np.cumsum(has_tasks) - 1
    strata = strata[has_tasks]
    members = np.bincount(strata)
    alone = members[strata] == 1
    if alone.sum() == 1 and len(strata) > 1:
        strata = np.where(alone, int(np.argmax(members)), strata)
    elif alone.any():
        strata = np.where(alone, len(members), strata)
    _, strata = np.unique(strata, return_inverse=True)
    return Blocks(place[number], strata, tasks[has_tasks])


def wait_interval(waits: FloatArray, blocks: Blocks, quantile: float) -> tuple[float, float, float]:
    """Return the *quantile* of *waits* (s), and the limits of its interval."""
    value = wait_quantile(waits, quantile)
    ordered = np.unique(waits)
    target = 1 - quantile

    def least(limit: int) -> float:
        """Return the smallest wait that a share of at most 1 - *quantile* exceeds, where *limit*
        chooses the lower (1) or upper (2) limit of that share."""
        low, high = 0, len(ordered) - 1
        while low < high:
            middle = (low + high) // 2
            if blocks.share(waits > ordered[middle])[limit] <= target:
                high = middle
            else:
                low = middle + 1
        return float(ordered[low])

    return value, min(least(1), value), max(least(2), value)


def student_quantile(chance: float, freedom: float) -> float:
    """Return the quantile of Student's t; *freedom* need not be whole. Its error is below 0.004.

    >>> [round(student_quantile(0.95, freedom), 2) for freedom in (1, 2, 5, 30)]
    [6.31, 2.92, 2.01, 1.7]
    """
    if freedom < 3:
        return _few_degrees(chance, max(freedom, 1.0))
    z = NormalDist().inv_cdf(chance)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def _few_degrees(chance: float, freedom: float) -> float:
    """Return the quantile between 1 and 3 degrees of freedom, linear in their inverse."""
    first = math.tan(math.pi * (chance - 0.5))
    second = (2 * chance - 1) * math.sqrt(2 / (4 * chance * (1 - chance)))
    points = (3.0, student_quantile(chance, 3.0)), (2.0, second), (1.0, first)
    inverse = [1 / n for n, _ in points]
    return float(np.interp(1 / freedom, inverse, [value for _, value in points]))


def _expit(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
