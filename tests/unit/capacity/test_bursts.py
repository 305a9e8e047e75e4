"""Burstiness: what is a burst, and what is the shape of a day or a week."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasktools.capacity.bursts import dispersion, window_of
from tasktools.capacity.demand import FloatArray

MONDAY = 1_794_787_200.0
WEEK = 7 * 86_400.0
SPAN = ((MONDAY, MONDAY + WEEK),)


def arrivals(rate: FloatArray, seed: int = 0) -> FloatArray:
    """Return arrivals of a week with a *rate* a second in each of its hours."""
    dice = np.random.default_rng(seed)
    counts = dice.poisson(rate * 3600)
    starts = MONDAY + 3600.0 * np.repeat(np.arange(168), counts)
    return np.sort(starts + dice.uniform(0, 3600, len(starts)))


def daily(hours: FloatArray) -> FloatArray:
    return 0.1 * (1 + 0.8 * np.sin(hours % 24 / 12 * np.pi))


HOURS = np.arange(168.0)
FLAT = np.full(168, 0.1)


@pytest.mark.parametrize(
    "rate", [FLAT, daily(HOURS), daily(HOURS) * np.where(HOURS < 120, 1.3, 0.3)]
)
def test_the_shape_of_a_day_or_a_week_is_no_burst(rate: FloatArray) -> None:
    assert dispersion(arrivals(rate), SPAN, 600.0) == pytest.approx(1.0, abs=0.15)


def test_batches_have_their_size() -> None:
    times = np.repeat(arrivals(FLAT / 8), 8)
    assert dispersion(times, SPAN, 600.0) == pytest.approx(8.0, rel=0.15)


def test_bursts_that_go_on_are_seen() -> None:
    on = np.random.default_rng(3).random(168 * 12) < 0.2
    dice = np.random.default_rng(4)
    counts = dice.poisson(np.where(on, 150.0, 0.0))
    starts = MONDAY + 300.0 * np.repeat(np.arange(168 * 12), counts)
    times = np.sort(starts + dice.uniform(0, 300, len(starts)))
    assert dispersion(times, SPAN, 600.0) > 20


def test_a_gap_is_no_quiet_time() -> None:
    times = arrivals(FLAT)
    gap = (MONDAY + 100_000, MONDAY + 200_000)
    seen = times[(times < gap[0]) | (times >= gap[1])]
    spans = ((MONDAY, gap[0]), (gap[1], MONDAY + WEEK))
    assert dispersion(seen, spans, 600.0) == pytest.approx(1.0, abs=0.15)
    assert dispersion(seen, SPAN, 600.0) > 3


def test_too_little_says_nothing() -> None:
    assert math.isnan(dispersion(np.empty(0), SPAN, 600.0))
    assert math.isnan(dispersion(np.array([MONDAY + 1]), ((MONDAY, MONDAY + 700),), 600.0))
    assert math.isnan(dispersion(np.empty(0), (), 600.0))


def test_a_window_is_ten_mean_services() -> None:
    assert [window_of(mean) for mean in (0.0, 0.01, 30.0, 9_000.0)] == [1.0, 1.0, 300.0, 3600.0]
