"""Worker events on the fanout exchange, in the peer's format.

`parse` never raises and never trusts: a field with the wrong type is missing, an event without its
required fields is `Malformed`, and an event of an unknown kind is `Unknown`. `encode` writes
exactly what the peer writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from tasktools.core import duration_histogram as durations
from tasktools.core import marks, untrusted
from tasktools.core.clock import moment
from tasktools.core.duration_histogram import Histogram
from tasktools.core.marks import Mark
from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.models import RetryRule, TopicSettings

_decode = msgspec.json.Decoder().decode

REQUEUED: Final = "its message was requeued"
"""The error of a try whose worker gave the message back to its queue, where it comes again."""


class TaskOnWorker(MaskedStruct, frozen=True, kw_only=True):
    """A task that a heartbeat lists as running. `started_at` is by our clock; `started_at` and the
    arguments are missing where the worker does not send them."""

    task_id: str
    task_name: str | None = None
    topic: str | None = None
    started_at: float | None = None
    args: Any = None
    kwargs: Any = None


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's report about itself. Times are by the worker's own clock.

    `running` is read from `running_hint` or the telemetry (the field `running` of a peer is always
    0); `running_tasks` is `None` when the report carries no telemetry.
    """

    worker_id: str
    host: str | None = None
    pid: int | None = None
    role: str | None = None
    capacity: int | None = None
    running: int | None = None
    topics: tuple[str, ...] = ()
    topics_known: bool = True
    """False: the worker has not reported yet which topics it consumes; a worker of Celery is
    asked."""
    started_at: float | None = None
    last_heartbeat: float | None = None
    running_tasks: tuple[TaskOnWorker, ...] | None = None
    succeeded: int | None = None
    failed: int | None = None
    finished_per_topic: Mapping[str, int] = {}
    """Finished tasks by topic, failed ones included, since the worker started."""
    failed_per_topic: Mapping[str, int] = {}
    durations: Mapping[str, Histogram] | None = None
    """Durations of its tasks since its start, by task name; `None` where it keeps no histograms."""
    requested_topics: tuple[str, ...] = ()
    """The topics it was started with; ``*`` stands for all."""
    tasktools: str | None = None
    """The version of tasktools that it is a worker of, which makes it obey commands."""
    draining: bool | None = None
    """Whether the worker takes no new tasks; reported only by workers of tasktools."""
    prefetch: Mapping[str, int] = {}
    """Unacknowledged messages that it holds at most, by topic; reported only by workers of
    tasktools."""
    retries: Mapping[str, RetryRule] = {}
    """The retry rules of its tasks, by task name; reported only by workers of tasktools."""
    dialect: str | None = None
    """The dialect that it speaks, if that is not the one of the layout."""
    version: str | None = None
    """The version of what it runs, if that is not tasktools."""
    sends_task_events: bool | None = None
    """False: it begins tasks of which it sends no events; only of workers of Celery it is known."""
    heartbeat_every: float | None = None
    """Seconds between its heartbeats; `None` for the 3 s of a peer."""


class WorkerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's event about itself: its start, a heartbeat, or its goodbye."""

    kind: Literal["register", "heartbeat", "unregister"]
    sender_id: str
    worker: WorkerReport


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A node asks: who is alive, or which settings do topics have."""

    kind: Literal["who_is_alive", "config_request"]
    sender_id: str


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    """A node's answer to `who_is_alive`: all workers that it knows from events. This is hearsay."""

    sender_id: str
    workers: tuple[WorkerReport, ...]


class TaskEvent(MaskedStruct, frozen=True, kw_only=True):
    """A task started or ended.

    `task_name`, `traceback` and the arguments are missing if the worker does not report them.
    Arguments may be text, a ``repr``.
    """

    kind: Literal["task_started", "task_completed", "task_failed"]
    sender_id: str
    task_id: str
    worker_id: str | None = None
    topic: str | None = None
    started_at: float | None = None
    duration: float | None = None
    error: str | None = None
    error_type: str | None = None
    task_name: str | None = None
    traceback: str | None = None
    args: Any = None
    kwargs: Any = None


class LockEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A lock was taken or given back. `acquired_at` is by the holder's clock."""

    kind: Literal["lock_acquired", "lock_released"]
    sender_id: str
    lock: str
    task_id: str | None = None
    locked_by: str | None = None
    acquired_at: float | None = None


class SettingsUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A topic has new settings."""

    sender_id: str
    topic: str
    settings: TopicSettings


class SettingsReply(msgspec.Struct, frozen=True, kw_only=True):
    """A node's answer to `config_request`: the settings that the node assumes, often only
    defaults."""

    sender_id: str
    settings: Mapping[str, TopicSettings]


class CounterDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A node counted messages: `completed` means acknowledged, failed tasks included;
    `error` requeued; `skipped` dead-lettered."""

    sender_id: str
    topic: str
    counter: Literal["completed", "error", "skipped"]
    delta: int


class Command(MaskedStruct, frozen=True, kw_only=True):
    """An order: to a worker (`drain`, `join_topic`, `leave_topic`, `update_prefetch`), or to
    whoever holds a lock (`release_lock`, which has no target).

    Every peer that *knows* the target of a `worker_command` obeys it, at the cost of
    running tasks twice; so our workers are commanded by a `tasktools_command`, which peers do
    not know. Our workers obey both.
    """

    kind: Literal["worker_command", "tasktools_command"]
    sender_id: str
    target: str | None
    action: str
    params: Mapping[str, Any] = {}


class Unknown(MaskedStruct, frozen=True, kw_only=True):
    """An event of an unknown kind."""

    name: str


class Malformed(MaskedStruct, frozen=True, kw_only=True):
    """A message that is not an event."""

    why: str


Event = (
    WorkerEvent
    | Question
    | WorkerList
    | TaskEvent
    | LockEvent
    | SettingsUpdate
    | SettingsReply
    | CounterDelta
    | Command
    | Mark
)


def parse(body: bytes) -> Event | Unknown | Malformed:
    """Return the event in *body*."""
    try:
        data = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Malformed(why="the body is not JSON")
    if not isinstance(data, dict):
        return Malformed(why="the body is not a JSON object")
    name = data.get("event")
    if not isinstance(name, str):
        return Malformed(why="the event has no name")
    event = _parse_known(name, untrusted.text(data.get("sender_id")) or "", data)
    return Malformed(why=f"the {name} event lacks what makes it one") if event is None else event


def _parse_known(  # noqa: C901, PLR0911, PLR0912 - one branch a kind of event
    name: str, sender: str, data: Mapping[str, Any]
) -> Event | Unknown | None:
    match name:
        case "register" | "heartbeat" | "unregister":
            worker = _report(data.get("worker"))
            if worker is None:
                return None
            return WorkerEvent(kind=name, sender_id=sender, worker=worker)
        case "who_is_alive" | "config_request":
            return Question(kind=name, sender_id=sender)
        case "worker_list":
            listed = data.get("workers")
            reports = map(_report, listed) if isinstance(listed, list) else ()
            return WorkerList(sender_id=sender, workers=tuple(r for r in reports if r))
        case "task_started" | "task_completed" | "task_failed":
            return _task_event(name, sender, untrusted.mapping(data.get("task_info")))
        case "lock_acquired" | "lock_released":
            return _lock_event(name, sender, untrusted.mapping(data.get("lock")))
        case "config_update":
            topic = untrusted.text(data.get("topic"))
            if topic is None:
                return None
            settings = settings_from(data.get("config"))
            return SettingsUpdate(sender_id=sender, topic=topic, settings=settings)
        case "config_reply":
            configs = untrusted.mapping(data.get("configs"))
            return SettingsReply(
                sender_id=sender, settings={t: settings_from(c) for t, c in configs.items() if t}
            )
        case "counter_delta":
            return _counter_delta(sender, data)
        case "worker_command" | "tasktools_command":
            action = untrusted.text(data.get("action"))
            if action is None:
                return None
            return Command(
                kind=name,
                sender_id=sender,
                target=untrusted.text(data.get("target_worker_id")),
                action=action,
                params=untrusted.mapping(data.get("params")),
            )
        case marks.KIND:
            return marks.parse(sender, data.get("mark"))
        case _:
            return Unknown(name=name)


