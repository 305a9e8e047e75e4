"""A look at a queue of this process, which costs nothing but a mark."""

from __future__ import annotations

from typing import Final

from tasktools.brokers.base import Look
from tasktools.brokers.memory.exchanges import as_on_the_wire
from tasktools.brokers.memory.queue import Message
from tasktools.brokers.memory.server import MemoryServer
from tasktools.core import codec, deaths, peek
from tasktools.core.compose import FunctionNames
from tasktools.core.keys import Keys
from tasktools.core.models import SeenMessage
from tasktools.core.peek import QueueFacts, Verdict

_MOST_SHOWN: Final = 65_535


def verdict(server: MemoryServer, queue: str, limit: int) -> Verdict:
    """Say what a look would cost."""
    if not 1 <= limit <= _MOST_SHOWN:
        raise ValueError(f"limit is {limit}; a look shows 1 to {_MOST_SHOWN} messages.")
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


def look(server: MemoryServer, found: Verdict, limit: int, functions: FunctionNames) -> Look:
    """Look at a queue on which the verdict was *found*; *functions* learn from what is seen."""
    messages, ready = server.look(found.queue, limit)
    keys = Keys()
    seen = tuple(
        _seen(position, message, keys, functions, redelivered=redelivered)
        for position, (message, redelivered) in enumerate(messages)
    )
    return Look(
        queue=found.queue, verdict=found, messages=seen, ready_before=ready, ready_after=ready
    )


def _seen(
    position: int, message: Message, keys: Keys, functions: FunctionNames, *, redelivered: bool
) -> SeenMessage:
    properties = as_on_the_wire(message.properties)
    task = codec.decode(message.body, properties)
    died = deaths.parse(properties.headers)
    functions.learn(task)
    return SeenMessage(
        key=keys.next(properties, message.body, died),
        position=position,
        task=task,
        properties=properties,
        deaths=died,
        redelivered=redelivered,
        size=len(message.body),
    )
