"""Samples of a cluster: the snapshot of a tick as rows for the file, without any I/O."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec

from tasktools.core import workload
from tasktools.core.models import (
    ClusterState,
    RetryRule,
    TopicCounters,
    TopicReport,
    TopicSettings,
    TopicStats,
    Worker,
    WorkerState,
)
from tasktools.history.attempts import Attempts
from tasktools.history.store import STATES, number
from tasktools.history.tables import Row

WORKERS_PER_TICK: Final = 500
"""Most workers that are sampled at one tick; if there are more, they take turns."""

_QUEUE_COLUMNS: Final = (
    *("queued", "unacked", "dead_letter", "consumers"),
    *("publish_rate", "ack_rate", "dead_lettering"),
)

Id = Callable[[str], int]
"""Return the number of a name."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the cluster at *at* in the recorder; a part that could not be read is `None`,
    for the reason *why*."""

    at: float
    state: ClusterState | None = None
    report: TopicReport | None = None
    settings: Mapping[str, TopicSettings] | None = None
    why: str | None = None


_UNKNOWN: Final[Row] = dict.fromkeys(workload.TopicLoad._fields)
_SAME_FACTS: Final = (
    *("role", "host", "pid", "topics", "topics_known"),
    *("is_tasktools", "draining", "version"),
    *("dialect", "sends_task_events"),
)


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The facts of a worker that seldom change."""

    role: str | None = None
    host: str | None = None
    pid: int | None = None
    topics: tuple[str, ...] = ()
    topics_known: bool = True
    started_at: float | None = None
    is_tasktools: bool = msgspec.field(default=False, name="ours")
    draining: bool | None = None
    version: str | None = None
    dialect: str | None = None
    sends_task_events: bool | None = None
    prefetch: tuple[tuple[str, int], ...] = ()
    """The prefetch by topic; missing for peers, and in recordings of earlier versions."""
    retries: tuple[tuple[str, RetryRule], ...] = ()
    """The retry rules by task name; missing in the same cases."""

    @classmethod
    def of(cls, worker: Worker) -> Facts:
        """Return the facts of *worker*."""
        started = worker.started_at
        return cls(
            started_at=None if started is None else started.timestamp(),
            prefetch=tuple(sorted(worker.prefetch.items())),
            retries=tuple(sorted(worker.retries.items(), key=itemgetter(0))),
            **_values(worker, _SAME_FACTS),
        )


def tick_row(snapshot: Snapshot, event_count: int, turn: float) -> Row:
    """Return the row of the cluster as a whole. The last sample of each worker is at most *turn*
    seconds old."""
    state, report = snapshot.state, snapshot.report
    counts: Row = dict.fromkeys(("workers", "running", "capacity"))
    silent = None if state is None or report is None else workload.why_silent(state, report)
    if state is not None and silent is None and (state.events.ok or state.workers):
        live = workload.live_workers(state.workers)
        counts = {
            "workers": len(live),
            "running": workload.running_in_all(state),
            "capacity": workload.capacity_in_all(live),
        }
    notes = [] if report is None else [source.note for source in report.sources if source.note]
    return {
        "at": number(snapshot.at),
        "span": 0,
        "n": 1,
        "turn": number(turn) + 1,  # includes a sample that is exactly so old
        "heard": event_count,
        **counts,
        "events_ok": state is not None and state.events.ok and silent is None,
        "events_age": None if state is None else state.events.age,
        "events_note": snapshot.why if state is None else silent or state.events.note,
        "topics_ok": report is not None,
        "topics_note": snapshot.why if report is None else "; ".join(notes) or None,
    }


