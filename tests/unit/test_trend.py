"""The trend of a series, against data whose trend is known."""

from __future__ import annotations

import numpy as np
import pytest

from tasktools.core.series import Series
from tasktools.core.trend import trend
from tests.timing import spending


def series(values: np.ndarray, step: float = 5.0) -> Series:
    times = np.arange(len(values)) * step
    return Series(tuple(times.tolist()), tuple(map(float, values)))


def share_beyond(make: object, *, runs: int = 200) -> float:
    """Return in which share of *runs* the interval leaves out a slope of 0."""
    beyond = 0
    for seed in range(runs):
        estimate = trend(series(make(np.random.default_rng(seed))))  # type: ignore[operator]
        assert estimate is not None
        beyond += estimate.low > 0 or estimate.high < 0
    return beyond / runs


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_samples_have_no_trend(count: int) -> None:
    assert trend(series(np.arange(count))) is None


def test_an_outlier_does_not_move_it() -> None:
    values = 2.0 * np.arange(40)
    values[17] = 10_000
    estimate = trend(series(values))
    assert estimate is not None
    assert estimate.slope == pytest.approx(0.4)
    assert estimate.low > 0


def test_a_constant_has_no_slope() -> None:
    estimate = trend(series(np.full(40, 7)))
    assert estimate is not None
    assert (estimate.slope, estimate.low, estimate.high) == (0, 0, 0)


def test_a_sawtooth_of_whole_periods_has_none() -> None:
    estimate = trend(series(np.tile(np.arange(10), 12)))
    assert estimate is not None
    assert estimate.low <= 0 <= estimate.high


def test_noise_around_a_level_seldom_has_one() -> None:
    assert share_beyond(lambda rng: rng.poisson(50, 60)) <= 0.08


def test_noise_that_lasts_seldom_has_one() -> None:
    """The length of a queue wanders: each sample is much like the one before."""

    def wandering(rng: np.random.Generator) -> np.ndarray:
        level, levels = 0.0, []
        for step in rng.normal(0, 5, 120):
            level = 0.8 * level + step
            levels.append(level)
        return np.array(levels) + 100

    assert share_beyond(wandering) <= 0.12


def test_growth_amid_noise_has_one() -> None:
    assert share_beyond(lambda rng: rng.poisson(50, 120) + np.arange(120)) >= 0.99


def test_a_thousand_topics_take_no_second() -> None:
    """A diagnosis has 1 s for all: the trends of long series must take little of it."""
    values = series(np.random.default_rng(1).poisson(50, 600), step=1)
    with spending(0.1, "100 trends"):
        for _ in range(100):
            trend(values)
