"""Bounds on wall-clock time that hold on a machine that others use too, and on a slower one."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

_SPIN: Final = 0.1  # seconds of processor time
_SAMPLE_SECONDS: Final = 0.05
_RUNNABLE: Final = Path("/proc/loadavg")
_YARDSTICK_SECONDS: Final = 0.03  # of processor time, on the machine that the bounds are for
_ROUNDS: Final = 5


def contention() -> float:
    """Return the seconds that a second of work takes: 1 on a quiet machine as fast as that which
    the bounds are for."""
    began, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < _SPIN:
        pass
    now = (time.perf_counter() - began) / (time.process_time() - cpu)
    last_minute = os.getloadavg()[0] / (os.cpu_count() or 1)
    return max(now, last_minute, 1.0) * slowness()


@cache
def slowness() -> float:
    """Return how many times as long as on the machine that the bounds are for the same work takes
    here, in processor time; 1 on a faster one."""
    return max(1.0, min(_yardstick() for _ in range(_ROUNDS)) / _YARDSTICK_SECONDS)


def _yardstick() -> float:
    """Return the processor time of a piece of work that is always the same."""
    began = time.thread_time()
    rows = [{"n": n, "name": str(n), "values": [n / 7] * 5} for n in range(300)]
    for _ in range(20):
        rows = json.loads(json.dumps(rows))
    return time.thread_time() - began


@contextmanager
def within(seconds: float, what: str = "it") -> Iterator[None]:
    """Fail if *what* takes longer than *seconds*, or longer for a machine as busy as this was
    meanwhile."""
    began = time.perf_counter()
    with _sampled() as counts:
        yield
    took = time.perf_counter() - began
    print(f"{what}: {took:.2f} s")
    if took < seconds:
        return
    meanwhile = sum(counts) / max(len(counts), 1) / (os.cpu_count() or 1)
    factor = max(contention(), meanwhile * slowness())
    assert took < seconds * factor, f"{what} took {took:.2f} s, {factor:.1f} times {seconds:g} s"


@contextmanager
def spending(seconds: float, what: str = "it") -> Iterator[None]:
    """Fail if *what* takes this process more than *seconds* of processor time, or longer for a
    machine as slow as this."""
    began = time.process_time()
    yield
    took = time.process_time() - began
    print(f"{what}: {took:.3f} s of processor time")
    assert took < seconds or took < seconds * slowness(), f"{what} took {took:.3f} s"


@contextmanager
def _sampled() -> Iterator[list[int]]:
    """Give a list that grows by the number of threads on the machine that run or want to."""
    counts: list[int] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            counts.append(int(_RUNNABLE.read_text().split()[3].partition("/")[0]) - 1)

    thread = threading.Thread(target=sample, name="runnable", daemon=True)
    if _RUNNABLE.exists():  # else the load of the last minute has to do
        thread.start()
    try:
        yield counts
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()
