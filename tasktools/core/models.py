"""The frozen values that the layers exchange.

Values of which there may be 100,000 are structs, which are created in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from tasktools.core.duration_histogram import Histogram
from tasktools.core.masked_repr import MaskedStruct

WorkerState = Literal["alive", "late", "gone", "stopped"]
PublishResult = Literal["confirmed", "unroutable", "refused", "in doubt", "not sent"]


class PublishResults(list[PublishResult]):
    """The results of several messages in their order; `reasons` has the broker's reason for each
    message that was not taken, by its position."""

    def __init__(
        self, results: Iterable[PublishResult] = (), reasons: Mapping[int, str] | None = None
    ) -> None:
        super().__init__(results)
        self.reasons = reasons or {}


QueueType = Literal["classic", "quorum"]
FailureReason = Literal["failed", "timed out", "invalid", "unknown task", "poison"]


class Properties(MaskedStruct, frozen=True, kw_only=True):
    """AMQP message properties. `None` means: not set on the message."""

    headers: Mapping[str, Any] = {}
    message_id: str | None = None
    timestamp: datetime | None = None
    priority: int | None = None
    expiration: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    delivery_mode: int | None = None


class BrokerIdentity(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A vhost of a cluster, identified by the cluster's own name and id, not by its address.

    *cluster* is the name that the cluster gives itself; two may have the same, and it can be
    changed. *cluster_id* is random, made at the cluster's first start; not every user may read it.
    """

    cluster: str
    vhost: str
    cluster_id: str | None = None

    def is_same_as(self, other: BrokerIdentity) -> bool:
        """Whether both are the same vhost, as far as it is known."""
        if self.cluster_id is not None and other.cluster_id is not None:
            return self.is_surely(other)
        return (self.cluster, self.vhost) == (other.cluster, other.vhost)

    def is_surely(self, other: BrokerIdentity) -> bool:
        """Whether both are known to be the same vhost, and do not only have the same name."""
        return self.cluster_id is not None and (
            (self.cluster_id, self.vhost) == (other.cluster_id, other.vhost)
        )

    def __str__(self) -> str:
        return f"cluster {self.cluster!r}, vhost {self.vhost!r}"


class ReportedError(MaskedStruct, frozen=True, kw_only=True):
    """The error of a failed task, as its message reports it."""

    error_type: str | None = None
    text: str | None = None
    traceback: str | None = None


class TaskMessage(MaskedStruct, frozen=True, kw_only=True):
    """The task that a message holds, after decoding.

    *dialect* is the dialect of the message; `None` if it has none. When `problem` is set, the body
    could not be read as a task and the fields that depend on it are `None`; the bytes themselves
    are never altered. *max_retries* and *retry_delay* (seconds) are missing where the message
    leaves them open; *lock* is the name of the lock that must be held while it runs. *unreadable*
    says why a worker of fastpluggy would take the message again for ever; it is missing where it
    can read it. *expires_at* is when a worker of Celery drops it. *error* is the error that the
    message itself reports, unless a worker of tasktools wrote it.
    """

    dialect: str | None = None
    message_id: str | None = None
    task_id: str | None = None
    task_name: str | None = None
    func_name: str | None = None
    topic: str | None = None
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    headers: dict[str, Any] = msgspec.field(default_factory=dict)
    attempts: int | None = None
    published_at: datetime | None = None
    max_retries: int | None = None
    retry_delay: float | None = None
    lock: str | None = None
    problem: str | None = None
    unreadable: str | None = None
    expires_at: datetime | None = None
    error: ReportedError | None = None


class Outgoing(MaskedStruct, frozen=True, kw_only=True):
    """One encoded message to be sent to a topic, with the id and the name of its task.

    Without *queue* it goes to the exchange for tasks, and is queued after *delay* seconds; else it
    is put directly into *queue* at once.
    """

    topic: str
    message_id: str
    body: bytes
    properties: Properties
    task_id: str | None = None
    task_name: str | None = None
    delay: float = 0.0
    queue: str | None = None

    @property
    def target(self) -> str:
        """The queue that the message is sent to."""
        return self.topic if self.queue is None else self.queue


