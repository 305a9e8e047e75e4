"""Celery's events, translated into worker events of ours: bytes and time of arrival in, values out.

Most events of a task have only its id, so the contents of its `task-received` are kept until it
ends. Celery's events carry arguments as a ``repr``, which is text and is never evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from tasktools.core import untrusted
from tasktools.core.dialects.celery_errors import error_of
from tasktools.core.dialects.celery_workers import (
    CeleryTask,
    CeleryWorkers,
    Count,
    EndedTask,
    ReportKind,
)
from tasktools.core.escaping import cut, last_lines
from tasktools.core.events import REQUEUED, CounterDelta, Event, Malformed, TaskEvent

_MAX_TEXT_CHARS: Final = 2_000
_MAX_TRACEBACK_CHARS: Final = 16_000
_MAX_EVENTS: Final = 1_000  # in one message; Celery puts 24 into it at most
_MAX_UNCOUNTED: Final = 100  # ends of one task whose queue is not known yet
_MAX_HEARTBEAT_EVERY: Final = 3_600.0  # seconds
_FAILED_SECONDS: Final = 5.0  # after `task-rejected`, within which `task-failed` comes
_REPORT_KINDS: Final[dict[str, ReportKind]] = {
    "worker-online": "register",
    "worker-heartbeat": "heartbeat",
    "worker-offline": "unregister",
}

Read = Event | Malformed


class _Raw(msgspec.Struct, gc=False):
    """The fields of all kinds of events that are read; others are skipped while parsing."""

    type: Any = None
    hostname: Any = None
    pid: Any = None
    timestamp: Any = None
    uuid: Any = None
    name: Any = None
    args: Any = None
    kwargs: Any = None
    eta: Any = None
    queue: Any = None
    runtime: Any = None
    exception: Any = None
    traceback: Any = None
    requeue: Any = None
    terminated: Any = None
    expired: Any = None
    freq: Any = None
    active: Any = None
    processed: Any = None
    sw_ver: Any = None


_decode = msgspec.json.Decoder(list[_Raw] | _Raw).decode
_Reader = Callable[[_Raw, str, str, float], Iterable[Event]]


class CeleryEvents:
    """Translates events, with the details that `workers` has stored from earlier events."""

    def __init__(self) -> None:
        self.workers = CeleryWorkers()
        self._readers: dict[object, _Reader] = {
            "task-sent": self._sent,
            "task-received": self._received,
            "task-started": self._started,
            "task-succeeded": self._succeeded,
            "task-failed": self._failed,
            "task-retried": self._retried,
            "task-rejected": self._rejected,
            "task-revoked": self._revoked,
        }

    def read(self, body: bytes, arrived: float) -> list[Read]:
        """Return the events in *body*, one or a list; unknown kinds (of later releases, of
        applications) give none."""
        try:
            decoded = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return [Malformed(why="the body is no event of Celery")]
        listed = decoded if isinstance(decoded, list) else [decoded]
        if len(listed) > _MAX_EVENTS:
            return [Malformed(why=f"the body has more than {_MAX_EVENTS:,} events")]
        events: list[Read] = [*self.due(arrived)]
        for raw in listed:
            kind = raw.type if isinstance(raw.type, str) else ""
            reader = self._readers.get(kind)
            if reader is None and kind not in _REPORT_KINDS:
                continue
            # Both are names of AMQP: of the worker's own queue, and of the `correlation_id`.
            hostname, task_id = untrusted.name(raw.hostname), untrusted.name(raw.uuid)
            if hostname is None:
                events.append(Malformed(why=f"the {kind} event names no worker"))
            elif reader is None:
                events.append(self._report(raw, kind, hostname, arrived))
            elif task_id is None:
                events.append(Malformed(why=f"the {kind} event names no task"))
            else:
                events += reader(raw, task_id, hostname, arrived)
        return events

    def due(self, now: float) -> list[Event]:
        """Return the failures of tasks that were rejected, and of which no other event has come."""
        rejected = self.workers.rejected
        due = [name for name, ended in rejected.items() if now - ended.at >= _FAILED_SECONDS]
        return [failure for task_id in due for failure in self._rejection(task_id)]

    # --- events of workers ------------------------------------------------------------

    def _report(self, raw: _Raw, kind: str, hostname: str, arrived: float) -> Event:
        worker = self.workers.process(hostname, untrusted.count(raw.pid), arrived)
        worker.heard_at = arrived
        every, sent_at = untrusted.span(raw.freq), untrusted.span(raw.timestamp)
        worker.heartbeat_every = None if every is None else min(every, _MAX_HEARTBEAT_EVERY)
        worker.clock_offset = None if sent_at is None else sent_at - arrived
        worker.version = untrusted.label(raw.sw_ver)
        worker.active = untrusted.count(raw.active)
        worker.note_processed(untrusted.count(raw.processed))
        report = worker.report(_REPORT_KINDS[kind], sent_at)
        if kind == "worker-offline":
            self.workers.stop(hostname, arrived)
        return report

    # --- events of tasks --------------------------------------------------------------

    def _sent(self, raw: _Raw, task_id: str, _hostname: str, arrived: float) -> Iterable[Event]:
        known = self.workers.tasks.get(task_id)
        topic, name = untrusted.name(raw.queue), untrusted.label(raw.name)
        self.workers.learn(name, topic)
        self.workers.producers_tell = True
        ended = self.workers.ended.get(task_id)
        earlier = known if known is not None and known.worker_id is not None else None
        if earlier is None and ended is not None:
            earlier = ended.task
        if earlier is not None:  # the worker was quicker
            earlier.topic = topic or earlier.topic
            return self._count_waiting(earlier)
        task = CeleryTask(task_id, name, topic, _text(raw.args), _text(raw.kwargs))
        task.seen_at = arrived
        self.workers.add(task)
        return ()

    def _received(self, raw: _Raw, task_id: str, hostname: str, arrived: float) -> Iterable[Event]:
        worker = self.workers.worker(hostname, arrived)
        worker.sends_task_events = True
        known, name = self.workers.tasks.get(task_id), untrusted.label(raw.name)
        if known is None and task_id in self.workers.ended:
            known = self.workers.ended[task_id].task  # its try before this one
        topic = (known and known.topic) or self.workers.probable_topic(worker, name)
        task = CeleryTask(task_id, name, topic, _text(raw.args), _text(raw.kwargs), hostname)
        task.eta, task.seen_at = untrusted.epoch(raw.eta), arrived
        self.workers.add(task)
        worker.held[task_id] = task
        return self._rejection(task_id)

    def _started(self, _raw: _Raw, task_id: str, hostname: str, arrived: float) -> Iterable[Event]:
        worker = self.workers.worker(hostname, arrived)
        worker.sends_task_events = True
        task = self.workers.tasks.get(task_id)
        if task is None:
            task = self.workers.next_try(task_id)
            self.workers.add(task)
        self.workers.move(task, hostname)
        task.begun, task.seen_at, task.started_at = True, arrived, arrived
        task.topic = task.topic or self.workers.probable_topic(worker, task.name)
        worker.held.pop(task_id, None)
        worker.running[task_id] = task
        self.workers.ended.pop(task_id, None)
        return (
            *self._rejection(task_id),
            TaskEvent(
                kind="task_started",
                sender_id=hostname,
                task_id=task_id,
                worker_id=hostname,
                topic=task.topic,
                task_name=task.name,
                args=task.args,
                kwargs=task.kwargs,
            ),
        )

    def _succeeded(self, raw: _Raw, task_id: str, hostname: str, arrived: float) -> Iterable[Event]:
        task = self.workers.end(task_id, hostname, arrived, is_final=True)
        worker = self.workers.known[hostname]
        worker.succeeded += 1
        self._count(task, hostname, "finished")
        return (
            TaskEvent(
                kind="task_completed",
                sender_id=hostname,
                task_id=task_id,
                worker_id=hostname,
                topic=task.topic,
                task_name=task.name,
                duration=untrusted.span(raw.runtime),
            ),
        )

    def _failed(self, raw: _Raw, task_id: str, hostname: str, arrived: float) -> Iterable[Event]:
        task = self.workers.end(task_id, hostname, arrived, is_final=True)
        worker = self.workers.known[hostname]
        worker.failed += 1
        self._count(task, hostname, "finished")
        self._count(task, hostname, "failed")
        self.workers.rejected.pop(task_id, None)
        return (_failure(task, hostname, raw),)

    def _retried(self, raw: _Raw, task_id: str, hostname: str, arrived: float) -> Iterable[Event]:
        """Return the failure of a try that is followed by another; Celery has published the task
        again."""
        task = self.workers.end(task_id, hostname, arrived, is_final=False)
        return (_failure(task, hostname, raw), *self._count(task, hostname, "error"))

    def _rejected(self, raw: _Raw, task_id: str, hostname: str, arrived: float) -> Iterable[Event]:
        """Return the failure of a task that is requeued.

        Other rejected tasks have a `task-failed` as well: before this event, if the task asked for
        the rejection (since 5.7), and after it, if the task failed and `acks_on_failure_or_timeout`
        is off.
        """
        is_requeued = raw.requeue is True
        has_failed = task_id in self.workers.ended
        task = self.workers.end(task_id, hostname, arrived, is_final=True)
        counted = self._count(task, hostname, "error" if is_requeued else "skipped")
        if has_failed:
            return counted
        if is_requeued:
            return (_failure(task, hostname, raw, ("Reject", REQUEUED)), *counted)
        self.workers.rejected.put(task_id, EndedTask(arrived, task, hostname))
        return counted

    def _rejection(self, task_id: str) -> Iterable[Event]:
        """Return the failure of a task that was rejected, if no other event reported it."""
        ended = self.workers.rejected.pop(task_id, None)
        if ended is None:
            return ()
        error = ("Reject", "its message was not requeued")
        return (_failure(ended.task, ended.worker_id, _Raw(), error),)

    def _revoked(self, raw: _Raw, task_id: str, hostname: str, arrived: float) -> Iterable[Event]:
        task = self.workers.end(task_id, hostname, arrived, is_final=True)
        why = "terminated" if raw.terminated is True else "revoked"
        error = ("TaskRevokedError", "expired" if raw.expired is True else why)
        return (_failure(task, hostname, raw, error),)

    def _count(self, task: CeleryTask, hostname: str, count: Count) -> tuple[CounterDelta, ...]:
        """Count the outcome of *task* for its topic; if the topic is not known yet, keep it to be
        counted later."""
        waiting = self.workers.uncounted.get(task.task_id, [])
        if len(waiting) < _MAX_UNCOUNTED:
            self.workers.uncounted.put(task.task_id, [*waiting, (hostname, count)])
        return self._count_waiting(task)

    def _count_waiting(self, task: CeleryTask) -> tuple[CounterDelta, ...]:
        """Count the outcomes of all tries of *task*, if its topic is known."""
        if task.topic is None:
            return ()
        deltas = []
        for hostname, count in self.workers.uncounted.pop(task.task_id, ()):
            worker = self.workers.known.get(hostname)
            if count == "error" or count == "skipped":  # noqa: PLR1714 - the type is narrowed
                deltas.append(
                    CounterDelta(sender_id=hostname, topic=task.topic, counter=count, delta=1)
                )
            elif worker is not None:
                worker.count(task.topic, count)
        return tuple(deltas)


def _failure(
    task: CeleryTask,
    hostname: str,
    raw: _Raw,
    error: tuple[str | None, str | None] | None = None,
) -> TaskEvent:
    traceback = untrusted.text(raw.traceback)
    traceback = traceback and last_lines(traceback, _MAX_TRACEBACK_CHARS)
    error_type, text = error or error_of(untrusted.text(raw.exception), traceback)
    return TaskEvent(
        kind="task_failed",
        sender_id=hostname,
        task_id=task.task_id,
        worker_id=hostname,
        topic=task.topic,
        task_name=task.name,
        error_type=error_type,
        error=text,
        traceback=traceback,
        args=task.args,
        kwargs=task.kwargs,
    )


def _text(value: object) -> str | None:
    text = untrusted.text(value)
    return text and cut(text, _MAX_TEXT_CHARS)
