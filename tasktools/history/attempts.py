"""Attempts of tasks: the start and the end of each as one row, paired as their events arrive."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Literal

from tasktools.core.escaping import cut
from tasktools.core.events import TaskEvent
from tasktools.core.masked_repr import MaskedRecord
from tasktools.core.models import RunningTask

Outcome = Literal["succeeded", "failed", "lost"]
_RACE_SECONDS: Final = 2.0  # by which the cluster state may be older than an event
_MAX_ERROR_CHARS: Final = 2_000
_MAX_UNWRITTEN: Final = 1_000_000


class Attempt(MaskedRecord):
    """One attempt to run a task, by our clock.

    `started_at` is missing if no start event arrived, `duration` and what follows `error` if the
    worker did not report it.
    """

    n: int
    at: float
    task_id: str
    topic: str | None
    worker_id: str | None
    task_name: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None
    duration: float | None = None
    error_type: str | None = None
    error: str | None = None
    traceback: str | None = None
    args: Any = None
    kwargs: Any = None

    @property
    def has_details(self) -> bool:
        """Whether its worker reported a traceback, or arguments that are kept."""
        return (self.traceback, self.args, self.kwargs) != (None, None, None)

    def end(self, at: float, outcome: Outcome) -> None:
        """Set the time and the outcome of the attempt's end."""
        self.ended_at, self.outcome = at, outcome


class Attempts:
    """Pairs of start and end events. Attempts not yet written to the file are in `new`, changed
    ones in `changed`.

    *first* is the number of the next attempt. Arguments that workers report are kept for failures;
    with *keeps_arguments* for all attempts.
    """

    def __init__(self, first: int, *, keeps_arguments: bool = False) -> None:
        self.new: dict[int, Attempt] = {}
        self.changed: dict[int, Attempt] = {}
        self.lost = 0
        self.began: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._keeps_arguments = keeps_arguments
        self._numbers = itertools.count(first)
        self._open: dict[str, Attempt] = {}
        self._ended: dict[str, float] = {}

    def handle_event(self, at: float, event: TaskEvent) -> None:
        """Process an event that arrived at *at*."""
        if event.kind == "task_started":
            self._begin(at, event)
        else:
            self._end(at, event)

    def agree_with(self, at: float, running: Iterable[RunningTask]) -> None:
        """Correct the open attempts by the tasks that workers reported as *running* at *at*.

        The reports are a little older than *at*, so the end of a task may have arrived since.
        """
        self._ended = {task: end for task, end in self._ended.items() if end > at - _RACE_SECONDS}
        running_tasks = {run.task_id: run for run in running if run.task_id not in self._ended}
        for task_id, attempt in list(self._open.items()):
            run = running_tasks.get(task_id)
            if run is None and attempt.at < at - _RACE_SECONDS:
                self._close(attempt, at, "lost")
            elif run is not None and attempt.task_name is None and run.task_name is not None:
                attempt.task_name = run.task_name
                self._change(attempt)
        for task_id, run in running_tasks.items():
            if task_id not in self._open:
                attempt = self._add(at, task_id, run.topic, run.worker_id, run.task_name)
                if run.started_at is not None:  # its start event came before we listened
                    attempt.started_at = run.started_at.timestamp()

    def shift(self, now: float, step: float) -> None:
        """Shift the start of each open attempt by *step* seconds: our clock was set by that much.

        Starts that arrived after the clock was set stay as they are.
        """
        for attempt in self._open.values():
            if attempt.started_at is None:
                continue
            is_old = (
                attempt.started_at > now
                if step < 0
                else attempt.started_at <= now - step + _RACE_SECONDS
            )
            if is_old:
                attempt.started_at += step
                self._change(attempt)
        self._ended = {task: end + step for task, end in self._ended.items()}

    def written(self) -> None:
        """Forget the new and changed attempts, which are in the file now."""
        self.lost = 0
        self.new.clear()
        self.changed.clear()
        for counter in (self.began, self.done, self.failed):
            counter.clear()

    def _begin(self, at: float, event: TaskEvent) -> None:
        if event.topic is not None:
            self.began[event.topic] += 1
        attempt = self._open.get(event.task_id)
        if (
            attempt is not None
            and attempt.started_at is None
            and attempt.worker_id == event.worker_id
        ):
            attempt.started_at = at  # a heartbeat had named it before
            attempt.task_name = attempt.task_name or event.task_name
            self._learn_arguments(attempt, event)
            self._change(attempt)
            return
        if attempt is not None:  # the task was redelivered
            self._close(attempt, at, "lost")
        attempt = self._add(at, event.task_id, event.topic, event.worker_id, event.task_name)
        attempt.started_at = at
        self._learn_arguments(attempt, event)

    def _learn_arguments(self, attempt: Attempt, event: TaskEvent) -> None:
        if self._keeps_arguments:
            attempt.args, attempt.kwargs = event.args, event.kwargs

    def _end(self, at: float, event: TaskEvent) -> None:
        failed = event.kind == "task_failed"
        if event.topic is not None:
            (self.failed if failed else self.done)[event.topic] += 1
        attempt = self._open.get(event.task_id)
        if attempt is None or (event.worker_id not in (None, attempt.worker_id)):
            # No start event arrived, or this is an earlier attempt on another worker.
            attempt = self._make(at, event.task_id, event.topic, event.worker_id)
        attempt.task_name = attempt.task_name or event.task_name
        attempt.topic = attempt.topic or event.topic
        attempt.duration = event.duration
        if failed:
            attempt.error_type = event.error_type
            attempt.error = event.error and cut(event.error, _MAX_ERROR_CHARS)
            attempt.traceback = event.traceback
            attempt.args, attempt.kwargs = event.args, event.kwargs
        self._close(attempt, at, "failed" if failed else "succeeded")
        self._ended[event.task_id] = at

    def _add(
        self,
        at: float,
        task_id: str,
        topic: str | None,
        worker_id: str | None,
        task_name: str | None = None,
    ) -> Attempt:
        attempt = self._open[task_id] = self._make(at, task_id, topic, worker_id)
        attempt.task_name = task_name
        return attempt

    def _make(self, at: float, task_id: str, topic: str | None, worker_id: str | None) -> Attempt:
        attempt = Attempt(next(self._numbers), at, task_id, topic, worker_id)
        if len(self.new) < _MAX_UNWRITTEN:
            self.new[attempt.n] = attempt
        else:
            self.lost += 1
        return attempt

    def _close(self, attempt: Attempt, at: float, outcome: Outcome) -> None:
        attempt.end(at, outcome)
        if self._open.get(attempt.task_id) is attempt:
            del self._open[attempt.task_id]
        self._change(attempt)

    def _change(self, attempt: Attempt) -> None:
        if attempt.n not in self.new:
            self.changed[attempt.n] = attempt
