"""Facts about queues, from the management API or over AMQP."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tasktools.brokers.rabbitmq.connection import pika_border
from tasktools.brokers.rabbitmq.connection.channel import QueueOk
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.management import Management, ManagementUnavailable
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.queues import server_entries, topology
from tasktools.brokers.rabbitmq.queues import topic_stats as report
from tasktools.brokers.rabbitmq.queues.topic_stats import Counts, Findings
from tasktools.brokers.rabbitmq.queues.topology import QueueArguments
from tasktools.core import untrusted
from tasktools.core.dialects.choice import DialectChoice
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.topic_map import TopicMap
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.errors import (
    PermissionDenied,
    QueueNotFound,
    QueueUnavailable,
    WouldBeLost,
)
from tasktools.core.layout import Layout
from tasktools.core.models import TopicReport
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.routes import Routes

T = TypeVar("T")

_NOTHING_ANNOUNCED: Final[Mapping[str, str]] = {}
_MAX_PROBES: Final = 20  # of queues, a call
_ARGUMENTS_SECONDS: Final = 60.0  # for which the arguments of a queue are remembered
_ARRIVES_SECONDS: Final = 1.0  # for which the way of dead letters is not checked again
_SECONDS_PER_QUEUE: Final = 0.05  # allowed for asking one queue of a distant broker
_ANY_VERSION: Final = (0, 0)  # of a server, where only names, arguments and policies are asked for
_KEEPS_IN_STREAMS: Final = (3, 11)  # 3.10 loses what it dead-letters into a stream
_ROUTES_SECONDS: Final = 5.0  # for which routes are recent enough in a large vhost


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A queue as the management API lists it; `None` where the list has no value."""

    arguments: QueueArguments | None = None
    policy: Mapping[str, Any] | None = None
    exclusive_consumer: bool | None = None
    ready_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownRoutes:
    """The routes of a vhost, and the queues that it had when they were read, some of them
    *in_trouble*."""

    asked_at: float
    queues: frozenset[str]
    in_trouble: frozenset[str]
    routes: Routes


