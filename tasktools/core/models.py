"""The values that layers hand to each other. All are frozen.

Those that there may be 100,000 of are structs, which are made in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

WorkerState = Literal["alive", "late", "gone", "stopped"]
PublishResult = Literal["confirmed", "unroutable", "refused", "in doubt", "not sent"]
QueueType = Literal["classic", "quorum"]
FailureReason = Literal["failed", "timed out", "invalid", "unknown task"]


class Properties(msgspec.Struct, frozen=True, kw_only=True):
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


class TaskMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What a message says about its task, after decoding.

    When `problem` is set, the body could not be read as a task and the fields that
    depend on it are `None`; the bytes themselves are never altered. *max_retries* and
    *retry_delay* (seconds) are missing where the message leaves them open; *lock* is the name of
    the lock that it wants held while it runs.
    """

    form: Literal["native", "document", "celery", "unknown"]
    message_id: str | None = None
    task_id: str | None = None
    task_name: str | None = None
    func_name: str | None = None
    topic: str | None = None
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    headers: dict[str, Any] = {}
    attempts: int | None = None
    published_at: datetime | None = None
    max_retries: int | None = None
    retry_delay: float | None = None
    lock: str | None = None
    problem: str | None = None


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One encoded message on its way to a topic, and the task that is in it.

    It is queued after *delay* seconds.
    """

    topic: str
    message_id: str
    body: bytes
    properties: Properties
    task_id: str | None = None
    task_name: str | None = None
    delay: float = 0.0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a message was dead-lettered by a worker of ours.

    *reason*: the task ``failed`` (it raised) or ``timed out``, the message was ``invalid`` (no
    task in it), or it named an ``unknown task``. *attempts* counts the tries, this one included.
    """

    reason: FailureReason
    error_type: str
    error: str
    failed_at: datetime
    traceback: str | None = None
    worker_id: str | None = None
    attempts: int | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
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


class SeenMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message seen in a queue by a look, without its body."""

    key: str
    position: int
    task: TaskMessage
    properties: Properties
    deaths: tuple[Death, ...]
    redelivered: bool
    size: int


class RunningTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that a worker says it is executing. `started_at` is by our clock."""

    task_id: str
    worker_id: str
    topic: str | None = None
    task_name: str | None = None
    started_at: datetime | None = None


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
    started_at: datetime | None = None
    last_seen: datetime | None = None
    silence: float | None = None
    clock_offset: float | None = None
    succeeded: int | None = None
    failed: int | None = None
    ours: bool = False
    """It is a worker of tasktools, and obeys commands without running anything twice."""
    draining: bool | None = None


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """A lock that somebody announced. `orphaned`: its holder is gone or has stopped."""

    lock: str
    task_id: str | None = None
    worker_id: str | None = None
    acquired_at: datetime | None = None
    orphaned: bool | None = None


class TopicSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a topic; `None` means: no limit, not said.

    *concurrency_limit*: tasks that run at once, in the whole cluster. *max_retries*: tries after
    the first, for tasks that do not say it themselves. *dead_letter_enabled*: false drops what
    failed for good, after its `task_failed` event. *retention_seconds*: for how long dead letters
    are kept.
    """

    concurrency_limit: int | None = None
    max_retries: int | None = None
    dead_letter_enabled: bool | None = None
    retention_seconds: int | None = None


class TopicCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What workers counted. `requeued` and `dead_lettered` only since we listen."""

    succeeded: int | None = None
    failed: int | None = None
    requeued: int | None = None
    dead_lettered: int | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where columns of an answer came from. `age` in seconds; `note` says what is wrong."""

    name: Literal["events", "broker", "management", "look", "recording", "tap"]
    ok: bool
    columns: tuple[str, ...] = ()
    age: float | None = None
    note: str | None = None


class ClusterState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the worker events have told, at one moment.

    `events` says whether we are subscribed and how far behind the answer is.
    """

    at: datetime
    events: Source
    workers: tuple[Worker, ...] = ()
    running: tuple[RunningTask, ...] = ()
    locks: tuple[Lock, ...] = ()
    settings: Mapping[str, TopicSettings] = {}
    counters: Mapping[str, TopicCounters] = {}
    topics: frozenset[str] = frozenset()


class TopicStats(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's side of a topic. A field the broker could not tell is `None`."""

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


class TopicReport(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of topics with the sources they came from."""

    topics: tuple[TopicStats, ...]
    sources: tuple[Source, ...]
