"""Whether a task that failed is tried again, and when."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 3600.0
"""Seconds between two tries at most."""


def next_try(attempts: int, *, max_retries: int | None, retry_delay: float | None) -> float | None:
    """Return in how many seconds a task is tried again, or `None` when it is given up.

    *attempts* counts the tries that were counted before this one, so the first try has 0.
    Exponential backoff: ``retry_delay * 2 ** attempts``, an hour at most ("Exponential Backoff
    And Jitter", AWS Architecture Blog, 2015). Without jitter: each delay has a parking queue of
    its own, and tasks fail at different times anyway.
    """
    if attempts >= (max_retries or 0):
        return None
    base = 1.0 if retry_delay is None else retry_delay
    return float(min(base * 2 ** min(attempts, 32), LONGEST))
