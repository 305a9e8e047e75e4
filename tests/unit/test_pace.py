"""The rate of a run: kept, and never made up for."""

from __future__ import annotations

import pytest

from tasktools.core.clock import ManualClock
from tasktools.replay.pace import Pace


def sent(pace: Pace, clock: ManualClock, seconds: float, step: float) -> int:
    """Return how many messages go in that time by one who sends all that is allowed."""
    total = 0
    for _ in range(round(seconds / step)):
        clock.advance(step)
        allowed = pace.allowance()
        pace.spend(allowed)
        total += allowed
    return total


@pytest.mark.parametrize("rate", [0.5, 3.0, 100.0, 5000.0])
@pytest.mark.parametrize("step", [0.01, 0.13, 0.9])
def test_the_rate_is_kept_on_average(rate: float, step: float) -> None:
    clock = ManualClock()
    assert sent(Pace(rate, clock), clock, 117, step) == pytest.approx(117 * rate, abs=rate + 2)


def test_the_first_message_goes_at_once_and_the_second_after_its_time() -> None:
    clock = ManualClock()
    pace = Pace(0.5, clock)
    assert pace.allowance() == 1
    pace.spend(1)
    clock.advance(1.9)
    assert pace.allowance() == 0
    clock.advance(0.2)
    assert pace.allowance() == 1


def test_what_an_alarm_held_up_is_not_sent_at_once_after_it() -> None:
    clock = ManualClock()
    pace = Pace(100.0, clock)
    pace.spend(pace.allowance())
    clock.advance(300)
    assert pace.allowance() == 101
    pace.spend(101)
    assert sent(pace, clock, 1, 0.1) == pytest.approx(100, abs=1)


def test_without_a_rate_nothing_is_held_back() -> None:
    pace = Pace(None, ManualClock())
    pace.spend(5000)
    assert pace.allowance() > 100_000
