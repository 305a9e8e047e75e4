"""Messages and events as a cluster makes them, for tests. Every argument has a default."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from tasktools.core.clock import moment
from tasktools.core.events import LockEvent, TaskEvent, TaskOnWorker, WorkerEvent, WorkerReport
from tasktools.core.models import Failure, Outgoing, Properties

PUBLISHED: Final = datetime(2026, 11, 24, 2, 49, 3, tzinfo=UTC)
"""Publication time of the messages of this module, unless said otherwise."""


def properties(**overrides: Any) -> Properties:
    """Return the properties of a task message as a peer sets them."""
    usual: dict[str, Any] = {
        "message_id": "rmq:0d13e67f:1",
        "timestamp": PUBLISHED,
        "delivery_mode": 2,
    }
    return Properties(**usual | overrides)


def task_payload(
    *,
    task_id: str = "b42a0d7e-7509-48f3-ac8b-d5af1248bbee",
    func_name: str = "demo_tasks:send_email",
    topic: str = "emails",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Return the payload of a native message, complete as a peer writes it."""
    return {
        "task_id": task_id,
        "task_name": func_name.rpartition(":")[2],
        "func_name": func_name,
        "args": list(args),
        "kwargs": {"to": "a@b"} if kwargs is None else dict(kwargs),
        "notifier_config": [],
        "parent_task_id": None,
        "max_retries": 0,
        "retry_delay": 0,
        "task_origin": "unk",
        "topic": topic,
        "task_type": "native",
        "allow_concurrent": True,
        "extra_context": {},
        "created_at": str(PUBLISHED.replace(tzinfo=None)),
        **overrides,
    }


def task_body(
    *,
    message_id: str = "rmq:0d13e67f:1",
    topic: str = "emails",
    payload: Mapping[str, Any] | None = None,
    headers: Mapping[str, Any] | None = None,
    attempts: int = 0,
    **overrides: Any,
) -> bytes:
    """Return the body of a native task message; *overrides* go into the envelope."""
    return _dumps(
        {
            "id": message_id,
            "topic": topic,
            "payload": task_payload(topic=topic) if payload is None else dict(payload),
            "headers": {"type": "task"} if headers is None else dict(headers),
            "attempts": attempts,
            "created_at": PUBLISHED.isoformat(),
            **overrides,
        }
    )


def document_body(
    *,
    task_name: str = "send_email",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **envelope: Any,
) -> bytes:
    """Return a body in the document's form; its payload has only a name and arguments."""
    payload = {"task_name": task_name, "args": list(args), "kwargs": dict(kwargs or {"to": "a@b"})}
    return task_body(payload=payload, **envelope)


def celery_message(
    *,
    task: str = "shop.tasks.send_email",
    task_id: str = "5f2c1b9a-4c59-4f0e-9d8e-3c3d1f0e7a11",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    retries: int = 0,
    **overrides: Any,
) -> tuple[bytes, Properties]:
    """Return body and properties of a message of Celery's protocol 2."""
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = _dumps([list(args), {"to": "a@b"} if kwargs is None else dict(kwargs), embed])
    usual: dict[str, Any] = {
        "headers": {"lang": "py", "task": task, "id": task_id, "retries": retries},
        "message_id": None,
        "correlation_id": task_id,
        "content_type": "application/json",
        "content_encoding": "utf-8",
    }
    return body, properties(**usual | overrides)


def outgoing(
    topic: str = "emails", body: bytes | None = None, *, delay: float = 0.0, **overrides: Any
) -> Outgoing:
    """Return a message ready for `publish_many`; *overrides* are properties."""
    own = properties(**overrides)
    return Outgoing(
        topic=topic,
        message_id=own.message_id or "",
        body=task_body(topic=topic, message_id=own.message_id or "") if body is None else body,
        properties=own,
        delay=delay,
    )


def failure(**overrides: Any) -> Failure:
    """Return why a message was dead-lettered: its task failed."""
    usual: dict[str, Any] = {
        "reason": "failed",
        "error_type": "smtplib.SMTPServerDisconnected",
        "error": "please run connect() first",
        "failed_at": PUBLISHED,
        "traceback": "Traceback (most recent call last):\n  …",
        "worker_id": "worker-1",
        "attempts": 4,
    }
    return Failure(**usual | overrides)


