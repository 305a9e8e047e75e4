"""The facts that a broker reports of itself beyond the counts of topics: nodes, connections,
consumers, queues over the last minute.

A part that could not be read is `None`, and `ServerFacts.missing` says why, with the permission
that would show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from tasktools.core.queue_facts import QueueFacts
from tasktools.core.routes import Routes
from tasktools.core.series import Series

ServerPart = Literal[
    "queues", "samples", "consumers", "connections", "nodes", "alarms", "routes", "unroutable"
]
"""A part of `ServerFacts`; `samples` are the series of the queues."""


BLOCKS_PUBLISHERS: Final = "the broker blocks publishers"
"""The begin of every sentence about an alarm."""


class ServerQueue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue, with its lengths and counters over the last minute.

    The series are `None` where they were not read. In a vhost of more than 200 queues they are read
    only for queues with messages, with traffic, or without a consumer. `published` counts refused
    messages too; `delivered` all deliveries, redeliveries and those that need no acknowledgement
    (`delivered_no_ack`) included.
    """

    facts: QueueFacts
    trouble: str | None = None
    """Why it cannot be used, as part of a sentence; `None`: it can be."""
    node: str | None = None
    ready: int | None = None
    unacked: int | None = None
    consumers: int | None = None
    owner: str | None = None
    """Name of the connection to which it belongs, if it is exclusive."""
    ready_series: Series | None = None
    unacked_series: Series | None = None
    published: Series | None = None
    acked: Series | None = None
    delivered: Series | None = None
    delivered_no_ack: Series | None = None
    redelivered: Series | None = None


class ServerConsumer(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer of a queue. `held` counts the unacknowledged messages of its channel, which may
    have other consumers, too; `prefetch` is its own limit or that of its channel, 0 for none."""

    queue: str
    connection: str | None = None
    channel: str | None = None
    prefetch: int | None = None
    held: int | None = None


class ServerConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection of the vhost.

    *name* is RabbitMQ's (``HOST:PORT -> HOST:PORT``), *client* what the program calls itself; ours
    are named ``tasktools PURPOSE HOST:PID``. *state* is RabbitMQ's: `running`, `flow`, `blocking`,
    `blocked`…
    """

    name: str
    client: str | None = None
    state: str | None = None
    unroutable: Series | None = None
    """Messages that its channels published and that no queue took, dropped or returned."""


class ServerNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the cluster. Memory and disk in bytes."""

    name: str
    running: bool | None = None
    memory_alarm: bool | None = None
    disk_alarm: bool | None = None
    memory_used: int | None = None
    memory_limit: int | None = None
    disk_free: int | None = None
    disk_limit: int | None = None
    descriptors_used: int | None = None
    descriptors_limit: int | None = None
    partitions: tuple[str, ...] | None = None
    disk_free_series: Series | None = None
    """Bytes of free disk over the last hour, a sample a minute."""
    connections_opened: Series | None = None
    connections_closed: Series | None = None
    """Counters of connections over the last hour, of all vhosts."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A resource alarm that is on: while it is, the broker blocks all publishers."""

    resource: str
    node: str | None
    """`None` if the alarm is known only from a blocked connection."""


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that the broker reported of itself *at* one moment (s since the epoch, our clock).

    *server_at* is the time of its newest sample, by its own clock. `own_connections` are the names
    of the connections of this process.
    """

    at: float
    server_at: float | None = None
    queues: Mapping[str, ServerQueue] | None = None
    consumers: tuple[ServerConsumer, ...] | None = None
    connections: tuple[ServerConnection, ...] | None = None
    nodes: tuple[ServerNode, ...] | None = None
    alarms: tuple[Alarm, ...] | None = None
    routes: Routes | None = None
    exchanges: tuple[str, ...] | None = None
    published_to: Mapping[str, Series] | None = None
    """Messages published to each exchange (`None` where routes are not known)."""
    unroutable: Series | None = None
    """Messages of the vhost that no queue took, over all connections."""
    own_connections: frozenset[str] = frozenset()
    missing: Mapping[ServerPart, str] = {}
    """Why a part is missing, by part."""


def all_missing(at: float, why: str) -> ServerFacts:
    """Return the facts of a moment at which nothing could be asked: every part is missing."""
    return ServerFacts(at=at, missing=dict.fromkeys(get_args(ServerPart), why))
