"""The composition root: from a DSN to a cluster. The only place that names backends."""

from __future__ import annotations

import functools
import inspect
import os
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Literal

from tasktools.brokers.base import Broker
from tasktools.core import layout as layouts
from tasktools.core.compose import FunctionNames
from tasktools.core.errors import MalformedDSN, NotConfigured
from tasktools.ops.cluster import Cluster
from tasktools.ops.recording.history import HistoryBroker
from tasktools.ops.recording.store import File
from tasktools.worker import DEFAULT

if TYPE_CHECKING:  # it is imported when it is needed
    from tasktools.brokers.memory import MemoryServer

_TYPES: Final = {
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "memory": "memory",
    "demo": "demo",
    "sqlite": "recording",
}


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
    ``?cafile=…``), ``memory://``, ``demo://`` (``?seed=…``), or ``sqlite:///ops.db`` for what
    `Cluster.record` has recorded. Without it the environment decides (`BROKER_DSN`,
    `BROKER_TYPE`), then *default*; else `NotConfigured` is raised.

    *read_only* refuses everything that changes the cluster. *layout* is ``fp`` or
    ``taskworker``, where the found one is not meant. *management_url* is where the management
    API is (`BROKER_MANAGEMENT_URL`), when not at port 15672 of the same host; `False` (in the
    environment: ``off``) goes without. *topics* names topics that nobody speaks of. *reveal*
    shows secrets.

    Raises `MalformedDSN`, `Unreachable`, `TLSFailed`, `AuthenticationFailed`, `VhostNotFound`,
    `PermissionDenied`; none of them ever holds the password. And `RecordingError`.
    """
    dsn = dsn or _from_environment() or default
    if dsn is not None and _TYPES.get(_scheme(dsn)) == "recording":
        return _recorded(dsn, topics=topics, reveal=reveal)
    broker = _broker(
        dsn,
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
    return Cluster(broker, topics=topics, reveal=reveal, signature=_signature)


def _recorded(dsn: str, *, topics: Iterable[str], reveal: bool) -> Cluster:
    """Open the recording that ``sqlite:///relative/path`` or ``sqlite:////absolute`` names."""
    broker = HistoryBroker(File.named(dsn))
    broker.connect()
    return Cluster(broker, topics=topics, reveal=reveal, clock=broker.clock, signature=_signature)


def get_broker() -> Broker:
    """Return a broker for the cluster that the environment names (`BROKER_DSN`, `BROKER_TYPE`).

    It connects when it is used first, at the latest in `setup()`. Every call makes a client of
    its own: what one claimed only that one can settle. All brokers in memory are clients of one
    cluster, which lives as long as this process; without any environment you get such a one,
    with a `UserWarning`. Raises `NotConfigured` when `BROKER_TYPE` is ``rabbitmq`` and there is
    no `BROKER_DSN`, and `MalformedDSN`.

    >>> import os
    >>> os.environ["BROKER_TYPE"] = "memory"
    >>> with get_broker() as broker, get_broker() as other:
    ...     message_id = broker.publish("welcome", {"task_name": "greet", "kwargs": {"to": "a@b"}})
    ...     other.claim("welcome", "worker-1").payload
    {'task_name': 'greet', 'args': [], 'kwargs': {'to': 'a@b'}}
    >>> del os.environ["BROKER_TYPE"]
    """
    dsn = _from_environment()
    if dsn is None:
        warnings.warn(
            "No broker is configured, so this one is in memory: nobody else sees it, and it ends "
            "with this process. Set BROKER_DSN, or BROKER_TYPE=memory if that is meant.",
            UserWarning,
            stacklevel=2,
        )
    return _broker(
        dsn or "memory://",
        read_only=False,
        layout=None,
        management_url=_management_url(),
        timeout=5.0,
        memory=_memory_of_this_process,
    )


@functools.cache
def _memory_of_this_process() -> MemoryServer:
    from tasktools.brokers.memory import MemoryServer

    return MemoryServer()


def _from_environment() -> str | None:
    dsn, kind = os.environ.get("BROKER_DSN"), os.environ.get("BROKER_TYPE")
    if kind and kind not in _TYPES.values():
        raise NotConfigured(
            f"BROKER_TYPE is {kind!r}, which is none of rabbitmq, memory and demo; nothing was "
            "contacted. Set it to one of them, or set BROKER_DSN alone."
        )
    if kind == "rabbitmq" and not dsn:
        raise NotConfigured(
            "BROKER_TYPE is 'rabbitmq', but there is no BROKER_DSN; nothing was contacted. Set it "
            "to something like amqp://user:password@host:5672/vhost."
        )
    if dsn and kind and _TYPES.get(_scheme(dsn)) != kind:
        raise MalformedDSN(
            f"BROKER_TYPE is {kind!r}, but BROKER_DSN does not begin as one of that type does; "
            "nothing was contacted. Unset one of them."
        )
    return dsn or (f"{kind}://" if kind else None)


def _functions() -> FunctionNames:
    """Know the tasks that this program has registered with `tasktools.task`."""
    return FunctionNames(lambda name: [task.func_name for task in DEFAULT if task.name == name])


def _signature(name: str) -> inspect.Signature | None:
    """Return the signature of a task that this program has registered with `tasktools.task`."""
    found = {task.signature for task in DEFAULT if name in (task.name, task.func_name)}
    return found.pop() if len(found) == 1 else None


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
    memory: Callable[[], MemoryServer] | None = None,
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
                functions=_functions(),
            )
        case "memory":
            from tasktools.brokers.memory import MemoryBroker

            names = layouts.TASKWORKER if layout is None else layouts.named(layout)
            server = None if memory is None else memory()
            return MemoryBroker(server, layout=names, read_only=read_only, functions=_functions())
        case "demo":
            from tasktools.demo import DemoBroker

            return DemoBroker.from_dsn(dsn, read_only=read_only)
        case _:
            raise MalformedDSN(
                "The DSN begins with none of amqp://, amqps://, memory://, demo:// and sqlite:///; "
                "nothing was "
                "contacted."
            )
