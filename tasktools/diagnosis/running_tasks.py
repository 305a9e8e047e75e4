"""Running tasks as rules judge them: how old they are, and how old is too old."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from tasktools.core.models import RunningTask, Worker
from tasktools.core.workload import live_workers
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.service_times import UsualTime, usual_time

MAX_SILENCE: Final = 5.0
"""Seconds of silence after which a worker's report of its tasks is not used; a heartbeat is due
every 3."""
ENOUGH_ENDS: Final = 10
"""Tasks that must have ended before it is known how long they usually take."""
_MIN_OVERDUE_SECONDS: Final = 20.0
_UNKNOWN_OVERDUE_SECONDS: Final = 60.0
"""Seconds after which a task is suspected, if it is not known how long tasks usually take."""
_TIMES_P95: Final = 5.0
_TIMES_LONGEST: Final = 1.5


class OverdueTask(msgspec.Struct, frozen=True):
    """A task that has run for *age* seconds, longer than *limit*; *usual* explains the limit."""

    task: RunningTask
    age: float
    limit: float
    usual: UsualTime

    @property
    def is_known(self) -> bool:
        """Whether enough tasks ended to know how long they usually take."""
        return self.usual.count >= ENOUGH_ENDS


def overdue_tasks(facts: Facts) -> list[OverdueTask]:
    """Return the tasks of workers with heartbeats that run longer than usual."""
    limits: dict[tuple[str | None, str | None], tuple[UsualTime, float]] = {}
    overdue = []
    for task, age in running_with_age(facts):
        if age <= _MIN_OVERDUE_SECONDS:
            continue
        key = (task.topic, task.task_name)
        if key not in limits:
            usual = usual_time(facts, *key)
            limits[key] = (usual, overdue_after(usual))
        usual, limit = limits[key]
        if age > limit:
            overdue.append(OverdueTask(task, age, limit, usual))
    return overdue


def overdue_after(usual: UsualTime) -> float:
    """Return after how many seconds a task takes longer than is *usual*.

    >>> overdue_after(UsualTime(100, 0.5, 2.0)), overdue_after(UsualTime(3, 0.5, 2.0))
    (20.0, 60.0)
    """
    if usual.count < ENOUGH_ENDS:
        return _UNKNOWN_OVERDUE_SECONDS
    return max(
        _MIN_OVERDUE_SECONDS,
        _TIMES_P95 * (usual.p95 or 0.0),
        _TIMES_LONGEST * (usual.longest or 0.0),
    )


def running_with_age(facts: Facts) -> Iterator[tuple[RunningTask, float]]:
    """Yield running tasks with a known begin, of workers with heartbeats, and their ages."""
    speaking = speaking_workers(facts)
    for task in facts.state.running:
        if task.started_at is not None and task.worker_id in speaking:
            yield task, facts.at - task.started_at.timestamp()


def ages_by_topic(facts: Facts) -> dict[str, list[float]]:
    """Return the ages of the running tasks of each topic."""
    ages: defaultdict[str, list[float]] = defaultdict(list)
    for task, age in running_with_age(facts):
        if task.topic is not None:
            ages[task.topic].append(age)
    return ages


def count_without_age(facts: Facts) -> int:
    """Count the tasks that ran before we listened: their age is not known."""
    speaking = speaking_workers(facts)
    return sum(
        task.started_at is None and task.worker_id in speaking for task in facts.state.running
    )


def speaking_workers(facts: Facts) -> dict[str, Worker]:
    """Return the workers with current heartbeats, by id."""
    return {
        worker.worker_id: worker
        for worker in live_workers(facts.state.workers)
        if worker.silence is not None and worker.silence <= MAX_SILENCE
    }


def places_of(workers: Iterable[Worker]) -> int | None:
    """Return how many tasks *workers* can run at once; `None` if one of them does not report it."""
    capacities = [worker.capacity for worker in workers]
    known = [capacity for capacity in capacities if capacity is not None]
    return sum(known) if known and len(known) == len(capacities) else None
