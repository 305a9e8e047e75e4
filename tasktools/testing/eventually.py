"""Waiting for what another process, or the broker, does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_PAUSE: Final = 0.02


def eventually(predicate: Callable[[], T | None], timeout: float = 5.0) -> T:
    """Call *predicate* until its answer is true, and return that; fail after *timeout* s.

    >>> eventually(lambda: 6 * 7)
    42
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:g} s; the last answer was {answer!r}")
        time.sleep(_PAUSE)
