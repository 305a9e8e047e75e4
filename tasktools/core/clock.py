"""Clocks: nothing else in the package reads the time."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Final, Protocol

_MIN_STEP_SECONDS: Final = 1.0  # seconds
_UNDISTURBED: Final = 0.1  # seconds between two readings


def _monotonic() -> float:
    """Return monotonic seconds; on Linux they include the time that the machine slept."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Clock(Protocol):
    """Tells the time and waits; tests and the demo bring their own."""

    def time(self) -> float:
        """Return seconds since the epoch, by this machine's clock."""

    def monotonic(self) -> float:
        """Return seconds since some moment; setting the clock does not change them."""

    def sleep(self, seconds: float) -> None:
        """Return after *seconds* of this clock's time."""


class SystemClock:
    """The clock of this machine."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that no setting of the clock changes; sleep of the machine counts."""
        return _monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only by its own methods."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._set_by = 0.0

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds that `set_by` does not change."""
        return self._now - self._set_by

    def set_by(self, seconds: float) -> None:
        """Set the clock forward by *seconds*, or back, as an administrator does."""
        self._now += seconds
        self._set_by += seconds

    def sleep(self, seconds: float) -> None:
        """Move forward at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move forward by *seconds*."""
        self._now += seconds


class ClockWatch:
    """Notices when a clock was set, by comparing it with monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.time() - clock.monotonic()

    def pending(self) -> float:
        """Return by how many seconds the clock was set since `take` was called last: 0.0 for less
        than a second."""
        step = self._drift()
        return step if abs(step) >= _MIN_STEP_SECONDS else 0.0

    def take(self) -> float:
        """Return `pending`, and reset it together with any slow correction of the clock."""
        step = self._drift()
        self._offset += step
        return step if abs(step) >= _MIN_STEP_SECONDS else 0.0

    def _drift(self) -> float:
        before = self._clock.monotonic()
        now = self._clock.time()
        if self._clock.monotonic() - before > _UNDISTURBED:
            return 0.0  # we did not run between the two: the next call will tell
        return now - before - self._offset


def in_words(step: float) -> str:
    """Say in words that a clock was set by *step* seconds."""
    return f"set {'forward' if step > 0 else 'back'} by {abs(step):,.0f} s"


def moment(seconds: float) -> datetime:
    """Return *seconds* since the epoch as an aware UTC time."""
    return datetime.fromtimestamp(seconds, UTC)
