"""Delayed messages, which wait in a queue with a TTL.

RabbitMQ expires messages at the head of a queue only, so there is one parking queue for each delay.
A fanout exchange in front of it keeps the routing key, which is the topic: when the message expires
it is dead-lettered to the task exchange, with that key. One parking queue serves all topics;
RabbitMQ deletes it, with its exchange, an hour after its last use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core.layout import DELAYS, Layout

_UNUSED_MS: Final = 3600 * 1000  # until a queue that nobody uses goes


def rounded(delay: float) -> int:
    """Return *delay* in milliseconds, rounded up to two digits, so that queues stay few."""
    exact = max(math.ceil(round(delay * 1000, 3)), 1)
    step: int = 10 ** max(len(str(exact)) - 2, 0)
    return -(-exact // step) * step


async def prepare(session: Session, layout: Layout, delay: float, topics: Iterable[str]) -> str:
    """Declare the delay queue for *delay* seconds, and bind *topics* so that messages reach them
    afterwards; returns the exchange to publish to.

    Call this before each use: RabbitMQ deletes a delay queue that was not used for long.
    """
    await topology.declare_exchanges(session, layout)
    for topic in topics:
        await topology.bind(session, topic, layout.task_exchange, topic)
    ttl = rounded(delay)
    name = f"{DELAYS}{layout.name}.{ttl}"
    arguments = {
        "x-queue-type": "classic",
        "x-message-ttl": ttl,
        "x-dead-letter-exchange": layout.task_exchange,
        "x-expires": ttl + _UNUSED_MS,
    }
    async with session.asking() as channel:
        declare = channel.raw.exchange_declare
        await channel.call(declare, name, exchange_type="fanout", durable=True, auto_delete=True)
        await channel.queue(name, durable=True, arguments=arguments)
        await channel.call(channel.raw.queue_bind, name, name)
    return name
