"""Tasks followed to their end by the events of workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from msgspec import structs

from tasktools.brokers.base import Broker
from tasktools.core.bounded_dict import BoundedDict
from tasktools.core.clock import Clock, moment
from tasktools.core.duration_histogram import RESOLUTION
from tasktools.core.errors import BrokerError
from tasktools.core.events import Event, TaskEvent
from tasktools.core.lazy_imports import pd
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.models import ClusterState, Outgoing, PublishResult, RunningTask, Source

FollowedState = Literal["queued", "running", "succeeded", "failed", "unknown"]
ENDED: Final = ("succeeded", "failed")

_MAX_TASKS: Final = 100_000
_POLL_SECONDS: Final = 0.5
"""`Follower.wait` checks its tasks so often, also without events."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TrackedTask(MaskedRepr):
    """The state of one task. `started_at` and `expires_at` are in seconds, by our clock."""

    topic: str | None = None
    state: FollowedState = "unknown"
    worker_id: str | None = None
    started_at: float | None = None
    duration: float | None = None
    tries: int = 0
    error_type: str | None = None
    error: str | None = None
    expires_at: float | None = None


def continued(task: TrackedTask, event: TaskEvent, now: float) -> TrackedTask:
    """Return *task* after *event*, which arrived at *now*."""
    task = replace(task, topic=task.topic or event.topic)
    if event.kind == "task_started":
        return replace(
            task,
            state="running",
            worker_id=event.worker_id,
            started_at=now,
            duration=None,
            tries=task.tries + 1,
        )
    failed = event.kind == "task_failed"
    error = (event.error_type, event.error) if failed else (None, None)
    others = event.worker_id is not None and task.worker_id not in (event.worker_id, None)
    if task.state == "running" and others:
        # The end of an earlier attempt, which arrived after the next one had started.
        return replace(task, error_type=error[0], error=error[1]) if failed else task
    since = None if task.started_at is None else now - task.started_at
    if since is not None and since < RESOLUTION:
        since = None  # too short to be measured by two arrivals
    return replace(
        task,
        state="failed" if failed else "succeeded",
        worker_id=event.worker_id or task.worker_id,
        duration=since if event.duration is None else event.duration,
        tries=max(task.tries, 1),
        error_type=error[0],
        error=error[1],
    )


def checked(
    task: TrackedTask, running: RunningTask | None, now: float, *, events_ok: bool
) -> TrackedTask:
    """Return *task*, corrected by the *running* tasks that workers report now.

    *events_ok* is True if events are up to date, so that a task missing from *running* is not
    running.
    """
    if running is not None and task.state in ("queued", "unknown"):
        began = None if running.started_at is None else running.started_at.timestamp()
        return replace(
            task,
            state="running",
            topic=task.topic or running.topic,
            worker_id=running.worker_id,
            started_at=began,
        )
    if task.state == "running" and running is None and events_ok:
        return replace(task, state="unknown")
    if task.state == "queued" and task.expires_at is not None and now > task.expires_at:
        return replace(task, state="unknown")
    return task


