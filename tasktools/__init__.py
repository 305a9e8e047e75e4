"""Tools for those who operate a RabbitMQ task-worker cluster from a notebook.

>>> import tasktools as tt
>>> cluster = tt.connect("memory://")
>>> cluster.workers().empty
True
>>> cluster.close()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tasktools.connect import connect, get_broker
from tasktools.core.errors import (
    AuthenticationFailed,
    BrokerError,
    BrokerTimeout,
    Closed,
    CommandRefused,
    ConnectionLost,
    FileError,
    InvalidDialect,
    InvalidMask,
    InvalidName,
    InvalidPlan,
    InvalidTap,
    InvalidTask,
    InvalidTopic,
    LedgerError,
    LimitReached,
    LookRefused,
    MalformedDSN,
    MissingExtra,
    MissingFile,
    NoStreams,
    NotConfigured,
    NotRecorded,
    PermissionDenied,
    PublishingBlocked,
    PublishRefused,
    QueueInUse,
    QueueNotFound,
    QueueUnavailable,
    ReadOnly,
    RecordingError,
    TapConflict,
    TaskToolsError,
    TLSFailed,
    TopicConflict,
    TopicInUse,
    UnknownDelivery,
    UnknownTap,
    UnknownTask,
    UnknownTopic,
    UnknownWorker,
    Unreachable,
    Unroutable,
    UnsafePeerCommand,
    VhostNotFound,
    WouldBeLost,
)

if TYPE_CHECKING:
    from tasktools import capacity, widgets
    from tasktools.capacity.drain.drain_forecast import drain_forecast
    from tasktools.capacity.replay_impact import replay_impact
    from tasktools.cluster.cluster import Cluster
    from tasktools.cluster.plans import load_plan
    from tasktools.core.frames.failure_groups import failure_groups
    from tasktools.core.plans import Plan
    from tasktools.core.taps import Tap
    from tasktools.core.tasks.edits import REMOVE
    from tasktools.diagnosis.diagnose import diagnose, topic_states
    from tasktools.diagnosis.explain import explain
    from tasktools.diagnosis.timeline import timeline
    from tasktools.history.retention import Retention
    from tasktools.replay.ledger import ledger
    from tasktools.replay.outcome import Outcome
    from tasktools.replay.ramp import Ramp
    from tasktools.reports.report import report
    from tasktools.worker import (
        CurrentTask,
        TaskRegistry,
        TaskRunner,
        TimeLimitExceeded,
        current_task,
        task,
    )

__all__ = (  # noqa: RUF022 - grouped
    # the way in
    "Cluster",
    "connect",
    "get_broker",
    "widgets",
    # capacity
    "capacity",
    "drain_forecast",
    "replay_impact",
    # diagnosis
    "diagnose",
    "explain",
    "report",
    "topic_states",
    # dead letters
    "REMOVE",
    "Outcome",
    "Plan",
    "Ramp",
    "failure_groups",
    "ledger",
    "load_plan",
    # history
    "Retention",
    "Tap",
    "timeline",
    # tasks
    "CurrentTask",
    "TaskRegistry",
    "TaskRunner",
    "TimeLimitExceeded",
    "current_task",
    "task",
    # errors
    "AuthenticationFailed",
    "BrokerError",
    "BrokerTimeout",
    "Closed",
    "ConnectionLost",
    "FileError",
    "InvalidName",
    "InvalidPlan",
    "InvalidTap",
    "InvalidTask",
    "InvalidTopic",
    "LedgerError",
    "LimitReached",
    "LookRefused",
    "InvalidDialect",
    "InvalidMask",
    "MalformedDSN",
    "MissingExtra",
    "MissingFile",
    "NoStreams",
    "NotConfigured",
    "NotRecorded",
    "PermissionDenied",
    "PublishRefused",
    "PublishingBlocked",
    "QueueInUse",
    "QueueNotFound",
    "QueueUnavailable",
    "ReadOnly",
    "RecordingError",
    "TLSFailed",
    "TapConflict",
    "TaskToolsError",
    "TopicConflict",
    "TopicInUse",
    "UnknownDelivery",
    "UnknownTap",
    "UnknownTask",
    "UnknownTopic",
    "UnknownWorker",
    "Unreachable",
    "Unroutable",
    "CommandRefused",
    "UnsafePeerCommand",
    "VhostNotFound",
    "WouldBeLost",
)

__version__ = "0.1.0"


_HOMES: Final = {  # imported when first used, as most load pandas, which takes 0.3 s
    "tasktools.capacity.drain.drain_forecast": ("drain_forecast",),
    "tasktools.capacity.replay_impact": ("replay_impact",),
    "tasktools.core.tasks.edits": ("REMOVE",),
    "tasktools.core.frames.failure_groups": ("failure_groups",),
    "tasktools.core.plans": ("Plan",),
    "tasktools.core.taps": ("Tap",),
    "tasktools.diagnosis.diagnose": ("diagnose", "topic_states"),
    "tasktools.replay.outcome": ("Outcome",),
    "tasktools.replay.ramp": ("Ramp",),
    "tasktools.cluster.cluster": ("Cluster",),
    "tasktools.diagnosis.explain": ("explain",),
    "tasktools.replay.ledger": ("ledger",),
    "tasktools.reports.report": ("report",),
    "tasktools.history.retention": ("Retention",),
    "tasktools.cluster.plans": ("load_plan",),
    "tasktools.diagnosis.timeline": ("timeline",),
    "tasktools.worker": (
        *("CurrentTask", "TaskRegistry", "TaskRunner", "TimeLimitExceeded"),
        *("current_task", "task"),
    ),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}
_OF_WIDGETS: Final = {"anywidget", "ipywidgets", "plotly", "traitlets"}
"""The packages of the extra `widgets`."""

if not TYPE_CHECKING:  # hides no misspelt name from a type checker

    def __getattr__(name: str) -> Any:
        """Import what takes its time when it is first used (PEP 562)."""
        try:
            if name in {"capacity", "widgets"}:
                return import_module(f"{__name__}.{name}")
            if name not in _HOME_OF:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
            globals()[name] = value = getattr(import_module(_HOME_OF[name]), name)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _OF_WIDGETS:
                raise
            raise MissingExtra(
                f"tasktools.{name} needs {package}, which is not installed; nothing was done. "
                "Install it with: pip install 'tasktools-ops[widgets]'."
            ) from error
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
