"""The composition root: from a DSN to a cluster. The only place that names backends."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final, Literal

from tasktools.core.errors import MalformedDSN, NotConfigured, TaskToolsError

if TYPE_CHECKING:  # imported when a cluster is opened: `import tasktools` is quick
    from tasktools.brokers.base import Broker
    from tasktools.brokers.memory import MemoryServer
    from tasktools.cluster.cluster import Cluster
    from tasktools.core.redaction import MaskRule
    from tasktools.core.tasks.compose import FunctionNames
    from tasktools.history.broker import HistoryBroker
    from tasktools.replay.rates import ChosenRate, RateQuestion

_TYPES: Final = {
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "memory": "memory",
    "demo": "demo",
    "sqlite": "recording",
}


def connect(  # noqa: PLR0913 - one way to say each thing, by keyword
    dsn: str | None = None,
    *,
    default: str | None = None,
    read_only: bool = False,
    layout: str | None = None,
    dialect: str | Iterable[str] | None = None,
    dead: str | None = None,
    management_url: str | Literal[False] | None = None,
    timeout: float = 5.0,
    topics: Iterable[str] = (),
    reveal: bool = False,
    mask: Iterable[MaskRule] = (),
) -> Cluster:
    """Connect to a cluster and return it; raise now, within *timeout*, if that fails.

    Parameters
    ----------
    dsn
        ``amqp://user:password@host:5672/vhost``, ``amqps://…`` for TLS (with ``?cafile=…``),
        ``memory://``, ``demo://`` (``?seed=…``, ``?incident=dead_worker``), or
        ``sqlite:///ops.db`` for a recording of `Cluster.record`. By default the environment's
        (`BROKER_DSN`, `BROKER_TYPE`), then *default*.
    default
        The DSN if the environment names none.
    read_only
        Refuse everything that would change the cluster.
    layout
        ``fp`` or ``taskworker``: the names of exchanges and queues, to override the detected ones.
    dialect
        ``celery``, ``dramatiq`` or ``plain``, or several: the dialects to use besides that of the
        layout, to override the detected ones. ``plain`` has all other queues of the vhost.
    dead
        The name of dead-letter queues, as ``"{topic}.dlq"``, where arguments, policies and bindings
        of queues do not show it, or may not be read.
    management_url
        URL of the management API, if it is not at port 15672 of the same host; by default the
        environment's (`BROKER_MANAGEMENT_URL`). `False` (in the environment: ``off``): none.
    timeout
        Seconds that any call may take.
    topics
        Names of topics that no worker's events name.
    reveal
        Show secrets.
    mask
        More secrets to mask: names of keys, as ``"iban"``, and compiled patterns of texts, as
        ``re.compile("C-[0-9]+")``; names in the environment (`TASKTOOLS_MASK`, separated by
        commas) are always masked.

    Returns
    -------
    Cluster
        Connected; close it, or use it in a ``with``.

    Raises
    ------
    NotConfigured, MalformedDSN, InvalidMask
        Nothing was contacted.
    Unreachable, TLSFailed, AuthenticationFailed, VhostNotFound, PermissionDenied, RecordingError
        The connection, or the recording, could not be opened. No error contains the password.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     sorted(cluster.topics()["topic"])[:2]
    ['emails', 'exports']

    """
    from tasktools.cluster.cluster import Cluster
    from tasktools.core import mask_rules

    mask = mask_rules.checked(mask) + mask_rules.checked(_masked_names())
    dsn = dsn or _from_environment() or default
    cluster_of = functools.partial(
        Cluster,
        topics=topics,
        reveal=reveal,
        mask=mask,
        signature=_signature,
        glance=_glance,
        choose_rate=_choose_rate,
    )
    if dsn is not None and _TYPES.get(_scheme(dsn)) == "recording":
        return _recorded(dsn, cluster_of)
    if dsn is not None and _TYPES.get(_scheme(dsn)) == "demo":
        return _demo(dsn, cluster_of, read_only=read_only)
    broker = _broker(
        dsn,
        read_only=read_only,
        layout=layout,
        dialects=[dialect] if isinstance(dialect, str) else tuple(dialect or ()),
        dead=dead,
        management_url=_management_url() if management_url is None else management_url,
        timeout=timeout,
    )
    try:
        broker.connect()
    except BaseException:
        broker.close()
        raise
    return cluster_of(broker)


def address_of(dsn: str | None = None) -> str | None:
    """Return the address of the cluster that *dsn* or the environment names, as the ledger has it;
    `None` if none is named. No broker is contacted.

    Raises `NotConfigured` or `MalformedDSN`, or `RecordingError` if a recording cannot be read.

    >>> address_of("amqp://ops:secret@rabbit/shop")
    'amqp://ops@rabbit:5672/shop'
    """
    dsn = dsn or _from_environment()
    if dsn is None:
        return None
    if _TYPES.get(_scheme(dsn)) == "recording":
        with _recording(dsn) as recording:
            return recording.recorded_address
    with _broker(dsn, read_only=True, layout=None, management_url=False, timeout=5.0) as broker:
        return broker.address


def _recorded(dsn: str, cluster_of: Callable[..., Cluster]) -> Cluster:
    broker = _recording(dsn)
    return cluster_of(broker, clock=broker.clock)


def _recording(dsn: str) -> HistoryBroker:
    """Open the recording that ``sqlite:///relative/path`` or ``sqlite:////absolute`` names."""
    from tasktools.history.broker import HistoryBroker
    from tasktools.history.store import File

    broker = HistoryBroker(File.named(dsn))
    broker.connect()
    return broker