class TaskTracker:
    """The states of chosen tasks, from events. Thread-safe.

    It holds the latest 100,000 tasks. `problem` says why no events can be received, else it is
    `None`.
    """

    def __init__(self, clock: Clock, max_tasks: int = _MAX_TASKS) -> None:
        self.problem: str | None = None
        self.changed = threading.Condition()
        self._clock = clock
        self._tasks: BoundedDict[str, TrackedTask] = BoundedDict(max_tasks)
        self._listening = False

    def listen_to(self, broker: Broker) -> None:
        """Subscribe to the events of *broker*, once; `problem` says why it failed."""
        # The broker is not stored: it refers to its listeners, and a cycle would keep it alive.
        if self._listening:
            return
        try:
            broker.cluster_state()  # first, so that it knows every task that we see events of
            broker.listen(self.handle_event)
        except BrokerError as error:  # the next call tries again
            self.problem = f"tasks cannot be followed: {error}"
        else:
            self.problem, self._listening = None, True

    def add(self, task_ids: Iterable[str]) -> None:
        """Track these tasks from now on."""
        with self.changed:
            for task_id in task_ids:
                self._tasks.put(task_id, self._tasks.get(task_id) or TrackedTask())

    def begin_again(self, task_ids: Iterable[str]) -> None:
        """Track these tasks from now on, and forget earlier states."""
        ids = list(task_ids)
        with self.changed:
            for task_id in ids:
                self._tasks.pop(task_id, None)
        self.add(ids)

    def settle(self, messages: Sequence[Outgoing], results: Sequence[PublishResult]) -> None:
        """Process the publish *results* of *messages*; their tasks were added before publishing."""
        now = self._clock.time()
        with self.changed:
            for message, result in zip(messages, results, strict=True):
                task = self._tasks.get(message.task_id or "")
                if task is None or message.task_id is None:
                    continue
                if result in ("confirmed", "in doubt"):
                    self._tasks[message.task_id] = _published(task, message, result, now)
                else:
                    del self._tasks[message.task_id]

    def handle_event(self, event: Event) -> None:
        """Process an event."""
        if not isinstance(event, TaskEvent):
            return
        with self.changed:
            task = self._tasks.get(event.task_id)
            if task is not None:
                self._tasks[event.task_id] = continued(task, event, self._clock.time())
                self.changed.notify_all()

    def tasks(self, task_ids: Iterable[str]) -> list[TrackedTask]:
        """Return the state of each of *task_ids*."""
        with self.changed:
            return [self._tasks.get(task_id) or TrackedTask() for task_id in task_ids]


def _published(
    task: TrackedTask, message: Outgoing, result: PublishResult, now: float
) -> TrackedTask:
    expiration = message.properties.expiration
    return replace(
        task,
        topic=message.topic,
        # An event of the worker may have arrived before the confirm.
        state="queued" if task.state == "unknown" and result == "confirmed" else task.state,
        expires_at=None if expiration is None else now + int(expiration) / 1000,
    )


class Follower:
    """Some tasks, followed to their end. Made by `Cluster.follow`.

    A follower costs nothing while it is not read, ends with the cluster, and needs no closing.
    """

    def __init__(
        self,
        broker: Broker,
        log: TaskTracker,
        clock: Clock,
        frame: Callable[[Sequence[Sequence[Any]], Source], pd.DataFrame],
    ) -> None:
        self._broker = broker
        self._log = log
        self._clock = clock
        self._frame = frame
        self._task_ids: list[str] = []

    def add(self, task_ids: str | Iterable[str]) -> None:
        """Follow these tasks as well.

        Their earlier events are unknown, except for tasks published with the same `Cluster`.
        """
        ids = [task_ids] if isinstance(task_ids, str) else [str(task_id) for task_id in task_ids]
        self._log.listen_to(self._broker)
        self._log.add(ids)
        self._task_ids = list(dict.fromkeys([*self._task_ids, *ids]))

    def frame(self) -> pd.DataFrame:
        """Return one row a task, in the order given (schema `FOLLOWED`)."""
        before = self._log.tasks(self._task_ids)
        state = self._broker.cluster_state()
        after = self._log.tasks(self._task_ids)
        now = self._clock.time()
        running = {run.task_id: run for run in state.running}
        rows = [
            # An event that came meanwhile is newer than the state.
            _row(
                task_id,
                checked(task, running.get(task_id), now, events_ok=same and state.events.ok),
            )
            for task_id, task, same in zip(
                self._task_ids,
                after,
                (old is new for old, new in zip(before, after, strict=True)),
                strict=True,
            )
        ]
        return self._frame(rows, self._source(state))

    def wait(self, timeout: float = 60.0) -> pd.DataFrame:
        """Return `frame()` once all tasks have ended, or after *timeout* seconds.

        A task that failed and will be tried again counts as ended until it begins again.
        """
        deadline = time.monotonic() + timeout
        while True:
            frame = self.frame()
            left = deadline - time.monotonic()
            if frame["state"].isin(ENDED).all() or left <= 0:
                return frame
            with self._log.changed:
                self._log.changed.wait(min(left, _POLL_SECONDS))

    def _source(self, state: ClusterState) -> Source:
        if self._log.problem is None:
            return state.events
        return structs.replace(state.events, ok=False, note=self._log.problem)


def _row(task_id: str, task: TrackedTask) -> tuple[Any, ...]:
    return (
        task_id,
        task.topic,
        task.state,
        task.worker_id,
        None if task.started_at is None else moment(task.started_at),
        task.duration,
        task.tries,
        task.error_type,
        task.error,
    )
