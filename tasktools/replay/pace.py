"""The rate of a plan: the number of messages that its run may send now."""

from __future__ import annotations

from typing import Final

from tasktools.core.clock import Clock

_BURST_SECONDS: Final = 1.0
_UNLIMITED_MESSAGES: Final = 1_000_000


class Pace:
    """A rate in messages a second, as a token bucket.

    Time in which nothing could be sent (an alarm, a broker that was away, a process that stood
    still) is not made up for by more than a second's worth of messages, since the target must not
    be flooded just when it is back.
    """

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = 1.0
        self._counted_at = clock.monotonic()

    def allowance(self) -> int:
        """Return how many may be sent now."""
        if self._rate is None:
            return _UNLIMITED_MESSAGES
        now = self._clock.monotonic()
        earned = (now - self._counted_at) * self._rate
        most = 1 + self._rate * _BURST_SECONDS
        self._tokens, self._counted_at = min(most, self._tokens + earned), now
        return max(0, int(self._tokens))

    def spend(self, count: int) -> None:
        """Note that *count* messages are sent."""
        if self._rate is not None:
            self._tokens -= count