class Failure(MaskedStruct, frozen=True, kw_only=True):
    """Why a worker of tasktools dead-lettered a message.

    *reason*: the task ``failed`` (it raised) or ``timed out``, the message was ``invalid`` (no
    task in it), it named an ``unknown task``, or it is ``poison``: the process of its worker ended
    each time that it was begun. *attempts* counts the tries, this one included.
    """

    reason: FailureReason
    error_type: str
    error: str
    failed_at: datetime
    traceback: str | None = None
    worker_id: str | None = None
    attempts: int | None = None


class Delivery(MaskedStruct, frozen=True, kw_only=True):
    """A message claimed from a topic; settle it with `ack(id)` or `nack(id)`."""

    id: str
    topic: str
    body: bytes
    properties: Properties
    task: TaskMessage
    redelivered: bool

    @property
    def payload(self) -> dict[str, Any]:
        """The task's name and arguments, as the document's API has them."""
        return {
            "task_name": self.task.task_name,
            "args": self.task.args,
            "kwargs": self.task.kwargs,
        }


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `x-death`. `time` is the first death for this queue and reason."""

    queue: str
    reason: str
    count: int
    time: datetime | None = None
    exchange: str | None = None
    routing_keys: tuple[str, ...] = ()
    ttl: float | None = None
    """The TTL (s) that the message had and lost with this death."""


class SeenMessage(MaskedStruct, frozen=True, kw_only=True):
    """A message seen in a queue by a look, without its body."""

    key: str
    position: int
    task: TaskMessage
    properties: Properties
    deaths: tuple[Death, ...]
    redelivered: bool
    size: int


class RetryRule(msgspec.Struct, frozen=True, array_like=True):
    """The retries that a worker allows a task whose message does not set them.

    `None` leaves the number of retries to the topic. *retry_delay* (s) is doubled with each retry.
    """

    max_retries: int | None
    retry_delay: float


class RunningTask(MaskedStruct, frozen=True, kw_only=True):
    """A task that a worker reports as running. `started_at` is by our clock.

    Arguments are missing if the worker does not report them, and text if it reports a ``repr``.
    """

    task_id: str
    worker_id: str
    topic: str | None = None
    task_name: str | None = None
    started_at: datetime | None = None
    args: Any = None
    kwargs: Any = None


class PrefetchedTask(MaskedStruct, frozen=True, kw_only=True):
    """A task that a worker has fetched and not begun, if its worker reports such tasks.

    With *eta* it is scheduled: the worker begins it at that time, by the publisher's clock.
    Arguments are as in `RunningTask`.
    """

    task_id: str
    worker_id: str
    topic: str | None = None
    task_name: str | None = None
    eta: datetime | None = None
    args: Any = None
    kwargs: Any = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as our own clock and its events show it."""

    worker_id: str
    state: WorkerState
    uncertain: bool
    role: str | None = None
    host: str | None = None
    pid: int | None = None
    running: int | None = None
    capacity: int | None = None
    topics: tuple[str, ...] = ()
    topics_known: bool = True
    """False: the worker has not reported yet which topics it consumes; a worker of Celery is
    asked."""
    started_at: datetime | None = None
    last_seen: datetime | None = None
    silence: float | None = None
    clock_offset: float | None = None
    succeeded: int | None = None
    failed: int | None = None
    is_tasktools: bool = False
    """True for a worker of tasktools, which obeys commands without running a task twice."""
    draining: bool | None = None
    version: str | None = None
    """The version of tasktools, or of the other program that it runs; `None` for a peer, which does
    not report it."""
    dialect: str | None = None
    """The dialect that it speaks, if that is not the one of the layout."""
    sends_task_events: bool | None = None
    """False: it begins tasks of which it sends no events; only of workers of Celery it is known."""
    prefetch: Mapping[str, int] = {}
    """Unacknowledged messages that it holds at most, by topic; reported only by workers of
    tasktools."""
    retries: Mapping[str, RetryRule] = {}
    """The retry rules of its tasks, by task name; reported only by workers of tasktools."""
    first_seen: datetime | None = None
    """Arrival of its first own event, by our clock."""
    stopped_at: datetime | None = None
    """Time at which it said goodbye itself: peers say it for others, too."""


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """A task that was running when its worker fell silent (s since the epoch, our clock)."""

    task: RunningTask
    silent_since: float


class DurationReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Durations of the tasks that ended in the *span* (s) before *at* (s since the epoch), from
    workers' own histograms."""

    at: float
    span: float
    durations: Histogram


class WorkerDurations(msgspec.Struct, frozen=True, gc=False):
    """The durations that a heartbeat added to its worker's histograms, by task name."""

    at: float
    span: float
    worker_id: str
    by_name: Mapping[str, Histogram]


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """A lock that was announced in an event. `orphaned`: its holder is gone or has stopped."""

    lock: str
    task_id: str | None = None
    worker_id: str | None = None
    acquired_at: datetime | None = None
    orphaned: bool | None = None


class TopicSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a topic; `None` means: no limit, or not set.

    *concurrency_limit*: tasks that run at once, in the whole cluster. *max_retries*: tries after
    the first, for tasks that do not set it themselves. *dead_letter_enabled*: false drops what
    failed for good, after its `task_failed` event. *retention_seconds*: for how long dead letters
    are kept.
    """

    concurrency_limit: int | None = None
    max_retries: int | None = None
    dead_letter_enabled: bool | None = None
    retention_seconds: int | None = None


class TopicCounters(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of workers. `requeued` and `dead_lettered` only since we listen."""

    succeeded: int | None = None
    failed: int | None = None
    requeued: int | None = None
    dead_lettered: int | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The source of columns of an answer. `age` in seconds; `note` says what is wrong."""

    name: Literal["events", "broker", "management", "look", "recording", "tap"]
    ok: bool
    columns: tuple[str, ...] = ()
    age: float | None = None
    note: str | None = None


class EventGap(msgspec.Struct, frozen=True):
    """An interval between two moments in which no events could arrive, and why."""

    since: datetime
    until: datetime
    why: str


class ClusterState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the cluster by all worker events, at one moment.

    `events` says whether we are subscribed and how far behind the answer is.
    """

    at: datetime
    events: Source
    listening_since: datetime | None = None
    """Start of listening: what is announced only once, as a lock, is not known from before it."""
    gaps: tuple[EventGap, ...] = ()
    """The last intervals before that in which no events could arrive, in order."""
    settled: bool = True
    """Each worker has sent an event, or has had the time of a heartbeat for it; before, the total
    of running tasks is not known."""
    workers: tuple[Worker, ...] = ()
    running: tuple[RunningTask, ...] = ()
    prefetched: tuple[PrefetchedTask, ...] = ()
    """Tasks that workers have fetched and not begun; peers do not report them."""
    locks: tuple[Lock, ...] = ()
    settings: Mapping[str, TopicSettings] = {}
    counters: Mapping[str, TopicCounters] = {}
    topics: frozenset[str] = frozenset()
    durations: Mapping[str, Histogram] = {}
    """Durations of tasks by topic, since we listen, as far as workers keep histograms."""
    recent_durations: tuple[WorkerDurations, ...] = ()
    """Durations of the last minutes, one value a heartbeat, in order."""
    orphans: tuple[Orphan, ...] = ()
    """Tasks of workers that are gone, which began nowhere else since and did not end."""
    replaced: tuple[Worker, ...] = ()
    """Processes of the last minutes whose name another one has taken since."""
    without_events: Mapping[str, str] = {}
    """Why no events of workers of a dialect can be received, as parts of sentences; they may answer
    all the same."""


class TopicStats(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's side of a topic. A field that the broker could not report is `None`."""

    topic: str
    exists: bool | None
    queued: int | None = None
    unacked: int | None = None
    dead_letter: int | None = None
    consumers: int | None = None
    publish_rate: float | None = None
    ack_rate: float | None = None
    queue_type: str | None = None
    dead_lettering: bool | None = None
    dead_queue: str | None = None
    """The queue in which its dead letters lie."""
    dialect: str | None = None
    trouble: str | None = None
    """Why its queue cannot be used, as part of a sentence, where that is known."""


class TopicReport(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of topics with the sources they came from."""

    topics: tuple[TopicStats, ...]
    sources: tuple[Source, ...]