class QueueInspector:
    """Finds out facts about queues; caches their arguments for a minute.

    *may_probe*: whether the argument probe may be used. The probe changes nothing, but it is not a
    passive declare, so it is not used on a read-only cluster. *dead* is the name of dead-letter
    queues, as ``"{topic}.dlq"``, where that was given.
    """

    def __init__(
        self,
        main: Connection,
        management: Management,
        choice: DialectChoice,
        *,
        may_probe: bool,
        dead: str | None = None,
    ) -> None:
        self._main = main
        self._management = management
        self._may_probe = may_probe
        self._arguments: dict[str, tuple[float, QueueArguments]] = {}
        self._deliveries: dict[str, int] = {}
        self._arrives_at: dict[str, float] = {}
        self._known_routes: _KnownRoutes | None = None
        self._dead = dead
        self._choice = choice
        self._topic_map: tuple[float, TopicMap] | None = None

    def declare(self, declare: Callable[[Session], Awaitable[T]]) -> T:
        """Run *declare*, which declares the task exchange too; if a queue cannot be used, raise an
        error that says why."""
        try:
            declared = self._main.run(declare)
        except QueueUnavailable as error:
            raise self.explained(error) from None
        finally:
            self.forget_routes()
        if self._choice.layout is not None:
            self._choice.decide({self._choice.layout.task_exchange})
        return declared

    def note_deliveries(self, queue: str, highest: int) -> None:
        """Remember the highest delivery count that messages of *queue* have now."""
        self._deliveries[queue] = highest

    def of_queue(self, queue: str, server_version: str) -> QueueFacts:
        """Return the facts of *queue*. Raises `QueueNotFound`, `QueueUnavailable`."""
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
            dead_letters=bool(self.topic_map(queue).homes_of(queue)),
            deliveries_seen=self._deliveries.get(queue),
        )

    def _listed(self, queue: str) -> _Listed:
        """Return the facts of *queue* by the management API. Raises `QueueUnavailable`."""
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
        """Return *error*, with the state of the queue by the management API if that says more."""
        why = None if error.queue is None else self.trouble(error.queue)
        return error if why is None else pika_border.unavailable(error.queue, why)

    def trouble(self, queue: str) -> str | None:
        """Return why the existing queue *queue* cannot be used; `None` if the management API does
        not show it."""
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

    def check_dead_letters_arrive(self, layout: Layout, topic: str) -> None:
        """Raise `WouldBeLost` unless messages rejected from *topic* now are known to reach a queue.

        If *topic* dead-letters in the way of the layout, missing exchanges, queues and bindings are
        declared again. A positive answer is remembered for a second.
        """
        try:
            is_kept, because = self._dead_letters_arrive(layout, topic), ""
        except QueueUnavailable as error:
            is_kept, because = False, f" ({error.why})"
        if not is_kept:
            raise WouldBeLost(
                f"The queue {topic!r} is not known to dead-letter into a queue that takes it"
                f"{because}, so RabbitMQ would drop the message; this client still holds it. "
                "Requeue it, or repair the queue's dead-letter exchange, binding and queue."
            )

    def _dead_letters_arrive(self, layout: Layout, topic: str) -> bool:
        if time.monotonic() - self._arrives_at.get(topic, float("-inf")) < _ARRIVES_SECONDS:
            return True
        is_kept = self._repairs_dead_letters(layout, topic) or (
            self.report([topic], only_these=True).topics[0].dead_lettering is True
        )
        if is_kept:
            self._arrives_at[topic] = time.monotonic()
        return is_kept

    def _repairs_dead_letters(self, layout: Layout, topic: str) -> bool:
        """Declare the dead-letter path of *topic* again, if it belongs to the layout and this user
        may; return whether dead letters reach a queue now."""
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

    def listed_topics(self, announced: Mapping[str, str]) -> Collection[str]:
        """Return the topics that the management API lists; none without it. *announced* has the
        dialects that workers reported for topics."""
        try:
            listed = self._management.queues()
        except ManagementUnavailable:
            return ()
        return self._map(listed, self._routes()[0], (), announced).topics

    def topic_map(self, queue: str, announced: Mapping[str, str] = _NOTHING_ANNOUNCED) -> TopicMap:
        """Return the known topics, *queue* among them; *announced* are dialects of topics that
        workers reported."""
        if self._topic_map is not None:
            made_at, known = self._topic_map
            if time.monotonic() - made_at < _ROUTES_SECONDS and known.knows(queue):
                return known
        try:
            return self._map(self._management.queues(), self._routes()[0], (), announced)
        except ManagementUnavailable as error:
            homes = (dialect.home_of(queue) for dialect in self._choice.spoken)
            named = {next(filter(None, homes), queue)}
            # The home of a queue is found by the arguments that were read of it before.
            named |= {name for name, key in self._leading() if key == queue}
            return self._ask_queues(named, announced, str(error))[0]

    def _leading(self) -> Iterator[tuple[str, str | None]]:
        """Yield the queues that are known to dead-letter into the queue named by their key, each
        with that key."""
        for name, (_, arguments) in self._arguments.items():
            if arguments.dead_letter_exchange == "":
                yield name, arguments.dead_letter_key

    def _map(
        self,
        listed: Mapping[str, Mapping[str, Any]],
        routes: Routes | None,
        named: Iterable[str],
        announced: Mapping[str, str],
    ) -> TopicMap:
        """Make the map of topics of the queues as *listed*."""
        if routes is not None:  # workers of another dialect may have come since we connected
            self._choice.decide({exchange.name for exchange in routes.exchanges})
        facts = {
            name: server_entries.facts(name, entry, _ANY_VERSION) for name, entry in listed.items()
        }
        return self._made_map(Vhost(queues=facts, routes=routes), named, announced)

    def _made_map(
        self, vhost: Vhost, named: Iterable[str], announced: Mapping[str, str]
    ) -> TopicMap:
        made = TopicMap(
            self._choice.spoken, vhost, named=named, announced=announced, dead=self._dead
        )
        self._topic_map = (time.monotonic(), made)
        return made

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

        In a vhost with more than `EXACT_UP_TO` queues they are read every 5 s, and at once when the
        set of queues, or of unusable queues, has changed: listing the bindings of 1,000 queues
        takes the broker half as long as listing the queues.
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
        self._known_routes = self._topic_map = None

    def report(
        self,
        topics: Iterable[str],
        announced: Mapping[str, str] = _NOTHING_ANNOUNCED,
        *,
        only_these: bool = False,
    ) -> TopicReport:
        """Return the statistics of *topics* and, unless *only_these*, of all that are listed."""
        named = set(topics)
        try:
            listed = self._management.queues()
        except ManagementUnavailable as error:
            topic_map, findings = self._ask_queues(named, announced, str(error))
            return report.build(topic_map, named, findings)
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
        topic_map = self._map(listed, routes, named, announced)
        if not only_these:
            named |= set(topic_map.topics)
        queues = report.queues_of(topic_map, named)
        counts: Counts = {}
        if len(queues) <= report.EXACT_UP_TO:
            counts = self._count(queues - troubles.keys())
        return report.build(
            topic_map,
            named,
            Findings(
                counts=counts,
                listed=listed,
                arguments={},
                no_management=None,
                troubles=troubles,
                routes=routes,
                no_routes=no_routes,
                streams_lose=self._loses_in_streams(listed.values()),
            ),
        )

    def _loses_in_streams(self, listed: Iterable[Mapping[str, Any]]) -> bool:
        """Whether there are streams, and the server loses messages that it dead-letters into a
        stream."""
        if not any(entry.get("type") == "stream" for entry in listed):
            return False
        return self._main.run(_version) < _KEEPS_IN_STREAMS

    def _ask_queues(
        self, topics: set[str], announced: Mapping[str, str], no_management: str
    ) -> tuple[TopicMap, Findings]:
        """Return the state of *topics*, with the counts and arguments of their queues, asked one by
        one over AMQP."""
        first, *others = self._choice.spoken
        counts = dict(self._count(topics | _dead_queues([first], topics)))
        existing = {topic for topic in topics if isinstance(counts.get(topic), QueueOk)}
        arguments = self._arguments_of(existing)
        # The names of their dead-letter queues tell the topics of other dialects apart.
        unclear = {
            topic
            for topic in existing - arguments.keys()
            if counts.get(first.dead_queue(topic) or "") is None
        }
        counts |= self._count(_dead_queues(others, unclear) - counts.keys())
        facts = {
            name: _facts_of(name, arguments.get(name))
            for name, ok in counts.items()
            if ok is not None
        }
        topic_map = self._made_map(Vhost(queues=facts), topics, announced)
        counts |= self._count(report.queues_of(topic_map, topics) - counts.keys())
        exchanges = {each.dead_letter_exchange for each in arguments.values()} - {None, ""}
        missing = self._main.run(
            lambda session: topology.missing_exchanges(session, filter(None, exchanges))
        )
        findings = Findings(
            counts=counts,
            listed={},
            arguments=arguments,
            no_management=no_management,
            missing_exchanges=missing,
        )
        return topic_map, findings

    def _count(self, queues: Collection[str]) -> Counts:
        return self._main.run(
            lambda session: report.count_queues(session, queues),
            timeout=self._main.timeout + _SECONDS_PER_QUEUE * len(queues),
        )

    def _arguments_of(self, queues: Iterable[str]) -> dict[str, QueueArguments]:
        """Return the arguments that are known or can be probed now; the others are probed in a
        later call."""
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


