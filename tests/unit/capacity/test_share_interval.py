"""Tests of intervals: their blocks, their width, and the need that they give."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from tasktools.capacity.demand import BoolArray
from tasktools.capacity.need import LateShares, OutOfReach
from tasktools.capacity.share_interval import (
    Share,
    blocks_of,
    student_quantile,
    wait_interval,
)
from tests.capacity.traffic import DAY, SINCE


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    # printed tables of Student's t, one-sided 95 %
    [(1, 6.314), (2, 2.920), (3, 2.353), (5, 2.015), (10, 1.812), (30, 1.697), (1e6, 1.645)],
)
def test_the_quantile_of_student(freedom: float, quantile: float) -> None:
    assert student_quantile(0.95, freedom) == pytest.approx(quantile, abs=0.004)


def test_a_week_has_a_block_for_each_quarter_of_a_day() -> None:
    times = SINCE + np.arange(0, 7 * DAY, 60.0)
    blocks = blocks_of(times, SINCE, SINCE + 7 * DAY)
    assert len(blocks.tasks) == 28
    assert (blocks.tasks == 360).all()
    assert np.bincount(blocks.stratum).tolist() == [5, 2] * 4  # weekdays and weekends
    assert len(blocks_of(times[times < SINCE + 3 * DAY], SINCE, SINCE + 3 * DAY).tasks) == 24


def test_a_block_without_tasks_is_none() -> None:
    times = SINCE + np.arange(0, 7 * DAY, 60.0)
    times = times[(times < SINCE + DAY) | (times >= SINCE + 2.5 * DAY)]
    blocks = blocks_of(times, SINCE, SINCE + 7 * DAY)
    assert len(blocks.tasks) == 22
    assert (np.bincount(blocks.stratum) > 1).all()


def late_tasks(rng: np.random.Generator, share: float) -> tuple[BoolArray, BoolArray]:
    """Return late tasks of a week: 60 runs of an hour each differ from each other."""
    hours = rng.gamma(0.5, share / 0.5, 168).clip(0, 1)
    return np.repeat(hours, 60), rng.random(168 * 60) < np.repeat(hours, 60)


def test_the_interval_covers_the_share_in_most_runs() -> None:
    rng = np.random.default_rng(4)
    times = SINCE + np.arange(0, 7 * DAY, 60.0)
    blocks = blocks_of(times, SINCE, SINCE + 7 * DAY)
    covered = 0
    for _ in range(200):
        share = blocks.share(late_tasks(rng, 0.05)[1])
        assert 0 < share.low < share.value < share.high < 1
        covered += share.low <= 0.05 <= share.high
    assert 0.8 <= covered / 200 <= 0.96


def test_no_late_task_is_not_certain_to_have_none() -> None:
    times = SINCE + np.arange(0, 7 * DAY, 600.0)
    share = blocks_of(times, SINCE, SINCE + 7 * DAY).share(np.zeros(len(times), dtype=bool))
    assert 0 < share.value < 0.001
    assert share.high > 1 / len(times)


def test_the_interval_of_a_wait_holds_its_quantile() -> None:
    rng = np.random.default_rng(4)
    times = SINCE + np.arange(0, 7 * DAY, 60.0)
    blocks = blocks_of(times, SINCE, SINCE + 7 * DAY)
    covered = 0
    for _ in range(60):
        value, low, high = wait_interval(rng.exponential(10.0, len(times)), blocks, 0.95)
        assert low <= value <= high
        covered += low <= 10 * math.log(20) <= high
    assert covered >= 48
    assert wait_interval(np.zeros(len(times)), blocks, 0.95) == (0.0, 0.0, 0.0)


class Line:
    """Late shares that fall by a factor for each unit."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.asked: list[int] = []

    def __call__(self, units: int) -> Share:
        self.asked.append(units)
        value = self.factor**units
        return Share(value, 0.8 * value, min(1.25 * value, 1.0))


@pytest.mark.parametrize("guess", [1, 7, 40, 900])
@pytest.mark.parametrize("needed", [1.5, 8.9, 60.2])
def test_the_need_is_where_the_line_crosses(needed: float, guess: int) -> None:
    line = Line(0.05 ** (1 / needed))
    need = LateShares(line).need(guess, 0.95)
    assert need.units == math.ceil(needed)
    assert need.value == pytest.approx(needed)
    assert need.low == pytest.approx(needed * (1 + math.log(0.8) / math.log(20)))
    assert need.high == pytest.approx(needed * (1 + math.log(1.25) / math.log(20)))
    assert len(line.asked) == len(set(line.asked))


def test_coarse_numbers_are_close_enough() -> None:
    for needed in (3.3, 17.1, 60.2, 333.0):
        line = Line(0.05 ** (1 / needed))
        need = LateShares(line, is_coarse=True).need(math.ceil(1.4 * needed), 0.95)
        assert need.value == pytest.approx(needed)
        assert len(line.asked) < 14


def test_what_is_never_enough_is_said() -> None:
    with pytest.raises(OutOfReach):
        LateShares(lambda _: Share(0.5, 0.4, 0.6), most=100).need(3, 0.95)


def test_the_level_is_90_percent() -> None:
    assert student_quantile(0.95, 1e9) == pytest.approx(NormalDist().inv_cdf(0.95))
