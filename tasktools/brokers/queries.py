"""The queries of the original document about a cluster.

They return values, not frames, for programs that follow the document. For people there is
`tasktools.cluster.cluster.Cluster`, which returns more, with the source of each figure.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from tasktools.core import known_workers, workload
from tasktools.core.errors import LookRefused, PermissionDenied
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.models import ClusterState, RunningTask, SeenMessage, TopicReport, Worker
from tasktools.core.peek_verdict import Cost, Verdict
from tasktools.core.workload import live_workers

_log = logging.getLogger("tasktools.broker")

_MAX_QUEUED_TASKS: Final = 1_000
_CHEAP_COSTS: Final = (Cost.HARMLESS, Cost.REORDERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """One topic. A value that could not be determined is `None`."""

    topic: str
    queued: int | None
    running: int | None
    dead_letter: int | None
    subscribers: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """One live worker; a value that it has not reported is `None`.

    `stale`: it has been silent for more than 10 seconds.
    """

    worker_id: str
    running: int | None
    capacity: int | None
    topics: tuple[str, ...]
    host: str | None
    pid: int | None
    stale: bool
    started_at: datetime | None
    last_heartbeat: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStats:
    """The cluster in figures, and its topics. A value that could not be determined is `None`."""

    workers: int | None
    total_capacity: int | None
    total_running: int | None
    topics: tuple[TopicInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ActiveTask(MaskedRepr):
    """One task that a worker executes, or that waits in a queue."""

    task_id: str | None
    task_name: str | None
    state: Literal["running", "queued"]
    topic: str | None
    worker_id: str | None = None


class _Looked(Protocol):
    @property
    def messages(self) -> tuple[SeenMessage, ...]: ...


class _Observed(Protocol):
    """The methods of a broker that `DocumentNames` calls."""

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState: ...

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport: ...

    def known_topics(self) -> frozenset[str]: ...

    def topic_exists(self, topic: str) -> bool: ...

    def look_verdict(self, queue: str, limit: int) -> Verdict: ...

    def peek(self, queue: str, limit: int, *, force: bool = False) -> _Looked: ...


class DocumentNames(Protocol):
    """The query methods of the original document, for any backend. The first call of any of them
    may wait up to 3.5 s for the workers' heartbeats."""

    def get_cluster_stats(self: _Observed) -> ClusterStats:
        """Return the cluster in figures; workers that are gone do not count."""
        state = self.cluster_state(settle=known_workers.ONE_HEARTBEAT)
        live = live_workers(state.workers)
        is_heard = state.events.ok or bool(state.workers)
        return ClusterStats(
            workers=len(live) if is_heard else None,
            total_capacity=workload.capacity_in_all(live) if is_heard else None,
            total_running=workload.running_in_all(state) if is_heard else None,
            topics=_topics(state, self.topic_report(self.known_topics())),
        )

    def get_topics(self: _Observed) -> list[TopicInfo]:
        """Return all topics that can be known and exist."""
        state = self.cluster_state(settle=known_workers.ONE_HEARTBEAT)
        return list(_topics(state, self.topic_report(self.known_topics())))

    def get_workers(self: _Observed) -> list[WorkerInfo]:
        """Return all workers of the cluster, of whichever process, that are not gone."""
        state = self.cluster_state(settle=known_workers.ONE_HEARTBEAT)
        live = live_workers(state.workers)
        return [_worker(worker) for worker in sorted(live, key=lambda worker: worker.worker_id)]

    def get_all_active_tasks(
        self: _Observed, topic: str | None = None, *, limit: int = _MAX_QUEUED_TASKS
    ) -> list[ActiveTask]:
        """Return the running and the queued tasks of *topic*, or of all topics, running ones first.

        Queued ones, up to *limit* a topic, are seen by looking at the queue. Where that would
        use up a delivery limit, or is refused, only the running ones are returned and a warning
        is logged (logger ``tasktools.broker``). Raises `QueueNotFound` for a *topic* without a
        queue.
        """
        state = self.cluster_state(settle=known_workers.ONE_HEARTBEAT)
        running = [_running(task) for task in state.running if topic in (None, task.topic)]
        where = [topic] if topic else sorted(filter(self.topic_exists, self.known_topics()))
        return [*running, *(task for name in where for task in _queued(self, name, limit))]


def _queued(broker: _Observed, topic: str, limit: int) -> Sequence[ActiveTask]:
    try:
        verdict = broker.look_verdict(topic, limit)
        why = verdict.why
        if verdict.cost in _CHEAP_COSTS:
            return [_waiting(topic, seen) for seen in broker.peek(topic, limit).messages]
    except (LookRefused, PermissionDenied) as refusal:
        why = str(refusal)
    _log.warning("the queued tasks of %r are not listed, only running ones: %s", topic, why)
    return []


def _topics(state: ClusterState, report: TopicReport) -> tuple[TopicInfo, ...]:
    loads = workload.TopicLoads(state)
    existing = [stats for stats in report.topics if stats.exists is not False]
    known = [(stats, loads.of(stats.topic, stats.dialect)) for stats in existing]
    return tuple(
        TopicInfo(
            topic=stats.topic,
            queued=stats.queued,
            running=load.running,
            dead_letter=stats.dead_letter,
            subscribers=load.subscribers,
        )
        for stats, load in known
    )


def _worker(worker: Worker) -> WorkerInfo:
    return WorkerInfo(
        worker_id=worker.worker_id,
        running=worker.running,
        capacity=worker.capacity,
        topics=worker.topics,
        host=worker.host,
        pid=worker.pid,
        stale=worker.state == "late",
        started_at=worker.started_at,
        last_heartbeat=worker.last_seen,
    )


def _running(task: RunningTask) -> ActiveTask:
    return ActiveTask(
        task_id=task.task_id,
        task_name=task.task_name,
        state="running",
        topic=task.topic,
        worker_id=task.worker_id,
    )


def _waiting(topic: str, seen: SeenMessage) -> ActiveTask:
    task_id, task_name = seen.task.task_id, seen.task.task_name
    return ActiveTask(task_id=task_id, task_name=task_name, state="queued", topic=topic)
