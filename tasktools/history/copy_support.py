"""The check whether a broker can supply copies of published messages."""

from __future__ import annotations

from collections.abc import Collection

from tasktools.brokers.base import Broker
from tasktools.core.dialects import registry
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.errors import BrokerError


def why_no_copies(broker: Broker) -> str | None:
    """Return in words why published messages cannot be copied; `None` if they can, or if that is
    unknown.

    Only a dialect with a task exchange has one place that all tasks pass. The check declares
    nothing: an unused exchange would make other clients expect its workers here.
    """
    try:
        spoken = _spoken(broker)
    except BrokerError:
        return None
    if not spoken or any(dialect.has_task_exchange for dialect in spoken):
        return None
    workers = registry.workers_of({dialect.name for dialect in spoken})
    return f"{workers} get messages from their queues, and no exchange has all of them"


def _spoken(broker: Broker) -> Collection[Dialect]:
    """Return the dialects of the topics, or of exchanges as long as no topic is known."""
    report = broker.topic_report(broker.known_topics())
    existing = (stats for stats in report.topics if stats.exists is not False)
    names = {stats.dialect for stats in existing if stats.dialect is not None}
    if names:
        return [dialect for name in names if (dialect := registry.find(name)) is not None]
    return [dialect for dialect in broker.dialects[1:] if dialect.exchanges]
