"""Facts about queues, from the management API or over AMQP."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tasktools.brokers.rabbitmq.connection import pika_border
from tasktools.brokers.rabbitmq.connection.channel import QueueOk
from tasktools.brokers.rabbitmq.connection.connection import Connection
from tasktools.brokers.rabbitmq.connection.management import Management, ManagementUnavailable
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.queues import topic_stats as report
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.brokers.rabbitmq.queues.topic_stats import Counts, Findings
from tasktools.brokers.rabbitmq.queues.topology import QueueArguments
from tasktools.core import untrusted
from tasktools.core.errors import PermissionDenied, QueueNotFound, QueueUnavailable
from tasktools.core.layout import Layout
from tasktools.core.models import TopicReport
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.routes import Routes

_MAX_PROBES: Final = 20  # of queues, a call
_ARGUMENTS_SECONDS: Final = 60.0  # for which the arguments of a queue are remembered
_ARRIVES_SECONDS: Final = 1.0  # for which the way of dead letters is not checked again
_SECONDS_PER_QUEUE: Final = 0.05  # allowed for asking one queue of a distant broker
_ROUTES_SECONDS: Final = 5.0  # for which routes are recent enough in a large vhost


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A queue as the management API lists it; `None` where it does not say."""

    arguments: QueueArguments | None = None
    policy: Mapping[str, Any] | None = None
    exclusive_consumer: bool | None = None
    ready_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownRoutes:
    """The routes of a vhost that had these queues, and these of them in trouble."""

    asked_at: float
    queues: frozenset[str]
    in_trouble: frozenset[str]
    routes: Routes


