"""Entries of the management API's lists, read as facts of the server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tasktools.brokers.rabbitmq.queues.topic_stats import trouble_of
from tasktools.core import untrusted
from tasktools.core.layout import Layout
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.series import Series, total
from tasktools.core.server_facts import (
    ServerConnection,
    ServerConsumer,
    ServerNode,
    ServerQueue,
)

Entry = Mapping[str, Any]

_MILLISECONDS: Final = 1000.0  # a second
_COUNTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "published": ("publish",),
    "acked": ("ack",),
    "delivered": ("deliver_get",),
    "delivered_no_ack": ("deliver_no_ack", "get_no_ack"),
    "redelivered": ("redeliver",),
}
"""The counters of RabbitMQ that add up to each counter of `ServerQueue`."""
_UNROUTABLE: Final = ("drop_unroutable", "return_unroutable")
_KNOWN_TYPES: Final = ("classic", "quorum", "stream")


def samples(details: object) -> Series | None:
    """Return the samples of a length or a counter, oldest first; `None` without any."""
    points: dict[float, float] = {}
    for each in untrusted.sequence(untrusted.mapping(details).get("samples")):
        point = untrusted.mapping(each)
        at, value = untrusted.number(point.get("timestamp")), untrusted.number(point.get("sample"))
        if at is not None and value is not None:
            points[at / _MILLISECONDS] = value
    times = tuple(sorted(points))
    return Series(times, tuple(points[at] for at in times)) if times else None


def zeros(like: Series) -> Series:
    """Return a series of 0 with the times of *like*, for a counter that RabbitMQ leaves out as it
    never counted."""
    return Series(like.times, (0.0,) * len(like))


def queue(
    name: str,
    entry: Entry,
    *,
    server: tuple[int, int],
    stopped_nodes: frozenset[str] | None,
    owner: str | None,
) -> ServerQueue:
    """Return a queue as listed, with its series where the entry has samples.

    The counts of a queue that cannot be used are `None`.
    """
    trouble = trouble_of(entry, stopped_nodes)
    ready = untrusted.count(entry.get("messages_ready"))
    consumers = untrusted.count(entry.get("consumers"))
    return ServerQueue(
        facts=facts(name, entry, server),
        trouble=trouble,
        node=untrusted.text(entry.get("node")) or untrusted.text(entry.get("leader")),
        ready=None if trouble else ready,
        unacked=None if trouble else untrusted.count(entry.get("messages_unacknowledged")),
        consumers=None if trouble else consumers,
        owner=owner,
        ready_series=samples(entry.get("messages_ready_details")),
        unacked_series=samples(entry.get("messages_unacknowledged_details")),
        **_counters(entry),
    )


def facts(name: str, entry: Entry, server: tuple[int, int]) -> QueueFacts:
    """Return the facts that decide what happens to the messages of a listed queue."""
    consumers = untrusted.count(entry.get("consumers")) or 0
    queue_type, policy = entry.get("type"), entry.get("effective_policy_definition")
    auto_delete = entry.get("auto_delete")
    return QueueFacts(
        queue=name,
        server=server,
        queue_type=queue_type if queue_type in _KNOWN_TYPES else None,
        arguments=untrusted.mapping(entry.get("arguments")),
        policy=policy if isinstance(policy, dict) else None,
        auto_delete=auto_delete if isinstance(auto_delete, bool) else None,
        ready=untrusted.count(entry.get("messages_ready")) or 0,
        consumers=consumers,
        exclusive_consumer=False if consumers == 0 else None,
        dead_letters=Layout.is_dead_queue(name),
    )


def _counters(entry: Entry) -> dict[str, Series | None]:
    """Return the counters of a queue; 0 for a counter that never counted, if the entry has
    samples."""
    counted = untrusted.mapping(entry.get("message_stats"))
    by_name = {
        counter: samples(counted.get(f"{counter}_details"))
        for names in _COUNTERS.values()
        for counter in names
    }
    lengths = samples(entry.get("messages_ready_details"))
    like = next((each for each in by_name.values() if each is not None), lengths)
    if like is None:
        return {}
    return {
        field: total(*(by_name[counter] or zeros(like) for counter in names))
        for field, names in _COUNTERS.items()
    }


def consumers(listed: Iterable[Entry], channels: Iterable[Entry]) -> tuple[ServerConsumer, ...]:
    """Return the consumers as *listed*, with the messages that their *channels* hold."""
    by_name = {each.get("name"): each for each in channels}
    return tuple(_consumer(entry, by_name) for entry in listed)


def _consumer(entry: Entry, channels: Mapping[Any, Entry]) -> ServerConsumer:
    details = untrusted.mapping(entry.get("channel_details"))
    name = untrusted.text(details.get("name"))
    channel = channels.get(name, {})
    # Celery limits its channel, and none of the consumers on it.
    of_consumer = untrusted.count(entry.get("prefetch_count"))
    of_channel = untrusted.count(channel.get("global_prefetch_count"))
    return ServerConsumer(
        queue=untrusted.text(untrusted.mapping(entry.get("queue")).get("name")) or "",
        connection=untrusted.text(details.get("connection_name")),
        channel=name,
        prefetch=of_consumer or of_channel or of_consumer,
        held=untrusted.count(channel.get("messages_unacknowledged")),
    )


def connections(
    listed: Iterable[Entry], channels: Iterable[Entry] | None, like: Series
) -> tuple[ServerConnection, ...]:
    """Return the connections as *listed*, with the unroutable messages of their *channels*.

    For a connection without unroutable messages it is a series of 0 with the times of *like*.
    """
    unroutable: defaultdict[str | None, list[Series]] = defaultdict(list)
    for channel in channels or ():
        connection = untrusted.mapping(channel.get("connection_details")).get("name")
        unroutable[untrusted.text(connection)] += _unroutable(channel)

    def of(name: str) -> Series | None:
        if channels is None:
            return None
        return total(*unroutable[name]) if unroutable[name] else zeros(like)

    return tuple(
        ServerConnection(
            name=name,
            client=client_name(entry),
            state=untrusted.text(entry.get("state")),
            unroutable=of(name),
        )
        for entry in listed
        if (name := untrusted.text(entry.get("name"))) is not None
    )


def all_unroutable(channels: Iterable[Entry], like: Series) -> Series:
    """Return the unroutable messages of all *channels*; without any, a series of 0 with the times
    of *like*."""
    counted = [series for channel in channels for series in _unroutable(channel)]
    return total(*counted) if counted else zeros(like)


def _unroutable(channel: Entry) -> list[Series]:
    counted = untrusted.mapping(channel.get("message_stats"))
    each_series = [samples(counted.get(f"{counter}_details")) for counter in _UNROUTABLE]
    return [series for series in each_series if series is not None]


def client_name(connection: Entry) -> str | None:
    """Return the name that the client program gave to its *connection*."""
    return untrusted.text(connection.get("user_provided_name"))


def node(entry: Entry) -> ServerNode:
    """Return a node as listed."""

    def flag(key: str) -> bool | None:
        value = entry.get(key)
        return value if isinstance(value, bool) else None

    partitions = entry.get("partitions")
    return ServerNode(
        name=untrusted.text(entry.get("name")) or "",
        running=flag("running"),
        memory_alarm=flag("mem_alarm"),
        disk_alarm=flag("disk_free_alarm"),
        memory_used=untrusted.count(entry.get("mem_used")),
        memory_limit=untrusted.count(entry.get("mem_limit")),
        disk_free=untrusted.count(entry.get("disk_free")),
        disk_limit=untrusted.count(entry.get("disk_free_limit")),
        descriptors_used=untrusted.count(entry.get("fd_used")),
        descriptors_limit=untrusted.count(entry.get("fd_total")),
        partitions=None if partitions is None else untrusted.names(partitions),
        disk_free_series=_since_start(samples(entry.get("disk_free_details"))),
        connections_opened=samples(entry.get("connection_created_details")),
        connections_closed=samples(entry.get("connection_closed_details")),
    )


def _since_start(series: Series | None) -> Series | None:
    """Return *series* without the zeros that stand for the time before the node started."""
    pairs = zip(series.times, series.values, strict=True) if series else ()
    first = next((at for at, value in pairs if value), None)
    return None if series is None or first is None else series.between(first, series.times[-1])


def published_to(exchanges: Iterable[Entry], like: Series) -> dict[str, Series]:
    """Return the messages published to each exchange; without any, a series of 0 with the times of
    *like*."""
    published: dict[str, Series] = {}
    for entry in exchanges:
        name = entry.get("name")
        counted = untrusted.mapping(entry.get("message_stats"))
        if isinstance(name, str):
            published[name] = samples(counted.get("publish_in_details")) or zeros(like)
    return published
