"""The wait that a replay adds to live tasks, in one line, for the operator who chooses the rate."""

from __future__ import annotations

import time
from typing import Final

from tasktools.capacity.replay_history import ReplayHistory
from tasktools.capacity.replay_impact import MIN_DAYS
from tasktools.capacity.replay_rates import impact_of
from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import NotRecorded
from tasktools.core.timespans import in_words

_FRESH_SECONDS: Final = 300.0
AT_ONCE: Final = 1_000.0
"""Messages a second of a replay without a rate."""


class AddedWaits:
    """Computes added waits from *history*, which is read every five minutes at most."""

    def __init__(self, history: Cluster) -> None:
        self._history = history
        self._recorded: ReplayHistory | None = None
        self._read_at = 0.0

    def in_words(self, topic: str, *, messages: int, rate: float | None, at: float) -> str:
        """Return in words how much longer live tasks wait; an empty text if the history is too
        short.

        The replay begins *at* (s since the epoch). *rate* is in messages a second; `None`: all at
        once.
        """
        try:
            hours = self._current(at).hours(topic, at=at, messages=messages)
        except NotRecorded:
            return ""
        impact = impact_of(hours, rate or AT_ONCE)
        if hours.days < MIN_DAYS or impact is None:
            return ""
        how = "" if rate else "sent at once, it "
        if impact.added_high < 1:
            return f"{how}adds less than 1 s to the p95 wait of live tasks (80 %)"
        low, high = in_words(impact.added_low), in_words(impact.added_high)
        span = low if low == high else f"{low} to {high}"
        return f"{how}adds {span} to the p95 wait of live tasks (80 %)"

    def _current(self, at: float) -> ReplayHistory:
        now = time.monotonic()
        if self._recorded is None or now - self._read_at > _FRESH_SECONDS:
            self._recorded = ReplayHistory.read(self._history, at)
            self._read_at = now
        return self._recorded
