"""Statistics of topics, from the management API where there is one, else by asking queues."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tasktools.brokers.rabbitmq.channel import Channel, QueueOk
from tasktools.brokers.rabbitmq.connection import Session
from tasktools.brokers.rabbitmq.management import STATISTICS_AGE
from tasktools.brokers.rabbitmq.topology import QueueArguments
from tasktools.brokers.rabbitmq.translate import Refused
from tasktools.core import values
from tasktools.core.errors import PermissionDenied, QueueNotFound
from tasktools.core.layout import OF_PROGRAMS, Layout
from tasktools.core.models import Source, TopicReport, TopicStats

EXACT_UP_TO: Final = 200
"""With the management API, so many queues are also asked one by one, for exact counts."""
_CHANNELS: Final = 4

Listed = Mapping[str, Mapping[str, Any]]
Counts = Mapping[str, QueueOk | None]


def topics_among(layout: Layout, listed: Listed) -> set[str]:
    """Return which of the *listed* queues are topics: those that dead-letter as topics do,
    or have a dead-letter queue."""
    return {
        name
        for name, queue in listed.items()
        if not name.startswith(OF_PROGRAMS)
        and (layout.dead_queue(name) in listed or _dead_letters_like(layout, name, queue))
    }


def _dead_letters_like(layout: Layout, name: str, queue: Mapping[str, Any]) -> bool:
    arguments = values.mapping(queue.get("arguments"))
    return arguments.get("x-dead-letter-routing-key") == layout.dead_key(name)


async def count_queues(session: Session, names: Iterable[str]) -> dict[str, QueueOk | None]:
    """Ask every queue for its counts, over a few channels (a distant broker answers slowly).

    `None`: it does not exist; not in the answer: the user may not know.
    """
    todo = iter(list(names))
    counts: dict[str, QueueOk | None] = {}

    async def ask() -> None:
        channel: Channel | None = None
        for name in todo:
            if channel is None or not channel.is_open:
                channel = await session.channel()
            try:
                counts[name] = await channel.queue(name, passive=True)
            except QueueNotFound:
                counts[name] = None
            except (PermissionDenied, Refused):
                pass  # no right to know, or another connection's own queue: stays unknown
        if channel is not None:
            await channel.close()

    await asyncio.gather(*(ask() for _ in range(_CHANNELS)))
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found out: queues that were asked, queues as listed, arguments as probed.

    *no_management* says why there is no list, else it is `None`.
    """

    counts: Counts
    listed: Listed
    arguments: Mapping[str, QueueArguments]
    no_management: str | None


def build(layout: Layout, topics: Iterable[str], found: Findings) -> TopicReport:
    """Put the report of *topics* together."""
    rows = tuple(_row(layout, topic, found) for topic in sorted(topics))
    return TopicReport(topics=rows, sources=_sources(found))


def _sources(found: Findings) -> tuple[Source, Source]:
    exact = bool(found.counts) or not found.listed
    from_broker = ("queued", "dead_letter", "consumers", "exists")
    from_list = ("unacked", "publish_rate", "ack_rate", "queue_type", "dead_lettering")
    broker = Source(name="broker", ok=True, columns=from_broker if exact else (), age=0.0)
    if found.no_management is not None:
        note = f"{found.no_management}; unacked and rates are missing, and what was not probed"
        return broker, Source(name="management", ok=False, columns=from_list, note=note)
    columns = from_list if exact else (*from_broker, *from_list)
    return broker, Source(name="management", ok=True, columns=columns, age=STATISTICS_AGE)


def _row(layout: Layout, topic: str, found: Findings) -> TopicStats:
    queue, dead = _Counted(topic, found), _Counted(layout.dead_queue(topic), found)
    entry, arguments = found.listed.get(topic, {}), found.arguments.get(topic)
    rates = values.mapping(entry.get("message_stats"))
    probed_type = None if arguments is None else arguments.queue_type
    return TopicStats(
        topic=topic,
        exists=queue.exists,
        queued=queue.ready,
        consumers=queue.consumers,
        dead_letter=dead.ready,
        unacked=values.count(entry.get("messages_unacknowledged")),
        publish_rate=_rate(rates, "publish_details", entry),
        ack_rate=_rate(rates, "ack_details", entry),
        queue_type=values.text(entry.get("type")) or probed_type,
        dead_lettering=_dead_lettering(entry, arguments) if queue.exists else None,
    )


class _Counted:
    """Counts of one queue: asked if it was asked, else as listed."""

    def __init__(self, name: str, found: Findings) -> None:
        self.exists: bool | None = None
        self.ready: int | None = None
        self.consumers: int | None = None
        if name in found.counts:
            ok = found.counts[name]
            self.exists = ok is not None
            if ok is not None:
                self.ready, self.consumers = ok.ready, ok.consumers
        elif found.listed:
            entry = found.listed.get(name, {})
            self.exists = name in found.listed
            self.ready = values.count(entry.get("messages_ready"))
            self.consumers = values.count(entry.get("consumers"))


def _rate(rates: Mapping[str, Any], name: str, entry: Mapping[str, Any]) -> float | None:
    if not entry:
        return None
    return values.number(values.mapping(rates.get(name)).get("rate", 0.0))


def _dead_lettering(entry: Mapping[str, Any], arguments: QueueArguments | None) -> bool | None:
    if entry:
        by_argument = values.mapping(entry.get("arguments")).get("x-dead-letter-exchange")
        policy = values.mapping(entry.get("effective_policy_definition"))
        return by_argument is not None or policy.get("dead-letter-exchange") is not None
    if arguments is not None and arguments.dead_letter_exchange is not None:
        return True
    return None  # without an argument, a policy that we cannot see may do it
