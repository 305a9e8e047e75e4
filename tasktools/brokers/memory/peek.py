"""A look at a queue of this process, which only marks the messages redelivered."""

from __future__ import annotations

from tasktools.brokers.base import Look, Receive
from tasktools.brokers.memory.exchanges import as_on_the_wire
from tasktools.brokers.memory.server import MemoryServer
from tasktools.brokers.peeked import PeekedMessages
from tasktools.core import look_risks
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.layout import Layout
from tasktools.core.peek_verdict import Verdict
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.tasks.compose import FunctionNames


def facts(server: MemoryServer, queue: str) -> QueueFacts:
    """Return the facts of *queue*. Raises `QueueNotFound`."""
    arguments = server.arguments(queue)
    return QueueFacts(
        queue=queue,
        server=(4, 3),  # of no matter for a classic queue
        queue_type="classic",
        arguments=arguments,
        ready=server.depth(queue),
        consumers=server.consumers(queue),
        dead_letters=Layout.is_dead_queue(queue),
    )


def look(
    server: MemoryServer,
    verdict: Verdict,
    limit: int | None,
    functions: FunctionNames,
    receive: Receive | None,
    dialect: Dialect,
) -> Look:
    """Look at the queue of *verdict*; the task names in its messages are added to *functions*."""
    messages, before, after = server.look(verdict.queue, limit)
    seen = PeekedMessages(functions, receive, dialect)
    for message, redelivered in messages:
        properties = as_on_the_wire(message.properties)
        if seen.show(properties, message.body, redelivered=redelivered):
            break
    return Look(
        queue=verdict.queue,
        verdict=verdict,
        messages=tuple(seen.messages),
        ready_before=before,
        ready_after=after,
        note=None if before == after else _expired(facts(server, verdict.queue), before - after),
    )


def _expired(known: QueueFacts, count: int) -> str:
    return f"{count} had expired; the broker {look_risks.past(known)}"
