"""Statistics of topics, from the management API where there is one, else by asking queues."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tasktools.brokers.rabbitmq.connection.channel import Channel, QueueOk
from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.connection.management import STATISTICS_AGE
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.brokers.rabbitmq.queues.topology import QueueArguments
from tasktools.core import untrusted
from tasktools.core.dialects.topic_map import TopicMap
from tasktools.core.errors import PermissionDenied, QueueNotFound, QueueUnavailable
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.models import Source, TopicReport, TopicStats
from tasktools.core.routes import Routes

EXACT_UP_TO: Final = 200
"""The largest number of queues that are also asked one by one, for exact counts, where there is a
management API."""
_MAX_CHANNELS: Final = 4
_DOUBT: Final = (
    "RabbitMQ reports 0, as it also does for a quorum queue without a leader; only the "
    "management API shows whether it has one"
)
_MAX_NOTED_QUEUES: Final = 20

Counts = Mapping[str, QueueOk | QueueUnavailable | None]


async def count_queues(session: Session, names: Iterable[str]) -> Counts:
    """Ask every queue for its counts, over a few channels (a distant broker answers slowly).

    `None`: it does not exist; `QueueUnavailable`: it does, and cannot be used or does not answer
    in time; not in the answer: the user may not know.
    """
    todo = iter(list(names))
    counts: dict[str, QueueOk | QueueUnavailable | None] = {}

    async def ask() -> None:
        channel: Channel | None = None
        for name in todo:
            if channel is None or not channel.is_open:
                channel = await session.channel()
            try:
                async with asyncio.timeout(session.queue_timeout):
                    counts[name] = await channel.queue(name, passive=True)
            except QueueNotFound:
                counts[name] = None
            except QueueUnavailable as error:
                counts[name] = error
            except TimeoutError:
                channel.abandon()
                channel = await session.channel()  # else it is the broker that does not answer
                counts[name] = topology.silent(session, name)
            except (PermissionDenied, Refused):
                pass  # no right to know, or another connection's own queue: stays unknown
        if channel is not None:
            await channel.close()

    await asyncio.gather(*(ask() for _ in range(_MAX_CHANNELS)))
    return counts


def trouble_of(queue: Mapping[str, Any], stopped_nodes: frozenset[str] | None) -> str | None:
    """Return why a queue as listed cannot be used, as part of a sentence; `None` if it can be.

    *stopped_nodes* is `None` where that is not known.
    """
    members = untrusted.names(queue.get("members"))
    if members:
        online = set(untrusted.names(queue.get("online"))) - (stopped_nodes or frozenset())
        missing = [name for name in members if name not in online]
        if 2 * len(missing) >= len(members) or queue.get("state") == "minority":
            down = f" ({', '.join(missing)} {'is' if len(missing) == 1 else 'are'} down)"
            return f"it has no majority of its members{down if missing else ''}"
        if queue.get("leader", "") is None:
            return "its members have no leader at present"
        return None
    state, node = queue.get("state"), untrusted.text(queue.get("node")) or "its node"
    if state == "down" and (stopped_nodes is None or node in stopped_nodes):
        return f"its node {node} is down"
    if state in ("down", "stopped", "crashed"):
        return f"its process on {node} has ended (RabbitMQ says {state!r})"
    return None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Findings(MaskedRepr):
    """Facts for a report: counts of queues that were asked, queues as listed, probed arguments.

    *no_management* says why there is no list, else it is `None`. *troubles* says of listed queues
    why they cannot be used. *no_routes* says why exchanges and bindings are not known;
    *missing_exchanges* are known not to exist. *streams_lose*: the server loses what it
    dead-letters into a stream, as RabbitMQ 3.10 does.
    """

    counts: Counts
    listed: Mapping[str, Mapping[str, Any]]
    arguments: Mapping[str, QueueArguments]
    no_management: str | None
    troubles: Mapping[str, str] = field(default_factory=dict)
    routes: Routes | None = None
    no_routes: str | None = None
    missing_exchanges: frozenset[str] = frozenset()
    streams_lose: bool = False


def build(topic_map: TopicMap, topics: Collection[str], findings: Findings) -> TopicReport:
    """Put the report of *topics* together."""
    rows = tuple(_row(topic_map, topic, findings) for topic in sorted(topics))
    return TopicReport(topics=rows, sources=_sources(queues_of(topic_map, topics), findings))


def queues_of(topic_map: TopicMap, topics: Iterable[str]) -> set[str]:
    """Return the queues of *topics* and, where they are known, of their dead letters."""
    queues = {queue for topic in topics for queue in (topic, topic_map.dead_queue(topic))}
    return {queue for queue in queues if queue is not None}


def _sources(queues: Collection[str], findings: Findings) -> tuple[Source, Source]:
    exact = bool(findings.counts) or not findings.listed
    from_broker = ("queued", "dead_letter", "consumers", "exists")
    from_list = ("unacked", "publish_rate", "ack_rate", "queue_type", "dead_lettering")
    broker = Source(
        name="broker",
        ok=True,
        columns=from_broker if exact else (),
        age=0.0,
        note=_troubles_note(queues, findings),
    )
    note: str | None = None
    if findings.no_management is not None:
        note = (
            f"{findings.no_management}; unacked and rates are missing, so are arguments that "
            "were not probed, and whether dead letters are kept (bindings cannot be seen)"
        )
        return broker, Source(name="management", ok=False, columns=from_list, note=note)
    columns = from_list if exact else (*from_broker, *from_list)
    if findings.no_routes is not None:
        note = f"{findings.no_routes}; whether dead letters are kept is missing"
    elif findings.listed and not any(
        "messages_ready" in entry for entry in findings.listed.values()
    ):
        note = "RabbitMQ has no statistics of these queues (yet, or they are disabled)"
    if findings.streams_lose:
        why = "this RabbitMQ loses messages that it dead-letters into a stream"
        note = "; ".join(filter(None, (note, why)))
    return broker, Source(
        name="management", ok=True, columns=columns, age=STATISTICS_AGE, note=note
    )


def _troubles_note(queues: Collection[str], findings: Findings) -> str | None:
    """Return which of *queues* cannot be used, and why; their counts are missing."""
    asked = {
        name: ok.why for name, ok in findings.counts.items() if isinstance(ok, QueueUnavailable)
    }
    listed = {name: why for name, why in findings.troubles.items() if name in queues}
    doubtful = {name: why for name in queues if (why := _doubt(name, findings)) is not None}
    troubles = {**asked, **listed, **doubtful}
    if not troubles:
        return None
    named = [f"{name}: {why}" for name, why in sorted(troubles.items())[:_MAX_NOTED_QUEUES]]
    more = len(troubles) - len(named)
    named += [f"and {more} more queues that cannot be used"] if more else []
    return "; ".join(named)


def doubt_about(ok: object, arguments: QueueArguments | None) -> str | None:
    """Return why the counts in *ok*, read over AMQP alone, may be wrong; a part of a sentence."""
    is_zero = isinstance(ok, QueueOk) and not (ok.ready or ok.consumers)
    is_quorum = arguments is not None and arguments.queue_type == "quorum"
    return _DOUBT if is_zero and is_quorum else None


def _doubt(name: str, findings: Findings) -> str | None:
    if findings.no_management is None:
        return None
    return doubt_about(findings.counts.get(name), findings.arguments.get(name))


def _row(topic_map: TopicMap, topic: str, findings: Findings) -> TopicStats:
    queue, dead_queue = _QueueCounts(topic, findings), topic_map.dead_queue(topic)
    dead_letter = None if dead_queue is None else _QueueCounts(dead_queue, findings).ready
    entry, arguments = findings.listed.get(topic, {}), findings.arguments.get(topic)
    rates = untrusted.mapping(entry.get("message_stats"))
    probed_type = None if arguments is None else arguments.queue_type
    return TopicStats(
        topic=topic,
        exists=queue.exists,
        queued=queue.ready,
        consumers=queue.consumers,
        dead_letter=dead_letter,
        dead_queue=dead_queue,
        dialect=_dialect(topic_map, topic, findings),
        unacked=None if queue.trouble else untrusted.count(entry.get("messages_unacknowledged")),
        publish_rate=_rate(rates, "publish_details", entry),
        ack_rate=_rate(rates, "ack_details", entry),
        queue_type=untrusted.text(entry.get("type")) or probed_type,
        dead_lettering=_dead_lettering(topic, findings) if queue.exists else None,
        trouble=queue.trouble,
    )


def _dialect(topic_map: TopicMap, topic: str, findings: Findings) -> str | None:
    """Return the dialect of *topic*; `None` where only bindings that are not listed show it."""
    dialect, routes = topic_map.dialect_of(topic), findings.routes
    is_hidden = topic in findings.troubles and routes and not routes.lists_bindings_of(topic)
    return None if dialect.has_the_rest and is_hidden else dialect.name


class _QueueCounts:
    """The counts of one queue, over AMQP if it was asked, else from the management API's list.

    `ready` and `consumers` are `None` for a queue that cannot be used.
    """

    def __init__(self, name: str, findings: Findings) -> None:
        self.exists: bool | None = None
        self.ready: int | None = None
        self.consumers: int | None = None
        self.trouble, self.doubt = findings.troubles.get(name), _doubt(name, findings)
        ok = findings.counts.get(name)
        if isinstance(ok, QueueUnavailable):
            self.exists, self.trouble = True, self.trouble or ok.why
        elif self.trouble is not None or self.doubt is not None:
            self.exists = True
        elif name in findings.counts:
            self.exists = ok is not None
            if ok is not None:
                self.ready, self.consumers = ok.ready, ok.consumers
        elif findings.listed:
            entry = findings.listed.get(name, {})
            self.exists = name in findings.listed
            self.ready = untrusted.count(entry.get("messages_ready"))
            self.consumers = untrusted.count(entry.get("consumers"))


def _rate(rates: Mapping[str, Any], name: str, entry: Mapping[str, Any]) -> float | None:
    """Return the rate *name*; 0 if only this rate is missing, `None` if the queue has no statistics
    at all."""
    if "messages_ready" not in entry:
        return None
    return untrusted.number(untrusted.mapping(rates.get(name)).get("rate", 0.0))


def _dead_lettering(topic: str, findings: Findings) -> bool | None:
    """Return whether rejected messages of *topic* reach a queue that keeps them; `None` if that is
    not known."""
    entry, arguments = findings.listed.get(topic, {}), findings.arguments.get(topic)
    if entry:
        by_argument = untrusted.mapping(entry.get("arguments"))
        policy = untrusted.mapping(entry.get("effective_policy_definition"))
        exchange = by_argument.get("x-dead-letter-exchange", policy.get("dead-letter-exchange"))
        key = by_argument.get("x-dead-letter-routing-key", policy.get("dead-letter-routing-key"))
        if exchange is None:
            return False if "effective_policy_definition" in entry else None
    elif arguments is not None and arguments.dead_letter_exchange is not None:
        exchange, key = arguments.dead_letter_exchange, arguments.dead_letter_key
    else:
        return None  # without an argument, a policy that we cannot see may do it
    return _is_kept(str(exchange), topic if key is None else str(key), findings)


def _is_kept(exchange: str, key: str, findings: Findings) -> bool | None:
    """Return whether a queue keeps messages that are dead-lettered to *exchange* with *key*; `None`
    if that is not known."""
    if exchange in findings.missing_exchanges:
        return False
    if exchange == "":
        reached: frozenset[str] | None = frozenset({key})
    else:
        reached = None if findings.routes is None else findings.routes.reached(exchange, key)
    if reached is None:
        return None
    counted = [_QueueCounts(queue, findings) for queue in reached if not _is_lost(queue, findings)]
    if any(each.exists and not (each.trouble or each.doubt) for each in counted):
        return True
    if any(each.exists is not False for each in counted) or findings.troubles:
        return None  # 3.10 does not list the bindings of queues whose node is down
    return False


def _is_lost(queue: str, findings: Findings) -> bool:
    """Whether the server loses messages that it dead-letters into *queue*."""
    is_stream = findings.listed.get(queue, {}).get("type") == "stream"
    return is_stream and findings.streams_lose
