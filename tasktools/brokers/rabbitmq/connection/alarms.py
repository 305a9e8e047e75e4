"""Memory and disk alarms, during which RabbitMQ accepts no messages.

RabbitMQ notifies a connection of an alarm only when that connection first publishes during the
alarm. To find out earlier, ask the management API, or publish a message that reaches no queue.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tasktools.brokers.rabbitmq.connection.management import Management, ManagementUnavailable
from tasktools.core.clock import Clock, moment
from tasktools.core.errors import BrokerError
from tasktools.core.server_facts import BLOCKS_PUBLISHERS, Alarm

_ANSWER_SECONDS: Final = 1.0  # for which an answer is recent enough
_LOW: Final = "low on "  # how RabbitMQ's reasons for blocking a connection begin


@dataclass(frozen=True, slots=True)
class Blocked:
    """A block of publishers: the broker's *reason*, and the time at which we learned of it (s since
    the epoch)."""

    reason: str
    since: float

    def __str__(self) -> str:
        return (
            f"{BLOCKS_PUBLISHERS}: {self.reason} since {moment(self.since):%H:%M:%S} UTC or earlier"
        )


class Alarms:
    """Tells whether an alarm is on: the management API is asked; without it *probe* publishes a
    message to find out. *probe* raises `BrokerError` if it cannot."""

    def __init__(
        self, management: Management, probe: Callable[[], Blocked | None], clock: Clock
    ) -> None:
        self._management = management
        self._probe = probe
        self._clock = clock
        self._asking = threading.Lock()
        self._asked_at = float("-inf")
        self._answer: Blocked | None = None

    def current(self) -> Blocked | None:
        """Return the alarm that blocks publishers now, or a second ago; `None` if none is known."""
        with self._asking:
            if time.monotonic() - self._asked_at > _ANSWER_SECONDS:
                self._answer = self._ask()
                self._asked_at = time.monotonic()
            return self._answer

    def _ask(self) -> Blocked | None:
        try:
            alarms = self._management.alarms()
        except ManagementUnavailable:
            with contextlib.suppress(BrokerError):
                return self._probe()
            return None
        if not alarms:
            return None
        since = self._clock.time() if self._answer is None else self._answer.since
        return Blocked(_words(alarms), since)

    def listed(self) -> tuple[Alarm, ...]:
        """Return the alarms that are on. Raises `BrokerError` if that cannot be found out."""
        try:
            alarms = self._management.alarms()
        except ManagementUnavailable:
            blocked = self._probe()
            if blocked is None:
                return ()
            return (Alarm(resource=blocked.reason.removeprefix(_LOW), node=None),)
        return tuple(Alarm(resource=resource, node=node) for resource, node in alarms)


def _words(alarms: Sequence[tuple[str, str]]) -> str:
    """Return the resources and nodes of *alarms* in words, as ``memory alarm on rabbit@a``."""
    return ", ".join(f"{resource} alarm on {node}" for resource, node in sorted(alarms))
