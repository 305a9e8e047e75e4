"""The load that each topic of a demand offers, prepared for the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tasktools.capacity.demand import Demand, FloatArray, TopicDemand
from tasktools.capacity.hours import WeekLoad, week_load
from tasktools.capacity.question import Question
from tasktools.capacity.simulation import Tasks, in_order, tasks_of

_MAX_RETRIES: Final = 10
_MIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """The tasks of a topic, and the load that they and their retries are."""

    topic: TopicDemand
    tasks: Tasks
    mean: float
    """Erlang."""
    week: WeekLoad
    service: float
    """Mean seconds of a try."""
    busy: float
    """Seconds for which all tries hold a slot."""


def load_of(topic: TopicDemand, demand: Demand, question: Question) -> Load | None:
    """Return the load of *topic*; `None` where no task arrived or none ended."""
    if not len(topic.arrivals) or not len(topic.service_times) + len(topic.censored):
        return None
    tasks = tasks_of(
        replace(topic, max_retries=retries_of(topic)),
        traffic=question.traffic,
        service=question.service,
    )
    if not len(tasks.times):
        return None
    times = in_order(tasks).times
    busy = tasks.busy_seconds
    service = busy / len(times)
    return Load(
        topic,
        tasks,
        busy / recorded_seconds(demand),
        week_load(times, service, demand),
        service,
        busy,
    )


def recorded_seconds(demand: Demand) -> float:
    """Return for how long *demand* was recorded, without the gaps."""
    return max(sum(until - since for since, until in demand.recorded), _MIN_SECONDS)


def retries_of(topic: TopicDemand) -> int:
    """Return how often a failed task comes again: as recorded, else as the numbers of tries and of
    arrivals have it."""
    if topic.max_retries is not None:
        return topic.max_retries
    tries = len(topic.service_times)
    failed_share = float(topic.failed.mean()) if tries else 0.0
    retries, expected = 0, 1.0
    while retries < _MAX_RETRIES and expected < tries / max(len(topic.arrivals), 1):
        retries += 1
        expected += failed_share**retries
    return retries if failed_share else 0


def joint_week(loads: Mapping[str, Load]) -> WeekLoad:
    """Return the load of all topics together."""
    weeks = [load.week for load in loads.values()]
    hours = np.unique(np.concatenate([week.hours for week in weeks]))
    total: FloatArray = np.zeros(len(hours))
    tasks: FloatArray = np.zeros(len(hours))
    for week in weeks:
        places = np.searchsorted(hours, week.hours)
        total[places] += week.loads
        tasks[places] += week.tasks
    return WeekLoad(hours, total, tasks)
