"""The questions about topics that depend on the dialect of their workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tasktools.core.dialects import fastpluggy
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.topic_map import TopicMap
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.layout import Layout


class TopicsByDialect(Protocol):
    """The part of the contract that says which kind of worker a queue belongs to. All methods may
    connect.

    A backend on which several dialects can be spoken has `dialects` and `topic_map` of its own.
    """

    @property
    def layout(self) -> Layout:
        """The names in use on this cluster."""

    @property
    def dialects(self) -> Sequence[Dialect]:
        """The dialects that may be spoken here; topics are created in the first."""
        return (fastpluggy.of_layout(self.layout),)

    def topic_map(self, queue: str) -> TopicMap:
        """Return the known topics, *queue* among them; at most a few seconds old."""
        return TopicMap(self.dialects, Vhost(queues={}), named=[queue])

    def dialect_of(self, queue: str) -> Dialect:
        """Return the dialect of the workers that consume *queue*, of any kind."""
        return self.topic_map(queue).dialect_of(queue)

    def dead_queue(self, topic: str) -> str | None:
        """Return the queue with the dead letters of *topic*; `None` where it is not known.

        The name comes from ``connect(dead=…)``, from the dialect, or from the queue's arguments,
        policies and bindings as far as they can be seen.
        """
        return self.topic_map(topic).dead_queue(topic)

    def homes_of(self, queue: str) -> Sequence[str]:
        """Return the topics whose dead letters go to *queue*; empty if that is not known."""
        return self.topic_map(queue).homes_of(queue)
