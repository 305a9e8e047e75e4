"""Service times: the estimator of Kaplan and Meier, in short windows too."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasktools.capacity.demand import FloatArray
from tasktools.capacity.service_times import ServiceTimes, service_times


def seen(dice: np.random.Generator, services: float) -> tuple[FloatArray, ServiceTimes]:
    """Return all that ended, and the estimate, of a window of so many mean services of 1 s."""
    starts = dice.uniform(0, services, round(60 * services))
    took = dice.lognormal(-0.5, 1.0, len(starts))
    is_ended = starts + took < services
    return took[is_ended], service_times(took[is_ended], (services - starts)[~is_ended])


def mean_of_runs(services: float, runs: int) -> dict[str, float]:
    dice = np.random.default_rng(5)
    estimates = [seen(dice, services) for _ in range(runs)]
    return {
        "ended": float(np.mean([ended.mean() for ended, _ in estimates])),
        "mean": float(np.mean([times.mean for _, times in estimates])),
        "p95": float(np.mean([times.quantile(0.95) for _, times in estimates])),
        "ended p95": float(np.mean([np.quantile(ended, 0.95) for ended, _ in estimates])),
    }


P95 = math.exp(-0.5 + 1.6449)


def test_in_a_window_of_24_mean_services_the_p95_is_right() -> None:
    estimate = mean_of_runs(24, 40)
    assert estimate["p95"] == pytest.approx(P95, rel=0.05)
    assert estimate["mean"] == pytest.approx(1.0, rel=0.06)
    assert estimate["ended p95"] < 0.97 * P95


def test_in_a_window_of_6_mean_services_it_is_nearer_than_what_ended() -> None:
    estimate = mean_of_runs(6, 60)
    assert estimate["ended"] < 0.75
    assert 0.85 < estimate["mean"] < 1.0
    assert math.isnan(estimate["p95"])  # in some of the windows nothing so long has ended


def test_without_censored_tries_it_is_what_was_seen() -> None:
    ended = np.array([3.0, 1.0, 2.0, 2.0])
    times = service_times(ended, np.empty(0))
    assert times.values.tolist() == [1.0, 2.0, 3.0]
    assert times.weights.tolist() == pytest.approx([0.25, 0.5, 0.25])
    assert (times.mean, times.quantile(0.5), times.quantile(1.0)) == (2.0, 2.0, 3.0)
    assert times.scv == pytest.approx(ended.var() / 4)


def test_beyond_what_ended_nothing_is_known() -> None:
    times = service_times(np.array([1.0, 2.0, 3.0]), np.array([2.5, 9.0]))
    assert math.isnan(times.quantile(0.95))
    assert times.quantile(0.4) == 2.0
    assert times.values.tolist() == [1.0, 2.0, 3.0, 9.0]
    assert times.weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("censored", [np.empty(0), np.array([4.0])])
def test_where_nothing_ended_nothing_is_known(censored: FloatArray) -> None:
    times = service_times(np.empty(0), censored)
    assert math.isnan(times.mean)
    assert math.isnan(times.quantile(0.5))
    assert (times.tries, times.censored) == (len(censored), len(censored))
