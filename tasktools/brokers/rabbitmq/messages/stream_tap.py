"""A tap on RabbitMQ: a stream of our own, bound to the task exchange with ``#``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.brokers.taps import tap_conflict
from tasktools.core.errors import BrokerError, NoStreams, TapConflict
from tasktools.core.layout import Layout

_ALL: Final = "#"


async def declare(
    session: Session, layout: Layout, name: str, arguments: Mapping[str, Any]
) -> bool:
    """Declare the stream *name* and bind it; returns whether it was missing.

    Raises `TapConflict` and `NoStreams`.
    """
    version = session.server_version
    is_new = await topology.queue_ok(session, name) is None
    async with session.asking() as channel:
        try:
            await channel.queue(name, durable=True, arguments=dict(arguments))
        except Refused as refused:
            raise refusal(refused, version, name, arguments) from refused
    await topology.declare_exchanges(session, layout)
    await topology.bind(session, name, layout.task_exchange, _ALL)
    return is_new


def refusal(refused: Refused, version: str, name: str, arguments: Mapping[str, Any]) -> BrokerError:
    """Return why the stream *name* was *refused*, as an error of tasktools if one fits."""
    difference = topology.conflict(refused)
    if difference is not None:
        argument, current = difference
        return tap_conflict(name, argument, current or "none", arguments.get(argument, "none"))
    if "feature flag" in refused.text or "x-queue-type" in refused.text:
        return NoStreams(
            f"RabbitMQ {version} has no streams, so there can be no tap; nothing was changed. From "
            "3.9 on they are enabled with: rabbitmqctl enable_feature_flag stream_queue"
        )
    return refused


async def remove(session: Session, layout: Layout, name: str, *, delete: bool) -> bool:
    """Remove the binding, and the stream if *delete*; returns whether the stream existed.

    Raises `TapConflict` if the queue to delete is not a stream.
    """
    if await topology.queue_ok(session, name) is None:
        return False
    if delete:
        arguments = await topology.probe(session, name)
        if arguments is None or arguments.queue_type != "stream":
            raise TapConflict(
                f"The queue {name!r} is not known to be a stream; nothing was changed. Delete it "
                "by hand, if it is yours."
            )
    await topology.unbind(session, name, layout.task_exchange, _ALL)
    if delete:
        async with session.asking() as channel:
            await channel.call(channel.raw.queue_delete, name)
    return True
