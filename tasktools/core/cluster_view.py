"""The state of a cluster by its events: a state machine that gets arrival times and events.

Pure and bounded: it does no I/O, never asks for the time, and forgets the oldest when a limit is
reached (`forgotten` counts them). Silence is judged by *our* clock at the arrival of a worker's own
events; what other nodes say of a worker is hearsay until an event of its own arrives. Its running
tasks are never taken from hearsay, which is up to a heartbeat old: until a worker has sent an event
since we listen, their number is missing.
"""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from msgspec.structs import replace

from tasktools.core import known_workers
from tasktools.core.bounded_dict import BoundedDict
from tasktools.core.clock import moment
from tasktools.core.duration_histogram import NOTHING, Histogram, NamesToTopics
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
    TaskOnWorker,
    Unknown,
    WorkerEvent,
    WorkerList,
    WorkerReport,
)
from tasktools.core.known_workers import (
    GONE_AFTER,
    KnownWorker,
    note_of_unknown_tasks,
)
from tasktools.core.marks import Mark
from tasktools.core.models import (
    ClusterState,
    Lock,
    Orphan,
    RunningTask,
    Source,
    TopicCounters,
    TopicSettings,
    WorkerDurations,
    WorkerState,
)

KEPT_FOR: Final = 3600.0
"""Seconds for which a worker that is gone or has stopped is still shown."""

_RECENT_SECONDS: Final = 120.0
_MAX_READINGS: Final = 100_000
_MAX_ORPHANS: Final = 10_000
_MAX_REPLACED: Final = 1_000
_EARLY: Final = 0.1  # a wait for a heartbeat may end this much too early
_RACE: Final = 2.0  # a heartbeat may have been written this long before an event it follows
_MAX_NAME_BYTES: Final = 250  # bytes; a queue's name can have no more
_MAX_COUNT: Final = 2**62
_MAX_WORKERS, _MAX_TASKS, _MAX_TOPICS, _MAX_LOCKS = 20_000, 100_000, 20_000, 20_000


@dataclass(frozen=True, slots=True)
class _Run:
    task: RunningTask
    seen: float


