"""Tools for tests of your own: a conformance suite, factories, a seeded cluster, private nodes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tasktools.testing.eventually import eventually
from tasktools.testing.factories import (
    PUBLISHED,
    celery_message,
    death,
    document_body,
    lock_event,
    outgoing,
    peer_heartbeat,
    properties,
    task_body,
    task_event,
    task_payload,
    worker_event,
    worker_report,
)
from tasktools.testing.seed import Seeded, seed

if TYPE_CHECKING:
    from tasktools.testing.conformance import Backdoor, BrokerConformance, DialectConformance
    from tasktools.testing.node import RabbitMQNode
    from tasktools.testing.node_cluster import RabbitMQCluster

__all__ = (
    "PUBLISHED",
    "Backdoor",
    "BrokerConformance",
    "DialectConformance",
    "RabbitMQCluster",
    "RabbitMQNode",
    "Seeded",
    "celery_message",
    "death",
    "document_body",
    "eventually",
    "lock_event",
    "outgoing",
    "peer_heartbeat",
    "properties",
    "seed",
    "task_body",
    "task_event",
    "task_payload",
    "worker_event",
    "worker_report",
)

# The suite needs pytest, which a notebook that only calls `seed` need not have.
_LATER: Final = {
    "Backdoor": "tasktools.testing.conformance",
    "BrokerConformance": "tasktools.testing.conformance",
    "DialectConformance": "tasktools.testing.conformance",
    "RabbitMQCluster": "tasktools.testing.node_cluster",
    "RabbitMQNode": "tasktools.testing.node",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
