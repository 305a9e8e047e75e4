"""`tt.capacity.curve`: late tasks, wait and utilisation over the number of slots."""

from __future__ import annotations

import math
from typing import Any, Final

import pandas as pd

from tasktools.capacity.answers import PoolSolver
from tasktools.capacity.demand import Demand
from tasktools.capacity.models import Model, pools_of
from tasktools.capacity.need import OutOfReach
from tasktools.capacity.question import question_of
from tasktools.capacity.simulation import wait_quantile
from tasktools.capacity.solve import demand_of
from tasktools.cluster.cluster import Cluster
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.capacity_schemas import CURVES
from tasktools.core.timespans import Moment, Span

_MAX_POINTS: Final = 12
_MORE: Final = 3
"""Units beyond what is needed that are shown."""


def curve(
    history: Cluster | Demand,
    wait_below: Span = "30s",
    quantile: float = 0.95,
    traffic: float = 1.0,
    service: float = 1.0,
    since: Moment = "28D",
    until: Moment | None = None,
) -> pd.DataFrame:
    """Return the share of late tasks, the wait and the utilisation over the number of slots.

    It begins where the slots are just enough for the mean load, and ends a few beyond the need.

    Parameters
    ----------
    history
        A recording, a live cluster, or the ``demand`` of `inputs`.
    wait_below
        Seconds, or a span as ``"30s"``: a task that waits longer is late.
    quantile
        The quantile of the waits that is shown, as 0.95.
    traffic
        Factor of the number of tasks.
    service
        Factor of the service times.
    since
        The start: a moment, or a span before *until*.
    until
        The end; by default now, or the end of the recording. A ``demand`` allows neither.

    Returns
    -------
    pandas.DataFrame
        One row a topic and number of slots (schema `CURVES`).

    Raises
    ------
    ValueError
        An argument makes no sense; nothing was computed.

    Examples
    --------
    >>> import numpy as np
    >>> from tasktools.capacity import Demand, TopicDemand, curve
    >>> rng = np.random.default_rng(1)
    >>> arrivals = np.sort(rng.uniform(0, 3 * 86_400, 20_000))
    >>> emails = TopicDemand(
    ...     "emails", arrivals, "messages", rng.exponential(30.0, 20_000),
    ...     np.zeros(20_000, dtype=bool), np.zeros(0), None, None, None,
    ... )
    >>> days = (0.0, 3 * 86_400.0)
    >>> frame = curve(Demand(*days, (days,), {"emails": emails}, ()))
    >>> frame[["slots", "late"]].round(2).to_numpy().tolist()
    [[3, 0.3], [4, 0.05], [5, 0.01], [6, 0.0], [7, 0.0]]

    """
    question = question_of(
        wait_below=wait_below, quantile=quantile, traffic=traffic, service=service
    )
    rows: list[list[Any]] = []
    notes: list[str] = []
    demand = demand_of(history, since, until)
    for pool in pools_of(demand):
        solver = PoolSolver(pool, demand, question)
        if solver.model is None:
            continue
        load = sum(each.mean for each in solver.loads.values())
        first = max(math.ceil(load / solver.model.unit), 1)
        if first > solver.model.most:
            notes.append(f"{', '.join(solver.loads)}: not even {solver.model.most:,} are enough")
            continue
        last = _last(solver, solver.model, first)
        step = max(math.ceil((last - first) / (_MAX_POINTS - 1)), 1)
        for name in solver.loads:
            points = range(first, last + step, step)
            rows += [_row(solver.model, name, units, load, quantile) for units in points]
    rows.sort(key=lambda row: (row[0], row[1]))
    return frame_from(CURVES, rows, notes=notes, **demand.label)


def _last(solver: PoolSolver, model: Model, first: int) -> int:
    """Return the last number of units that is shown."""
    last = first
    for name in solver.loads:
        guess = math.ceil(solver.guess() / model.unit)
        try:
            last = max(last, model.late(name).least(guess, solver.question.quantile))
        except OutOfReach:
            last = max(last, 2 * guess)
    return last + _MORE


def _row(model: Model, name: str, units: int, load: float, quantile: float) -> list[Any]:
    share = model.late(name).at(units)
    waits = model.waits(name, units)
    wait = wait_quantile(waits, quantile) if len(waits) else math.inf
    slots = model.slots(units)
    return [name, slots, *share, None if math.isinf(wait) else wait, min(load / slots, 1.0)]
