"""Ramps: a few tasks are replayed first, and the others only if these succeed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasktools.brokers.base import Broker
from tasktools.core.fingerprints import fingerprint
from tasktools.core.plans import Plan, Planned
from tasktools.monitor.follow import ENDED, TaskTracker
from tasktools.replay.replayed_tasks import DeadAgain
from tasktools.replay.timing import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """The growth of a replay: *steps* are how many messages have been sent in all after each step;
    after the last one the rest follows.

    After each step the tasks are followed, for up to *patience* seconds. The run stops when more
    than *limit* (0 to 1) of those that ended have failed or died again, or when in that time none
    of them ended at all.
    """

    steps: tuple[int, ...] = (1, 10, 100, 1000)
    limit: float = 0.1
    patience: float = 60.0

    def __post_init__(self) -> None:
        if not self.steps or list(self.steps) != sorted(set(self.steps)) or self.steps[0] < 1:
            raise ValueError(f"steps are {self.steps}; they grow, and the first is 1 or more.")
        if not 0 <= self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it is a share: 0 or more, and below 1.")
        if self.patience <= 0:
            raise ValueError(f"patience is {self.patience}; it is in seconds, and above 0.")

    def next_step(self, sent: int) -> int:
        """Return how many messages are to be sent in all by the end of the next step."""
        return next((step for step in self.steps if step > sent), 2**62)


class RampGuard:
    """Follows the replayed tasks of *plan* by their ids, in worker events and in the source queue;
    AMQP headers cannot serve, since a peer drops them when it requeues."""

    def __init__(
        self, broker: Broker, log: TaskTracker, plan: Plan, timing: Timing | None = None
    ) -> None:
        self._broker = broker
        self._log = log
        self._timing = timing or Timing()
        self._dead = DeadAgain(broker, plan)
        self._ended: dict[str, str | None] = {}
        """The tasks that ended: with the fingerprint of their failure, or `None`."""

    def expect(self, messages: Iterable[Planned]) -> None:
        """Follow the tasks of *messages* from now on, since a worker may end one before the confirm
        arrives."""
        self._log.listen_to(self._broker)
        self._log.begin_again(m.task_id for m in messages if m.task_id is not None)

    def verdict(
        self, messages: Sequence[Planned], ramp: Ramp, cancelled: threading.Event
    ) -> str | None:
        """Wait until the tasks of *messages*, which were sent, have ended; return the reason to
        stop the run, if any."""
        waiting = {m.task_id: m for m in messages if m.task_id is not None}
        until = time.monotonic() + ramp.patience
        look_at = time.monotonic() + self._timing.ramp_look
        before = len(self._ended)
        while waiting and not cancelled.is_set() and time.monotonic() < until:
            time.sleep(self._timing.ramp_poll)
            self._hear(waiting)
            if waiting and time.monotonic() > look_at:
                self._look(waiting)
                look_at = time.monotonic() + self._timing.ramp_look
        if not messages or cancelled.is_set():
            return None
        if len(self._ended) == before:
            return (
                f"stopped: of the last {len(messages)} sent, no worker has ended one within "
                f"{ramp.patience:g} s"
            )
        failed = [fingerprint for fingerprint in self._ended.values() if fingerprint is not None]
        if len(failed) <= ramp.limit * len(self._ended):
            return None
        worst, n = Counter(failed).most_common(1)[0]
        return (
            f"stopped: {len(failed)} of {len(self._ended)} tasks failed or died again, more than "
            f"{ramp.limit:.0%}; {n} of them: {worst}"
        )

    def _hear(self, waiting: dict[str, Planned]) -> None:
        ids = list(waiting)
        for task_id, story in zip(ids, self._log.tasks(ids), strict=True):
            if story.state in ENDED:
                del waiting[task_id]
                failed = story.state == "failed"
                cause = fingerprint(story.error_type, story.error) or "failed"
                self._ended[task_id] = cause if failed else None

    def _look(self, waiting: dict[str, Planned]) -> None:
        """Find tasks of *waiting* that have died again without an event."""
        for task_id, reason in self._dead.among(waiting).items():
            del waiting[task_id]
            self._ended[task_id] = reason
