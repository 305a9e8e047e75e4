"""Facts of the server itself, as a part of the contract."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from tasktools.core.server_facts import ServerFacts


class Server(Protocol):
    """Methods that describe the server beside the counts of its topics."""

    def server_facts(
        self, topics: Collection[str] = (), *, limits: Collection[str] = ()
    ) -> ServerFacts:
        """Return the facts that the broker reports of itself now; changes nothing, and looks into
        no queue.

        Queues: those of *topics*, all that get tasks from the task exchange, the dead-letter queues
        of both, and the queues of locks and permits. The permits of the topics *limits* come with
        the connections that own them. Consumers and connections: all of the vhost.

        Each part is asked once. A part that the user may not see, or that was not answered in time,
        is `None`, never empty; `ServerFacts.missing` has the reason, with the permission that would
        show it. Raises `BrokerError` only when nothing can be asked: the broker does not answer.
        """
