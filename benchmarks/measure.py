"""Timing two ways of doing the same thing, in turns."""

from __future__ import annotations

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
    ours: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[float, float]:
    """Return the median seconds of *ours* and *other*, run alternately."""
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(_seconds(ours))
        theirs.append(_seconds(other))
    return statistics.median(mine), statistics.median(theirs)


def at_least(name: str, ratio: float, bound: float, detail: str) -> Result:
    """Return a result whose ratio must be *bound* or more."""
    return Result(name, ratio, f"at least {bound:g}", ratio >= bound, detail)


def at_most(name: str, ratio: float, bound: float, detail: str) -> Result:
    """Return a result whose ratio must be *bound* or less."""
    return Result(name, ratio, f"at most {bound:g}", ratio <= bound, detail)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
