"""Facts of the server itself, from the management API: one pass over each of its lists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from tasktools.brokers.rabbitmq.connection.alarms import Alarms
from tasktools.brokers.rabbitmq.connection.connection import Connection
from tasktools.brokers.rabbitmq.connection.management import Management, ManagementUnavailable
from tasktools.brokers.rabbitmq.connection.opening import is_of_this_process
from tasktools.brokers.rabbitmq.queues import server_entries
from tasktools.brokers.rabbitmq.queues.queue_facts import version_of
from tasktools.brokers.rabbitmq.queues.server_entries import Entry
from tasktools.core import untrusted
from tasktools.core.clock import Clock
from tasktools.core.errors import BrokerError
from tasktools.core.layout import LOCKS, OF_PROGRAMS, PEER_LOCKS, PERMITS, Layout, topic_of_permit
from tasktools.core.routes import Routes
from tasktools.core.series import Series
from tasktools.core.server_facts import ServerFacts, ServerPart, ServerQueue

T = TypeVar("T")

_SAMPLED_UP_TO: Final = 200
"""Queues of a vhost whose samples come with their list."""
_MAX_SINGLE_QUEUES: Final = 100  # asked one by one in a call
_OF_LOCKS_AND_PERMITS: Final = (PEER_LOCKS, LOCKS, PERMITS)
_OF_MONITORING: Final[frozenset[ServerPart]] = frozenset(
    {"consumers", "connections", "nodes", "unroutable"}
)
"""The parts that need the tag `monitoring`, not just `management`."""
_KINDS: Final = ("ready", "unacknowledged")
_RATES: Final = ("publish", "ack", "deliver_get", "redeliver")


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsRequest:
    """A request for the facts of *topics* (their queues are named by *layout*), and for the permit
    owners of the topics in *limits*."""

    layout: Layout
    topics: Collection[str]
    limits: Collection[str]


class ServerInspector:
    """Asks the server for facts about itself."""

    def __init__(
        self, main: Connection, management: Management, alarms: Alarms, clock: Clock
    ) -> None:
        self._main = main
        self._management = management
        self._alarms = alarms
        self._clock = clock

    def facts(self, request: FactsRequest, server_version: str) -> ServerFacts:
        """Return the facts that the user may know. Raises `BrokerError` if nothing answers."""
        at = self._clock.time()
        inquiry = _Inquiry(self._management, request, version_of(server_version))
        facts = inquiry.facts(at)
        missing = dict(facts.missing)
        if facts.queues is None and facts.routes is None:
            self._main.run(lambda session: session.check_answers())
        alarms = None
        try:
            alarms = self._alarms.listed()
        except BrokerError as error:
            missing["alarms"] = str(error)
        return msgspec.structs.replace(facts, alarms=alarms, missing=missing)


class _Inquiry:
    """One pass over the lists of the management API, which notes what is missing."""

    def __init__(
        self, management: Management, request: FactsRequest, server: tuple[int, int]
    ) -> None:
        self._management = management
        self._request = request
        self._server = server
        self._missing: dict[ServerPart, str] = {}

    def facts(self, at: float) -> ServerFacts:
        """Return the facts, without alarms."""
        management = self._management
        sees_all = self._sees_all()
        nodes = self._ask(management.nodes, "nodes") if sees_all else None
        exchanges = self._ask(management.exchanges, "routes")
        routes = None if exchanges is None else self._routes(exchanges)
        queues = self._queues(routes, _stopped(nodes))
        like = _times(queues)
        channels = self._ask(management.channels, "consumers", "unroutable") if sees_all else None
        connections = self._ask(management.connections, "connections")
        consumers = None if channels is None else self._ask(management.consumers, "consumers")
        return ServerFacts(
            at=at,
            server_at=like.times[-1] if like else None,
            queues=queues,
            consumers=None
            if consumers is None or channels is None
            else server_entries.consumers(consumers, channels),
            connections=server_entries.connections(connections, channels, like)
            if connections is not None and sees_all
            else None,
            nodes=None if nodes is None else tuple(map(server_entries.node, nodes)),
            routes=routes,
            exchanges=None if routes is None else tuple(each.name for each in routes.exchanges),
            published_to=None
            if exchanges is None
            else server_entries.published_to(exchanges, like),
            unroutable=None if channels is None else server_entries.all_unroutable(channels, like),
            own_connections=_own(connections or ()),
            missing=self._missing,
        )

    def _ask(self, question: Callable[[], T], *parts: ServerPart) -> T | None:
        """Return the answer; `None` if there is none, which is noted for *parts*."""
        try:
            return question()
        except ManagementUnavailable as why:
            for part in parts:
                tag = "monitoring" if part in _OF_MONITORING else "management"
                self._missing.setdefault(
                    part, f"{why}; it takes the management API and the tag {tag}"
                )
            return None

    def _sees_all(self) -> bool:
        """Whether the user sees all entries; a list of only the user's own entries says nothing
        about the server."""
        sees_all = self._ask(self._management.sees_all, *sorted(_OF_MONITORING))
        if sees_all is False:
            for part in _OF_MONITORING:
                self._missing[part] = (
                    "RabbitMQ shows this user only its own connections; it takes the tag monitoring"
                )
        return bool(sees_all)

    def _routes(self, exchanges: Iterable[Entry]) -> Routes | None:
        return self._ask(lambda: self._management.routes(exchanges), "routes")

    # --- queues ---------------------------------------------------------------------

    def _queues(
        self, routes: Routes | None, stopped_nodes: frozenset[str] | None
    ) -> dict[str, ServerQueue] | None:
        management = self._management
        # Each queue is bound to the default exchange, so it is known how many there are.
        is_small = routes is not None and _count_queues(routes) <= _SAMPLED_UP_TO
        question = management.sampled_queues if is_small else management.active_queues
        listed = self._ask(question, "queues", "samples")
        if listed is None:
            return None
        entries = {name: listed[name] for name in sorted(self._names(listed, routes))}
        if not is_small:
            entries |= self._sampled(entries)
        elif not any("messages_ready" in entry for entry in listed.values()) and listed:
            self._missing["samples"] = (
                "RabbitMQ has no statistics of these queues (yet, or they are disabled)"
            )
        owners = self._owners(entries)
        return {
            name: server_entries.queue(
                name,
                entry,
                server=self._server,
                stopped_nodes=stopped_nodes,
                owner=owners.get(name),
            )
            for name, entry in entries.items()
        }

    def _names(self, listed: Mapping[str, Entry], routes: Routes | None) -> set[str]:
        """Return which of the *listed* queues are wanted."""
        layout = self._request.layout
        names = {*self._request.topics}
        names |= {name for name in listed if name.startswith(_OF_LOCKS_AND_PERMITS)}
        names |= frozenset() if routes is None else routes.fed_by(layout.task_exchange)
        names |= {layout.dead_queue(name) for name in names}
        if routes is not None:
            names |= {
                reached
                for name in names & listed.keys()
                for reached in self._dead_letters_of(name, listed[name], routes)
            }
        return names & listed.keys()

    def _dead_letters_of(self, name: str, entry: Entry, routes: Routes) -> frozenset[str]:
        """Return the queues that receive the dead letters of a queue, as far as the API shows
        them."""
        facts = server_entries.facts(name, entry, self._server)
        if facts.dead_letter_exchange is None:
            return frozenset()
        # Without a key of its own what dies keeps that by which it came: mostly the queue's name.
        key = facts.dead_letter_key or name
        return routes.reached(facts.dead_letter_exchange, key) or frozenset()

    def _sampled(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """Return the entries of the queues with messages or traffic, with their samples."""
        ranked = sorted(entries, key=lambda name: _rank(name, entries[name]))
        busy = [name for name in ranked if _is_busy(name, entries[name])] or ranked[:1]
        if len(busy) > _MAX_SINGLE_QUEUES:
            self._missing["samples"] = (
                f"samples of the last minute were read for only {_MAX_SINGLE_QUEUES} of "
                f"{len(busy)} queues with messages or traffic"
            )
        return {
            name: {**entries[name], **entry}
            for name in busy[:_MAX_SINGLE_QUEUES]
            if (entry := self._single(name)) is not None
        }

    def _owners(self, names: Iterable[str]) -> dict[str, str | None]:
        """Return the connections that own the permits of the topics with a limit."""
        permits = [name for name in names if topic_of_permit(name) in self._request.limits]
        return {
            name: untrusted.text(untrusted.mapping(entry.get("owner_pid_details")).get("name"))
            for name in permits[:_MAX_SINGLE_QUEUES]
            if (entry := self._single(name)) is not None
        }

    def _single(self, name: str) -> Entry | None:
        return self._ask(lambda: self._management.sampled_queue(name), "samples")


def _count_queues(routes: Routes) -> int:
    return sum(binding.source == "" for binding in routes.bindings)


def _is_busy(name: str, entry: Entry) -> bool:
    """Whether a queue has messages or traffic, or is a topic without a consumer."""
    is_abandoned = not (
        entry.get("consumers") or Layout.is_dead_queue(name) or name.startswith(OF_PROGRAMS)
    )
    return is_abandoned or _rank(name, entry)[:2] < (0, 0.0)


def _rank(name: str, entry: Entry) -> tuple[int, float, str]:
    """Return a sort key: queues with messages first, then those with more traffic."""
    messages = (untrusted.count(entry.get(f"messages_{kind}")) for kind in _KINDS)
    counted = untrusted.mapping(entry.get("message_stats"))
    rates = (untrusted.mapping(counted.get(f"{name}_details")).get("rate") for name in _RATES)
    return -any(messages), -sum(untrusted.number(rate) or 0.0 for rate in rates), name


def _stopped(nodes: Iterable[Entry] | None) -> frozenset[str] | None:
    if nodes is None:
        return None
    return frozenset(str(each.get("name")) for each in nodes if each.get("running") is False)


def _times(queues: Mapping[str, ServerQueue] | None) -> Series:
    """Return a series with the newest sample times, for series of 0."""
    each_series = [each.published for each in (queues or {}).values() if each.published]
    return max(each_series, key=lambda series: series.times[-1], default=Series())


def _own(connections: Iterable[Entry]) -> frozenset[str]:
    """Return the names of the *connections* that belong to this process."""
    return frozenset(
        name
        for entry in connections
        if (name := untrusted.text(entry.get("name"))) is not None
        and is_of_this_process(server_entries.client_name(entry) or "")
    )
