"""The incidents of the demo: faults of the small shop, to be found and understood."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from tasktools.core.models import Delivery
from tasktools.demo.world import Fate, Mishap

Kind = Literal["killed", "deployed", "not consumed", "hung", "slow"]

_FOR_EVER: Final = 1e9
_SLOWER: Final = 12.0
_FAILING_SHARE: Final = 0.85
_NEW_ARGUMENT: Final = "currency"
_BAD_DEPLOY: Final = Mishap(
    "TypeError",
    f"charge_card() missing 1 required argument: '{_NEW_ARGUMENT}'",
    '  File "/srv/shop/payments.py", line 12, in charge_card\n    return charge(order)',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A change *at* so many seconds after the start, to a *topic* and its *hosts*.

    Unless *spare_helps*, the worker that consumes all topics takes only tasks of topics that the
    user created.
    """

    kind: Kind
    topic: str
    hosts: tuple[str, ...] = ()
    spare_helps: bool = False
    at: float = 240.0

    def kills(self, host: str, after: float) -> bool:
        """Whether the worker on *host* is dead, so many seconds after the start."""
        return self.kind == "killed" and host in self.hosts and after >= self.at

    def deploys(self, host: str, after: float) -> bool:
        """Whether the worker on *host* is one of the new release."""
        return self.kind == "deployed" and host in self.hosts and after >= self.at

    def stops(self, topic: str, after: float) -> bool:
        """Whether nobody consumes *topic* any more, though workers say that they do."""
        return self.kind == "not consumed" and topic == self.topic and after >= self.at

    def changed(self, fate: Fate, delivery: Delivery, host: str, after: float) -> Fate:
        """Return the *fate* of the task of *delivery* that begins on *host* now."""
        if delivery.topic != self.topic or after < self.at:
            return fate
        match self.kind:
            case "hung":
                return Fate(_FOR_EVER)
            case "slow":
                return replace(fate, seconds=fate.seconds * _SLOWER)
            case "deployed" if host in self.hosts and _NEW_ARGUMENT not in _kwargs(delivery):
                dice = random.Random(delivery.task.task_id)  # noqa: S311 - a demo
                is_failing = dice.random() < _FAILING_SHARE
                return Fate(min(fate.seconds, 0.3), _BAD_DEPLOY) if is_failing else fate
            case _:
                return fate


def _kwargs(delivery: Delivery) -> Mapping[str, Any]:
    return delivery.task.kwargs or {}


INCIDENTS: Final = {
    "dead_worker": Incident(kind="killed", topic="reports", hosts=("report-1",), at=260.0),
    "bad_deploy": Incident(kind="deployed", topic="orders", hosts=("pay-1", "pay-2"), at=230.0),
    "stopped_consumers": Incident(kind="not consumed", topic="emails", spare_helps=True, at=240.0),
    "hung_tasks": Incident(kind="hung", topic="images", at=210.0),
    "slow_tasks": Incident(kind="slow", topic="emails", at=255.0),
}
"""The incidents by the name in ``demo://?incident=NAME``."""
