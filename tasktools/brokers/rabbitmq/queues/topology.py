"""Declaration of exchanges, queues and bindings, and checks whether they exist.

Existing queues and exchanges are used as they are and never redeclared. AMQP cannot read a queue's
arguments, but a declaration that conflicts on purpose is refused *naming the current value*; that
is the argument probe. It needs the configure permission and sees no policies.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tasktools.brokers.rabbitmq.connection import pika_border
from tasktools.brokers.rabbitmq.connection.channel import QueueOk
from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.core import taps
from tasktools.core.errors import (
    PermissionDenied,
    QueueNotFound,
    QueueUnavailable,
    TopicConflict,
)
from tasktools.core.layout import Layout
from tasktools.core.queue_facts import KnownType

_DEAD_LETTER_ARGUMENTS: Final = ("x-dead-letter-exchange", "x-dead-letter-routing-key")
_CURRENT: Final = re.compile(r"none|(?:the value )?'(?P<value>.*?)'(?: of type '\w+')?")
_OF_TYPE: Final = re.compile(r" of type '(?P<type>\w+)'$")
_MAX_ROUNDS: Final = 24  # more than there are arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueArguments:
    """The properties of a queue fixed at its creation; `values` are its AMQP arguments."""

    queue_type: KnownType
    values: Mapping[str, Any]
    auto_delete: bool

    @property
    def dead_letter_exchange(self) -> str | None:
        """The dead-letter exchange in the queue's arguments, if they name one."""
        exchange = self.values.get("x-dead-letter-exchange")
        return exchange if isinstance(exchange, str) else None

    @property
    def dead_letter_key(self) -> str | None:
        """The dead-letter routing key in the queue's arguments, if they name one."""
        key = self.values.get("x-dead-letter-routing-key")
        return key if isinstance(key, str) else None


async def present_exchanges(session: Session, names: Iterable[str]) -> set[str]:
    """Return which of the exchanges *names* exist, as far as this user may know."""
    present = set()
    for name in names:
        with contextlib.suppress(PermissionDenied):
            if await exchange_exists(session, name):
                present.add(name)
    return present


async def exchange_exists(session: Session, name: str) -> bool:
    """Ask whether an exchange exists."""
    async with session.asking() as channel:
        try:
            await channel.call(channel.raw.exchange_declare, name, passive=True)
        except QueueNotFound:
            return False
        return True


async def missing_exchanges(session: Session, names: Iterable[str]) -> frozenset[str]:
    """Return which of the exchanges *names* do not exist, as far as this user may know."""
    missing = set()
    for name in names:
        with contextlib.suppress(PermissionDenied):
            if not await exchange_exists(session, name):
                missing.add(name)
    return frozenset(missing)


async def queue_ok(session: Session, name: str) -> QueueOk | None:
    """Return a queue's counts, or `None` when it does not exist.

    Raises `QueueUnavailable` for one that exists and cannot be used.
    """
    try:
        async with session.asking() as channel, asyncio.timeout(session.queue_timeout):
            return await channel.queue(name, passive=True)
    except QueueNotFound:
        return None
    except TimeoutError:
        await session.check_answers()  # else it is the broker that does not answer
        raise silent(session, name) from None


def silent(session: Session, queue: str) -> QueueUnavailable:
    """Return the error for a queue that did not answer, while the broker does."""
    why = f"it does not answer within {session.queue_timeout:g} s, although RabbitMQ does"
    return pika_border.unavailable(queue, why)


async def missing(session: Session, queues: Iterable[str]) -> tuple[frozenset[str], dict[str, str]]:
    """Return which of *queues* do not exist, and why others cannot be used."""
    absent: set[str] = set()
    unavailable: dict[str, str] = {}
    for name in queues:
        try:
            if await queue_ok(session, name) is None:
                absent.add(name)
        except QueueUnavailable as error:
            unavailable[name] = error.why
    return frozenset(absent), unavailable


async def declare_exchanges(session: Session, layout: Layout) -> None:
    """Declare the task and the dead-letter exchange, where they are missing."""
    for name in (layout.task_exchange, layout.dead_letter_exchange):
        if not await exchange_exists(session, name):
            async with session.asking() as channel:
                declare = channel.raw.exchange_declare
                await channel.call(declare, name, exchange_type="topic", durable=True)


async def declare_worker_exchange(session: Session, name: str) -> bool:
    """Declare the fanout of worker events, if it is missing; returns whether it was.

    The exchange is deleted with its last queue, so where it was missing nobody listens.
    """
    if await exchange_exists(session, name):
        return False
    async with session.asking() as channel:
        declare = channel.raw.exchange_declare
        await channel.call(declare, name, exchange_type="fanout", durable=False, auto_delete=True)
    return True


async def declare_celery_replies(session: Session, name: str) -> None:
    """Declare the exchange for answers of Celery's workers, exactly as Celery does, but only if it
    is missing: an existing exchange needs no permission."""
    if await exchange_exists(session, name):
        return
    async with session.asking() as channel:
        declare = channel.raw.exchange_declare
        await channel.call(declare, name, exchange_type="direct", durable=False)


