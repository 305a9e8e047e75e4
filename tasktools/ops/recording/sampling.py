"""Samples: the picture of the cluster at a tick, as rows for the file. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from tasktools.core.models import (
    ClusterState,
    TopicReport,
    TopicSettings,
    TopicStats,
    Worker,
    WorkerState,
)
from tasktools.ops import tasks
from tasktools.ops.recording.store import STATES, number
from tasktools.ops.recording.tries import Tries

AT_ONCE: Final = 500
"""Workers whose figures are sampled at one tick; of more, as many in turn."""
_LIVE: Final = ("alive", "late")

Id = Callable[[str], int]
"""Gives the number of a name."""
Row = tuple[Any, ...]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What a tick saw at *at*; what could not be had is `None`, and *why* says why."""

    at: float
    state: ClusterState | None = None
    report: TopicReport | None = None
    settings: Mapping[str, TopicSettings] | None = None
    why: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What seldom changes of a worker."""

    role: str | None = None
    host: str | None = None
    pid: int | None = None
    topics: tuple[str, ...] = ()
    started_at: float | None = None
    ours: bool = False
    draining: bool | None = None

    @classmethod
    def of(cls, worker: Worker) -> Facts:
        """Return those of *worker*."""
        started = worker.started_at
        return cls(
            role=worker.role,
            host=worker.host,
            pid=worker.pid,
            topics=worker.topics,
            started_at=None if started is None else started.timestamp(),
            ours=worker.ours,
            draining=worker.draining,
        )


def tick_row(picture: Picture, heard: int, turn: float) -> Row:
    """Return the row of the cluster as a whole; *turn*: seconds in which all workers come up."""
    state, report = picture.state, picture.report
    figures: Row = (None, None, None)
    events: Row = (False, None, picture.why)
    if state is not None:
        events = (state.events.ok, state.events.age, state.events.note)
        if state.events.ok or state.workers:
            live = _live(state)
            running = sum(worker.running or 0 for worker in live)
            figures = (len(live), running, sum(worker.capacity or 0 for worker in live))
    notes = [] if report is None else [source.note for source in report.sources if source.note]
    note = picture.why if report is None else "; ".join(notes) or None
    topics = (report is not None, note)
    return (number(picture.at), 0, 1, number(turn), heard, *figures, *events, *topics)


def topic_rows(
    picture: Picture, tries: Tries, published: Counter[str] | None, name: Id
) -> Iterator[Row]:
    """Yield the row of each topic: of the broker's report, and of those that were heard of."""
    state, report = picture.state, picture.report
    counted = {*tries.began, *tries.done, *tries.failed, *(published or ())}
    stats = {} if report is None else {one.topic: one for one in report.topics}
    by_events = _by_events(state) if state is not None and state.events.ok else _unknown
    counters = {} if state is None else state.counters
    settings = _settings(picture)
    for topic in stats.keys() | counted:
        told = stats.get(topic) or TopicStats(topic=topic, exists=None)
        running, subscribers, capacity = by_events(topic)
        count, setting = counters.get(topic), settings.get(topic)
        yield (
            name(topic),
            number(picture.at),
            0,
            1,
            told.queued,
            told.queued,
            told.unacked,
            running,
            told.dead_letter,
            told.consumers,
            subscribers,
            capacity,
            told.publish_rate,
            told.ack_rate,
            setting and setting.concurrency_limit,
            count and count.succeeded,
            count and count.failed,
            count and count.requeued,
            count and count.dead_lettered,
            None if told.queue_type is None else name(told.queue_type),
            told.dead_lettering,
            told.exists,
            tries.began[topic],
            tries.done[topic],
            tries.failed[topic],
            None if published is None else published[topic],
        )


def _unknown(_topic: str) -> Row:
    return None, None, None


def _by_events(state: ClusterState) -> Callable[[str], Row]:
    """Return what gives running tasks, subscribers and their capacity by topic."""
    running = tasks.count_by_topic(state.running)
    subscribers = tasks.subscribers_by_topic(state.workers)
    capacity: Counter[str] = Counter()
    for worker in _live(state):
        for topic in set(worker.topics):
            capacity[topic] += worker.capacity or 0
    return lambda topic: (running[topic], subscribers[topic], capacity[topic])


def _settings(picture: Picture) -> Mapping[str, TopicSettings]:
    """Return the settings of topics: those that are kept count for more than what is said."""
    told = {} if picture.state is None else picture.state.settings
    return {**told, **(picture.settings or {})}


def _live(state: ClusterState) -> list[Worker]:
    return [worker for worker in state.workers if worker.state in _LIVE]


class Turns:
    """Chooses the workers that are sampled at a tick: all, up to 500; of more, those that have
    changed in what seldom changes or in their state, and of the others 500 in turn."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[WorkerState, int | None, Facts]] = {}
        self._at = 0

    def due(self, workers: Iterable[Worker]) -> list[tuple[Worker, Facts]]:
        """Return those that are sampled now."""
        found = sorted(workers, key=lambda worker: worker.worker_id)
        now = {one.worker_id: (one.state, one.capacity, Facts.of(one)) for one in found}
        mine = self._in_turn(found)
        due = [
            (worker, now[worker.worker_id][-1])
            for worker in found
            if worker.worker_id in mine
            or now[worker.worker_id] != self._known.get(worker.worker_id)
        ]
        self._known = now
        return due

    def _in_turn(self, workers: Sequence[Worker]) -> set[str]:
        rounds = self.rounds(len(workers))
        self._at = (self._at + 1) % rounds
        return {worker.worker_id for worker in workers[self._at :: rounds]}

    @staticmethod
    def rounds(workers: int) -> int:
        """Return after how many ticks each of so many *workers* has come up."""
        return max(math.ceil(workers / AT_ONCE), 1)


def worker_row(picture: Picture, worker: Worker, number_of: int, fact: int) -> Row:
    """Return the row of *worker*, whose name and facts have these numbers."""
    seen, silence, offset = worker.last_seen, worker.silence, worker.clock_offset
    return (
        number(picture.at),
        number_of,
        0,
        1,
        fact,
        STATES.index(worker.state),
        worker.uncertain,
        worker.running,
        worker.capacity,
        None if seen is None else number(seen.timestamp()),
        None if silence is None else number(silence),
        None if offset is None else number(offset),
        worker.succeeded,
        worker.failed,
    )
