"""Deletion of messages, and of a topic's queues, so that no message that arrives meanwhile is
lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core.errors import QueueNotFound, TopicInUse
from tasktools.core.layout import Layout
from tasktools.core.topic_rules import check_in_use

_PRECONDITION_FAILED: Final = 406  # of a queue that is in use, or not empty


async def purge(session: Session, queue: str) -> int:
    """Delete the ready messages of *queue*; returns how many. Raises `QueueNotFound`."""
    if await topology.queue_ok(session, queue) is None:
        raise QueueNotFound(f"There is no queue {queue!r}; nothing was changed.")
    async with session.asking() as channel:
        answer = await channel.call(channel.raw.queue_purge, queue)
        return int(answer.method.message_count)


async def delete_topic(
    session: Session,
    layout: Layout,
    topic: str,
    *,
    classic: frozenset[str],
    unacked: Mapping[str, int],
    force: bool,
) -> int:
    """Delete the queues of *topic*; returns how many messages were in them.

    *classic* are those of its queues that are known to be classic, *unacked* the unacknowledged
    messages of its queues, as far as they are known. Raises `QueueNotFound`, `TopicInUse`.
    """
    counts = {
        name: ok
        for name in (topic, layout.dead_queue(topic))
        if (ok := await topology.queue_ok(session, name)) is not None
    }
    if not counts:
        raise QueueNotFound(f"There is no topic {topic!r}; nothing was deleted.")
    if not force:
        check_in_use(
            topic,
            ((name, ok.ready, unacked.get(name, 0), ok.consumers) for name, ok in counts.items()),
        )
    deleted = 0
    for name in counts:  # the dead-letter queue last: the other may still dead-letter into it
        if force:
            deleted += await _delete(session, name, only_unused=False)
        else:
            deleted += await _delete_unused(
                session, layout, topic, name, is_classic=name in classic
            )
    return deleted


async def _delete_unused(
    session: Session, layout: Layout, topic: str, name: str, *, is_classic: bool
) -> int:
    """Delete the queue *name*, unless it is in use by now."""
    if is_classic:
        try:
            return await _delete(session, name, only_unused=True)
        except Refused as refused:
            if refused.code != _PRECONDITION_FAILED:
                raise
            raise _in_use_by_now(topic, name, str(refused)) from None
    # Quorum queues take no conditions: nothing more comes once they are bound nowhere, but what
    # is sent to a queue by its name.
    exchange, key = _address(layout, topic, name)
    await topology.unbind(session, name, exchange, key)
    ok = await topology.queue_ok(session, name)
    if ok is not None and (ok.ready or ok.consumers):
        await topology.bind(session, name, exchange, key)
        raise _in_use_by_now(topic, name, f"{ok.ready} messages, {ok.consumers} consumers")
    return await _delete(session, name, only_unused=False)


def _address(layout: Layout, topic: str, name: str) -> tuple[str, str]:
    """Return the exchange and the key with which a queue of *topic* is bound."""
    if name == topic:
        return layout.task_exchange, topic
    return layout.dead_letter_exchange, layout.dead_key(topic)


def _in_use_by_now(topic: str, name: str, words: str) -> TopicInUse:
    done = "nothing was deleted" if name == topic else f"the queue {topic!r} was deleted already"
    return TopicInUse(
        f"The queue {name!r} came into use meanwhile ({words}), so it was kept; {done}. Look at "
        "it, and delete the topic again."
    )


async def _delete(session: Session, name: str, *, only_unused: bool) -> int:
    async with session.asking() as channel:
        answer = await channel.call(
            channel.raw.queue_delete, name, if_unused=only_unused, if_empty=only_unused
        )
        return int(answer.method.message_count)
