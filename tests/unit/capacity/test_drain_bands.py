"""Drain forecasts: the filter, the simulated paths, and bands that learn from their past."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasktools.capacity.demand import FloatArray
from tasktools.capacity.drain.bins import Bins, Timing
from tasktools.capacity.drain.filters import filter_rate
from tasktools.capacity.drain.forecast import Forecast, forecast
from tasktools.capacity.drain.scores import is_covered, levels, pinball, quantile, rank
from tests.capacity import drains
from tests.timing import spending

TIMING = Timing()


def bins(
    arrivals: float, completions: float, depth: float = 5000.0, slots: float = 8.0, past: int = 60
) -> Bins:
    rng = np.random.default_rng(1)
    return Bins(
        depth=depth,
        completions=rng.poisson(completions, past).astype(np.float64),
        arrivals=rng.poisson(arrivals, past).astype(np.float64),
        slots=np.full(past, slots),
        is_busy=np.ones(past, bool),
        shape=np.ones(past),
        shape_ahead=np.ones(TIMING.ahead),
    )


def made(given_bins: Bins, level: float = 10.0, timing: Timing = TIMING) -> Forecast:
    answer = forecast(given_bins, level, timing, (), np.random.default_rng(2))
    assert answer is not None
    return answer


# --- the filter -------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [0.2, 3.0, 50.0, 4000.0])
def test_the_filter_tells_the_rate_of_many_and_of_few(mean: float) -> None:
    counts = np.random.default_rng(3).poisson(mean, 60).astype(np.float64)
    filtered = filter_rate(counts, np.full(60, 30.0))
    assert filtered is not None
    assert filtered.mean == pytest.approx(counts.mean() / 30, rel=0.5 if mean < 1 else 0.15)
    assert filtered.weight.sum() == pytest.approx(1)


def test_the_filter_follows_a_step_and_knows_less_of_bursts() -> None:
    rng = np.random.default_rng(4)
    step = np.concatenate([rng.poisson(40, 40), rng.poisson(80, 20)]).astype(np.float64)
    steady = rng.poisson(60, 60).astype(np.float64)
    bursts = rng.poisson(np.where(np.arange(60) % 12 < 4, 150, 15)).astype(np.float64)
    base = np.ones(60)
    after_step, calm, wild = (filter_rate(counts, base) for counts in (step, steady, bursts))
    assert after_step is not None
    assert calm is not None
    assert wild is not None
    assert 70 < after_step.mean < 90
    assert float(wild.weight @ wild.deviation) > 3 * float(calm.weight @ calm.deviation)


def test_bins_that_tell_nothing_are_left_out() -> None:
    counts = np.array([60.0, np.nan, 0.0, 60.0] * 10)
    base = np.array([30.0, 30.0, 0.0, 30.0] * 10)
    filtered = filter_rate(counts, base)
    assert filtered is not None
    assert filtered.mean == pytest.approx(2, rel=0.1)
    assert filter_rate(np.full(5, np.nan), np.ones(5)) is None


# --- paths ------------------------------------------------------------------------------


def test_a_steady_drain_ends_when_its_queue_over_its_net_rate_says() -> None:
    answer = made(bins(arrivals=200, completions=300))
    net = answer.completions - answer.arrivals
    assert answer.expected == pytest.approx((5000 - 10) / net, rel=0.1)
    assert answer.earliest < answer.expected < answer.latest < 2 * answer.expected
    assert answer.not_within < 0.05


def test_a_queue_that_grows_will_not_end_and_one_without_workers_neither() -> None:
    growing = made(bins(arrivals=600, completions=300))
    assert growing.not_within > 0.9
    assert math.isinf(growing.latest)
    assert growing.words(0.0) == "will not end at this rate"
    alone = made(bins(arrivals=10, completions=0, slots=0.0))
    assert alone.not_within == 1
    assert alone.completions == 0
    assert alone.words(0.0) == "will not end: no worker takes this topic"


def test_words_tell_the_band_and_what_may_not_be() -> None:
    answer = made(bins(arrivals=200, completions=300))
    assert answer.words(0.0).startswith("down to 10 between 00:2")
    assert answer.words(0.0).endswith(" UTC, 80 %")
    critical = made(bins(arrivals=299, completions=300, depth=15_000.0))
    assert 0.5 <= critical.not_within < 0.9
    assert critical.words(0.0).startswith("may not end within 6 h (")
    assert made(bins(200, 300), level=0.0).words(0.0).startswith("empties between")


def test_after_forecasts_that_were_all_too_early_nothing_is_promised() -> None:
    late = [1.0] * 300
    answer = forecast(bins(285, 300), 10.0, TIMING, late, np.random.default_rng(2))
    assert answer is not None
    assert math.isinf(answer.earliest)
    assert answer.words(0.0) == "not within 6 h, 80 %"


def test_the_band_of_depths_ends_where_the_band_of_times_does() -> None:
    answer = made(bins(arrivals=200, completions=300))
    rows = answer.band()
    assert rows[0] == (0.0, 5000.0, 5000.0, 5000.0)
    assert all(low <= middle <= high for _, low, middle, high in rows)
    at_level = {place: [span for span, *depth in rows if depth[place] <= 10] for place in range(3)}
    assert at_level[0][0] == pytest.approx(answer.earliest, rel=0.2)
    assert at_level[1][0] == pytest.approx(answer.expected, rel=0.2)
    assert at_level[2] == [pytest.approx(answer.latest, rel=0.2)]


def test_the_daily_shape_bends_the_future() -> None:
    given_bins = bins(arrivals=200, completions=300, depth=12_000.0)
    rising = Bins(
        depth=given_bins.depth,
        completions=given_bins.completions,
        arrivals=given_bins.arrivals,
        slots=given_bins.slots,
        is_busy=given_bins.is_busy,
        shape=given_bins.shape,
        shape_ahead=np.linspace(1, 3, TIMING.ahead),
    )
    assert made(rising).expected > 1.1 * made(given_bins).expected


def test_a_forecast_takes_less_than_a_tenth_of_a_second() -> None:
    given_bins = bins(arrivals=20, completions=15)  # never ends, small numbers: the longest
    made(given_bins)
    with spending(3 * 0.1, "three forecasts"):
        for _ in range(3):
            made(given_bins)


def test_time_can_be_shortened_a_hundredfold() -> None:
    quick = Timing(bin=0.3)
    answer = made(bins(arrivals=200, completions=300), timing=quick)
    assert answer.expected == pytest.approx(made(bins(200, 300)).expected / 100, rel=1e-6)


# --- scores -----------------------------------------------------------------------------


def test_bands_widen_after_misses_and_narrow_after_none() -> None:
    rng = np.random.default_rng(5)
    narrow = np.clip(rng.normal(0.5, 0.6, 300), 0, 1).tolist()
    wide = rng.uniform(0.35, 0.65, 300).tolist()
    assert levels(narrow)[0] < 0.05
    assert levels(narrow)[2] > 0.95
    assert levels(wide)[0] > 0.3
    assert levels(wide)[2] < 0.7
    even = ((np.arange(300) + 0.5) / 300).tolist()
    assert levels(even) == pytest.approx((0.1, 0.5, 0.9), abs=0.01)
    assert levels([*wide, *even]) == levels(even)  # of the last 300 only


def test_infinite_times_have_quantiles_ranks_and_losses() -> None:
    times: FloatArray = np.array([10.0, 20.0, 30.0, math.inf])
    assert [quantile(times, level) for level in (0.0, 0.5, 0.9)] == [10.0, 30.0, math.inf]
    assert rank(times, math.inf, 0.0) == 0.75
    assert rank(times, 5.0, 0.5) == 0
    assert is_covered(20.0, math.inf, math.inf)
    assert not is_covered(20.0, 30.0, math.inf)
    assert pinball((100.0, 100.0, math.inf), math.inf, 100.0) == 0
    assert pinball((10.0, 20.0, 30.0), 100.0, 600.0) > pinball((10.0, 20.0, 90.0), 100.0, 600.0)


# --- the ten kinds of drains: a sample of `make capacity` -----------------------------------


def test_bands_hold_the_end_of_drains_of_ten_kinds() -> None:
    scored = list(drains.score(2, first_seed=900))
    assert {each.kind for each in scored} == set(drains.KINDS)
    assert 0.64 <= drains.covered(scored) <= 0.96  # 80 forecasts: their noise about 70 to 90 %
    certain = [each for each in scored if each.forecast.not_within >= 0.9]
    assert sum(math.isinf(each.truth) for each in certain) >= 0.9 * len(certain) > 0
