"""Formulas of Erlang for the M/M/c queue, and the late share of a load that changes by the hour.

They hold for arrivals without bursts: exponential gaps within an hour, exponential service times.
*load* is the offered load in erlang: arrivals a second times the mean service time.

Sources: Erlang 1917, Solution of some problems in the theory of probabilities of significance in
automatic telephone exchanges; Jagerman 1974, Some properties of the Erlang loss function; Whitt
2013, Offered load analysis for staffing (each hour as a steady state of its own).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from tasktools.capacity.demand import FloatArray

_MAX_SLOTS: Final = 1_000_000
_LEAST_SERVICE: Final = 1e-9  # seconds


def ln_erlang_b(slots: int, load: float | FloatArray) -> FloatArray:
    """Return ln of the chance that all *slots* are busy where nothing waits, for each *load*.

    >>> np.exp(ln_erlang_b(2, 1.0)).round(3)
    np.float64(0.2)
    """
    inverse = np.zeros_like(np.asarray(load, dtype=np.float64))  # ln of 1 / B
    with np.errstate(divide="ignore"):
        ln_load = np.log(load)
    for busy in range(1, slots + 1):
        inverse = np.logaddexp(0.0, inverse + math.log(busy) - ln_load)
    return -inverse


def ln_erlang_c(slots: int, load: float | FloatArray) -> FloatArray:
    """Return ln of the probability that a task waits, for each *load*; 0 for an overload.

    >>> np.exp(ln_erlang_c(3, 2.0)).round(3)
    np.float64(0.444)
    """
    return _ln_c(ln_erlang_b(slots, load), slots, np.asarray(load, dtype=np.float64))


def _ln_c(ln_b: FloatArray, slots: int, load: FloatArray) -> FloatArray:
    use = np.minimum(load / slots, 1.0) if slots else np.ones_like(load)
    answer: FloatArray = np.where(
        use < 1, ln_b - np.log1p(-np.where(use < 1, use * -np.expm1(ln_b), 0.0)), 0.0
    )
    return answer


def wait_quantile(slots: int, load: float, service: float, quantile: float) -> float:
    """Return the wait (s) that a share *quantile* of the tasks stays within.

    Parameters
    ----------
    slots
        Tasks that can run at once.
    load
        Offered load in erlang.
    service
        Mean service time in seconds.
    quantile
        Share of the tasks, as 0.95.

    Returns
    -------
    float
        Seconds; infinite where *load* is not below *slots*.

    Examples
    --------
    >>> round(wait_quantile(8, 6.0, 10.0, 0.95), 1)
    9.8

    """
    if load >= slots:
        return math.inf
    excess = float(ln_erlang_c(slots, load)) - math.log1p(-quantile)
    return max(excess, 0.0) * service / (slots - load)


def late_share(
    slots: int, loads: FloatArray, tasks: FloatArray, service: float, wait_below: float
) -> float:
    """Return the share of tasks that wait longer than *wait_below*, over hours of different load.

    Parameters
    ----------
    slots
        Tasks that can run at once.
    loads
        Offered load of each hour, in erlang.
    tasks
        Tasks of each hour.
    service
        Mean service time in seconds.
    wait_below
        Seconds.

    Returns
    -------
    float
        0 to 1; a task of an hour whose load is not below *slots* is late.

    Examples
    --------
    >>> round(late_share(8, np.array([4.0, 6.0]), np.array([400.0, 600.0]), 10.0, 5.0), 3)
    0.082

    """
    late = _late(_ln_c(ln_erlang_b(slots, loads), slots, loads), slots, loads, service, wait_below)
    return float(np.average(late, weights=tasks))


def slots_needed(
    loads: FloatArray, tasks: FloatArray, service: float, wait_below: float, quantile: float
) -> int:
    """Return the fewest slots with which a share *quantile* of the tasks waits *wait_below* at
    most, over hours of different load.

    Parameters
    ----------
    loads
        Offered load of each hour, in erlang.
    tasks
        Tasks of each hour.
    service
        Mean service time in seconds.
    wait_below
        Seconds.
    quantile
        Share of the tasks, as 0.95.

    Returns
    -------
    int
        1 or more.

    Raises
    ------
    ValueError
        It would take more than a million slots.

    Examples
    --------
    >>> slots_needed(np.array([4.0, 6.0]), np.array([400.0, 600.0]), 10.0, 5.0, 0.95)
    9

    """
    with np.errstate(divide="ignore"):
        ln_loads = np.log(loads)
    inverse = np.zeros_like(loads)
    for slots in range(1, _MAX_SLOTS + 1):
        inverse = np.logaddexp(0.0, inverse + math.log(slots) - ln_loads)
        late = _late(_ln_c(-inverse, slots, loads), slots, loads, service, wait_below)
        if np.average(late, weights=tasks) <= 1 - quantile:
            return slots
    raise ValueError(f"A load of {loads.max():,.0f} erlang is too much for {_MAX_SLOTS:,} slots.")


def _late(
    ln_c: FloatArray, slots: int, loads: FloatArray, service: float, wait_below: float
) -> FloatArray:
    """Return the late share of each hour."""
    free = np.maximum(slots - loads, 0.0)
    answer: FloatArray = np.exp(ln_c - free * wait_below / max(service, _LEAST_SERVICE))
    return answer
