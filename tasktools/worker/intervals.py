"""The intervals of a worker: how long it waits before it tries or checks something again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Intervals in seconds."""

    heartbeat: float = 3.0
    """The time between two heartbeats; peers call a worker late after 10 s of silence."""
    send_retry: float = 1.0
    """The wait before events that the broker did not take are sent again."""
    check: float = 30.0
    """The time between two checks for missed settings and for topics that cannot be consumed."""
    store_settings: float = 0.5
    """The longest random delay before settings of a peer are stored, so that one of several
    workers stores them and the others see it."""
    put_off: float = 1.0
    """The wait before a task that cannot run now is delivered again."""
    settle_first: float = 0.5
    """The wait before the first retry of a settlement; doubled for each further one."""
    settle_most: float = 30.0
    """The longest pause between two retries of a settlement."""


DEFAULT_INTERVALS = Intervals()
