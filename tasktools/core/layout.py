"""The two layouts: names of exchanges and queues that clusters use on a broker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from tasktools.core.errors import MalformedDSN

DEAD_SUFFIX: Final = ".dead"
LayoutName = Literal["fp", "taskworker"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of exchanges and queues; the routing key of a task is its topic's name."""

    name: LayoutName
    task_exchange: str
    dead_letter_exchange: str
    worker_exchange: str

    @property
    def requires_peer_form(self) -> bool:
        """Whether its workers requeue a message for ever unless it has exactly the form of a peer's
        message."""
        return self.name == "fp"

    @property
    def requires_functions(self) -> bool:
        """Whether its workers find a task by ``module:function``, not by its name."""
        return self.name == "fp"

    @property
    def has_lock_tokens(self) -> bool:
        """Whether its workers lock by taking a token, a message in a queue."""
        return self.name == "fp"

    @staticmethod
    def dead_queue(topic: str) -> str:
        """Return the name of the queue that holds the dead letters of *topic*."""
        return f"{topic}{DEAD_SUFFIX}"

    @staticmethod
    def is_dead_queue(queue: str) -> bool:
        """Whether *queue* holds the dead letters of a topic, by its name."""
        return queue.endswith(DEAD_SUFFIX)

    @staticmethod
    def topic_of(queue: str) -> str:
        """Return the topic that *queue*, a topic's queue or dead-letter queue, belongs to.

        >>> Layout.topic_of("emails.dead"), Layout.topic_of("emails")
        ('emails', 'emails')
        """
        return queue.removesuffix(DEAD_SUFFIX)

    @staticmethod
    def dead_key(topic: str) -> str:
        """Return the routing key with which *topic* dead-letters."""
        return f"dlx.{topic}"

    def queue_arguments(self, topic: str) -> dict[str, str]:
        """Return the arguments of a task queue.

        Peers declare the same arguments: with different ones, their declare would fail with a 406.
        """
        return {
            "x-dead-letter-exchange": self.dead_letter_exchange,
            "x-dead-letter-routing-key": self.dead_key(topic),
        }


FP: Final = Layout("fp", "fp.tasks", "fp.dlx", "fp.workers")
TASKWORKER: Final = Layout("taskworker", "taskworker.tasks", "taskworker.dlx", "taskworker.workers")
LAYOUTS: Final[dict[str, Layout]] = {layout.name: layout for layout in (FP, TASKWORKER)}


OWN_QUEUES: Final = "tasktools."
LOCKS: Final = "tasktools.lock."
PEER_LOCKS: Final = "tw.lock."
"""Prefixes of the names of our queues, of those that are locks, and of the peers' locks."""
PERMITS: Final = "tasktools.permit."
"""Prefix of the names of permits."""
DELAYS: Final = "tasktools.delay."
"""Prefix of the names of the queues in which tasks wait out a delay."""
OF_PROGRAMS: Final = (OWN_QUEUES, "fp.node.", PEER_LOCKS, "amq.")
"""Prefixes of the names of queues that programs have for themselves."""


RESERVED: Final = (
    *(prefix for prefix in OF_PROGRAMS if prefix != OWN_QUEUES),
    *(
        f"{OWN_QUEUES}{use}."
        for use in [
            "begun",
            "delay",
            "events",
            "lock",
            "overheard",
            "permit",
            "quiet",
            "run",
            "settings",
            "tap",
        ]
    ),
)
"""Prefixes that no topic's name may have: a topic of tasktools itself may be called
`tasktools.replay`, but not as its queues for locks, settings and so on are."""


def permit_queue(topic: str, index: int) -> str:
    """Return the name of the exclusive queue whose owner may run a task of *topic*, a topic with a
    limit."""
    return f"{PERMITS}{topic}.{index}"


def topic_of_permit(queue: str) -> str | None:
    """Return the topic for which *queue* is a permit; `None` if it is none.

    >>> topic_of_permit(permit_queue("shop.emails", 3)), topic_of_permit("shop.emails")
    ('shop.emails', None)
    """
    topic, _, index = queue.removeprefix(PERMITS).rpartition(".")
    return topic if queue.startswith(PERMITS) and index.isdecimal() and topic else None


def only_topics(layout: Layout, names: Iterable[str]) -> frozenset[str]:
    """Return the *names* that can be topics: no wildcards, no dead-letter queues, no private queues
    of programs."""
    topics = set(names)
    topics -= {"*"} | {layout.dead_queue(name) for name in topics}
    return frozenset(topic for topic in topics if not topic.startswith(OF_PROGRAMS))


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
