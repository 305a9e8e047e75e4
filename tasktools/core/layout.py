"""The two sets of names under which task-worker clusters live on a broker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from tasktools.core.errors import MalformedDSN

LayoutName = Literal["fp", "taskworker"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of exchanges and queues; the routing key of a task is its topic's name."""

    name: LayoutName
    task_exchange: str
    dead_letter_exchange: str
    worker_exchange: str

    def dead_queue(self, topic: str) -> str:
        """Return the name of the queue that holds the dead letters of *topic*."""
        return f"{topic}.dead"

    def dead_key(self, topic: str) -> str:
        """Return the routing key with which *topic* dead-letters."""
        return f"dlx.{topic}"

    def queue_arguments(self, topic: str) -> dict[str, str]:
        """Return the arguments of a task queue; exactly the peer's, else it meets a 406."""
        return {
            "x-dead-letter-exchange": self.dead_letter_exchange,
            "x-dead-letter-routing-key": self.dead_key(topic),
        }


FP: Final = Layout("fp", "fp.tasks", "fp.dlx", "fp.workers")
TASKWORKER: Final = Layout("taskworker", "taskworker.tasks", "taskworker.dlx", "taskworker.workers")
LAYOUTS: Final[dict[str, Layout]] = {layout.name: layout for layout in (FP, TASKWORKER)}


OF_PROGRAMS: Final = ("tasktools.", "fp.node.", "tw.lock.", "amq.")
"""How the names of queues begin that programs have for themselves."""


def only_topics(layout: Layout, names: Iterable[str]) -> frozenset[str]:
    """Return those of *names* that can be topics: no wildcard, no dead-letter queue of another,
    no queue that a program has for itself."""
    found = set(names)
    found -= {"*"} | {layout.dead_queue(name) for name in found}
    return frozenset(name for name in found if not name.startswith(OF_PROGRAMS))


def named(name: str) -> Layout:
    """Return the layout called *name*; raises `MalformedDSN` when there is none."""
    try:
        return LAYOUTS[name]
    except KeyError:
        raise MalformedDSN(
            f"There is no layout {name!r}, only {' and '.join(LAYOUTS)}; nothing was contacted."
        ) from None


def choose(present: set[str]) -> Layout:
    """Return the layout of a broker on which the exchanges *present* exist.

    `fp.tasks` wins over `taskworker.tasks`; a broker with neither gets `fp`.
    """
    if TASKWORKER.task_exchange in present and FP.task_exchange not in present:
        return TASKWORKER
    return FP
