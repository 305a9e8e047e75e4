"""The facts that the rules of `tasktools.diagnosis` judge: one value, gathered once.

Times are seconds since the epoch by our clock, spans are seconds. `None` is what is not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Literal, TypeVar

import msgspec

from tasktools.core.duration_histogram import Histogram, total_of
from tasktools.core.layout import Layout
from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.models import (
    ClusterState,
    DurationReading,
    Orphan,
    RunningTask,
    Source,
    TopicSettings,
)
from tasktools.core.series import Series
from tasktools.core.server_facts import ServerFacts, ServerQueue
from tasktools.history.earlier_days import EarlierDay

ChangeKind = Literal["worker", "version", "setting", "queue", "run", "mark"]


class TaskEnd(MaskedStruct, frozen=True, kw_only=True, gc=False):
    """The end of an attempt. *duration* is measured by the worker; `None` if it reports none."""

    at: float
    task_id: str
    topic: str | None
    task_name: str | None = None
    worker_id: str | None = None
    succeeded: bool
    duration: float | None = None
    error_type: str | None = None
    error: str | None = None


class EarlierEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of an attempt of an earlier time, and how long it took."""

    at: float
    topic: str | None
    task_name: str | None
    duration: float


class TaskBegin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The begin of an attempt."""

    at: float
    task_id: str
    topic: str | None
    worker_id: str | None = None


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """The presence of a worker: its start as reported by itself, its first and last received
    heartbeat, and the time of its goodbye."""

    worker_id: str
    host: str | None = None
    role: str | None = None
    topics: tuple[str, ...] = ()
    started_at: float | None = None
    first_beat: float
    last_beat: float
    stopped_at: float | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change in the cluster that may have to do with a finding."""

    at: float
    kind: ChangeKind
    subject: str
    text: str


class OwnRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a plan by an operator, from the ledger. *taken* is a running count, second by
    second, of the messages taken out of the queue *source*."""

    run: int
    started_at: float
    ended_at: float | None
    verb: str
    to: str | None
    done: int | None
    source: str | None = None
    taken: Series = Series()


class TopicFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts known of a topic, or of a queue that is bound to the task exchange.

    The series of the broker's counters are of the management API; over AMQP alone, and in a
    recording, `ready`, `dead_ready` and `consumers` come from samples, `began` and `ended` from
    events everywhere.
    """

    topic: str
    exists: bool | None = None
    is_topic: bool = True
    """False: a queue that gets tasks and is no topic, as nothing is dead-lettered from it."""
    dialect: str | None = None
    """The name of its dialect; `None`: that of the layout."""
    queued: int | None = None
    unacked: int | None = None
    dead_letters: int | None = None
    consumers: int | None = None
    dead_lettering: bool | None = None
    trouble: str | None = None
    """Why its queue cannot be used, as part of a sentence."""
    queue: ServerQueue | None = None
    dead_queue: ServerQueue | None = None
    settings: TopicSettings | None = None
    ready: Series | None = None
    dead_ready: Series | None = None
    consumer_series: Series | None = None
    running: Series | None = None
    began: Series | None = None
    """Counted up from the first sample, as `ended` is."""
    ended: Series | None = None
    durations: tuple[DurationReading, ...] = ()
    earlier_durations: tuple[DurationReading, ...] = ()
    """Some readings of the hour before these, as far as that is recorded."""
    earlier_days: tuple[EarlierDay, ...] = ()
    """Its arrivals and durations around the same time on up to 7 earlier days, if recorded."""
    had_consumer: bool | None = None
    """Whether a consumer or a subscriber was seen within the window."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The facts of a cluster at one moment; plain data, so that rules can be tried on stored facts.

    *heard_since*: events were received from then on without a gap; `None`: none are. *begins* and
    *ends* are of the last 15 minutes, *presence* of the last 10, series of what the window holds.
    *missing* says why a source cannot be used, by source.
    """

    at: float
    heard_since: float | None
    state: ClusterState
    layout: Layout
    topics: Mapping[str, TopicFacts] = {}
    begins: tuple[TaskBegin, ...] = ()
    ends: tuple[TaskEnd, ...] = ()
    earlier_ends: tuple[EarlierEnd, ...] = ()
    """Some ends of the hour before *ends*, as far as that is recorded."""
    presence: tuple[Presence, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    durations: Mapping[tuple[str, str], tuple[DurationReading, ...]] = {}
    """Readings of each worker and task name of the last 2 minutes."""
    server: ServerFacts | None = None
    changes: tuple[Change, ...] = ()
    runs: tuple[OwnRun, ...] = ()
    permits: Mapping[str, tuple[str | None, ...]] = {}
    """Connections that own the permits of each topic with a limit (`None`: owner not reported)."""
    locks_of_peers: Mapping[str, tuple[int | None, int | None]] = {}
    """Ready and unacknowledged tokens of each lock queue of the peer."""
    lock_holds: Mapping[str, tuple[float, ...]] = {}
    """Seconds for which each lock was held earlier, as far as recorded."""
    unconsumed_for: Mapping[str, float] = {}
    """Seconds (up to a day) for which topics with messages were recorded without ever having a
    consumer."""
    own_queues: frozenset[str] = frozenset()
    is_recorded: bool = False
    sources: tuple[Source, ...] = ()
    missing: Mapping[str, str] = {}

    @cached_property
    def ends_by_topic(self) -> Mapping[str | None, tuple[TaskEnd, ...]]:
        """The ends of each topic, in their order."""
        return _grouped(self.ends)

    @cached_property
    def earlier_ends_by_topic(self) -> Mapping[str | None, tuple[EarlierEnd, ...]]:
        """The earlier ends of each topic, in their order."""
        return _grouped(self.earlier_ends)

    @cached_property
    def durations_by_name(self) -> Mapping[str, tuple[DurationReading, ...]]:
        """The readings of each task name, of all workers."""
        by_name: defaultdict[str, list[DurationReading]] = defaultdict(list)
        for (_, name), readings in self.durations.items():
            by_name[name] += readings
        return {name: tuple(readings) for name, readings in by_name.items()}

    @cached_property
    def histograms_by_name(self) -> Mapping[str, Histogram]:
        """The durations of each task name, of all workers."""
        return {
            name: total_of(reading.durations for reading in readings)
            for name, readings in self.durations_by_name.items()
        }

    @cached_property
    def running_by_topic(self) -> Mapping[str | None, tuple[RunningTask, ...]]:
        """The running tasks of each topic."""
        return _grouped(self.state.running)


_Item = TypeVar("_Item", TaskEnd, EarlierEnd, RunningTask)


def _grouped(items: Iterable[_Item]) -> Mapping[str | None, tuple[_Item, ...]]:
    by_topic: defaultdict[str | None, list[_Item]] = defaultdict(list)
    for item in items:
        by_topic[item.topic].append(item)
    return {topic: tuple(items) for topic, items in by_topic.items()}