def _demo(dsn: str, cluster_of: Callable[..., Cluster], *, read_only: bool) -> Cluster:
    """Open a demo cluster that is sampled from its simulated beginning until it is closed."""
    from tasktools.demo import DemoBroker

    broker = DemoBroker.from_dsn(dsn, read_only=read_only, opened=False)
    cluster = cluster_of(broker, clock=broker.clock)
    watched = weakref.ref(cluster)  # so that a demo which is dropped ends

    def sample() -> None:
        cluster = watched()
        if cluster is not None:
            with contextlib.suppress(TaskToolsError), cluster.observed():
                pass

    try:
        broker.open(sample)
        broker.connect()
    except BaseException:
        cluster.close()
        raise
    return cluster


def get_broker() -> Broker:
    """Return a broker for the cluster that the environment names (`BROKER_DSN`, `BROKER_TYPE`).

    It connects when it is used first, at the latest in `setup()`. Every call makes a client of its
    own, and only the client that claimed a delivery can settle it. All brokers in memory are
    clients of one cluster, which lives as long as this process; without any environment you get
    such a one, with a `UserWarning`. Raises `NotConfigured` when `BROKER_TYPE` is ``rabbitmq`` and
    there is no `BROKER_DSN`, and `MalformedDSN`.

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
    """Return the names of the tasks that this program has registered with `tasktools.task`."""
    from tasktools.core.tasks.compose import FunctionNames
    from tasktools.worker import DEFAULT

    return FunctionNames(lambda name: [task.func_name for task in DEFAULT if task.name == name])


def _signature(name: str) -> inspect.Signature | None:
    """Return the signature of a task that this program has registered with `tasktools.task`."""
    from tasktools.worker import DEFAULT

    signatures = {task.signature for task in DEFAULT if name in (task.name, task.func_name)}
    return signatures.pop() if len(signatures) == 1 else None


def _glance(cluster: Cluster) -> str:
    """Return the worst finding of *cluster* as HTML."""
    from tasktools.diagnosis.worst_finding import glance

    return glance(cluster)


def _choose_rate(question: RateQuestion, history: Cluster) -> ChosenRate:
    """Return the rate of a replay that keeps live tasks from waiting, by a *history*."""
    from tasktools.capacity.replay_impact import choose_rate

    return choose_rate(question, history)


def _management_url() -> str | Literal[False] | None:
    url = os.environ.get("BROKER_MANAGEMENT_URL")
    return False if url == "off" else url or None


def _masked_names() -> list[str]:
    """Return the names of keys in ``TASKTOOLS_MASK``."""
    names = (name.strip() for name in os.environ.get("TASKTOOLS_MASK", "").split(","))
    return [name for name in names if name]


def _scheme(dsn: str) -> str:
    return dsn.partition("://")[0]


def _broker(
    dsn: str | None,
    *,
    read_only: bool,
    layout: str | None,
    management_url: str | Literal[False] | None,
    timeout: float,
    dialects: Collection[str] = (),
    dead: str | None = None,
    memory: Callable[[], MemoryServer] | None = None,
) -> Broker:
    if dsn is None:
        raise NotConfigured(
            "No broker is configured; nothing was contacted. Set BROKER_DSN to something like "
            "amqp://user:password@host:5672/vhost, or give a DSN: with --dsn on the command line, "
            "or to connect(); demo:// is a made-up cluster to try."
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
                dialects=dialects,
                dead=dead,
            )
        case "memory":
            from tasktools.brokers.memory import MemoryBroker
            from tasktools.core import layout as layouts

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
