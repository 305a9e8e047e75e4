"""The cluster as its events tell it: a state machine, fed with (arrival time, event).

Pure and bounded: it does no I/O, never asks for the time, and forgets the oldest when a
limit is reached (`forgotten` counts them). Silence is judged by *our* clock at the arrival
of a worker's own events; what other nodes say of it is hearsay until it speaks itself.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, assert_never

from msgspec.structs import replace

from tasktools.core.clock import moment
from tasktools.core.events import (
    Command,
    CounterDelta,
    Event,
    LockEvent,
    Malformed,
    Question,
    SettingsReply,
    SettingsUpdate,
    TaskEvent,
    Unknown,
    WorkerEvent,
    WorkerList,
    WorkerReport,
)
from tasktools.core.models import (
    ClusterState,
    Lock,
    RunningTask,
    Source,
    TopicCounters,
    TopicSettings,
    Worker,
    WorkerState,
)

ONE_HEARTBEAT: Final = 3.5
"""Seconds within which any live worker has spoken: its heartbeat comes every 3 s."""
LATE_AFTER: Final = 10.0
"""Seconds of silence after which a worker is `late`: three heartbeats missed."""
GONE_AFTER: Final = 30.0
"""Seconds of silence after which a worker is `gone`; its tasks no longer count as running."""
KEPT_FOR: Final = 3600.0
"""Seconds for which a worker that is gone or has stopped is still shown."""

_RACE: Final = 2.0  # a heartbeat may have been written this long before an event it follows
_LONGEST_NAME: Final = 250  # bytes; a queue's name can have no more
_MAX_COUNT: Final = 2**62
_MAX_WORKERS, _MAX_TASKS, _MAX_TOPICS, _MAX_LOCKS = 20_000, 100_000, 20_000, 20_000


@dataclass(slots=True)
class _Known:
    """A worker we know of. `heard` and `beat` are arrival times by our clock."""

    report: WorkerReport
    heard: float
    silence_when_heard: float = 0.0
    beat: float | None = None
    stopped: float | None = None

    def silence(self, now: float) -> float:
        return max(now - self.heard, 0.0) + self.silence_when_heard

    def state(self, now: float) -> WorkerState:
        if self.stopped is not None:
            return "stopped"
        silence = self.silence(now)
        return "alive" if silence < LATE_AFTER else "late" if silence <= GONE_AFTER else "gone"


@dataclass(frozen=True, slots=True)
class _Run:
    task: RunningTask
    seen: float


class ClusterView:
    """Folds events into workers, running tasks, locks and topic settings."""

    def __init__(self) -> None:
        self.unknown = 0
        self.malformed = 0
        self.forgotten = 0
        self._heard_list = False
        self._workers: dict[str, _Known] = {}
        self._running: OrderedDict[str, _Run] = OrderedDict()
        self._tasks_of: defaultdict[str, set[str]] = defaultdict(set)
        self._ended: OrderedDict[str, float] = OrderedDict()
        self._locks: OrderedDict[str, Lock] = OrderedDict()
        self._lock_heard: OrderedDict[str, float] = OrderedDict()
        self._settings: dict[str, TopicSettings] = {}
        self._hearsay_settings: dict[str, TopicSettings] = {}
        self._counted: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._topics: set[str] = set()

    @property
    def is_settled(self) -> bool:
        """Whether a node has listed the workers, and each that is known has spoken itself."""
        return self._heard_list and all(
            known.beat is not None or known.stopped is not None for known in self._workers.values()
        )

    @property
    def topics(self) -> frozenset[str]:
        """The topics that anybody spoke of."""
        return frozenset(self._topics)

    def fold(  # noqa: C901, PLR0912 - one branch a kind of event
        self, arrived: float, event: Event | Unknown | Malformed
    ) -> None:
        """Take in *event*, which arrived at *arrived* (seconds since the epoch, our clock)."""
        match event:
            case WorkerEvent(kind="unregister"):
                self._stop(arrived, event.worker.worker_id)
            case WorkerEvent():
                self._beat(arrived, event.worker)
            case WorkerList():
                self._heard_list = True
                for report in event.workers:
                    self._hearsay(arrived, report)
            case TaskEvent(kind="task_started"):
                self._start(arrived, event)
            case TaskEvent():
                self._end(arrived, event)
            case LockEvent():
                self._lock(arrived, event)
            case SettingsUpdate():
                if self._note_topic(event.topic):
                    self._settings[event.topic] = event.settings
            case SettingsReply():
                known = {t: s for t, s in event.settings.items() if self._note_topic(t)}
                self._hearsay_settings.update(known)
            case CounterDelta():
                if self._note_topic(event.topic):
                    total = self._counted[event.topic, event.counter] + event.delta
                    self._counted[event.topic, event.counter] = min(total, _MAX_COUNT)
            case Question() | Command():
                pass
            case Unknown():
                self.unknown += 1
            case Malformed():
                self.malformed += 1
            case _:
                assert_never(event)

    def forgive(self, seconds: float) -> None:
        """We heard nothing for *seconds* (our own connection was down): nobody was silent."""
        for known in self._workers.values():
            known.heard += seconds
        for task_id, run in self._running.items():
            self._running[task_id] = _Run(run.task, run.seen + seconds)

    # --- workers --------------------------------------------------------------------

    def _beat(self, arrived: float, report: WorkerReport) -> None:
        known = self._workers.get(report.worker_id)
        if known is None or known.report.started_at != report.started_at:
            if known is not None:  # the same name, started anew: its old tasks died with it
                self._drop_tasks(report.worker_id)
            known = self._workers[report.worker_id] = _Known(report, arrived)
        elif report.running_tasks is None:  # `register` carries no telemetry
            report = _with_telemetry_of(known.report, report)
        known.report, known.heard, known.beat = report, arrived, arrived
        known.silence_when_heard, known.stopped = 0.0, None
        self._note_topics(report)
        self._reconcile(arrived, report)
        self._limit_workers()

    def _hearsay(self, arrived: float, report: WorkerReport) -> None:
        known = self._workers.get(report.worker_id)
        if known is not None and (known.beat is not None or known.stopped is not None):
            return
        # Nodes forget a worker after 30 s, so a longer silence (or one from the future) means
        # that its clock is wrong, and nothing is known of when it spoke last.
        silence = 0.0 if report.last_heartbeat is None else arrived - report.last_heartbeat
        if not 0.0 <= silence <= GONE_AFTER:
            silence = 0.0
        if known is None or silence < known.silence(arrived):
            self._workers[report.worker_id] = _Known(report, arrived, silence)
            self._note_topics(report)
            self._reconcile(arrived, report)
            self._limit_workers()

    def _stop(self, arrived: float, worker_id: str) -> None:
        known = self._workers.get(worker_id)
        if known is not None:
            known.stopped = known.heard = arrived
            self._drop_tasks(worker_id)

    def _reconcile(self, arrived: float, report: WorkerReport) -> None:
        """Make the running tasks of a worker agree with the list in its heartbeat."""
        if report.running_tasks is None:
            return
        listed = {task.task_id for task in report.running_tasks}
        for task_id in self._tasks_of.get(report.worker_id, set()) - listed:
            if self._running[task_id].seen <= arrived - _RACE:
                self._forget_task(task_id)
        for told in report.running_tasks:
            run = self._running.get(told.task_id)
            if run is not None and run.task.worker_id == report.worker_id:
                if run.task.task_name is None and told.task_name is not None:
                    named = replace(run.task, task_name=told.task_name)
                    self._running[told.task_id] = _Run(named, run.seen)
            elif run is not None and self._is_alive(run.task.worker_id, arrived):
                continue  # both execute it: it was redelivered, and the last start counts
            elif self._ended.get(told.task_id, float("-inf")) <= arrived - _RACE:
                task = RunningTask(
                    task_id=told.task_id,
                    worker_id=report.worker_id,
                    topic=told.topic,
                    task_name=told.task_name,
                )
                self._run(arrived, task)

    def _is_alive(self, worker_id: str, now: float) -> bool:
        known = self._workers.get(worker_id)
        return known is not None and known.state(now) == "alive"

    def _limit_workers(self) -> None:
        excess = len(self._workers) - _MAX_WORKERS
        if excess <= 0:
            return
        by_silence = sorted(self._workers, key=lambda name: self._workers[name].heard)
        for name in by_silence[: excess + _MAX_WORKERS // 10]:  # sorting costs, so many at once
            del self._workers[name]
            self._drop_tasks(name)
            self.forgotten += 1

    # --- tasks ----------------------------------------------------------------------

    def _start(self, arrived: float, event: TaskEvent) -> None:
        if event.worker_id is None:
            return
        self._note_topic(event.topic)
        self._ended.pop(event.task_id, None)
        self._run(
            arrived,
            RunningTask(
                task_id=event.task_id,
                worker_id=event.worker_id,
                topic=event.topic,
                started_at=moment(arrived),
            ),
        )

    def _end(self, arrived: float, event: TaskEvent) -> None:
        self._note_topic(event.topic)
        self._forget_task(event.task_id)
        self._ended[event.task_id] = arrived
        while len(self._ended) > _MAX_TASKS:
            self._ended.popitem(last=False)

    def _run(self, arrived: float, task: RunningTask) -> None:
        self._forget_task(task.task_id)
        self._running[task.task_id] = _Run(task, arrived)
        self._tasks_of[task.worker_id].add(task.task_id)
        while len(self._running) > _MAX_TASKS:
            self._forget_task(next(iter(self._running)))
            self.forgotten += 1

    def _forget_task(self, task_id: str) -> None:
        run = self._running.pop(task_id, None)
        if run is not None:
            mine = self._tasks_of[run.task.worker_id]
            mine.discard(task_id)
            if not mine:
                del self._tasks_of[run.task.worker_id]

    def _drop_tasks(self, worker_id: str) -> None:
        for task_id in list(self._tasks_of.get(worker_id, ())):
            self._forget_task(task_id)

    # --- locks and topics -----------------------------------------------------------

    def lock_heard(self, name: str) -> float | None:
        """When anybody was last heard to take or to give back the lock *name* (our clock)."""
        return self._lock_heard.get(name)

    def _lock(self, arrived: float, event: LockEvent) -> None:
        self._locks.pop(event.lock, None)
        self._lock_heard[event.lock] = arrived
        self._lock_heard.move_to_end(event.lock)
        while len(self._lock_heard) > _MAX_LOCKS:
            self._lock_heard.popitem(last=False)
        if event.kind == "lock_acquired":
            self._locks[event.lock] = Lock(
                lock=event.lock,
                task_id=event.task_id,
                worker_id=event.locked_by,
                acquired_at=moment(arrived),
            )
        while len(self._locks) > _MAX_LOCKS:
            self._locks.popitem(last=False)
            self.forgotten += 1

    def _note_topics(self, report: WorkerReport) -> None:
        for topic in (*report.topics, *report.finished_per_topic):
            self._note_topic(topic)

    def _note_topic(self, topic: str | None) -> bool:
        """Remember *topic*; says whether it is one we keep figures of."""
        if topic is None or topic == "*" or len(topic.encode("utf-8", "replace")) > _LONGEST_NAME:
            return False
        if topic not in self._topics and len(self._topics) >= _MAX_TOPICS:
            self.forgotten += 1
            return False
        self._topics.add(topic)
        return True

    # --- the picture ----------------------------------------------------------------

    def state(self, now: float, events: Source) -> ClusterState:
        """Return the picture at *now*; *events* tells how good the source was."""
        self._expire(now)
        workers = tuple(
            _worker(known, len(self._tasks_of.get(name, ())), now)
            for name, known in self._workers.items()
        )
        states = {worker.worker_id: worker.state for worker in workers}
        return ClusterState(
            at=moment(now),
            events=events,
            workers=workers,
            running=tuple(run.task for run in self._running.values()),
            locks=tuple(_lock_now(lock, states) for lock in self._locks.values()),
            settings=self._hearsay_settings | self._settings,
            counters=self._counters(),
            topics=self.topics,
        )

    def _expire(self, now: float) -> None:
        """Let go of tasks whose worker is gone, and of workers gone for long."""
        for name, known in list(self._workers.items()):
            if known.state(now) in ("gone", "stopped"):
                self._drop_tasks(name)
                if known.silence(now) > KEPT_FOR:
                    del self._workers[name]
        # A task of a worker that never spoke itself: silent as long as the task is running.
        silent = [
            task_id
            for task_id, run in self._running.items()
            if run.task.worker_id not in self._workers and now - run.seen > GONE_AFTER
        ]
        for task_id in silent:
            self._forget_task(task_id)

    def _counters(self) -> dict[str, TopicCounters]:
        finished: defaultdict[str, int] = defaultdict(int)
        failed: defaultdict[str, int] = defaultdict(int)
        for known in self._workers.values():
            _add(finished, known.report.finished_per_topic.items())
            _add(failed, known.report.failed_per_topic.items())
        requeued = {topic for topic, _ in self._counted}
        return {
            topic: TopicCounters(
                succeeded=finished[topic] - failed[topic] if topic in finished else None,
                failed=failed[topic] if topic in finished else None,
                requeued=self._counted.get((topic, "error"), 0),
                dead_lettered=self._counted.get((topic, "skipped"), 0),
            )
            for topic in finished.keys() | requeued
        }


def _add(total: defaultdict[str, int], counts: Iterable[tuple[str, int]]) -> None:
    for topic, n in counts:
        total[topic] += n


def _with_telemetry_of(old: WorkerReport, new: WorkerReport) -> WorkerReport:
    return replace(
        new,
        running=old.running if new.running is None else new.running,
        running_tasks=old.running_tasks,
        succeeded=old.succeeded,
        failed=old.failed,
        finished_per_topic=old.finished_per_topic,
        failed_per_topic=old.failed_per_topic,
    )


def _worker(known: _Known, tasks: int, now: float) -> Worker:
    report, state = known.report, known.state(now)
    if state in ("gone", "stopped"):
        running: int | None = 0
    elif report.running_tasks is not None:
        running = tasks
    else:
        running = report.running
    offset = None
    if known.beat is not None and report.last_heartbeat is not None:
        offset = report.last_heartbeat - known.beat
    return Worker(
        worker_id=report.worker_id,
        state=state,
        uncertain=known.beat is None,
        role=report.role,
        host=report.host,
        pid=report.pid,
        running=running,
        capacity=report.capacity,
        topics=report.topics,
        started_at=None if report.started_at is None else moment(report.started_at),
        last_seen=None if known.beat is None else moment(known.beat),
        silence=known.silence(now),
        clock_offset=offset,
        succeeded=report.succeeded,
        failed=report.failed,
        ours=report.tasktools is not None,
        draining=report.draining,
    )


def _lock_now(lock: Lock, states: dict[str, WorkerState]) -> Lock:
    holder = states.get(lock.worker_id or "")
    orphaned = None if holder is None else holder in ("gone", "stopped")
    return replace(lock, orphaned=orphaned)