def topic_rows(
    snapshot: Snapshot, attempts: Attempts, published: Counter[str] | None, name: Id
) -> Iterator[Row]:
    """Yield the row of each topic of the broker's report, or with events since the last tick."""
    state, report = snapshot.state, snapshot.report
    counted = {*attempts.began, *attempts.done, *attempts.failed, *(published or ())}
    queues = {} if report is None else {queue.topic: queue for queue in report.topics}
    loads = None if state is None else workload.TopicLoads(state)
    counters = {} if state is None else state.counters
    settings = _settings(snapshot)
    for topic in queues.keys() | counted:
        queue = queues.get(topic) or TopicStats(topic=topic, exists=None)
        setting = settings.get(topic)
        yield {
            "topic": name(topic),
            "at": number(snapshot.at),
            "span": 0,
            "n": 1,
            **_values(queue, _QUEUE_COLUMNS),
            **_values(counters.get(topic, TopicCounters()), TopicCounters.__struct_fields__),
            "queued_max": queue.queued,
            "concurrency_limit": setting and setting.concurrency_limit,
            "queue_type": None if queue.queue_type is None else name(queue.queue_type),
            "is_there": queue.exists,
            "began": attempts.began[topic],
            "done": attempts.done[topic],
            "errors": attempts.failed[topic],
            "published": None if published is None else published[topic],
            **(_UNKNOWN if loads is None else loads.of(topic, queue.dialect)._asdict()),
        }


def _values(source: Any, names: Iterable[str]) -> Row:
    return {name: getattr(source, name) for name in names}


def _settings(snapshot: Snapshot) -> Mapping[str, TopicSettings]:
    """Return the settings of topics: those that the broker stores override those from events."""
    from_events = {} if snapshot.state is None else snapshot.state.settings
    return {**from_events, **(snapshot.settings or {})}


class WorkerRotation:
    """The choice of workers that are sampled at a tick: all of them, up to 500.

    If there are more, these: workers whose state, capacity or facts changed, and of the others 500
    in turn.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[WorkerState, int | None, Facts]] = {}
        self._sampled: dict[str, float] = {}
        self._round = 0

    def due(
        self, workers: Iterable[Worker], at: float, *, everyone: bool
    ) -> list[tuple[Worker, Facts]]:
        """Return the workers to sample at the time *at*; all of them if *everyone* is True."""
        present = sorted(workers, key=lambda worker: worker.worker_id)
        now = {
            worker.worker_id: (worker.state, worker.capacity, Facts.of(worker))
            for worker in present
        }
        in_turn = now.keys() if everyone else self._in_turn(present)
        due = [
            (worker, now[worker.worker_id][-1])
            for worker in present
            if worker.worker_id in in_turn
            or now[worker.worker_id] != self._known.get(worker.worker_id)
        ]
        self._known = now
        due_now = {worker.worker_id: at for worker, _ in due}
        self._sampled = {name: due_now.get(name) or self._sampled[name] for name in now}
        return due

    def reach(self, at: float) -> float:
        """Return the age (s) at *at* of the oldest last sample of a present worker."""
        return max(at - min(self._sampled.values(), default=at), 0.0)

    def _in_turn(self, workers: Sequence[Worker]) -> Collection[str]:
        rounds = max(math.ceil(len(workers) / WORKERS_PER_TICK), 1)
        self._round = (self._round + 1) % rounds
        return {worker.worker_id for worker in workers[self._round :: rounds]}


def worker_row(snapshot: Snapshot, worker: Worker, number_of: int, fact: int) -> Row:
    """Return the row of *worker*; *number_of* and *fact* are the numbers of its name and facts."""
    seen, silence, offset = worker.last_seen, worker.silence, worker.clock_offset
    return {
        "at": number(snapshot.at),
        "worker": number_of,
        "span": 0,
        "n": 1,
        "fact": fact,
        "state": STATES.index(worker.state),
        **_values(worker, ("uncertain", "running", "capacity", "succeeded", "failed")),
        "last_seen": None if seen is None else number(seen.timestamp()),
        "silence": None if silence is None else number(silence),
        "clock_offset": None if offset is None else number(offset),
    }
