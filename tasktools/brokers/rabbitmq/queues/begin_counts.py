"""Counts of tasks that began and never ended, kept by the broker.

Classic queues count no deliveries, and a message that is redelivered was not always begun: it may
have been looked at, or only fetched. So each begin of such a task puts a mark into a queue of its
own before the task runs, and the end of the task deletes that queue. Marks outlive our processes
and the node; RabbitMQ deletes a queue that was not used for a day.
"""

from __future__ import annotations

import hashlib
from typing import Final

import pika

from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.core.errors import ConnectionLost, PublishRefused

_EXPIRES_MS: Final = 24 * 3600 * 1000
_MAX_MARKS: Final = 1000
_DELIVERY_MODE: Final = 2  # persistent


def queue_of(topic: str, task: str) -> str:
    """Return the name of the queue that holds the marks of *task*."""
    digest = hashlib.sha256(f"{topic}\0{task}".encode("utf-8", "replace")).hexdigest()
    return f"tasktools.begun.{digest[:32]}"


async def count(session: Session, topic: str, task: str) -> int:
    """Mark that *task* begins; returns how many marks there were."""
    name = queue_of(topic, task)
    arguments = {
        "x-queue-type": "classic",
        "x-expires": _EXPIRES_MS,
        "x-max-length": _MAX_MARKS,
    }
    async with session.asking() as channel:
        declared = await channel.queue(name, durable=True, arguments=arguments)
    publisher = await session.publisher()
    properties = pika.BasicProperties(delivery_mode=_DELIVERY_MODE)
    outcome = await publisher.publish("", name, topic.encode("utf-8", "replace"), properties)
    if outcome == "in doubt":
        raise ConnectionLost(f"It is in doubt whether a task of {topic!r} was marked as begun.")
    if outcome != "confirmed":
        raise PublishRefused(f"RabbitMQ did not mark a task of {topic!r} as begun ({outcome}).")
    return declared.ready


async def forget(session: Session, topic: str, task: str) -> None:
    """Delete the marks of *task*."""
    async with session.asking() as channel:
        await channel.call(channel.raw.queue_delete, queue_of(topic, task))
