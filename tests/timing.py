"""Bounds on wall-clock time that hold on a machine that others use too."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SPIN: Final = 0.1  # seconds of processor time


def contention() -> float:
    """Return the seconds that a second of processor time takes: 1 on a quiet machine."""
    began, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < _SPIN:
        pass
    now = (time.perf_counter() - began) / (time.process_time() - cpu)
    last_minute = os.getloadavg()[0] / (os.cpu_count() or 1)
    return max(now, last_minute, 1.0)


@contextmanager
def within(seconds: float, what: str = "it") -> Iterator[None]:
    """Fail if *what* takes longer than *seconds*, or longer for a machine as busy as this."""
    began = time.perf_counter()
    yield
    took = time.perf_counter() - began
    print(f"{what}: {took:.2f} s")
    assert took < seconds or took < seconds * contention(), f"{what} took {took:.2f} s"
