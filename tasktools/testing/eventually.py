"""A bounded wait for a change in another process or the broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import pandas as pd

T = TypeVar("T")

_PAUSE: Final = 0.02


def eventually(predicate: Callable[[], T | None], timeout: float = 30.0) -> T:
    """Call *predicate* until its answer is true, and return that; fail after *timeout* s.

    A missing value of a frame (`pandas.NA`) is no answer yet.

    >>> eventually(lambda: 6 * 7)
    42
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer is not pd.NA and answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:g} s; the last answer was {answer!r}")
        time.sleep(_PAUSE)
