"""What can be found out about queues, from the management API or by asking over AMQP."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from tasktools.brokers.rabbitmq import report, topology
from tasktools.brokers.rabbitmq.connection import Connection
from tasktools.brokers.rabbitmq.management import Management, ManagementUnavailable
from tasktools.brokers.rabbitmq.topology import QueueArguments
from tasktools.core import values
from tasktools.core.errors import QueueNotFound
from tasktools.core.layout import Layout
from tasktools.core.models import TopicReport
from tasktools.core.peek import QueueFacts

_PROBES_A_CALL: Final = 20
_REMEMBERED: Final = 60.0
_SECONDS_A_QUEUE: Final = 0.05  # allowed for asking one queue of a distant broker


class Facts:
    """Answers questions about queues; remembers arguments for a minute.

    *may_probe*: whether the argument probe may be used. It changes nothing, but it is no
    passive declare either, so a read-only cluster goes without.
    """

    def __init__(self, main: Connection, management: Management, *, may_probe: bool) -> None:
        self._main = main
        self._management = management
        self._may_probe = may_probe
        self._arguments: dict[str, tuple[float, QueueArguments]] = {}
        self._deliveries: dict[str, int] = {}

    def saw_deliveries(self, queue: str, highest: int) -> None:
        """Remember the highest delivery count that messages of *queue* have now."""
        self._deliveries[queue] = highest

    def of_queue(self, queue: str, server_version: str) -> QueueFacts:
        """Return what matters for a look at *queue*. Raises `QueueNotFound`."""
        ok = self._main.run(lambda session: topology.queue_ok(session, queue))
        if ok is None:
            raise QueueNotFound(f"There is no queue {queue!r}; nothing was changed.")
        if ok.ready == 0:  # what was counted is gone
            self._deliveries.pop(queue, None)
        policy_limit, policies_known = None, False
        try:
            entry = self._management.queue(queue)
            arguments = None if entry is None else _listed_arguments(entry)
            if entry is not None:
                policy = values.mapping(entry.get("effective_policy_definition"))
                limit = policy.get("delivery-limit")
                policy_limit, policies_known = limit if isinstance(limit, int) else None, True
        except ManagementUnavailable:
            arguments = self._probe(queue)
        return QueueFacts(
            queue=queue,
            server=_version(server_version),
            queue_type=arguments.queue_type if arguments else None,
            limit_argument=arguments.delivery_limit if arguments else None,
            arguments_known=arguments is not None,
            policy_limit=policy_limit,
            policies_known=policies_known,
            consumers=ok.consumers,
            dead_letters=queue.endswith(".dead"),
            deliveries_seen=self._deliveries.get(queue),
        )

    def dead_letters_kept(self, layout: Layout, topic: str) -> bool:
        """Whether what is rejected from *topic* is known to be kept."""
        rows = self.report(layout, [topic], only_these=True).topics
        return rows[0].dead_lettering is True

    def listed_topics(self, layout: Layout) -> set[str]:
        """Return the topics that the management API lists; none without it."""
        try:
            return report.topics_among(layout, self._management.queues())
        except ManagementUnavailable:
            return set()

    def report(
        self, layout: Layout, topics: Iterable[str], *, only_these: bool = False
    ) -> TopicReport:
        """Return the statistics of *topics* and, unless *only_these*, of all that are listed."""
        named = set(topics)
        no_management: str | None = None
        listed: report.Listed = {}
        try:
            listed = self._management.queues()
            if not only_these:
                named |= report.topics_among(layout, listed)
        except ManagementUnavailable as why:
            no_management = str(why)
        queues = [*named, *(layout.dead_queue(topic) for topic in named)]
        counts: report.Counts = {}
        if no_management is not None or len(queues) <= report.EXACT_UP_TO:
            counts = self._main.run(
                lambda session: report.count_queues(session, queues),
                timeout=self._main.timeout + _SECONDS_A_QUEUE * len(queues),
            )
        arguments = {}
        if no_management is not None:
            arguments = self._arguments_of(name for name in named if counts.get(name) is not None)
        found = report.Findings(
            counts=counts, listed=listed, arguments=arguments, no_management=no_management
        )
        return report.build(layout, named, found)

    def _arguments_of(self, queues: Iterable[str]) -> dict[str, QueueArguments]:
        """Return the arguments that are known or can be probed now; the rest another time."""
        known, probes = {}, 0
        for queue in sorted(queues):
            at, arguments = self._arguments.get(queue, (float("-inf"), None))
            if arguments is None or time.monotonic() - at > _REMEMBERED:
                if probes >= _PROBES_A_CALL:
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


def _listed_arguments(entry: Any) -> QueueArguments | None:
    queue_type = entry.get("type")
    if queue_type not in ("classic", "quorum", "stream"):
        return None
    arguments = values.mapping(entry.get("arguments"))
    limit = arguments.get("x-delivery-limit")
    return QueueArguments(
        queue_type=queue_type,
        dead_letter_exchange=values.text(arguments.get("x-dead-letter-exchange")),
        dead_letter_key=values.text(arguments.get("x-dead-letter-routing-key")),
        delivery_limit=limit if isinstance(limit, int) else None,
    )


def _version(text: str) -> tuple[int, int]:
    """Return major and minor; an unreadable version counts as the oldest, the most careful."""
    parts = text.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return (3, 0)
