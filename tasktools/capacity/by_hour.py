"""`tt.capacity.by_hour`: wait and utilisation by hour of the week, with a number of slots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from tasktools.capacity.answers import PoolSolver, answer_of
from tasktools.capacity.demand import Demand
from tasktools.capacity.hour_of_week import HOURS_OF_WEEK, hour_of_week
from tasktools.capacity.models import Model, Pool, pools_of
from tasktools.capacity.need import MAX_UNITS
from tasktools.capacity.question import Question, question_of
from tasktools.capacity.simulation import wait_quantile
from tasktools.capacity.solve import demand_of
from tasktools.capacity.topic_loads import joint_week
from tasktools.cluster.cluster import Cluster
from tasktools.core.arguments import is_count
from tasktools.core.clock import moment
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.capacity_schemas import HOURS
from tasktools.core.timespans import Moment, Span

_MIN_TASKS: Final = 20  # of an hour of the week: of fewer a quantile says nothing


def by_hour(
    history: Cluster | Demand,
    slots: Mapping[str, int] | None = None,
    wait_below: Span = "30s",
    quantile: float = 0.95,
    traffic: float = 1.0,
    service: float = 1.0,
    since: Moment = "28D",
    until: Moment | None = None,
) -> pd.DataFrame:
    """Return how long tasks wait, and how busy the slots are, in each hour of the week.

    Parameters
    ----------
    history
        A recording, a live cluster, or the ``demand`` of `inputs`, so that it is read once.
    slots
        Slots by topic. Topics that share workers get the largest of their numbers, in whole
        workers. By default, and for topics that are left out, the number that `solve` returns.
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
        One row a topic and hour of the week (schema `HOURS`). An hour that was not recorded has the
        utilisation of other days at that hour. ``attrs["window"]``: the recorded time.

    Raises
    ------
    ValueError
        An argument makes no sense, or a topic is unknown; nothing was computed.
    RecordingError
        The recording cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from tasktools.capacity import Demand, TopicDemand, by_hour
    >>> rng = np.random.default_rng(1)
    >>> arrivals = np.sort(rng.uniform(0, 3 * 86_400, 20_000))
    >>> emails = TopicDemand(
    ...     "emails", arrivals, "messages", rng.exponential(30.0, 20_000),
    ...     np.zeros(20_000, dtype=bool), np.zeros(0), None, None, None,
    ... )
    >>> days = (0.0, 3 * 86_400.0)
    >>> frame = by_hour(Demand(*days, (days,), {"emails": emails}, ()), {"emails": 5})
    >>> len(frame), frame["slots"].unique().tolist()
    (168, [5])

    """
    question = question_of(
        wait_below=wait_below, quantile=quantile, traffic=traffic, service=service
    )
    if not isinstance(slots, Mapping | None):
        raise ValueError(  # noqa: TRY004 - whatever cannot be used is one error
            f'slots is {slots!r}; it is slots by topic, as {{"emails": 5}}. Nothing was computed.'
        )
    demand = demand_of(history, since, until)
    wanted = dict(slots or {})
    for name, number in wanted.items():
        if name not in demand.topics or not is_count(number, MAX_UNITS):
            raise ValueError(
                f"slots has {name!r}: {number!r}; it takes names of recorded topics and numbers "
                f"from 1 to {MAX_UNITS:,}. Nothing was computed."
            )
    rows: list[list[Any]] = []
    for pool in pools_of(demand):
        solver, units = _units(pool, demand, question, wanted)
        if solver.model is not None and units is not None:
            rows += hour_rows(solver, solver.model, units)
    rows.sort(key=lambda row: (row[0], row[1]))
    window = {"since": moment(demand.since), "until": moment(demand.until)}
    frame = frame_from(HOURS, rows, window=window, notes=[])
    return history.labelled(frame) if isinstance(history, Cluster) else frame


def _units(
    pool: Pool, demand: Demand, question: Question, wanted: Mapping[str, int]
) -> tuple[PoolSolver, int | None]:
    solver = PoolSolver(pool, demand, question)
    asked = [wanted[name] for name in pool.topics if name in wanted]
    if not asked:
        return solver, answer_of(solver).units
    return solver, None if solver.model is None else math.ceil(max(asked) / solver.model.unit)


def hour_rows(solver: PoolSolver, model: Model, units: int) -> Iterator[list[Any]]:
    """Yield the values of the rows of `HOURS` for *units* slots or workers."""
    slots = model.slots(units)
    week = joint_week(solver.loads)
    load = np.full(HOURS_OF_WEEK, np.nan)
    load[week.hours] = week.loads
    question = solver.question
    for name in solver.loads:
        waits, hours = model.waits(name, units), hour_of_week(model.times(name))
        order = np.argsort(hours, kind="stable")
        edges = np.searchsorted(hours[order], np.arange(HOURS_OF_WEEK + 1))
        for hour in week.hours.tolist():
            part = waits[order[edges[hour] : edges[hour + 1]]]
            wait = late = None
            if len(part) >= _MIN_TASKS:
                wait = wait_quantile(part, question.quantile)
                late = float(np.mean(part > (question.wait_below or 0.0)))
            is_finite = wait is not None and math.isfinite(wait)
            use = min(float(load[hour]) / slots, 1.0)
            yield [name, hour, slots, len(part), wait if is_finite else None, late, use]
