"""Timing two ways of doing the same thing, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

_NOISE = 2.0


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured: *ratio* is `ours` over `other`, or the other way round for speeds.

    A short run on a busy machine is noisy, so of such a run only *nearly* is asked.
    """

    name: str
    ratio: float
    bound: str
    met: bool
    nearly: bool
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


def at_least(name: str, ratio: float, bound: float, detail: str, noise: float = _NOISE) -> Result:
    """Return a result whose ratio must be *bound* or more; nearly: that by *noise*."""
    return Result(
        name, ratio, f"at least {bound:g}", ratio >= bound, ratio >= bound / noise, detail
    )


def at_most(name: str, ratio: float, bound: float, detail: str, noise: float = _NOISE) -> Result:
    """Return a result whose ratio must be *bound* or less; nearly: that times *noise*."""
    return Result(name, ratio, f"at most {bound:g}", ratio <= bound, ratio <= bound * noise, detail)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
