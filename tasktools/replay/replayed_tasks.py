"""The outcomes of the replayed tasks of a run.

Tasks are followed by their ids in worker events and in the queues where they would die again: AMQP
headers do not survive a peer's requeue, so there is no other way.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Any, Final

from tasktools.brokers.base import Broker
from tasktools.core.dialects import registry
from tasktools.core.errors import BrokerError, LookRefused, QueueNotFound
from tasktools.core.fingerprints import fingerprint
from tasktools.core.frames import build, messages, schemas
from tasktools.core.lazy_imports import pd
from tasktools.core.models import SeenMessage
from tasktools.core.plans import Plan
from tasktools.monitor import consumption
from tasktools.monitor.follow import Follower
from tasktools.replay.timing import Timing

MAX_FOLLOWED: Final = 2_000
"""So many tasks of a run are followed, the first ones."""
_POLL_SECONDS: Final = 0.1
_MAX_QUEUES: Final = 5
_MAX_ERRORS: Final = 3
_IN_WORDS: Final = {
    "succeeded": "succeeded",
    "died": "died again",
    "failed": "failed again",
    "running": "still running",
    "queued": "not begun",
    "unknown": "not known",
}


class DeadAgain:
    """Looks for tasks of *plan* in the dead-letter queues of their targets."""

    def __init__(self, broker: Broker, plan: Plan) -> None:
        self.refusal: str | None = None
        """Why a queue was not looked at, in words; `None` when all were."""
        self._broker = broker
        self._keys = {message.key for message in plan.messages}
        by_topic = map(broker.dead_queue, dict(plan.targets.most_common(_MAX_QUEUES)))
        queues = [queue for queue in by_topic if queue is not None]
        if plan.source_kind == "queue":
            queues.append(plan.source)
        self._queues = tuple(dict.fromkeys(queues))

    def among(self, task_ids: Container[str]) -> dict[str, str]:
        """Return the fingerprints of the *task_ids* that have died again.

        Messages of the plan itself are left out: they are the earlier dead letters.
        """
        fingerprints: dict[str, str] = {}

        def receive(message: SeenMessage, _body: bytes) -> None:
            task_id = message.task.task_id
            if task_id in task_ids and message.key not in self._keys:
                fingerprints[str(task_id)] = messages.fingerprint_of(message)

        self.refusal = None
        for queue in self._queues:
            try:
                self._broker.peek(queue, receive=receive)
            except QueueNotFound:
                continue
            except (BrokerError, LookRefused) as error:
                self.refusal = str(error)
        return fingerprints


class Aftermath:
    """The replayed tasks of a run, watched from before its begin. Made by `Cluster.run`.

    *total* is how many the run has replayed, known once `arrived` was called.
    """

    def __init__(
        self, broker: Broker, follower: Follower, plan: Plan, timing: Timing | None = None
    ) -> None:
        self.total = 0
        self._look_times = (timing or Timing()).looks_after_run
        self._broker = broker
        self._topics = tuple(plan.targets)
        self._targets = {message.task_id: message.to for message in plan.chosen}
        self._unheard: dict[str, str] = {}
        self._follower = follower
        self._dead = DeadAgain(broker, plan)
        self._task_ids: list[str] = []
        self._died: dict[str, str] = {}
        self._began = time.monotonic()
        self._looks = 0

    def arrived(self, outcome: pd.DataFrame) -> None:
        """Follow the replayed tasks of *outcome*."""
        replayed = outcome.loc[outcome["outcome"] == "replayed", "task_id"]
        self.total = len(replayed)
        self._task_ids = [f"{task_id}" for task_id in replayed.dropna().head(MAX_FOLLOWED)]
        self._began = time.monotonic()
        self._unheard = consumption.topics_without_events(self._broker, self._topics)

    def frame(self) -> pd.DataFrame:
        """Return how far the tasks have got (schema `AFTERMATH`)."""
        seconds = time.monotonic() - self._began
        if self._looks < len(self._look_times) and seconds >= self._look_times[self._looks]:
            self._looks += 1
            self._look()
        return self._frame()

    def wait(self, seconds: float) -> pd.DataFrame:
        """Return `frame()` once every task has succeeded or died again, or after *seconds*."""
        frame = self.frame()
        idle: list[str] = []
        if frame["state"].isin(["queued", "unknown"]).any():
            idle = list(consumption.unconsumed(self._broker, self._topics).values())
        if len(idle) == len(self._topics):  # nothing will become of them
            seconds = 0.0
        deadline = time.monotonic() + seconds
        while not is_settled(frame) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            frame = self.frame()
        if not is_settled(frame):
            self._look()
            frame = self._frame()
        frame.attrs["summary"] = summary(frame, self.total)
        frame.attrs["notes"] = [*frame.attrs["notes"], *idle]
        return frame

    def _look(self) -> None:
        followed = self._followed()
        open_ids = set(followed["task_id"][followed["state"] != "succeeded"])
        if open_ids:
            self._died |= self._dead.among(open_ids)

    def _followed(self) -> pd.DataFrame:
        frame = self._follower.frame()
        return frame[frame["task_id"].isin(self._task_ids)]

    def _frame(self) -> pd.DataFrame:
        followed = self._followed()
        rows = [self._row(row) for row in followed.itertuples(index=False)]
        frame = build.frame_from(schemas.AFTERMATH, rows)
        frame.attrs |= followed.attrs
        silent = registry.notes_of_silent(self._unheard.values())
        frame.attrs["notes"] = [*frame.attrs["notes"], *silent]
        if self._dead.refusal is not None:
            why = f"dead letters of replayed tasks could not be looked at: {self._dead.refusal}"
            frame.attrs["notes"] = [*frame.attrs["notes"], why]
        return frame

    def _row(self, row: Any) -> tuple[Any, ...]:
        values = {name: None if pd.isna(value) else value for name, value in row._asdict().items()}
        state = values["state"]
        cause = None
        if state in ("failed", "unknown", "queued") and row.task_id in self._died:
            state, cause = "died", self._died[row.task_id]
        elif state == "unknown" and not row.tries and not self._has_no_begin_event(row.task_id):
            state = "queued"
        if values["error_type"] is not None or values["error"] is not None:
            cause = fingerprint(values["error_type"], values["error"])
        duration = None if values["duration"] is None else row.duration.total_seconds()
        return (row.task_id, values["topic"], state, cause, values["worker_id"], duration)

    def _has_no_begin_event(self, task_id: str) -> bool:
        """Whether the workers of this task send no event when they begin it."""
        return self._targets.get(task_id) in self._unheard


def is_settled(frame: pd.DataFrame) -> bool:
    """Whether all tasks of a frame of the schema `AFTERMATH` are in a final state."""
    return bool(frame["state"].isin(["succeeded", "died"]).all())


def has_failed(frame: pd.DataFrame) -> bool:
    """Whether any task of *frame* has failed or died again."""
    return bool(frame["state"].isin(["failed", "died"]).any())


def causes(frame: pd.DataFrame, states: Sequence[str] = ("failed", "died")) -> list[str]:
    """Return why tasks have failed or died again: the most frequent reasons, with counts if there
    are several."""
    rows = frame[frame["state"].isin(list(states))]
    counts = Counter(rows["cause"].dropna())
    if len(counts) == 1:
        return list(counts)
    shown = [f"{cause} ({n:,})" for cause, n in counts.most_common(_MAX_ERRORS)]
    others = len(counts) - len(shown)
    return [*shown, f"{others:,} other reasons"] if others else shown


def summary(frame: pd.DataFrame, total: int) -> str:
    """Return one sentence with the outcomes of *total* replayed tasks."""
    return ", ".join([f"{total:,} replayed", *_parts(frame, total)])


def _parts(frame: pd.DataFrame, total: int) -> Iterator[str]:
    counts = Counter(frame["state"])
    for state, words in _IN_WORDS.items():
        if counts[state]:
            reasons = " and ".join(causes(frame, [state]))
            yield f"{counts[state]:,} {words}" + (f" of {reasons}" if reasons else "")
    if len(frame) < total:
        yield f"{total - len(frame):,} not followed"
