"""The canary: whether the tasks that were replayed first do well, before the rest follows."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.core import dead_letters
from tasktools.core.errors import BrokerError, LookRefused
from tasktools.core.fingerprints import fingerprint
from tasktools.core.models import SeenMessage
from tasktools.core.plans import Plan, Planned
from tasktools.ops.following import ENDED, TaskLog

_LOOK_EVERY: Final = 5.0
_GLANCE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """How a replay grows: *steps* are how many messages have been sent in all after each step;
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
        """Return how many are to be sent in all next."""
        return next((step for step in self.steps if step > sent), 2**62)


class Canary:
    """Follows the replayed tasks of *plan* by their ids, in worker events and in the queue that
    they came from: AMQP headers do not survive a peer's requeue, so nothing else tells."""

    def __init__(self, broker: Broker, log: TaskLog, plan: Plan) -> None:
        self._broker = broker
        self._log = log
        self._source = plan.source
        self._keys = {message.key for message in plan.messages}
        self._ended: dict[str, str | None] = {}
        """The tasks that ended: with the fingerprint of their failure, or `None`."""

    def expect(self, messages: Iterable[Planned]) -> None:
        """Hear of these tasks from now on: a worker may be quicker than the confirm."""
        self._log.listen_to(self._broker)
        self._log.begin_again(m.task_id for m in messages if m.task_id is not None)

    def verdict(
        self, messages: Sequence[Planned], ramp: Ramp, cancelled: threading.Event
    ) -> str | None:
        """Wait until *messages*, which were sent, have ended; returns why not to go on."""
        waiting = {m.task_id: m for m in messages if m.task_id is not None}
        until = time.monotonic() + ramp.patience
        look_at = time.monotonic() + _LOOK_EVERY
        before = len(self._ended)
        while waiting and not cancelled.is_set() and time.monotonic() < until:
            time.sleep(_GLANCE)
            self._hear(waiting)
            if waiting and time.monotonic() > look_at:
                self._look(waiting)
                look_at = time.monotonic() + _LOOK_EVERY
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
        for task_id, story in zip(ids, self._log.stories(ids), strict=True):
            if story.state in ENDED:
                del waiting[task_id]
                failed = story.state == "failed"
                told = fingerprint(story.error_type, story.error) or "failed"
                self._ended[task_id] = told if failed else None

    def _look(self, waiting: dict[str, Planned]) -> None:
        """See which have died again without a word; those of the plan are older messages."""

        def receive(message: SeenMessage, _body: bytes) -> None:
            task_id = message.task.task_id
            if task_id in waiting and message.key not in self._keys:
                del waiting[task_id]
                self._ended[task_id] = dead_letters.fingerprint_of(message)

        with contextlib.suppress(BrokerError, LookRefused):
            self._broker.peek(self._source, receive=receive)
