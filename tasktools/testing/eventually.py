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

_NO_BOOLEAN: Final = "boolean value of NA is ambiguous"  # raised where NA is compared in a list


def eventually(predicate: Callable[[], T | None], timeout: float = 30.0) -> T:
    """Call *predicate* until its answer is true, and return that; fail after *timeout* s.

    The wait is longer where more threads want to run than there are processors. A missing value of
    a frame (`pandas.NA`), or a comparison with one, is no answer yet. A slow *predicate* is called
    less often: a query to the management API takes processor time from the work that is waited for.

    >>> eventually(lambda: 6 * 7)
    42
    >>> counts = iter([[1, pd.NA], [1, 2]])
    >>> eventually(lambda: next(counts) == [1, 2])
    True
    """
    began = time.monotonic()
    while True:
        answer = _answer(predicate)
        if answer is not pd.NA and answer:
            return answer
        waited = time.monotonic() - began
        if waited >= timeout * threads_per_processor():
            raise AssertionError(f"not within {waited:.0f} s; the last answer was {answer!r}")
        pause = max(_SHORTEST_PAUSE_SECONDS, waited * _PAUSE_PER_SECOND)
        time.sleep(min(pause, _LONGEST_PAUSE_SECONDS))


def _answer(predicate: Callable[[], T | None]) -> T | None:
    """Return the answer; `None` where a missing value would have to be true or false."""
    try:
        return predicate()
    except TypeError as error:
        if _NO_BOOLEAN not in str(error):
            raise
        return None


def threads_per_processor() -> float:
    """Return how many threads wanted each processor in the last minute; at least 1."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 1.0
    return max(load / (os.cpu_count() or 1), 1.0)
