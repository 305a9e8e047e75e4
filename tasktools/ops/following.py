"""Following tasks to their end, by what the worker events tell of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import pandas as pd
from msgspec import structs

from tasktools.brokers.base import Broker
from tasktools.core.clock import Clock, moment
from tasktools.core.errors import BrokerError
from tasktools.core.events import Event, TaskEvent
from tasktools.core.models import ClusterState, Outgoing, PublishResult, RunningTask, Source

FollowedState = Literal["queued", "running", "succeeded", "failed", "unknown"]
ENDED: Final = ("succeeded", "failed")

_MOST_TASKS: Final = 100_000
_LOOK_AGAIN: Final = 0.5
"""Seconds after which `Follower.wait` looks, also when no event of its tasks came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStory:
    """What is known of one task. `started_at` and `expires_at` in seconds, by our clock."""

    topic: str | None = None
    state: FollowedState = "unknown"
    worker_id: str | None = None
    started_at: float | None = None
    duration: float | None = None
    tries: int = 0
    error_type: str | None = None
    error: str | None = None
    expires_at: float | None = None


def continued(story: TaskStory, event: TaskEvent, now: float) -> TaskStory:
    """Return *story* as it goes on with *event*, which came at *now*."""
    story = replace(story, topic=story.topic or event.topic)
    if event.kind == "task_started":
        return replace(
            story,
            state="running",
            worker_id=event.worker_id,
            started_at=now,
            duration=None,
            tries=story.tries + 1,
        )
    failed = event.kind == "task_failed"
    told = (event.error_type, event.error) if failed else (None, None)
    others = event.worker_id is not None and story.worker_id not in (event.worker_id, None)
    if story.state == "running" and others:
        # The end of an earlier try, which was heard after the next one had begun.
        return replace(story, error_type=told[0], error=told[1]) if failed else story
    since = None if story.started_at is None else now - story.started_at
    return replace(
        story,
        state="failed" if failed else "succeeded",
        worker_id=event.worker_id or story.worker_id,
        duration=since if event.duration is None else event.duration,
        tries=max(story.tries, 1),
        error_type=told[0],
        error=told[1],
    )


def checked(story: TaskStory, running: RunningTask | None, now: float, *, heard: bool) -> TaskStory:
    """Return *story* as it stands beside what the workers say is *running* now.

    *heard*: whether the events are up to date, so that what they do not say is not so.
    """
    if running is not None and story.state in ("queued", "unknown"):
        began = None if running.started_at is None else running.started_at.timestamp()
        return replace(
            story,
            state="running",
            topic=story.topic or running.topic,
            worker_id=running.worker_id,
            started_at=began,
        )
    if story.state == "running" and running is None and heard:
        return replace(story, state="unknown")
    if story.state == "queued" and story.expires_at is not None and now > story.expires_at:
        return replace(story, state="unknown")
    return story


