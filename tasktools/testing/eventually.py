"""A bounded wait for a change in another process or the broker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final, TypeVar

import pandas as pd

T = TypeVar("T")

_SHORTEST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.2
_PAUSE_PER_SECOND: Final = 0.05  # how late an answer may be seen, of the time that it took


def eventually(predicate: Callable[[], T | None], timeout: float = 30.0) -> T:
    """Call *predicate* until its answer is true, and return that; fail after *timeout* s.

    Where more threads want to run than there are processors, all takes longer, and so does this
    wait. A missing value of a frame (`pandas.NA`) is no answer yet. What takes long is asked for
    less often: a question to the management API takes processor time from what is waited for.

    >>> eventually(lambda: 6 * 7)
    42
    """
    began = time.monotonic()
    while True:
        answer = predicate()
        if answer is not pd.NA and answer:
            return answer
        waited = time.monotonic() - began
        if waited >= timeout * threads_per_processor():
            raise AssertionError(f"not within {waited:.0f} s; the last answer was {answer!r}")
        pause = max(_SHORTEST_PAUSE_SECONDS, waited * _PAUSE_PER_SECOND)
        time.sleep(min(pause, _LONGEST_PAUSE_SECONDS))


def threads_per_processor() -> float:
    """Return how many threads wanted each processor in the last minute; at least 1."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 1.0
    return max(load / (os.cpu_count() or 1), 1.0)
