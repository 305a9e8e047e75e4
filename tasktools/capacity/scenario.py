"""Scenarios: the waits with other workers, another limit, more traffic or longer service times.

For screens that ask again with each move of a slider: the outlook takes one simulation, the need
takes several, and both can be abandoned between two simulations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd

from tasktools.capacity.answers import PoolSolver
from tasktools.capacity.by_hour import hour_rows
from tasktools.capacity.demand import Demand
from tasktools.capacity.models import Checkpoint, Pool, pools_of
from tasktools.capacity.question import Question
from tasktools.capacity.share_interval import Share, wait_interval
from tasktools.capacity.topic_loads import joint_week
from tasktools.core.clock import moment
from tasktools.core.errors import NotRecorded
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.capacity_schemas import HOURS

_MIN_WAITS: Final = 20
"""The least number of tasks for a quantile of waits."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A what-if question about a topic and the topics that share its workers."""

    topic: str
    workers: int
    """Workers of the topic's pool, in the recorded proportions; slots where no worker was
    recorded."""
    limit: int | None
    """Tasks of the topic that may run at once; `None`: any number."""
    question: Question


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """The waits of tasks in a scenario."""

    scenario: Scenario
    slots: int
    hours: pd.DataFrame = field(repr=False)
    """Waits and utilisation by hour of the week (schema `HOURS`), of all topics of the pool."""
    wait: Share | None
    """Seconds, with its interval: the quantile of the waits of the topic; `None`: the tasks are too
    few, or the wait is endless."""
    late: Share | None
    """Share of its tasks that wait longer than the target; `None`: the tasks are too few."""
    load: float
    """Mean offered load of the pool, in erlang."""
    peak_load: float | None
    """The offered load in the busiest hour of the week, in erlang; `None`: too little was
    recorded."""


def pool_of(demand: Demand, topic: str) -> Pool:
    """Return the pool of *topic*."""
    return next(pool for pool in pools_of(demand) if topic in pool.topics)


def scenario_solver(demand: Demand, scenario: Scenario, checkpoint: Checkpoint) -> PoolSolver:
    """Return the solver of the pool in a scenario; *checkpoint* is called before each simulation.

    Raises `NotRecorded` where nothing is known of the pool's tasks.
    """
    pool = pool_of(demand, scenario.topic)
    recorded = demand.topics[scenario.topic]
    if recorded.limit != scenario.limit:
        # The recorded waits were those under another limit.
        changed = {name: replace(demand.topics[name], waits=None) for name in pool.topics}
        changed[scenario.topic] = replace(changed[scenario.topic], limit=scenario.limit)
        demand = replace(demand, topics={**demand.topics, **changed})
    solver = PoolSolver(pool, demand, scenario.question, checkpoint)
    if scenario.topic not in solver.loads:
        what = "arrived" if not len(recorded.arrivals) else "was seen to end"
        raise NotRecorded(
            f"No task of {scenario.topic} {what} in the recorded time, so its waits are not known; "
            "nothing was computed. Choose another topic, or record for longer."
        )
    return solver


def outlook_of(solver: PoolSolver, scenario: Scenario) -> Outlook:
    """Return the waits of tasks in *scenario*, computed by its solver."""
    model = solver.model
    assert model is not None  # noqa: S101 - `scenario_solver` has refused it
    pool, question, demand = solver.pool, scenario.question, solver.demand
    slots = (
        sum(worker.capacity for worker in pool.of_workers(scenario.workers))
        if pool.workers
        else scenario.workers
    )
    units = scenario.workers if model.method == "events" else slots
    waits, blocks = model.waits(scenario.topic, units), model.blocks(scenario.topic)
    wait = late = None
    if len(waits) >= _MIN_WAITS:
        late = blocks.share(waits > (question.wait_below or 0.0))
        limits = wait_interval(waits, blocks, question.quantile)
        wait = Share(*limits) if math.isfinite(limits[0]) else None
    window = {"since": moment(demand.since), "until": moment(demand.until)}
    week = joint_week(solver.loads)
    return Outlook(
        scenario,
        slots,
        frame_from(HOURS, list(hour_rows(solver, model, units)), window=window, notes=[]),
        wait,
        late,
        sum(load.mean for load in solver.loads.values()),
        week.peak,
    )


def busy_seconds(demand: Demand) -> Mapping[str, float]:
    """Return by topic for how long its recorded tries held a slot."""
    return {
        name: float(np.sum(topic.service_times) + np.sum(topic.censored))
        for name, topic in demand.topics.items()
    }