def death(queue: str = "emails", reason: str = "rejected", **overrides: Any) -> dict[str, Any]:
    """Return one entry of an `x-death` header."""
    return {
        "count": 1,
        "reason": reason,
        "queue": queue,
        "time": PUBLISHED,
        "exchange": "fp.tasks",
        "routing-keys": [queue],
        **overrides,
    }


def worker_report(worker_id: str = "worker-1", **overrides: Any) -> WorkerReport:
    """Return the report of an idle worker."""
    usual: dict[str, Any] = {
        "host": "host-1",
        "pid": 4711,
        "role": "worker",
        "capacity": 4,
        "running": 0,
        "topics": ("emails",),
        "started_at": PUBLISHED.timestamp(),
        "running_tasks": (),
        "succeeded": 0,
        "failed": 0,
    }
    return WorkerReport(worker_id=worker_id, **usual | overrides)


def worker_event(
    kind: Literal["register", "heartbeat", "unregister"] = "heartbeat",
    worker_id: str = "worker-1",
    *,
    running: Sequence[str | TaskOnWorker] | int = (),
    **report: Any,
) -> WorkerEvent:
    """Return an event of a worker about itself.

    *running* are its tasks, or their ids; a mere number comes without telemetry.
    """
    values: dict[str, Any] = {"running": running, "running_tasks": None}
    if not isinstance(running, int):
        tasks = tuple(
            TaskOnWorker(task_id=task, topic="emails") if isinstance(task, str) else task
            for task in running
        )
        values = {"running": len(tasks), "running_tasks": tasks}
    values |= report
    return WorkerEvent(
        kind=kind, sender_id=f"node-of-{worker_id}", worker=worker_report(worker_id, **values)
    )


def task_event(
    kind: Literal["task_started", "task_completed", "task_failed"] = "task_started",
    task_id: str = "task-1",
    worker_id: str = "worker-1",
    **overrides: Any,
) -> TaskEvent:
    """Return an event of a task."""
    usual: dict[str, Any] = {"topic": "emails", "sender_id": f"node-of-{worker_id}"}
    return TaskEvent(kind=kind, task_id=task_id, worker_id=worker_id, **usual | overrides)


def lock_event(
    kind: Literal["lock_acquired", "lock_released"] = "lock_acquired",
    lock: str = "nightly",
    worker_id: str = "worker-1",
    **overrides: Any,
) -> LockEvent:
    """Return an event of a lock."""
    usual: dict[str, Any] = {
        "task_id": "task-1",
        "acquired_at": PUBLISHED.timestamp(),
        "sender_id": f"node-of-{worker_id}",
    }
    return LockEvent(kind=kind, lock=lock, locked_by=worker_id, **usual | overrides)


def peer_heartbeat(worker_id: str = "worker-1", *, at: float = 0.0, **worker: Any) -> bytes:
    """Return a heartbeat exactly as a peer of release 0.3.318 writes it, with its false values.

    `running` is always 0 there; *worker* overrides fields of the worker.
    """
    telemetry = {
        "running": 1,
        "running_per_topic": {"emails": 1},
        "running_tasks": [
            {
                "task_id": "task-1",
                "task_name": "send_email",
                "topic": "emails",
                "broker_msg_id": "rmq:0d13e67f:1",
            }
        ],
        "submitted_total": 9,
        "completed_total": 8,
        "failed_total": 3,
        "completed_per_topic": {"emails": 8},
        "failed_per_topic": {"emails": 3},
        "events_by_status": {"success": 5, "failed": 3},
    }
    heartbeat = {
        "worker_id": worker_id,
        "host": "host-1",
        "pid": 4711,
        "capacity": 4,
        "running": 0,
        "running_hint": 1,
        "topics": ["emails"],
        "started_at": PUBLISHED.isoformat(),
        "last_heartbeat": moment(at).isoformat(),
        "meta": {"wildcard_topics": False, "hb": {"telemetry": telemetry, "limits": {}}},
        "role": "worker",
        **worker,
    }
    return _dumps({"event": "heartbeat", "sender_id": "node-1", "worker": heartbeat})


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
