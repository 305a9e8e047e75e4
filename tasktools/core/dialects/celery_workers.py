"""Celery's workers and the tasks that they have, as events and answers describe them.

Bounded: when there are too many tasks or workers, the oldest are forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec

from tasktools.core.bounded_dict import BoundedDict
from tasktools.core.clock import moment
from tasktools.core.dialects.celery_inspect import (
    Answer,
    Queue,
    Queues,
    Request,
    Requests,
    Stats,
)
from tasktools.core.events import TaskOnWorker, WorkerEvent, WorkerReport
from tasktools.core.masked_repr import MaskedRecord
from tasktools.core.models import PrefetchedTask

DIALECT: Final = "celery"

_RACE_SECONDS: Final = 2.0  # by which an answer may be older than an event that came before it
_MAX_TASKS, _MAX_WORKERS, _MAX_NAMES, _MAX_ENDED = 100_000, 20_000, 5_000, 10_000
_MAX_TOPICS: Final = 1_000  # of one worker, for which its tasks are counted
_SILENT_BEATS: Final = 2  # heartbeats that count tasks of which no event came

ReportKind = Literal["register", "heartbeat", "unregister"]
IsGone = Callable[[str], bool]
"""Whether a worker is gone, by its name."""


Count = Literal["finished", "failed", "error", "skipped"]
"""A number of a worker, or of all, for each topic."""


class CeleryTask(MaskedRecord):
    """A task that was sent to a queue, or that a worker has fetched."""

    task_id: str
    name: str | None = None
    topic: str | None = None
    args: Any = None
    kwargs: Any = None
    """The arguments: text if they come from an event, values if they come from a worker's
    answer."""
    worker_id: str | None = None
    """The worker that has fetched the task; `None` while only its publishing is known."""
    eta: float | None = None
    seen_at: float = 0.0
    begun: bool = False
    started_at: float | None = None
    earlier: CeleryTask | None = None
    """The try before this one, as long as it may still be running on a worker."""


class EndedTask(msgspec.Struct):
    """A task, its worker and the time of its end, after which the end of another try may come."""

    at: float
    task: CeleryTask
    worker_id: str


class CeleryWorker(MaskedRecord):
    """A worker of Celery, from its heartbeats, the events of its tasks and its answers."""

    worker_id: str
    heard_at: float
    pid: int | None = None
    heartbeat_every: float | None = None
    version: str | None = None
    clock_offset: float | None = None
    """Seconds by which its clock is ahead of ours, from its last heartbeat."""
    started_at: float | None = None
    capacity: int | None = None
    queues: tuple[Queue, ...] | None = None
    active: int | None = None
    processed: int | None = None
    processed_at_first: int | None = None
    sends_task_events: bool | None = None
    """Whether the worker sends events of its tasks; `None` until it has begun a task since its
    first event."""
    silent_beats: int = 0
    running: dict[str, CeleryTask] = msgspec.field(default_factory=dict)
    held: dict[str, CeleryTask] = msgspec.field(default_factory=dict)
    """Tasks that it has fetched and not begun."""
    has_listed: bool = False
    """Whether the worker has answered which tasks it runs."""
    succeeded: int = 0
    failed: int = 0
    finished_per_topic: Counter[str] = msgspec.field(default_factory=Counter)
    failed_per_topic: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def topics(self) -> tuple[str, ...]:
        """The queues that the worker consumes; empty before its first answer."""
        return tuple(queue.name for queue in self.queues or ())

    @property
    def has_answered(self) -> bool:
        """Whether the worker has answered all queries that are sent to a new worker."""
        return self.has_listed and self.queues is not None and self.capacity is not None

    @property
    def is_counted(self) -> bool:
        """Whether all ends of tasks of this worker are known since its first event."""
        return self.sends_task_events is True or self.processed == 0

    @property
    def misses_earlier(self) -> bool:
        """Whether the worker had ended tasks before its first event, so that more ended than are
        counted."""
        return self.is_counted and bool(self.processed_at_first)

    def note_processed(self, processed: int | None) -> None:
        """Store the number of tasks that the worker has begun since its start, from a heartbeat.

        If the number rises without an event, the worker sends no events of its tasks.
        """
        if processed is None:
            return
        if self.processed_at_first is None:
            self.processed_at_first = processed
        if self.sends_task_events is None and processed > self.processed_at_first:
            self.silent_beats += 1
            if self.silent_beats >= _SILENT_BEATS:
                self.sends_task_events = False
        self.processed = processed

    def count(self, topic: str, count: Literal["finished", "failed"]) -> None:
        """Count a task of *topic* that ended; topics beyond `_MAX_TOPICS`, more than any worker
        consumes, are ignored."""
        if topic in self.finished_per_topic or len(self.finished_per_topic) < _MAX_TOPICS:
            counts = self.finished_per_topic if count == "finished" else self.failed_per_topic
            counts[topic] += 1

    def count_anew(self) -> None:
        """Count ends from now on, as if its next heartbeat were its first."""
        self.succeeded = self.failed = 0
        self.processed_at_first = None
        self.finished_per_topic.clear()
        self.failed_per_topic.clear()

    def report(
        self, kind: ReportKind, at: float | None, *, is_subscribed: bool = True
    ) -> WorkerEvent:
        """Return the worker's known state in the form of an event of a tasktools worker. Unless
        *is_subscribed*, its events cannot be received, and only its answers tell of it."""
        knows_all = self.has_listed or self.processed_at_first == 0
        report = WorkerReport(
            worker_id=self.worker_id,
            host=self.worker_id.partition("@")[2] or None,
            pid=self.pid,
            role="worker",
            capacity=self.capacity,
            running=self.active,
            topics=self.topics,
            topics_known=self.queues is not None,
            started_at=self.started_at,
            last_heartbeat=at,
            running_tasks=_on_worker(self.running.values()) if knows_all else None,
            succeeded=self.succeeded if self.is_counted else None,
            failed=self.failed if self.is_counted else None,
            finished_per_topic=dict(self.finished_per_topic),
            failed_per_topic=dict(self.failed_per_topic),
            dialect=DIALECT,
            version=self.version,
            sends_task_events=self.sends_task_events if is_subscribed else False,
            heartbeat_every=self.heartbeat_every,
        )
        return WorkerEvent(kind=kind, sender_id=self.worker_id, worker=report)


class CeleryWorkers:
    """The workers that sent events, their tasks, and the tasks that ended lately."""

    def __init__(self) -> None:
        self.known: BoundedDict[str, CeleryWorker] = BoundedDict(_MAX_WORKERS)
        self.ended: BoundedDict[str, EndedTask] = BoundedDict(_MAX_ENDED)
        self.tasks: BoundedDict[str, CeleryTask] = BoundedDict(_MAX_TASKS + 1)
        self.uncounted: BoundedDict[str, list[tuple[str, Count]]] = BoundedDict(_MAX_ENDED)
        """The ends of a task's tries while its topic is not known, each with the worker."""
        self._stopped: BoundedDict[str, float] = BoundedDict(_MAX_WORKERS)
        """The times at which workers said that they stop."""
        self.rejected: BoundedDict[str, EndedTask] = BoundedDict(_MAX_ENDED)
        """The tasks that were rejected for good, of whose failure another event may come."""
        self.are_subscribed = True
        """Whether events of workers can be received; if not, only their answers are."""
        self.producers_tell = False
        """Whether producers send events, which may arrive later than those of workers."""
        self._topic_of_name: BoundedDict[str, str | None] = BoundedDict(_MAX_NAMES)

    # --- workers ----------------------------------------------------------------------

    def worker(self, worker_id: str, arrived: float) -> CeleryWorker:
        """Return the worker of this name, which may be new."""
        worker = self.known.get(worker_id)
        if worker is None:
            worker = CeleryWorker(worker_id, arrived)
            self.known.put(worker_id, worker)
            self._stopped.pop(worker_id, None)
        return worker

    def process(self, worker_id: str, pid: int | None, arrived: float) -> CeleryWorker:
        """Return the worker of this name; another *pid* than before is a new one."""
        worker = self.worker(worker_id, arrived)
        if pid is not None and worker.pid is not None and pid != worker.pid:
            self.forget(worker_id)
            worker = self.worker(worker_id, arrived)
        worker.pid = worker.pid if pid is None else pid
        return worker

    def forget(self, worker_id: str) -> None:
        """Forget a worker and the tasks that it has."""
        worker = self.known.pop(worker_id, None)
        if worker is not None:
            for task in (*worker.running.values(), *worker.held.values()):
                self._drop(task)

    def stop(self, worker_id: str, arrived: float) -> None:
        """Forget a worker that stops, and ignore its answers to earlier queries that arrive
        later."""
        self.forget(worker_id)
        self._stopped.put(worker_id, arrived)

    def count_anew(self) -> None:
        """Count the ends of all workers' tasks from now on."""
        for worker in self.known.values():
            worker.count_anew()

    # --- tasks ------------------------------------------------------------------------

    def add(self, task: CeleryTask) -> None:
        """Store *task* in place of an earlier version of it; forget the oldest of too many."""
        before = self.tasks.get(task.task_id)
        if before is not None and before is not task:
            if before.earlier is not None:
                self._take(before.earlier)
                before.earlier = None
            if before.begun:
                task.earlier = before
            else:  # its message was delivered again
                self._take(before)
        self.tasks.put(task.task_id, task)
        if len(self.tasks) > _MAX_TASKS:
            self._drop(next(iter(self.tasks.values())))

    def move(self, task: CeleryTask, worker_id: str) -> None:
        """Note that *worker_id* has *task* now, and no other any more."""
        if task.worker_id not in (None, worker_id):
            self._take(task)
        task.worker_id = worker_id

    def _take(self, task: CeleryTask) -> None:
        """Take *task* from the worker that has it."""
        worker = self.known.get(task.worker_id or "")
        for tasks in () if worker is None else (worker.running, worker.held):
            if tasks.get(task.task_id) is task:
                del tasks[task.task_id]

    def _drop(self, task: CeleryTask) -> None:
        """Forget *task*, and its earlier try."""
        if self.tasks.get(task.task_id) is task:
            del self.tasks[task.task_id]
        self._take(task)
        if task.earlier is not None:
            self._take(task.earlier)

    def end(self, task_id: str, worker_id: str, arrived: float, *, is_final: bool) -> CeleryTask:
        """Take a task from its worker, and return it.

        The next try of one that is retried may have been received before.
        """
        worker = self.worker(worker_id, arrived)
        worker.sends_task_events = True
        task, latest = worker.running.pop(task_id, None), self.tasks.get(task_id)
        if latest is not None:
            is_here = latest.worker_id in (None, worker_id)
            if (latest.begun or is_here) if is_final else (latest.begun and is_here):
                self._drop(latest)
        task = task or latest
        if task is None:
            before = self.ended.get(task_id)
            unknown = CeleryTask(task_id, topic=self.probable_topic(worker, None))
            task = unknown if before is None else before.task
        self.ended.put(task_id, EndedTask(arrived, task, worker_id))
        return task

    def next_try(self, task_id: str) -> CeleryTask:
        """Return the task of a try that began although no event reported its receipt: an answer of
        its worker may have described the try before, which ended late. Name, topic and arguments
        are taken from that one."""
        ended = self.ended.get(task_id)
        if ended is None:
            return CeleryTask(task_id)
        before = ended.task
        return CeleryTask(task_id, before.name, before.topic, before.args, before.kwargs)

    def learn(self, name: str | None, topic: str | None) -> None:
        """Note that tasks of this *name* come from *topic*; a name seen in two topics stands for
        neither."""
        if name is not None and topic is not None:
            if name not in self._topic_of_name:
                self._topic_of_name.put(name, topic)
            elif self._topic_of_name[name] != topic:
                self._topic_of_name[name] = None

    def probable_topic(self, worker: CeleryWorker, name: str | None) -> str | None:
        """Return the queue of a task that does not name it: the only queue of its worker, else
        (unless producers name queues in events) the only one in which tasks of this *name* were
        seen."""
        if worker.queues is not None and len(worker.queues) == 1:
            return worker.queues[0].name
        topic = None if name is None or self.producers_tell else self._topic_of_name.get(name)
        return topic if topic in worker.topics else None

    # --- answers ----------------------------------------------------------------------

    def answer(
        self, method: str, worker_id: str, answer: Answer, asked: float, arrived: float
    ) -> WorkerEvent | None:
        """Process a worker's *answer* to the query *method*, sent at *asked*; return the worker's
        report."""
        if asked <= self._stopped.get(worker_id, float("-inf")):
            return None
        worker = self.worker(worker_id, arrived)
        match answer:
            case Stats():
                worker = self.process(worker_id, answer.pid, arrived)
                worker.capacity = answer.capacity
                if worker.started_at is None and answer.uptime is not None:
                    worker.started_at = arrived + (worker.clock_offset or 0.0) - answer.uptime
            case Queues(queues):
                worker.queues = queues
            case Requests(requests) if method == "active":
                self._run(worker, requests, asked, arrived)
            case Requests(requests):
                self._hold(worker, requests, arrived)
                if method == "reserved":  # asked after those that are scheduled
                    self._drop_unlisted(worker, asked)
                return None
        worker.heard_at, offset = arrived, worker.clock_offset
        at = None if offset is None else arrived + offset
        return worker.report("heartbeat", at, is_subscribed=self.are_subscribed)

    def _run(
        self, worker: CeleryWorker, requests: Iterable[Request], asked: float, arrived: float
    ) -> None:
        """Make the running tasks of *worker* agree with its answer."""
        listed = {request.task_id: request for request in requests}
        for task_id, running in list(worker.running.items()):
            if task_id not in listed and running.seen_at <= asked - _RACE_SECONDS:
                self._drop(running)
                worker.running.pop(task_id, None)
        for task_id, request in listed.items():
            if task_id in self.ended and self.ended[task_id].at > asked - _RACE_SECONDS:
                continue
            task = worker.running.get(task_id) or self.tasks.get(task_id) or CeleryTask(task_id)
            self._describe(worker, task, request, arrived)
            task.begun = True
            if task.started_at is None and request.time_start is not None:
                task.started_at = min(request.time_start - (worker.clock_offset or 0.0), arrived)
            self.add(task)
            worker.held.pop(task_id, None)
            worker.running[task_id] = task
        worker.has_listed = True

    def _hold(self, worker: CeleryWorker, requests: Iterable[Request], arrived: float) -> None:
        """Store the tasks that *worker* has fetched and not begun."""
        for request in requests:
            task_id = request.task_id
            if task_id in worker.running or task_id in self.ended:
                continue
            task = self.tasks.get(task_id)
            if task is None or task.begun:
                task = CeleryTask(task_id)
            self._describe(worker, task, request, arrived)
            task.eta = request.eta
            self.add(task)
            worker.held[task_id] = task

    def _describe(
        self, worker: CeleryWorker, task: CeleryTask, request: Request, arrived: float
    ) -> None:
        self.move(task, worker.worker_id)
        task.seen_at = arrived
        task.name = request.name or task.name
        task.topic = _queue_of(worker, request) or task.topic
        self.learn(task.name, task.topic)
        if isinstance(request.args, list) and not isinstance(task.args, list):
            task.args, task.kwargs = request.args, request.kwargs

    def _drop_unlisted(self, worker: CeleryWorker, asked: float) -> None:
        for task in list(worker.held.values()):
            if task.seen_at < asked - _RACE_SECONDS:
                self._drop(task)

    # --- what is known ----------------------------------------------------------------

    def prefetched(self, is_gone: IsGone) -> tuple[PrefetchedTask, ...]:
        """Return the tasks that live workers have fetched and not begun."""
        return tuple(
            PrefetchedTask(
                task_id=task.task_id,
                worker_id=worker.worker_id,
                topic=task.topic,
                task_name=task.name,
                eta=None if task.eta is None else moment(task.eta),
                args=task.args,
                kwargs=task.kwargs,
            )
            for worker in self.known.values()
            if not is_gone(worker.worker_id)
            for task in worker.held.values()
        )

    def shift(self, seconds: float) -> None:
        """Shift all times by *seconds*, the step by which our clock was set."""
        self._stopped.update({name: at + seconds for name, at in self._stopped.items()})
        for worker in self.known.values():
            worker.heard_at += seconds
            if worker.clock_offset is not None:
                worker.clock_offset -= seconds
        for task in self.tasks.values():
            task.seen_at += seconds
        for ended in (*self.ended.values(), *self.rejected.values()):
            ended.at += seconds


def _queue_of(worker: CeleryWorker, request: Request) -> str | None:
    """Return the queue of a message that a worker got, by its exchange and routing key."""
    if request.exchange == "":
        return request.routing_key
    key = (request.exchange, request.routing_key)
    queues = worker.queues or ()
    bound = {queue.name for queue in queues if (queue.exchange, queue.routing_key) == key}
    if len(bound) == 1:
        return bound.pop()
    return queues[0].name if len(queues) == 1 else None


def _on_worker(tasks: Iterable[CeleryTask]) -> tuple[TaskOnWorker, ...]:
    return tuple(
        TaskOnWorker(
            task_id=task.task_id,
            task_name=task.name,
            topic=task.topic,
            started_at=task.started_at,
            args=task.args,
            kwargs=task.kwargs,
        )
        for task in tasks
    )
