"""The only place that asks what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits; tests and the demo bring their own."""

    def time(self) -> float:
        """Seconds since the epoch, as this machine believes."""

    def sleep(self, seconds: float) -> None:
        """Return after *seconds* of this clock's time."""


class SystemClock:
    """The clock of this machine."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move forward at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move forward by *seconds*."""
        self._now += seconds


def moment(seconds: float) -> datetime:
    """Return *seconds* since the epoch as an aware UTC time."""
    return datetime.fromtimestamp(seconds, UTC)