def _report(data: object) -> WorkerReport | None:
    worker = untrusted.mapping(data)
    worker_id = untrusted.text(worker.get("worker_id"))
    if worker_id is None:
        return None
    meta = untrusted.mapping(worker.get("meta"))
    beat = untrusted.mapping(meta.get("hb"))
    telemetry = untrusted.mapping(beat.get("telemetry"))
    running = untrusted.count(telemetry.get("running"))
    if running is None:
        running = untrusted.count(worker.get("running_hint"))
    return WorkerReport(
        worker_id=worker_id,
        host=untrusted.text(worker.get("host")),
        pid=untrusted.count(worker.get("pid")),
        role=untrusted.text(worker.get("role")),
        capacity=untrusted.count(worker.get("capacity")),
        running=running,
        topics=untrusted.names(worker.get("topics")),
        started_at=untrusted.epoch(worker.get("started_at")),
        last_heartbeat=untrusted.epoch(worker.get("last_heartbeat")),
        running_tasks=_running_tasks(telemetry.get("running_tasks")),
        succeeded=_succeeded(telemetry),
        failed=untrusted.count(telemetry.get("failed_total")),
        finished_per_topic=_counts(telemetry.get("completed_per_topic")),
        failed_per_topic=_counts(telemetry.get("failed_per_topic")),
        durations=_durations(telemetry.get("duration_histograms")),
        requested_topics=untrusted.names(meta.get("requested_topics")),
        tasktools=untrusted.text(meta.get("tasktools")),
        draining=_flag(meta.get("draining")),
        prefetch=_counts(meta.get("prefetch")),
        retries=_retries(meta.get("retries")),
    )


def _retries(data: object) -> dict[str, RetryRule]:
    rules = ((name, _rule(entry)) for name, entry in untrusted.mapping(data).items())
    return {name: rule for name, rule in rules if rule is not None}


def _rule(entry: object) -> RetryRule | None:
    rule = untrusted.mapping(entry)
    delay = untrusted.span(rule.get("retry_delay"))
    return None if delay is None else RetryRule(untrusted.count(rule.get("max_retries")), delay)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _succeeded(telemetry: Mapping[str, Any]) -> int | None:
    # `completed_total` includes failed and rejected tasks; the status counts tell them apart,
    # and a status that never occurred is not in them.
    by_status = telemetry.get("events_by_status")
    return untrusted.count(by_status.get("success", 0)) if isinstance(by_status, dict) else None


def _durations(histograms: object) -> dict[str, Histogram] | None:
    return durations.parse(histograms) if isinstance(histograms, dict) else None


def _running_tasks(listed: object) -> tuple[TaskOnWorker, ...] | None:
    if not isinstance(listed, list):
        return None
    tasks = (untrusted.mapping(entry) for entry in listed)
    return tuple(
        TaskOnWorker(
            task_id=task_id,
            task_name=untrusted.text(task.get("task_name")),
            topic=untrusted.text(task.get("topic")),
        )
        for task in tasks
        if (task_id := untrusted.text(task.get("task_id"))) is not None
    )


def _counts(data: object) -> dict[str, int]:
    counts = untrusted.mapping(data)
    return {k: n for k, v in counts.items() if (n := untrusted.count(v)) is not None}


def _task_event(
    kind: Literal["task_started", "task_completed", "task_failed"],
    sender: str,
    info: Mapping[str, Any],
) -> TaskEvent | None:
    task_id = untrusted.text(info.get("task_id"))
    if task_id is None:
        return None
    return TaskEvent(
        kind=kind,
        sender_id=sender,
        task_id=task_id,
        worker_id=untrusted.text(info.get("worker_id")),
        topic=untrusted.text(info.get("topic")),
        started_at=untrusted.epoch(info.get("started_at")),
        duration=untrusted.span(info.get("duration")),
        error=untrusted.text(info.get("error")),
        error_type=untrusted.text(info.get("error_type")),
    )


def _lock_event(
    kind: Literal["lock_acquired", "lock_released"], sender: str, lock: Mapping[str, Any]
) -> LockEvent | None:
    name = untrusted.text(lock.get("task_name"))
    if name is None:
        return None
    return LockEvent(
        kind=kind,
        sender_id=sender,
        lock=name,
        task_id=untrusted.text(lock.get("task_id")),
        locked_by=untrusted.text(lock.get("locked_by")),
        acquired_at=untrusted.epoch(lock.get("acquired_at")),
    )


def settings_from(data: object) -> TopicSettings:
    """Return the settings of a topic in *data*, decoded JSON."""
    settings = untrusted.mapping(data)
    return TopicSettings(
        concurrency_limit=untrusted.count(settings.get("concurrency_limit")),
        max_retries=untrusted.count(settings.get("max_retries")),
        dead_letter_enabled=_flag(settings.get("dead_letter_enabled")),
        retention_seconds=untrusted.count(settings.get("retention_seconds")),
    )


