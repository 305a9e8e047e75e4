"""Arrival rates by hour of the week, where each hour is known from few weeks.

An hour of the week has few recorded arrivals. Its mean is shrunk towards the mean of weekdays, or
of weekends, at that hour of the day: the more, the larger the noise is compared with the
differences between days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tasktools.capacity.demand import BoolArray, Demand, FloatArray
from tasktools.capacity.hour_of_week import HOUR, HOURS_OF_WEEK, Whole, hour_of_week

_KINDS: Final = (5, 2)
"""Days of a kind: weekdays, and weekends."""
_MIN_COVERED: Final = 0.02
"""Share of an hour of the week that must be recorded for a mean of its own."""
_Z90: Final = 1.6448536269514722
_NO_EVENT: Final = 2.995732273553991
"""Expected events of which none comes in 5 % of cases: -ln 0.05."""


@dataclass(frozen=True, slots=True)
class WeeklyRates:
    """Arrivals a second in each of the 168 hours of the week; NaN where nothing is known."""

    rate: FloatArray
    low: FloatArray
    """Limits of the 90 % interval of the rate."""
    high: FloatArray
    weeks: FloatArray
    """Recorded weeks of the hour."""
    tasks: FloatArray
    """Arrivals in the hour."""


def weekly_rates(hours: FloatArray, counts: FloatArray, covered: FloatArray) -> WeeklyRates:
    """Return the arrival rate in each hour of the week; time that was not recorded is left out.

    Parameters
    ----------
    hours
        Starts of hours, in seconds since the epoch.
    counts
        Arrivals in each of them.
    covered
        Seconds of each of them that were recorded.

    Returns
    -------
    WeeklyRates
        The rates, with their intervals.

    References
    ----------
    Efron and Morris 1975, Data analysis using Stein's estimator; the interval is Byar's, of a
    Poisson count, with the dispersion that the counts have.

    Examples
    --------
    >>> import numpy as np
    >>> week = 345_600 + 3600.0 * np.arange(168)
    >>> rates = weekly_rates(week, np.full(168, 36.0), np.full(168, 3600.0))
    >>> rates.rate[:2].tolist()
    [0.01, 0.01]

    """
    cells = hour_of_week(hours)
    tasks: FloatArray = np.bincount(cells, counts, HOURS_OF_WEEK).astype(np.float64)
    weeks: FloatArray = np.bincount(cells, covered / HOUR, HOURS_OF_WEEK).astype(np.float64)
    known = weeks >= _MIN_COVERED
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, tasks / weeks, np.nan)  # arrivals an hour
    base, base_weeks, days = _base(tasks, weeks, known)
    dispersion = _dispersion(counts, covered / HOUR, cells, base)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = dispersion * base / weeks  # variance of a cell's mean
        base_noise = dispersion * base / base_weeks
    spread = _spread(mean, base, noise, days)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(known & (base > 0), spread * base**2 / (spread * base**2 + noise), 0.0)
    weight = np.nan_to_num(weight)
    rate = np.where(known, weight * np.nan_to_num(mean) + (1 - weight) * base, base)
    with np.errstate(invalid="ignore"):
        own = np.where(known, weight**2 * np.nan_to_num(noise), spread * base**2)
        variance = own + (1 - weight**2) * base_noise
    low, high = _interval(rate, variance, dispersion / np.maximum(base_weeks, 1e-9))
    return WeeklyRates(rate / HOUR, low / HOUR, high / HOUR, weeks, tasks)


def of_topic(demand: Demand, topic: str) -> WeeklyRates:
    """Return the arrival rate of *topic* in each hour of the week."""
    hourly = demand.topics[topic].hourly
    counts = np.zeros(len(demand.hours)) if hourly is None else hourly
    return weekly_rates(demand.hours, counts, demand.covered)


def _base(
    tasks: FloatArray, weeks: FloatArray, known: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return for each hour of the week the mean of that hour of the day over weekdays or weekend
    days, the recorded hours behind the mean, and the number of days of the week among them."""
    base, base_weeks, days = (np.full(HOURS_OF_WEEK, np.nan) for _ in range(3))
    start = 0
    for length in _KINDS:
        cells = slice(start * 24, (start + length) * 24)
        of_kind = weeks[cells].reshape(length, 24) * known[cells].reshape(length, 24)
        counts = tasks[cells].reshape(length, 24) * known[cells].reshape(length, 24)
        total = of_kind.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            base[cells] = np.tile(np.where(total > 0, counts.sum(axis=0) / total, np.nan), length)
        base_weeks[cells] = np.tile(total, length)
        days[cells] = np.tile((of_kind > 0).sum(axis=0), length)
        start += length
    return base, base_weeks, days


def _dispersion(
    counts: FloatArray,
    weeks: FloatArray,
    cells: Whole,
    base: FloatArray,
) -> float:
    """Return the variance of an hour's count over its mean, at least 1.

    The estimate uses differences between recordings of the same hour of the week; without these,
    differences between neighbouring hours, with the daily pattern removed.
    """
    expected = base[cells] * weeks
    usable = (weeks > 0.9) & (expected > 0)
    counts, expected, cells = counts[usable], expected[usable], cells[usable]
    size = np.bincount(cells, minlength=HOURS_OF_WEEK)
    repeated = size >= 2
    if size[repeated].sum() - repeated.sum() >= 84:
        total = np.bincount(cells, counts, minlength=HOURS_OF_WEEK)
        mean = (total / np.maximum(size, 1))[cells]
        inside = repeated[cells] & (mean > 0)
        squares = ((counts - mean)[inside] ** 2 / mean[inside]).sum()
        freedom = (size[repeated] - 1)[(total[repeated]) > 0].sum()
        return max(float(squares / max(freedom, 1)), 1.0)
    if len(counts) < 3:
        return 1.0
    residual = (counts - expected) / np.sqrt(expected)
    # Half the mean square of successive differences: what days differ by does not count.
    return max(float(np.mean(np.diff(residual) ** 2) / 2), 1.0)


def _spread(mean: FloatArray, base: FloatArray, noise: FloatArray, days: FloatArray) -> float:
    """Return the variance of the days' true means, relative to the square of their base."""
    with np.errstate(invalid="ignore"):
        usable = ~np.isnan(mean) & (base > 0) & (days >= 2)
    if not usable.any():
        return 0.0
    share = 1 - 1 / days[usable]  # a cell is a part of its base
    excess = ((mean - base)[usable] ** 2 / share - noise[usable]).sum()
    return max(float(excess / (base[usable] ** 2).sum()), 0.0)


def _interval(
    rate: FloatArray, variance: FloatArray, smallest: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the limits of the 90 % interval of *rate*; where it is 0, *smallest* is the rate of a
    single arrival."""
    with np.errstate(divide="ignore", invalid="ignore"):
        events = np.where(variance > 0, rate**2 / variance, np.inf)
        low = rate * (1 - 1 / (9 * events) - _Z90 / (3 * np.sqrt(events))) ** 3
        more = events + 1
        high = rate * more / events * (1 - 1 / (9 * more) + _Z90 / (3 * np.sqrt(more))) ** 3
    low = np.where(np.isinf(events), rate, np.maximum(np.nan_to_num(low), 0.0))
    high = np.where(np.isinf(events), rate, high)
    is_zero = rate == 0
    low = np.where(np.isnan(rate), np.nan, np.where(is_zero, 0.0, low))
    return low, np.where(is_zero, _NO_EVENT * smallest, high)