class ClusterView:
    """Derives workers, running tasks, locks and topic settings from events."""

    def __init__(self) -> None:
        self.unknown = 0
        self.malformed = 0
        self.forgotten = 0
        self.is_awaiting = False
        """Whether answers of workers are awaited; some of these workers may not be known yet."""
        self._heard_list = False
        self._listening_since = float("-inf")
        self._workers: dict[str, KnownWorker] = {}
        self._replaced: deque[KnownWorker] = deque(maxlen=_MAX_REPLACED)
        self._running: OrderedDict[str, _Run] = OrderedDict()
        self._tasks_of: defaultdict[str, set[str]] = defaultdict(set)
        self._ended: BoundedDict[str, float] = BoundedDict(_MAX_TASKS)
        self._locks: OrderedDict[str, Lock] = OrderedDict()
        self._lock_heard: BoundedDict[str, float] = BoundedDict(_MAX_LOCKS)
        self._settings: dict[str, TopicSettings] = {}
        self._hearsay_settings: dict[str, TopicSettings] = {}
        self._counted: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._topics: set[str] = set()
        self._names = NamesToTopics()
        self._durations: dict[str, Histogram] = {}
        self._recent: deque[WorkerDurations] = deque(maxlen=_MAX_READINGS)
        self._orphans: BoundedDict[str, Orphan] = BoundedDict(_MAX_ORPHANS)

    @property
    def is_settled(self) -> bool:
        """Whether a node has listed the workers, and each known worker has sent an event itself."""
        return (
            self._heard_list
            and not self.is_awaiting
            and all(known.is_fresh or known.stopped is not None for known in self._workers.values())
        )

    @property
    def has_workers(self) -> bool:
        """Whether any worker is known."""
        return bool(self._workers)

    @property
    def topics(self) -> frozenset[str]:
        """The topics that any event named."""
        return frozenset(self._topics)

    def dialects(self) -> dict[str, str]:
        """Return the dialect of each topic that workers of other dialects than the layout's report
        as consumed."""
        reports = [known.report for known in self._workers.values()]
        return {
            topic: report.dialect
            for report in reports
            if report.dialect is not None
            for topic in report.topics
        }

    def fold(  # noqa: C901, PLR0912 - one branch a kind of event
        self, arrived: float, event: Event | Unknown | Malformed
    ) -> None:
        """Take in *event*, which arrived at *arrived* (seconds since the epoch, our clock)."""
        match event:
            case WorkerEvent(kind="unregister"):
                self._stop(arrived, event.worker.worker_id, event.sender_id)
            case WorkerEvent():
                self._beat(arrived, event.worker, event.sender_id)
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
            case Question() | Command() | Mark():
                pass
            case Unknown():
                self.unknown += 1
            case Malformed():
                self.malformed += 1
            case _:
                assert_never(event)

    def listen(self, now: float, *, alone: bool = False) -> None:
        """Start listening, or start again: forget what each worker was last known to run.

        *alone*: no other client is there that could answer.
        """
        self._listening_since, self._heard_list = now, alone
        for known in self._workers.values():
            known.is_fresh = False

    def await_heartbeats(self) -> None:
        """Note that nobody will list the workers: they are known once each has sent a heartbeat."""
        self._heard_list = False

    def forgive(self, seconds: float) -> None:
        """Shift all last-seen times by *seconds*: our connection was down, so nobody is overdue."""
        for known in (*self._workers.values(), *self._replaced):
            known.heard_at += seconds
        for task_id, run in self._running.items():
            self._running[task_id] = _Run(run.task, run.seen + seconds)

    def shift(self, seconds: float) -> None:
        """Shift all times by *seconds*, by which our clock was set."""
        self.forgive(seconds)
        self._listening_since += seconds
        for known in (*self._workers.values(), *self._replaced):
            for name in ("beat", "first_beat", "stopped", "goodbye", "connected_at"):
                at = getattr(known, name)
                setattr(known, name, None if at is None else at + seconds)
        self._recent = deque(
            (replace(reading, at=reading.at + seconds) for reading in self._recent),
            _MAX_READINGS,
        )
        for task_id, orphan in self._orphans.items():
            silent_since = orphan.silent_since + seconds
            self._orphans[task_id] = replace(orphan, silent_since=silent_since)
        for times in (self._ended, self._lock_heard):
            times.update({name: at + seconds for name, at in times.items()})
        span = timedelta(seconds=seconds)
        for task_id, run in self._running.items():
            if run.task.started_at is not None:
                task = replace(run.task, started_at=run.task.started_at + span)
                self._running[task_id] = _Run(task, run.seen)
        for name, lock in self._locks.items():
            if lock.acquired_at is not None:
                self._locks[name] = replace(lock, acquired_at=lock.acquired_at + span)

    # --- workers --------------------------------------------------------------------

    def _beat(self, arrived: float, report: WorkerReport, sender_id: str) -> None:
        known = self._workers.get(report.worker_id)
        if known is None or known.is_restarted(report):
            if known is not None:  # the same name, started anew: its old tasks died with it
                self._orphan_tasks(report.worker_id, known.beat or known.heard_at)
                self._replaced.append(known)
            known = self._workers[report.worker_id] = KnownWorker(report, arrived)
        elif report.running_tasks is None:  # `register` carries no telemetry
            report = known.with_telemetry(report)
        self._add_durations(arrived, known, report)
        known.report, known.heard_at, known.beat = report, arrived, arrived
        known.first_beat = arrived if known.first_beat is None else known.first_beat
        known.silence_when_heard, known.stopped, known.goodbye = 0.0, None, None
        known.connected_at = None
        known.sender = sender_id
        known.is_fresh |= report.running_tasks is not None or report.running is not None
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
            self._workers[report.worker_id] = KnownWorker(report, arrived, silence)
            self._note_topics(report)
            self._limit_workers()

    def _stop(self, arrived: float, worker_id: str, sender_id: str) -> None:
        known = self._workers.get(worker_id)
        if known is None:
            return
        if known.sender in (None, sender_id):
            known.goodbye = arrived
            self._drop_tasks(worker_id)
        else:  # another node sent it for a worker that was silent for long
            self._orphan_tasks(worker_id, known.beat or known.heard_at)
        known.stopped = known.heard_at = arrived

    def _reconcile(self, arrived: float, report: WorkerReport) -> None:
        """Make the running tasks of a worker agree with the list in its heartbeat."""
        if report.running_tasks is None:
            return
        listed = {task.task_id for task in report.running_tasks}
        for task_id in self._tasks_of.get(report.worker_id, set()) - listed:
            if self._running[task_id].seen <= arrived - _RACE:
                self._forget_task(task_id)
        for task in report.running_tasks:
            run = self._running.get(task.task_id)
            if run is not None and run.task.worker_id == report.worker_id:
                described = _described(run.task, task)
                if described is not run.task:
                    self._running[task.task_id] = _Run(described, run.seen)
            elif run is not None and self._is_alive(run.task.worker_id, arrived):
                continue  # both execute it: it was redelivered, and the last start counts
            elif self._ended.get(task.task_id, float("-inf")) <= arrived - _RACE:
                started = RunningTask(
                    task_id=task.task_id,
                    worker_id=report.worker_id,
                    topic=task.topic,
                    task_name=task.task_name,
                    started_at=None if task.started_at is None else moment(task.started_at),
                    args=task.args,
                    kwargs=task.kwargs,
                )
                self._run(arrived, started)

    def _add_durations(self, arrived: float, known: KnownWorker, report: WorkerReport) -> None:
        """Add up how long the tasks took that ended since the worker's last heartbeat."""
        for task in report.running_tasks or ():
            if task.task_name is not None and task.topic is not None:
                self._names.saw(task.task_name, task.topic)
        ended, finished = known.ended_before(report)
        if ended and known.beat is not None:
            reading = WorkerDurations(arrived, arrived - known.beat, report.worker_id, ended)
            self._recent.append(reading)
        for topic, histogram in self._names.by_topic(ended, finished).items():
            if self._note_topic(topic):
                self._durations[topic] = self._durations.get(topic, NOTHING) + histogram

    def _is_alive(self, worker_id: str, now: float) -> bool:
        known = self._workers.get(worker_id)
        return known is not None and known.state(now) == "alive"

    def _limit_workers(self) -> None:
        excess = len(self._workers) - _MAX_WORKERS
        if excess <= 0:
            return
        by_silence = sorted(self._workers, key=lambda name: self._workers[name].heard_at)
        for name in by_silence[: excess + _MAX_WORKERS // 10]:  # sorting costs, so many at once
            del self._workers[name]
            self._drop_tasks(name)
            self.forgotten += 1

    def note_connected(self, worker_id: str, now: float) -> None:
        """Note that *worker_id* is connected to the broker, although it is silent: not gone."""
        if worker_id in self._workers:
            self._workers[worker_id].connected_at = now

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
                task_name=event.task_name,
                started_at=moment(arrived),
                args=event.args,
                kwargs=event.kwargs,
            ),
        )

    def _end(self, arrived: float, event: TaskEvent) -> None:
        self._note_topic(event.topic)
        self._forget_task(event.task_id)
        self._orphans.pop(event.task_id, None)
        self._ended.put(event.task_id, arrived)

    def _run(self, arrived: float, task: RunningTask) -> None:
        self._forget_task(task.task_id)
        self._orphans.pop(task.task_id, None)
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

    def _orphan_tasks(self, worker_id: str, silent_since: float) -> None:
        """Stop counting the tasks of a worker that fell silent as running, but remember them."""
        for task_id in list(self._tasks_of.get(worker_id, ())):
            task = self._running[task_id].task
            self._forget_task(task_id)
            self._orphans.put(task_id, Orphan(task=task, silent_since=silent_since))

    # --- locks and topics -----------------------------------------------------------

    def last_lock_event(self, name: str) -> float | None:
        """Return when the last event of the lock *name* arrived (our clock)."""
        return self._lock_heard.get(name)

    def _lock(self, arrived: float, event: LockEvent) -> None:
        self._locks.pop(event.lock, None)
        self._lock_heard.put(event.lock, arrived)
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
        """Remember *topic*; return whether counts are kept for it."""
        if topic is None or topic == "*" or len(topic.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
            return False
        if topic not in self._topics and len(self._topics) >= _MAX_TOPICS:
            self.forgotten += 1
            return False
        self._topics.add(topic)
        return True

    # --- the picture ----------------------------------------------------------------

    def state(self, now: float, events: Source) -> ClusterState:
        """Return the state at *now*; *events* describes the source: whether it answered, and how
        old it is."""
        self._expire(now)
        surplus = self._surplus()
        workers = tuple(
            known.worker(len(self._tasks_of.get(name, set()) - surplus), now)
            for name, known in self._workers.items()
        )
        states = {worker.worker_id: worker.state for worker in workers}
        is_settled = (
            self.is_settled or now - self._listening_since >= known_workers.ONE_HEARTBEAT - _EARLY
        )
        notes = (
            events.note,
            note_of_unknown_tasks(workers, is_settled=is_settled or not events.ok),
        )
        return ClusterState(
            at=moment(now),
            events=replace(events, note="; ".join(filter(None, notes)) or None),
            listening_since=(
                moment(self._listening_since) if math.isfinite(self._listening_since) else None
            ),
            settled=is_settled,
            workers=workers,
            running=tuple(run.task for name, run in self._running.items() if name not in surplus),
            locks=tuple(_lock_now(lock, states) for lock in self._locks.values()),
            settings=self._hearsay_settings | self._settings,
            counters=self._counters(),
            topics=self.topics,
            durations=dict(self._durations),
            recent_durations=tuple(self._recent),
            orphans=tuple(self._orphans.values()),
            replaced=tuple(known.worker(0, now) for known in self._replaced),
        )

    def _surplus(self) -> set[str]:
        """Return the tasks that a worker has no capacity for: the oldest of them have ended, and
        their ends have not arrived."""
        surplus: set[str] = set()
        for name, tasks in self._tasks_of.items():
            known = self._workers.get(name)
            if known is None or known.report.capacity is None:
                continue
            # A capacity that was lowered holds once the tasks that ran before have ended.
            excess = len(tasks) - max(known.report.capacity, known.report.running or 0)
            if excess > 0:
                surplus.update(sorted(tasks, key=lambda task: self._running[task].seen)[:excess])
        return surplus

    def _expire(self, now: float) -> None:
        """Mark tasks of gone workers as orphans; forget workers and tasks that are long gone."""
        for name, known in list(self._workers.items()):
            if known.state(now) in ("gone", "stopped"):
                if known.goodbye is not None:  # it has ended them; their events came late
                    self._drop_tasks(name)
                self._orphan_tasks(name, now - known.silence(now))
                if known.silence(now) > KEPT_FOR:
                    del self._workers[name]
        while self._replaced and self._replaced[0].silence(now) > KEPT_FOR:
            self._replaced.popleft()
        while self._recent and self._recent[0].at < now - _RECENT_SECONDS:
            self._recent.popleft()
        for task_id, orphan in list(self._orphans.items()):
            if now - orphan.silent_since > KEPT_FOR:
                del self._orphans[task_id]
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


def _described(run: RunningTask, task: TaskOnWorker) -> RunningTask:
    """Return *run* with the details that a heartbeat adds to it."""
    name, topic = run.task_name or task.task_name, task.topic or run.topic
    args, kwargs = (run.args, run.kwargs) if task.args is None else (task.args, task.kwargs)
    if name is run.task_name and topic is run.topic and args is run.args:
        return run
    return replace(run, task_name=name, topic=topic, args=args, kwargs=kwargs)


def _add(total: defaultdict[str, int], counts: Iterable[tuple[str, int]]) -> None:
    for topic, n in counts:
        total[topic] += n


def _lock_now(lock: Lock, states: dict[str, WorkerState]) -> Lock:
    holder = states.get(lock.worker_id or "")
    orphaned = None if holder is None else holder in ("gone", "stopped")
    return replace(lock, orphaned=orphaned)