class TaskLog:
    """What was heard of the tasks that somebody asked for; of others it keeps nothing.

    Bounded: of more than 100,000 tasks the oldest are forgotten. Thread-safe. `problem` says
    why no events can be heard, else it is `None`.
    """

    def __init__(self, clock: Clock) -> None:
        self.problem: str | None = None
        self.changed = threading.Condition()
        self._clock = clock
        self._stories: OrderedDict[str, TaskStory] = OrderedDict()
        self._listening = False

    def listen_to(self, broker: Broker) -> None:
        """Hear the events of *broker*, if not done yet; what keeps us from it is `problem`."""
        # Not kept: the broker holds on to its listeners, and is to end when nobody holds it.
        if self._listening:
            return
        try:
            broker.cluster_state()  # the picture is to know of every task that we hear of
            broker.listen(self.hear)
        except BrokerError as error:  # the next call tries again
            self.problem = f"tasks cannot be followed: {error}"
        else:
            self.problem, self._listening = None, True

    def add(self, task_ids: Iterable[str]) -> None:
        """Keep what is said of these tasks, from now on."""
        with self.changed:
            for task_id in task_ids:
                self._stories.setdefault(task_id, TaskStory())
                self._stories.move_to_end(task_id)
            while len(self._stories) > _MOST_TASKS:
                self._stories.popitem(last=False)

    def begin_again(self, task_ids: Iterable[str]) -> None:
        """Keep what is said of these tasks from now on, and forget what was said before."""
        told = list(task_ids)
        with self.changed:
            for task_id in told:
                self._stories.pop(task_id, None)
        self.add(told)

    def settle(self, messages: Sequence[Outgoing], results: Sequence[PublishResult]) -> None:
        """Note what became of *messages*, whose tasks were added before they were sent."""
        now = self._clock.time()
        with self.changed:
            for message, result in zip(messages, results, strict=True):
                story = self._stories.get(message.task_id or "")
                if story is None or message.task_id is None:
                    continue
                if result in ("confirmed", "in doubt"):
                    self._stories[message.task_id] = _published(story, message, result, now)
                else:
                    del self._stories[message.task_id]

    def hear(self, event: Event) -> None:
        """Take in an event."""
        if not isinstance(event, TaskEvent):
            return
        with self.changed:
            story = self._stories.get(event.task_id)
            if story is not None:
                self._stories[event.task_id] = continued(story, event, self._clock.time())
                self.changed.notify_all()

    def stories(self, task_ids: Iterable[str]) -> list[TaskStory]:
        """Return what is known of each of *task_ids*."""
        with self.changed:
            return [self._stories.get(task_id) or TaskStory() for task_id in task_ids]


def _published(story: TaskStory, message: Outgoing, result: PublishResult, now: float) -> TaskStory:
    expiration = message.properties.expiration
    return replace(
        story,
        topic=message.topic,
        # A worker may have been quicker than the confirm.
        state="queued" if story.state == "unknown" and result == "confirmed" else story.state,
        expires_at=None if expiration is None else now + int(expiration) / 1000,
    )


class Follower:
    """Some tasks, followed to their end. Made by `Cluster.follow`.

    It costs nothing while nobody asks, ends with the cluster, and needs no closing.
    """

    def __init__(
        self,
        broker: Broker,
        log: TaskLog,
        clock: Clock,
        frame: Callable[[Sequence[Sequence[Any]], Source], pd.DataFrame],
    ) -> None:
        self._broker = broker
        self._log = log
        self._clock = clock
        self._frame = frame
        self._task_ids: list[str] = []

    def add(self, task_ids: str | Iterable[str]) -> None:
        """Follow these tasks as well. What was missed before is not known, except of tasks that
        were published with the same `Cluster`."""
        told = [task_ids] if isinstance(task_ids, str) else [str(one) for one in task_ids]
        self._log.listen_to(self._broker)
        self._log.add(told)
        self._task_ids = list(dict.fromkeys([*self._task_ids, *told]))

    def frame(self) -> pd.DataFrame:
        """Return one row a task, in the order given (schema `FOLLOWED`)."""
        before = self._log.stories(self._task_ids)
        state = self._broker.cluster_state()
        after = self._log.stories(self._task_ids)
        now = self._clock.time()
        running = {run.task_id: run for run in state.running}
        rows = [
            # A story that went on meanwhile is newer than the state.
            _row(task_id, checked(story, running.get(task_id), now, heard=same and state.events.ok))
            for task_id, story, same in zip(
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
                self._log.changed.wait(min(left, _LOOK_AGAIN))

    def _source(self, state: ClusterState) -> Source:
        if self._log.problem is None:
            return state.events
        return structs.replace(state.events, ok=False, note=self._log.problem)


def _row(task_id: str, story: TaskStory) -> tuple[Any, ...]:
    return (
        task_id,
        story.topic,
        story.state,
        story.worker_id,
        None if story.started_at is None else moment(story.started_at),
        story.duration,
        story.tries,
        story.error_type,
        story.error,
    )
