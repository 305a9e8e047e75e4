"""Clocks, and those who set them."""

from __future__ import annotations

import pytest

from tasktools.core.clock import ClockWatch, ManualClock, SystemClock, in_words


def test_time_that_passes_is_no_step() -> None:
    clock = ManualClock()
    watch = ClockWatch(clock)
    clock.advance(1e6)
    assert (watch.pending(), watch.take()) == (0.0, 0.0)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_clock_that_was_set_is_told_once(step: float) -> None:
    clock = ManualClock()
    watch = ClockWatch(clock)
    clock.advance(5)
    clock.set_by(step)
    assert [watch.pending(), watch.pending(), watch.take(), watch.take()] == [step, step, step, 0]


def test_slow_corrections_are_no_step() -> None:
    clock = ManualClock()
    watch = ClockWatch(clock)
    for _ in range(100):
        clock.advance(60)
        clock.set_by(0.03)
        assert watch.take() == 0.0


def test_the_clock_of_this_machine_was_not_set() -> None:
    assert ClockWatch(SystemClock()).take() == 0.0


def test_a_step_is_told_in_words() -> None:
    assert (in_words(3600), in_words(-2.4)) == ("set forward by 3,600 s", "set back by 2 s")
