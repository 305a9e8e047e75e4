"""The load that each topic of a demand offers, prepared for the models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tasktools.capacity.arrivals import weekly_rates
from tasktools.capacity.demand import Demand, FloatArray, TopicDemand
from tasktools.capacity.hour_of_week import HOUR
from tasktools.capacity.load_by_hour import WeekLoad
from tasktools.capacity.question import Question
from tasktools.capacity.simulation import Tasks, tasks_of

_MAX_RETRIES: Final = 10
_MIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """The tasks of a topic, and the offered load of the tasks and their retries."""

    topic: TopicDemand
    tasks: Tasks
    count: int
    """All tasks, also where `tasks` are a sample."""
    week: WeekLoad
    service: float
    """Mean seconds of a try."""

    @property
    def mean(self) -> float:
        """The mean offered load, in erlang."""
        return self.week.mean


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
    busy = tasks.busy_seconds / len(tasks.times)
    rates = weekly_rates(demand.hours, _hourly(topic), demand.covered).rate * question.traffic
    hours = np.flatnonzero(~np.isnan(rates))
    count = question.traffic * float(_hourly(topic).sum())
    return Load(
        topic,
        tasks,
        round(count),
        WeekLoad(hours, rates[hours] * busy, rates[hours], count * busy / recorded_seconds(demand)),
        tasks.busy_seconds / tasks.tries,
    )


def recorded_seconds(demand: Demand) -> float:
    """Return for how long *demand* was recorded, without the gaps."""
    return max(sum(until - since for since, until in demand.recorded), _MIN_SECONDS)


def with_hours(demand: Demand) -> Demand:
    """Return *demand* with its arrivals by hour, which a demand built by hand does not have."""
    if len(demand.hours):
        return demand
    first, last = (demand.recorded[0][0], demand.recorded[-1][1]) if demand.recorded else (0, 0)
    hours = np.arange(first // HOUR, math.ceil(last / HOUR)) * HOUR
    covered = np.zeros(len(hours))
    for since, until in demand.recorded:
        covered += np.clip(np.minimum(hours + HOUR, until) - np.maximum(hours, since), 0, None)
    topics = {
        name: replace(topic, hourly=np.histogram(topic.arrivals, [*hours, np.inf])[0].astype(float))
        for name, topic in demand.topics.items()
    }
    return replace(demand, topics=topics, hours=hours, covered=covered)


def _hourly(topic: TopicDemand) -> FloatArray:
    return np.zeros(0) if topic.hourly is None else topic.hourly


def retries_of(topic: TopicDemand) -> int:
    """Return how often a failed task is retried: as recorded, else estimated from the numbers of
    tries and of arrivals."""
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
    return WeekLoad(hours, total, tasks, sum(week.mean for week in weeks))