class QueueInspector:
    """Finds out facts about queues; caches their arguments for a minute.

    *may_probe*: whether the argument probe may be used. It changes nothing, but it is no
    passive declare either, so a read-only cluster goes without.
    """

    def __init__(self, main: Connection, management: Management, *, may_probe: bool) -> None:
        self._main = main
        self._management = management
        self._may_probe = may_probe
        self._arguments: dict[str, tuple[float, QueueArguments]] = {}
        self._deliveries: dict[str, int] = {}
        self._arrives_at: dict[str, float] = {}
        self._known_routes: _KnownRoutes | None = None

    def note_deliveries(self, queue: str, highest: int) -> None:
        """Remember the highest delivery count that messages of *queue* have now."""
        self._deliveries[queue] = highest

    def of_queue(self, queue: str, server_version: str) -> QueueFacts:
        """Return what is known of *queue*. Raises `QueueNotFound`, `QueueUnavailable`."""
        ok = self._ok(queue)
        if ok is None:
            raise QueueNotFound(f"There is no queue {queue!r}; nothing was changed.")
        if ok.ready == 0:  # what was counted is gone
            self._deliveries.pop(queue, None)
        listed = self._listed(queue)
        arguments = listed.arguments or self._probe(queue)
        return QueueFacts(
            queue=queue,
            server=version_of(server_version),
            queue_type=arguments.queue_type if arguments else None,
            arguments=arguments.values if arguments else None,
            policy=listed.policy,
            auto_delete=arguments.auto_delete if arguments else None,
            ready=ok.ready,
            ready_bytes=listed.ready_bytes,
            consumers=ok.consumers,
            exclusive_consumer=ok.consumers > 0 and listed.exclusive_consumer,
            dead_letters=Layout.is_dead_queue(queue),
            deliveries_seen=self._deliveries.get(queue),
        )

    def _listed(self, queue: str) -> _Listed:
        """Return what the management API tells of *queue*. Raises `QueueUnavailable`."""
        try:
            entry = self._management.queue(queue)
            if entry is None:
                return _Listed()
            why = report.trouble_of(entry, self._stopped_nodes([entry]))
            if why is not None:
                raise pika_border.unavailable(queue, why)
            consumers = untrusted.sequence(entry.get("consumer_details"))
            exclusive = any(
                untrusted.mapping(consumer).get("exclusive") is True for consumer in consumers
            )
            return _Listed(
                arguments=_listed_arguments(entry),
                policy=self._management.policy(queue, entry),
                exclusive_consumer=exclusive if "consumer_details" in entry else None,
                ready_bytes=untrusted.count(entry.get("message_bytes_ready")),
            )
        except ManagementUnavailable:
            return _Listed()

    def for_deletion(self, queues: Iterable[str]) -> tuple[frozenset[str], dict[str, int]]:
        """Return which of *queues* are known to be classic, and how many messages of each are
        known to be unacknowledged (a few seconds ago). Raises `QueueUnavailable`."""
        classic: set[str] = set()
        unacked: dict[str, int] = {}
        for queue in queues:
            ok = self._ok(queue)
            if ok is None:
                continue
            why = None
            try:
                entry = self._management.queue(queue) or {}
                unacked[queue] = untrusted.count(entry.get("messages_unacknowledged")) or 0
                arguments = _listed_arguments(entry)
                why = report.trouble_of(entry, self._stopped_nodes([entry]))
            except ManagementUnavailable:
                arguments = self._probe(queue)
                why = report.doubt_about(ok, arguments)
            if why is not None:
                raise pika_border.unavailable(queue, why)
            if arguments is not None and arguments.queue_type == "classic":
                classic.add(queue)
        return frozenset(classic), unacked

    def _ok(self, queue: str) -> QueueOk | None:
        try:
            return self._main.run(lambda session: topology.queue_ok(session, queue))
        except QueueUnavailable as error:
            raise self.explained(error) from None

    def explained(self, error: QueueUnavailable) -> QueueUnavailable:
        """Return *error* with what the management API knows of the queue, if it knows more."""
        why = None if error.queue is None else self.trouble(error.queue)
        return error if why is None else pika_border.unavailable(error.queue, why)

    def trouble(self, queue: str) -> str | None:
        """Return why *queue*, which exists, cannot be used, as far as the management API tells."""
        try:
            # Asked for a queue whose node is down, 3.10 says that it does not exist; 4.3 is silent.
            entry = self._management.queues().get(queue, {})
        except ManagementUnavailable:
            return None
        return report.trouble_of(entry, self._stopped_nodes([entry]))

    def _stopped_nodes(self, entries: Iterable[Mapping[str, Any]]) -> frozenset[str] | None:
        """Return the nodes that do not run; asked only where an entry needs it."""
        if any(report.trouble_of(entry, None) is not None for entry in entries):
            return self._management.stopped_nodes()
        return None

    def dead_letters_arrive(self, layout: Layout, topic: str) -> bool:
        """Return whether messages rejected from *topic* now are known to reach a queue.

        Where it dead-letters as topics do, what is missing on the way is declared again. The
        answer is remembered for a second.
        """
        if time.monotonic() - self._arrives_at.get(topic, float("-inf")) < _ARRIVES_SECONDS:
            return True
        is_kept = self._repairs_dead_letters(layout, topic) or (
            self.report(layout, [topic], only_these=True).topics[0].dead_lettering is True
        )
        if is_kept:
            self._arrives_at[topic] = time.monotonic()
        return is_kept

    def _repairs_dead_letters(self, layout: Layout, topic: str) -> bool:
        """Declare the way of the dead letters of *topic* again, if it is the layout's and we may;
        returns whether it leads to a queue that takes them now."""
        its_own = (layout.dead_letter_exchange, layout.dead_key(topic))
        if self._dead_letter_address(topic) != its_own:
            return False
        self.forget_routes()
        try:
            self._main.run(lambda session: topology.declare_dead_letters(session, layout, topic))
        except (PermissionDenied, Refused):
            return False
        try:
            entry = self._management.queue(layout.dead_queue(topic)) or {}
        except ManagementUnavailable:
            return True
        return report.trouble_of(entry, self._stopped_nodes([entry])) is None

    def _dead_letter_address(self, topic: str) -> tuple[str | None, str | None]:
        try:
            entry = self._management.queue(topic)
            arguments = None if entry is None else _listed_arguments(entry)
        except ManagementUnavailable:
            arguments = self._arguments_of([topic]).get(topic)
        if arguments is None:
            return None, None
        return arguments.dead_letter_exchange, arguments.dead_letter_key

    def listed_topics(self, layout: Layout) -> set[str]:
        """Return the topics that the management API lists; none without it."""
        try:
            listed = self._management.queues()
        except ManagementUnavailable:
            return set()
        return report.topics_among(layout, listed, self._routes()[0])

    def _routes(self) -> tuple[Routes | None, str | None]:
        """Return the exchanges and bindings, or why they are not known."""
        try:
            return self._management.routes(), None
        except ManagementUnavailable as why:
            return None, str(why)

    def _recent_routes(
        self, queues: frozenset[str], in_trouble: frozenset[str]
    ) -> tuple[Routes | None, str | None]:
        """Return the exchanges and bindings, or why they are not known.

        In a vhost of so many queues that their counts are not exact either, they are asked every
        5 s, and at once when there are other queues or others are in trouble: to list the
        bindings of 1,000 queues takes the broker half as long as to list the queues.
        """
        known, now = self._known_routes, time.monotonic()
        if (
            known is not None
            and now - known.asked_at < _ROUTES_SECONDS
            and (known.queues, known.in_trouble) == (queues, in_trouble)
        ):
            return known.routes, None
        routes, no_routes = self._routes()
        if routes is not None and len(queues) > report.EXACT_UP_TO:
            self._known_routes = _KnownRoutes(
                asked_at=now, queues=queues, in_trouble=in_trouble, routes=routes
            )
        return routes, no_routes

    def forget_routes(self) -> None:
        """Ask for the exchanges and bindings again next time, since some were declared."""
        self._known_routes = None

    def report(
        self, layout: Layout, topics: Iterable[str], *, only_these: bool = False
    ) -> TopicReport:
        """Return the statistics of *topics* and, unless *only_these*, of all that are listed."""
        named = set(topics)
        try:
            listed = self._management.queues()
        except ManagementUnavailable as error:
            return report.build(layout, named, self._ask_queues(layout, named, str(error)))
        stopped_nodes = self._stopped_nodes(listed.values())
        troubles = {
            name: why
            for name, entry in listed.items()
            if (why := report.trouble_of(entry, stopped_nodes)) is not None
        }
        if only_these:
            routes, no_routes = self._routes()
        else:
            routes, no_routes = self._recent_routes(frozenset(listed), frozenset(troubles))
            named |= report.topics_among(layout, listed, routes)
        queues = _queues(layout, named)
        counts: Counts = {}
        if len(queues) <= report.EXACT_UP_TO:
            counts = self._count(queues - troubles.keys())
        return report.build(
            layout,
            named,
            Findings(
                counts=counts,
                listed=listed,
                arguments={},
                no_management=None,
                troubles=troubles,
                routes=routes,
                no_routes=no_routes,
            ),
        )

    def _ask_queues(self, layout: Layout, topics: set[str], no_management: str) -> Findings:
        """Return the counts and arguments of the queues, asked one by one over AMQP."""
        counts = self._count(_queues(layout, topics))
        arguments = self._arguments_of(
            topic for topic in topics if isinstance(counts.get(topic), QueueOk)
        )
        exchanges = {each.dead_letter_exchange for each in arguments.values()} - {None, ""}
        missing = self._main.run(
            lambda session: topology.missing_exchanges(session, filter(None, exchanges))
        )
        return Findings(
            counts=counts,
            listed={},
            arguments=arguments,
            no_management=no_management,
            missing_exchanges=missing,
        )

    def _count(self, queues: Collection[str]) -> Counts:
        return self._main.run(
            lambda session: report.count_queues(session, queues),
            timeout=self._main.timeout + _SECONDS_PER_QUEUE * len(queues),
        )

    def _arguments_of(self, queues: Iterable[str]) -> dict[str, QueueArguments]:
        """Return the arguments that are known or can be probed now; the rest another time."""
        known, probes = {}, 0
        for queue in sorted(queues):
            at, arguments = self._arguments.get(queue, (float("-inf"), None))
            if arguments is None or time.monotonic() - at > _ARGUMENTS_SECONDS:
                if probes >= _MAX_PROBES:
                    continue
                probes += 1
                arguments = self._probe(queue)
            if arguments is not None:
                known[queue] = arguments
        return known

    def _probe(self, queue: str) -> QueueArguments | None:
        if not self._may_probe:
            return None
        arguments = self._main.run(lambda session: topology.probe(session, queue))
        if arguments is not None:
            self._arguments[queue] = (time.monotonic(), arguments)
        return arguments


def _queues(layout: Layout, topics: Iterable[str]) -> set[str]:
    return {queue for topic in topics for queue in (topic, layout.dead_queue(topic))}


def _listed_arguments(entry: Mapping[str, Any]) -> QueueArguments | None:
    queue_type = entry.get("type")
    if queue_type not in ("classic", "quorum", "stream"):
        return None
    return QueueArguments(
        queue_type=queue_type,
        values=untrusted.mapping(entry.get("arguments")),
        auto_delete=entry.get("auto_delete") is not False,
    )


def version_of(text: str) -> tuple[int, int]:
    """Return major and minor; an unreadable version counts as the oldest, the most careful."""
    parts = text.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return (3, 0)
