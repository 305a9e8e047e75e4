"""A look at a queue of this process, which costs nothing but a mark."""

from __future__ import annotations

from tasktools.brokers.base import Look, Receive
from tasktools.brokers.memory.exchanges import as_on_the_wire
from tasktools.brokers.memory.server import MemoryServer
from tasktools.brokers.seen import Seen
from tasktools.core import peek
from tasktools.core.compose import FunctionNames
from tasktools.core.peek import QueueFacts, Verdict


def verdict(server: MemoryServer, queue: str, limit: int | None) -> Verdict:
    """Say what a look would cost."""
    peek.check_limit(limit)
    return peek.judge(
        QueueFacts(
            queue=queue,
            server=(4, 3),  # of no matter for a classic queue
            queue_type="classic",
            limit_argument=None,
            arguments_known=True,
            policy_limit=None,
            policies_known=True,
            consumers=server.consumers(queue),
            dead_letters=queue.endswith(".dead"),
        )
    )


def look(
    server: MemoryServer,
    found: Verdict,
    limit: int | None,
    functions: FunctionNames,
    receive: Receive | None,
) -> Look:
    """Look at a queue on which the verdict was *found*; *functions* learn from what is seen."""
    messages, ready = server.look(found.queue, limit)
    seen = Seen(functions, receive)
    for message, redelivered in messages:
        properties = as_on_the_wire(message.properties)
        if seen.show(properties, message.body, redelivered=redelivered):
            break
    return Look(
        queue=found.queue,
        verdict=found,
        messages=tuple(seen.messages),
        ready_before=ready,
        ready_after=ready,
    )
