"""Tries: a task's start and its end as one row, as their events come."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from tasktools.core.events import TaskEvent
from tasktools.core.models import RunningTask

Outcome = Literal["succeeded", "failed", "lost"]
_RACE: Final = 2.0  # seconds by which the picture of the cluster may be older than an event
_LONGEST_ERROR: Final = 2_000
_MOST: Final = 1_000_000


class Try(msgspec.Struct):
    """One try of a task, by our clock; *started_at* is missing when its start was not heard."""

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

    def end(self, at: float, outcome: Outcome) -> None:
        """Note that it has ended."""
        self.ended_at, self.outcome = at, outcome
        if self.duration is None and self.started_at is not None and outcome != "lost":
            self.duration = max(at - self.started_at, 0.0)


class Tries:
    """Pairs starts and ends. What is not in the file yet is in `new` and `changed`.

    *first* is the number of the next one.
    """

    def __init__(self, first: int) -> None:
        self.new: dict[int, Try] = {}
        self.changed: dict[int, Try] = {}
        self.lost = 0
        self.began: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._numbers = itertools.count(first)
        self._open: dict[str, Try] = {}
        self._ended: dict[str, float] = {}

    def hear(self, at: float, event: TaskEvent) -> None:
        """Take in an event, which came at *at*."""
        if event.kind == "task_started":
            self._begin(at, event)
        else:
            self._end(at, event)

    def agree_with(self, at: float, running: Iterable[RunningTask]) -> None:
        """Make what is open agree with what the workers said was *running* at *at*: a little
        earlier, so that its end may have been heard by now."""
        self._ended = {task: end for task, end in self._ended.items() if end > at - _RACE}
        found = {run.task_id: run for run in running if run.task_id not in self._ended}
        for task_id, one in list(self._open.items()):
            run = found.get(task_id)
            if run is None and one.at < at - _RACE:
                self._close(one, at, "lost")
            elif run is not None and one.task_name is None and run.task_name is not None:
                one.task_name = run.task_name
                self._change(one)
        for task_id, run in found.items():
            if task_id not in self._open:
                one = self._add(at, task_id, run.topic, run.worker_id, run.task_name)
                if run.started_at is not None:  # its start was heard before we listened
                    one.started_at = run.started_at.timestamp()

    def written(self) -> None:
        """Note that all there is, is in the file."""
        self.lost = 0
        self.new.clear()
        self.changed.clear()
        for counter in (self.began, self.done, self.failed):
            counter.clear()

    def _begin(self, at: float, event: TaskEvent) -> None:
        if event.topic is not None:
            self.began[event.topic] += 1
        one = self._open.get(event.task_id)
        if one is not None and one.started_at is None and one.worker_id == event.worker_id:
            one.started_at = at  # the picture had told of it before
            self._change(one)
            return
        if one is not None:  # it was redelivered
            self._close(one, at, "lost")
        self._add(at, event.task_id, event.topic, event.worker_id).started_at = at

    def _end(self, at: float, event: TaskEvent) -> None:
        failed = event.kind == "task_failed"
        if event.topic is not None:
            (self.failed if failed else self.done)[event.topic] += 1
        one = self._open.get(event.task_id)
        if one is None or (event.worker_id not in (None, one.worker_id)):
            # Its start was not heard, or it is an earlier try on another worker.
            one = self._make(at, event.task_id, event.topic, event.worker_id)
        one.duration = event.duration
        if failed:
            one.error_type = event.error_type
            one.error = event.error and event.error[:_LONGEST_ERROR]
        self._close(one, at, "failed" if failed else "succeeded")
        self._ended[event.task_id] = at

    def _add(
        self,
        at: float,
        task_id: str,
        topic: str | None,
        worker_id: str | None,
        task_name: str | None = None,
    ) -> Try:
        one = self._open[task_id] = self._make(at, task_id, topic, worker_id)
        one.task_name = task_name
        return one

    def _make(self, at: float, task_id: str, topic: str | None, worker_id: str | None) -> Try:
        one = Try(next(self._numbers), at, task_id, topic, worker_id)
        if len(self.new) < _MOST:
            self.new[one.n] = one
        else:
            self.lost += 1
        return one

    def _close(self, one: Try, at: float, outcome: Outcome) -> None:
        one.end(at, outcome)
        if self._open.get(one.task_id) is one:
            del self._open[one.task_id]
        self._change(one)

    def _change(self, one: Try) -> None:
        if one.n not in self.new:
            self.changed[one.n] = one