async def declare_topic(session: Session, layout: Layout, topic: str) -> bool:
    """Declare the missing parts of *topic*: its queue, its dead-letter queue, their bindings;
    return whether its queue was missing."""
    await declare_dead_letters(session, layout, topic)  # first: where there is no room for both
    is_new = await _declare(session, topic, layout.queue_arguments(topic))
    await bind(session, topic, layout.task_exchange, topic)
    return is_new


async def declare_dead_letters(session: Session, layout: Layout, topic: str) -> None:
    """Declare the missing parts of the dead-letter path of *topic*: exchange, dead-letter queue,
    binding. Raises `QueueUnavailable` if that queue accepts nothing."""
    await declare_exchanges(session, layout)
    await _declare_dead_queue(session, layout, topic)


async def _declare_dead_queue(session: Session, layout: Layout, topic: str) -> None:
    dead = layout.dead_queue(topic)
    await _declare(session, dead, {})
    await bind(session, dead, layout.dead_letter_exchange, layout.dead_key(topic))


async def create_topic(
    session: Session, layout: Layout, topic: str, arguments: Mapping[str, Any]
) -> bool:
    """Declare *topic*; *arguments* are added to those of every topic's queue. Return whether it was
    missing.

    Raises `TopicConflict`.
    """
    is_new = await queue_ok(session, topic) is None
    if is_new:
        await declare_dead_letters(session, layout, topic)
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
    declared, _, current = refused.text.rpartition(" but current is ")
    _, _, argument = declared.partition("inequivalent arg '")
    match = _CURRENT.fullmatch(current)
    if not argument or match is None:
        return None
    name, value = argument.partition("'")[0], match["value"]
    if name == "x-max-age" and value is not None and value.isdecimal():
        value = taps.age(int(value) // 1000)  # 4.3 returns milliseconds, and is given words
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
    """Remove the binding; idempotent."""
    async with session.asking() as channel:
        await channel.call(channel.raw.queue_unbind, queue, exchange, routing_key=key)


async def declare_behind(session: Session, name: str, exchange: str) -> None:
    """Declare the topic exchange *name* and bind it to *exchange*, so that it gets every message;
    it vanishes with its last queue."""
    async with session.asking() as channel:
        declare = channel.raw.exchange_declare
        await channel.call(declare, name, exchange_type="topic", durable=False, auto_delete=True)
        await channel.call(channel.raw.exchange_bind, name, exchange)


async def probe(session: Session, queue: str) -> QueueArguments | None:
    """Find out the arguments of an existing *queue*; `None` where that cannot be done.

    It changes nothing: every declaration sent either conflicts with the queue, which RabbitMQ
    refuses, or repeats the queue's arguments exactly. Each argument that is set takes one more
    declaration.
    """
    try:
        return await _probe(session, queue)
    except (PermissionDenied, QueueNotFound, QueueUnavailable):
        return None


async def _probe(session: Session, queue: str) -> QueueArguments | None:
    arguments: dict[str, Any] = {"x-queue-type": "classic"}
    flags = {"durable": True, "auto_delete": False}
    for _ in range(_MAX_ROUNDS):
        if await queue_ok(session, queue) is None:
            return None
        difference = await _conflict(session, queue, arguments, flags)
        if difference is None:
            break  # these are exactly the queue's own
        name, value = difference
        if name in flags:
            flags[name] = not flags[name]
        elif value is None:
            del arguments[name]
        else:
            arguments[name] = value
    else:
        return None
    queue_type = arguments.pop("x-queue-type", "classic")
    # Classic queues take a delivery limit unseen, and streams what says where to dead-letter.
    unused = {"classic": ("x-delivery-limit",), "stream": _DEAD_LETTER_ARGUMENTS}
    values = {k: v for k, v in arguments.items() if k not in unused.get(queue_type, ())}
    return QueueArguments(queue_type=queue_type, values=values, auto_delete=flags["auto_delete"])


async def _conflict(
    session: Session, queue: str, arguments: Mapping[str, Any], flags: Mapping[str, bool]
) -> tuple[str, Any] | None:
    """Declare *queue* with these arguments; return the argument that is refused and its current
    value."""
    async with session.asking() as channel:
        try:
            await channel.queue(queue, arguments=dict(arguments), **flags)
        except Refused as refused:
            difference = conflict(refused)
            if difference is None:
                raise PermissionDenied(str(refused)) from refused
            return difference[0], _value(difference[1], refused.text)
        return None


def _value(value: str | None, refusal: str) -> Any:
    """Return *value*, the text of an argument's current value, converted to the type that the
    *refusal* names."""
    named = _OF_TYPE.search(refusal)
    if value is None or named is None or named["type"] == "longstr":
        return value
    return value == "true" if named["type"] == "bool" else int(value)
