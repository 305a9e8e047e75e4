"""Exchanges and queues: finding the layout, declaring what is missing, asking what exists.

What exists is used as it is and never redeclared. AMQP cannot read a queue's arguments, but a
declaration that conflicts on purpose is refused *naming the current value*; that is the
argument probe. It needs the configure permission and sees no policies.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tasktools.brokers.rabbitmq.channel import QueueOk
from tasktools.brokers.rabbitmq.connection import Session
from tasktools.brokers.rabbitmq.translate import Refused
from tasktools.core import layout as layouts
from tasktools.core import taps
from tasktools.core.errors import PermissionDenied, QueueNotFound, TopicConflict
from tasktools.core.layout import Layout

QueueType = Literal["classic", "quorum", "stream"]

_NEVER: Final = "tasktools.no-such-name"
_ODD_LIMIT: Final = 987_654
_CONFLICT: Final = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' .* but current is "
    r"(?:none|(?:the value )?'(?P<value>.*?)'(?: of type '\w+')?)$"
)
_MAX_ROUNDS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueArguments:
    """What is fixed at a queue's creation, as far as it matters here."""

    queue_type: QueueType
    dead_letter_exchange: str | None
    dead_letter_key: str | None
    delivery_limit: int | None


async def find_layouts(session: Session) -> set[str]:
    """Return which of the layouts' task exchanges exist, as far as this user may know."""
    present = set()
    for layout in layouts.LAYOUTS.values():
        with contextlib.suppress(PermissionDenied):
            if await exchange_exists(session, layout.task_exchange):
                present.add(layout.task_exchange)
    return present


async def exchange_exists(session: Session, name: str) -> bool:
    """Ask whether an exchange exists."""
    async with session.asking() as channel:
        try:
            await channel.call(channel.raw.exchange_declare, name, passive=True)
        except QueueNotFound:
            return False
        return True


async def queue_ok(session: Session, name: str) -> QueueOk | None:
    """Return a queue's counts, or `None` when it does not exist."""
    async with session.asking() as channel:
        try:
            return await channel.queue(name, passive=True)
        except QueueNotFound:
            return None


async def missing(session: Session, queues: Iterable[str]) -> set[str]:
    """Return which of *queues* do not exist."""
    return {name for name in queues if await queue_ok(session, name) is None}


async def declare_exchanges(session: Session, layout: Layout) -> None:
    """Declare the task and the dead-letter exchange, where they are missing."""
    for name in (layout.task_exchange, layout.dead_letter_exchange):
        if not await exchange_exists(session, name):
            async with session.asking() as channel:
                declare = channel.raw.exchange_declare
                await channel.call(declare, name, exchange_type="topic", durable=True)


async def declare_worker_exchange(session: Session, name: str) -> None:
    """Declare the fanout of worker events, if it is missing; it vanishes with its last queue."""
    if not await exchange_exists(session, name):
        async with session.asking() as channel:
            declare = channel.raw.exchange_declare
            await channel.call(
                declare, name, exchange_type="fanout", durable=False, auto_delete=True
            )


async def declare_topic(session: Session, layout: Layout, topic: str) -> bool:
    """Declare what is missing of *topic*: its queue, its dead-letter queue, their bindings; says
    whether its queue was missing."""
    await declare_exchanges(session, layout)
    is_new = await _declare(session, topic, layout.queue_arguments(topic))
    await bind(session, topic, layout.task_exchange, topic)
    dead = layout.dead_queue(topic)
    await _declare(session, dead, {})
    await bind(session, dead, layout.dead_letter_exchange, layout.dead_key(topic))
    return is_new


async def create_topic(
    session: Session, layout: Layout, topic: str, arguments: Mapping[str, Any]
) -> bool:
    """Declare *topic*, whose queue has these *arguments* besides; says whether it was missing.

    Raises `TopicConflict`.
    """
    is_new = await queue_ok(session, topic) is None
    declared = {**layout.queue_arguments(topic), **arguments}
    async with session.asking() as channel:
        try:
            await channel.queue(topic, durable=True, arguments=declared)
        except Refused as refused:
            difference = conflict(refused)
            if difference is None:
                raise
            name, current = difference
            raise TopicConflict(
                f"The topic {topic!r} exists and has {name} {current or 'none'} instead of "
                f"{declared.get(name, 'none')}; it was not changed and is used as it is."
            ) from refused
    await declare_topic(session, layout, topic)
    return is_new


