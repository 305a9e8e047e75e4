"""The queues of a vhost, and the routes of their dead letters, as far as they are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasktools.core.queue_facts import QueueFacts
from tasktools.core.routes import Routes


@dataclass(frozen=True, slots=True, kw_only=True)
class Vhost:
    """The queues of a vhost; *routes* is `None` where exchanges and bindings are not known."""

    queues: Mapping[str, QueueFacts]
    routes: Routes | None = None

    def followed(self, queue: str) -> str | None:
        """Return the queue that receives dead letters of *queue*, by its arguments, policy and
        bindings.

        `None` where there is no such queue, or several, or it is not known. A queue with a message
        TTL of its own only passes messages on: they did not die there.
        """
        facts = self.queues.get(queue)
        if facts is None or facts.dead_letter_exchange is None or facts.message_ttl is not None:
            return None
        reached = self._reached(facts.dead_letter_exchange, facts.dead_letter_key or queue)
        others = [name for name in reached if name != queue]
        return others[0] if len(others) == 1 else None

    def _reached(self, exchange: str, key: str) -> frozenset[str]:
        if exchange == "":
            return frozenset({key})
        reached = None if self.routes is None else self.routes.reached(exchange, key)
        return reached or frozenset()

    def ends(self) -> frozenset[str]:
        """Return the queues in which dead letters stay: queues that receive dead letters and do not
        dead-letter themselves."""
        followed = {self.followed(queue) for queue in self.queues} - {None}
        return frozenset(
            queue
            for queue in followed
            if queue is not None
            and (queue not in self.queues or self.queues[queue].dead_letter_exchange is None)
        )