def _dead_queues(dialects: Iterable[Dialect], topics: Collection[str]) -> set[str]:
    """Return the names that *dialects* give to the dead-letter queues of *topics*."""
    names = (dialect.dead_queue(topic) for dialect in dialects for topic in topics)
    return {name for name in names if name is not None}


def _facts_of(queue: str, arguments: QueueArguments | None) -> QueueFacts:
    """Return the facts of *queue* from its *arguments* alone, if these are known."""
    return QueueFacts(
        queue=queue,
        server=_ANY_VERSION,
        queue_type=None if arguments is None else arguments.queue_type,
        arguments=None if arguments is None else arguments.values,
        policy=None,
    )


def _listed_arguments(entry: Mapping[str, Any]) -> QueueArguments | None:
    queue_type = entry.get("type")
    if queue_type not in ("classic", "quorum", "stream"):
        return None
    return QueueArguments(
        queue_type=queue_type,
        values=untrusted.mapping(entry.get("arguments")),
        auto_delete=entry.get("auto_delete") is not False,
    )


async def _version(session: Session) -> tuple[int, int]:
    return version_of(session.server_version)


def version_of(text: str) -> tuple[int, int]:
    """Return major and minor; an unreadable version counts as the oldest, the most careful."""
    parts = text.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return (3, 0)
