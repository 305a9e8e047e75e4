"""The workload of a cluster: its live workers, what they run, and what they can run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec

from tasktools.core.dialects import registry
from tasktools.core.models import ClusterState, TopicReport, Worker


def is_live(worker: Worker) -> bool:
    """Whether *worker* is alive or only late."""
    return worker.state in ("alive", "late")


def live_workers(workers: Iterable[Worker]) -> list[Worker]:
    """Return the *workers* that are alive or only late."""
    return [worker for worker in workers if is_live(worker)]


def without_gone(
    report: TopicReport, state: ClusterState, *, always_shown: Collection[str] = ()
) -> TopicReport:
    """Return *report* without the topics that the broker says are gone.

    A topic is kept if a live worker consumes it or runs a task of it, since its workers then wait
    for a missing queue, or if it is in *always_shown*.
    """
    if all(stats.exists is not False for stats in report.topics):
        return report
    in_use = {topic for worker in live_workers(state.workers) for topic in worker.topics}
    in_use |= {task.topic for task in state.running if task.topic is not None}
    rows = (
        stats
        for stats in report.topics
        if stats.exists is not False or stats.topic in in_use or stats.topic in always_shown
    )
    return msgspec.structs.replace(report, topics=tuple(rows))


def why_silent(state: ClusterState, report: TopicReport) -> str | None:
    """Return in words why no worker sends events: the dialects of all existing topics have none;
    `None` if some do."""
    names = {stats.dialect for stats in report.topics if stats.exists is not False}
    if state.workers or not names or any(map(registry.has_heartbeats, names)):
        return None
    workers = registry.workers_of(filter(None, names))
    return f"{workers} send no heartbeats and no events (see their own logs and metrics)"


class TopicLoad(NamedTuple):
    """The running tasks of a topic, its live workers, and the tasks that they can run at once;
    `None` where unknown."""

    running: int | None
    subscribers: int | None
    capacity: int | None


class TopicLoads:
    """The load of topics, as far as the workers in *state* report.

    The figures of a topic depend on the dialect of its workers. Workers without heartbeats are not
    known, nor are their tasks; and no figure of a dialect's topics is known until each of its
    workers has reported which topics it consumes.
    """

    def __init__(self, state: ClusterState) -> None:
        self._is_known = state.events.ok and state.settled
        self._running = Counter(task.topic for task in state.running)
        self._workers: defaultdict[str, list[Worker]] = defaultdict(list)
        for worker in live_workers(state.workers):
            for topic in set(worker.topics):
                self._workers[topic].append(worker)
        self._unnamed = {
            worker.dialect for worker in live_workers(state.workers) if not worker.topics_known
        }
        elsewhere = {task.worker_id for task in state.running if task.topic is None}
        self._unsure = {
            topic
            for topic, workers in self._workers.items()
            if elsewhere & {each.worker_id for each in workers}
        }

    def of(self, topic: str, dialect: str | None) -> TopicLoad:
        """Return the load of *topic*, whose workers use *dialect*."""
        workers = self._workers.get(topic, [])
        is_silent = not workers and not registry.has_heartbeats(dialect)
        if not self._is_known or self._has_unnamed(dialect) or is_silent:
            return TopicLoad(None, None, None)
        running = None if topic in self._unsure else self._running[topic]
        return TopicLoad(running, len(workers), capacity_in_all(workers))

    def _has_unnamed(self, dialect: str | None) -> bool:
        """Whether a live worker of *dialect* has not yet reported which topics it consumes."""
        return bool(self._unnamed) and (dialect is None or dialect in self._unnamed)


def running_in_all(state: ClusterState) -> int | None:
    """Return how many tasks run; `None` as long as workers may be unknown, or if no live worker
    reports what it runs."""
    live = live_workers(state.workers)
    known = [worker.running for worker in live if worker.running is not None]
    return sum(known) if state.settled and (known or not live) else None


def capacity_in_all(live: Sequence[Worker]) -> int | None:
    """Return how many tasks the *live* workers can run at once; `None` if none of them reports."""
    known = [worker.capacity for worker in live if worker.capacity is not None]
    return sum(known) if known or not live else None
