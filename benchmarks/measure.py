"""Timing two ways of doing the same thing, in turns."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """A measured ratio: *ratio* is `ours` over `other`, or the other way round for speeds."""

    name: str
    ratio: float
    bound: str
    met: bool
    detail: str


def in_turns(
    ours: Callable[[], object],
    other: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Return the median seconds of *ours* and *other* by *clock*, run alternately."""
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(_seconds(ours, clock))
        theirs.append(_seconds(other, clock))
    return statistics.median(mine), statistics.median(theirs)


def at_least(name: str, ratio: float, bound: float, detail: str) -> Result:
    """Return a result whose ratio must be *bound* or more."""
    return Result(name, ratio, f"at least {bound:g}", ratio >= bound, detail)


def at_most(name: str, ratio: float, bound: float, detail: str) -> Result:
    """Return a result whose ratio must be *bound* or less."""
    return Result(name, ratio, f"at most {bound:g}", ratio <= bound, detail)


def processor_seconds_of_children() -> float:
    """Return the processor time of the processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return clock() - began