def _counter_delta(sender: str, data: Mapping[str, Any]) -> CounterDelta | None:
    topic, counter = untrusted.text(data.get("topic")), data.get("counter")
    delta = untrusted.count(data.get("delta", 1))
    if topic is None or delta is None or counter not in ("completed", "error", "skipped"):
        return None
    return CounterDelta(sender_id=sender, topic=topic, counter=counter, delta=delta)


def encode(event: Event) -> bytes:
    """Return *event* as bytes in the peer's format."""
    return json.dumps(_as_json(event)).encode()


def _as_json(  # noqa: C901, PLR0911 - one branch a kind of event
    event: Event,
) -> dict[str, Any]:
    sender = {"sender_id": event.sender_id}
    match event:
        case WorkerEvent():
            return {"event": event.kind, **sender, "worker": _report_json(event.worker)}
        case Question():
            return {"event": event.kind, **sender}
        case WorkerList():
            workers = [_report_json(worker) for worker in event.workers]
            return {"event": "worker_list", **sender, "workers": workers}
        case TaskEvent():
            return {"event": event.kind, **sender, "task_info": _task_json(event)}
        case LockEvent():
            lock = {
                "task_name": event.lock,
                "task_id": event.task_id,
                "locked_by": event.locked_by,
                "acquired_at": _iso(event.acquired_at),
                "instance_id": event.sender_id,
            }
            return {"event": event.kind, **sender, "lock": lock}
        case SettingsUpdate():
            config = settings_json(event.settings)
            return {"event": "config_update", **sender, "topic": event.topic, "config": config}
        case SettingsReply():
            configs = {topic: settings_json(s) for topic, s in event.settings.items()}
            return {"event": "config_reply", **sender, "configs": configs}
        case CounterDelta():
            counted = {"topic": event.topic, "counter": event.counter, "delta": event.delta}
            return {"event": "counter_delta", **sender, **counted}
        case Command():
            order = {"action": event.action, "params": dict(event.params)}
            return {"event": event.kind, **sender, "target_worker_id": event.target, **order}
        case Mark():
            return {"event": marks.KIND, **sender, "mark": marks.as_json(event)}


def _report_json(report: WorkerReport) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "wildcard_topics": "*" in report.requested_topics,
        "requested_topics": list(report.requested_topics),
    }
    if report.tasktools is not None:
        meta |= {"tasktools": report.tasktools, "draining": report.draining}
        meta["prefetch"] = dict(report.prefetch)
        meta["retries"] = {
            name: {"max_retries": rule.max_retries, "retry_delay": rule.retry_delay}
            for name, rule in report.retries.items()
        }
    if report.running_tasks is not None:
        meta["hb"] = {"telemetry": _telemetry_json(report, report.running_tasks)}
    return {
        "worker_id": report.worker_id,
        "host": report.host,
        "pid": report.pid,
        "capacity": report.capacity,
        "running": 0,
        "running_hint": report.running,
        "topics": list(report.topics),
        "started_at": _iso(report.started_at),
        "last_heartbeat": _iso(report.last_heartbeat),
        "meta": meta,
        "role": report.role or "",
    }


def _telemetry_json(report: WorkerReport, tasks: tuple[TaskOnWorker, ...]) -> dict[str, Any]:
    running_tasks = [
        {"task_id": t.task_id, "task_name": t.task_name, "topic": t.topic} for t in tasks
    ]
    return {
        "running": report.running,
        "running_tasks": running_tasks,
        "completed_total": sum(report.finished_per_topic.values()),
        "completed_per_topic": dict(report.finished_per_topic),
        "failed_total": report.failed,
        "failed_per_topic": dict(report.failed_per_topic),
        "events_by_status": None if report.succeeded is None else {"success": report.succeeded},
    }


def _task_json(event: TaskEvent) -> dict[str, Any]:
    info: dict[str, Any] = {
        "task_id": event.task_id,
        "worker_id": event.worker_id,
        "topic": event.topic,
    }
    match event.kind:
        case "task_started":
            info["started_at"] = _iso(event.started_at)
        case "task_completed":
            info["duration"] = event.duration
        case "task_failed":
            info |= {"error": event.error, "error_type": event.error_type}
            info["duration"] = event.duration
    return info


def settings_json(settings: TopicSettings) -> dict[str, Any]:
    """Return *settings* as the peer writes them."""
    return {
        "concurrency_limit": settings.concurrency_limit,
        "max_retries": settings.max_retries,
        "dead_letter_enabled": settings.dead_letter_enabled is not False,
        "retention_seconds": settings.retention_seconds,
    }


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else moment(seconds).isoformat()
