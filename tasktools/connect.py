"""The composition root: from a DSN to a cluster. The only place that names backends."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, Literal

from tasktools.brokers.base import Broker
from tasktools.core import layout as layouts
from tasktools.core.errors import MalformedDSN, NotConfigured
from tasktools.ops.cluster import Cluster

_TYPES: Final = {"amqp": "rabbitmq", "amqps": "rabbitmq", "memory": "memory", "demo": "demo"}


def connect(
    dsn: str | None = None,
    *,
    default: str | None = None,
    read_only: bool = False,
    layout: str | None = None,
    management_url: str | Literal[False] | None = None,
    timeout: float = 5.0,
    topics: Iterable[str] = (),
    reveal: bool = False,
) -> Cluster:
    """Connect to a cluster and return it; what is wrong is raised now, within *timeout* s.

    *dsn* is ``amqp://user:password@host:5672/vhost``, ``amqps://…`` for TLS (with
    ``?cafile=…``), ``memory://`` or ``demo://`` (``?seed=…``). Without it the environment
    decides (`BROKER_DSN`, `BROKER_TYPE`), then *default*; else `NotConfigured` is raised.

    *read_only* refuses everything that changes the cluster. *layout* is ``fp`` or
    ``taskworker``, where the found one is not meant. *management_url* is where the management
    API is (`BROKER_MANAGEMENT_URL`), when not at port 15672 of the same host; `False` (in the
    environment: ``off``) goes without. *topics* names topics that nobody speaks of. *reveal*
    shows secrets.

    Raises `MalformedDSN`, `Unreachable`, `TLSFailed`, `AuthenticationFailed`, `VhostNotFound`,
    `PermissionDenied`; none of them ever holds the password.
    """
    broker = _broker(
        dsn or _from_environment() or default,
        read_only=read_only,
        layout=layout,
        management_url=_management_url() if management_url is None else management_url,
        timeout=timeout,
    )
    try:
        broker.connect()
    except BaseException:
        broker.close()
        raise
    return Cluster(broker, topics=topics, reveal=reveal)


def _from_environment() -> str | None:
    dsn, kind = os.environ.get("BROKER_DSN"), os.environ.get("BROKER_TYPE")
    if dsn and kind and _TYPES.get(_scheme(dsn)) != kind:
        raise MalformedDSN(
            f"BROKER_TYPE is {kind!r}, but BROKER_DSN does not begin as one of that type does; "
            "nothing was contacted. Unset one of them."
        )
    return dsn or ("memory://" if kind == "memory" else None)


def _management_url() -> str | Literal[False] | None:
    url = os.environ.get("BROKER_MANAGEMENT_URL")
    return False if url == "off" else url or None


def _scheme(dsn: str) -> str:
    return dsn.partition("://")[0]


def _broker(
    dsn: str | None,
    *,
    read_only: bool,
    layout: str | None,
    management_url: str | Literal[False] | None,
    timeout: float,
) -> Broker:
    if dsn is None:
        raise NotConfigured(
            "No broker is configured; nothing was contacted. Set BROKER_DSN to something like "
            "amqp://user:password@host:5672/vhost, or pass it to connect()."
        )
    match _TYPES.get(_scheme(dsn)):
        case "rabbitmq":
            from tasktools.brokers.rabbitmq import RabbitMQBroker

            return RabbitMQBroker(
                dsn,
                read_only=read_only,
                layout=layout,
                management_url=management_url,
                timeout=timeout,
            )
        case "memory":
            from tasktools.brokers.memory import MemoryBroker

            names = layouts.TASKWORKER if layout is None else layouts.named(layout)
            return MemoryBroker(layout=names, read_only=read_only)
        case "demo":
            from tasktools.demo import DemoBroker

            return DemoBroker.from_dsn(dsn, read_only=read_only)
        case _:
            raise MalformedDSN(
                "The DSN begins with none of amqp://, amqps://, memory:// and demo://; nothing was "
                "contacted."
            )
