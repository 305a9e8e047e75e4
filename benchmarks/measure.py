"""Timing two ways of doing the same thing, in turns."""

from __future__ import annotations

import os
import re
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Result:
    """A measured ratio: *ratio* is `ours` over `other`, or the other way round for speeds."""

    name: str
    ratio: float
    bound: str
    met: bool
    detail: str


def in_turns(
    own: Callable[[], object],
    other: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Return the median seconds of *own* and *other* by *clock*, run alternately."""
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(_seconds(own, clock))
        theirs.append(_seconds(other, clock))
    return statistics.median(mine), statistics.median(theirs)


def median_seconds(work: Callable[[], object], rounds: int, clock: Callable[[], float]) -> float:
    """Return the median seconds of *work* by *clock*."""
    return statistics.median(_seconds(work, clock) for _ in range(rounds))


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


def processor_seconds(pid: int) -> float:
    """Return the processor time that the process *pid* has had."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    """Return the memory that the process *pid* has now."""
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes) / 2**10


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return clock() - began