def conflict(refused: Refused) -> tuple[str, str | None] | None:
    """Return the argument for which a declaration was refused, and the current value."""
    match = _CONFLICT.search(refused.text)
    if match is None:
        return None
    name, value = match["name"], match["value"]
    if name == "x-max-age" and value is not None and value.isdecimal():
        value = taps.age(int(value) // 1000)  # 4.3 tells it in milliseconds, and takes it in words
    return name, value


async def _declare(session: Session, queue: str, arguments: Mapping[str, Any]) -> bool:
    if await queue_ok(session, queue) is not None:
        return False
    async with session.asking() as channel:
        await channel.queue(queue, durable=True, arguments=dict(arguments) or None)
    return True


async def bind(session: Session, queue: str, exchange: str, key: str) -> None:
    """Bind *queue* to *exchange*; idempotent."""
    async with session.asking() as channel:
        await channel.call(channel.raw.queue_bind, queue, exchange, routing_key=key)


async def unbind(session: Session, queue: str, exchange: str, key: str) -> None:
    """Take the binding away; idempotent."""
    async with session.asking() as channel:
        await channel.call(channel.raw.queue_unbind, queue, exchange, routing_key=key)


async def declare_behind(session: Session, name: str, exchange: str) -> None:
    """Declare the topic exchange *name*, which gets all that *exchange* gets; it vanishes with
    its last queue."""
    async with session.asking() as channel:
        declare = channel.raw.exchange_declare
        await channel.call(declare, name, exchange_type="topic", durable=False, auto_delete=True)
        await channel.call(channel.raw.exchange_bind, name, exchange)


async def probe(session: Session, queue: str) -> QueueArguments | None:
    """Find out the arguments of an existing *queue*; `None` where that cannot be done.

    It changes nothing: every declaration sent either conflicts with the queue, which RabbitMQ
    refuses, or repeats exactly what it has.
    """
    try:
        return await _probe(session, queue)
    except (PermissionDenied, QueueNotFound):
        return None


async def _probe(session: Session, queue: str) -> QueueArguments | None:
    arguments: dict[str, Any] = {
        "x-queue-type": "classic",
        "x-dead-letter-exchange": _NEVER,
        "x-dead-letter-routing-key": _NEVER,
        "x-delivery-limit": _ODD_LIMIT,
    }
    durable = True
    for _ in range(_MAX_ROUNDS):
        if await queue_ok(session, queue) is None:
            return None
        conflict = await _conflict(session, queue, arguments, durable=durable)
        if conflict is None:
            break  # these are exactly the queue's own
        name, value = conflict
        if name == "durable":
            durable = not durable
        elif value is None:
            del arguments[name]
        else:
            arguments[name] = value
    else:
        return None
    queue_type = arguments.get("x-queue-type", "classic")
    # Streams do not dead-letter and only quorum queues count; others take such arguments unseen.
    is_stream = queue_type == "stream"
    return QueueArguments(
        queue_type=queue_type,
        dead_letter_exchange=None if is_stream else arguments.get("x-dead-letter-exchange"),
        dead_letter_key=None if is_stream else arguments.get("x-dead-letter-routing-key"),
        delivery_limit=arguments.get("x-delivery-limit") if queue_type == "quorum" else None,
    )


async def _conflict(
    session: Session, queue: str, arguments: Mapping[str, Any], *, durable: bool
) -> tuple[str, Any] | None:
    """Declare *queue* so; return the argument that is refused and its current value."""
    async with session.asking() as channel:
        try:
            await channel.queue(queue, durable=durable, arguments=dict(arguments))
        except Refused as refused:
            difference = conflict(refused)
            if difference is None:
                raise PermissionDenied(str(refused)) from refused
            return difference[0], _value(difference[1])
        return None


def _value(text: str | None) -> Any:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else text
