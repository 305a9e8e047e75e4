"""Arrival rates by hour of the week: shrinkage, gaps, intervals."""

from __future__ import annotations

import numpy as np
import pytest

from tasktools.capacity.arrivals import weekly_rates
from tasktools.capacity.demand import FloatArray
from tasktools.capacity.hour_of_week import HOUR, hour_of_week, is_weekend

MONDAY = 1_794_787_200.0


def true_rates(dice: np.random.Generator) -> FloatArray:
    """Return 18 tasks an hour on average: the shape of a day, weekends, and each day's own size."""
    hours = np.arange(168)
    day, hour = hours // 24, hours % 24
    shape = (1 + 0.6 * np.sin((hour - 8) / 12 * np.pi)) * np.where(day < 5, 1.2, 0.5)
    rates = shape * dice.lognormal(0, 0.2, 7)[day]
    return np.asarray(rates * 18 / rates.mean(), np.float64)


def errors(weeks: int) -> list[float]:
    """Return relative errors of the cells' means, of weekdays' and weekends', and of the rates, and
    the share of the cells whose interval holds the truth."""
    cell: list[float] = []
    base: list[float] = []
    shrunk: list[float] = []
    covered: list[float] = []
    for seed in range(20):
        dice = np.random.default_rng(seed)
        truth = true_rates(dice)
        counts = dice.poisson(np.tile(truth, weeks)).astype(np.float64)
        hours = MONDAY + HOUR * np.arange(168.0 * weeks)
        rates = weekly_rates(hours, counts, np.full(len(hours), HOUR))
        means = rates.tasks / rates.weeks
        by_day = means.reshape(7, 24)
        kinds = np.where(np.arange(7) < 5, 0, 1)
        of_kind = np.array([by_day[kinds == kind].mean(axis=0) for kind in kinds]).ravel()
        for all_errors, estimate in (
            (cell, means),
            (base, of_kind),
            (shrunk, rates.rate * HOUR),
        ):
            all_errors.append(float(np.sqrt(np.mean((estimate / truth - 1) ** 2))))
        is_inside = (rates.low * HOUR <= truth) & (truth <= rates.high * HOUR)
        covered.append(float(is_inside.mean()))
    return [float(np.mean(values)) for values in (cell, base, shrunk, covered)]


@pytest.mark.parametrize("weeks", [1, 2, 4])
def test_shrunk_rates_are_nearer_than_cells_and_than_the_mean_day(weeks: int) -> None:
    cell, base, shrunk, covered = errors(weeks)
    assert shrunk < min(cell, base)
    assert 0.8 < covered < 0.97


def test_time_that_was_not_recorded_is_left_out() -> None:
    hours = MONDAY + HOUR * np.arange(168.0)
    covered = np.full(168, HOUR)
    covered[10] = HOUR / 4
    rates = weekly_rates(hours, 100 * covered / HOUR, covered)
    assert rates.rate == pytest.approx(np.full(168, 100 / HOUR))
    assert rates.weeks[10] == 0.25


def test_an_hour_that_was_never_recorded_has_the_rate_of_other_days() -> None:
    hours = MONDAY + HOUR * np.arange(168.0)
    covered = np.where(np.arange(168) == 34, 0.0, HOUR)  # Tuesday 10:00
    counts = np.where(np.arange(168) % 24 == 10, 360.0, 36.0) * covered / HOUR
    rates = weekly_rates(hours, counts, covered)
    assert rates.rate[34] == pytest.approx(0.1)
    assert rates.high[34] > rates.high[33]


def test_weekends_that_were_never_recorded_are_unknown() -> None:
    hours = MONDAY + HOUR * np.arange(48.0)
    rates = weekly_rates(hours, np.full(48, 36.0), np.full(48, HOUR))
    assert rates.rate[:120] == pytest.approx(np.full(120, 0.01))
    assert np.isnan(rates.rate[120:]).all()
    assert np.isnan(rates.high[120:]).all()


def test_an_hour_without_arrivals_has_an_upper_limit() -> None:
    rates = weekly_rates(MONDAY + HOUR * np.arange(168.0), np.zeros(168), np.full(168, HOUR))
    assert (rates.rate == 0).all()
    assert (rates.high > 0).all()


def test_the_week_begins_on_monday() -> None:
    times = MONDAY + np.array([0.0, HOUR, 5 * 86_400 - 1, 5 * 86_400, 7 * 86_400 - 1])
    assert hour_of_week(times).tolist() == [0, 1, 119, 120, 167]
    assert is_weekend(times).tolist() == [False, False, False, True, True]
