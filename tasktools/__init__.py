"""Tools for those who operate a RabbitMQ task-worker cluster from a notebook.

>>> import tasktools as tt
>>> cluster = tt.connect("memory://")
>>> cluster.workers().empty
True
>>> cluster.close()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tasktools.connect import connect, get_broker
from tasktools.core.edits import REMOVE
from tasktools.core.errors import (
    AuthenticationFailed,
    BrokerError,
    BrokerTimeout,
    Closed,
    ConnectionLost,
    InvalidPlan,
    InvalidTap,
    InvalidTask,
    InvalidTopic,
    LedgerError,
    LookRefused,
    MalformedDSN,
    NoStreams,
    NotConfigured,
    NotRecorded,
    PermissionDenied,
    PublishRefused,
    QueueInUse,
    QueueNotFound,
    ReadOnly,
    RecordingError,
    TapConflict,
    TaskToolsError,
    TLSFailed,
    TopicConflict,
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
from tasktools.core.groups import failure_groups
from tasktools.core.plans import Plan
from tasktools.core.taps import Tap
from tasktools.ops.canary import Ramp
from tasktools.ops.cluster import Cluster
from tasktools.ops.ledger import ledger
from tasktools.ops.recording.keeping import Retention
from tasktools.ops.replaying import load_plan
from tasktools.worker import CurrentTask, TaskRegistry, TimeLimitExceeded, current_task, task

if TYPE_CHECKING:
    from tasktools import widgets
    from tasktools.worker import TaskRunner

__all__ = (  # noqa: RUF022 - grouped
    # the way in
    "Cluster",
    "connect",
    "get_broker",
    "widgets",
    # dead letters
    "REMOVE",
    "Plan",
    "Ramp",
    "failure_groups",
    "ledger",
    "load_plan",
    # history
    "Retention",
    "Tap",
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
    "InvalidPlan",
    "InvalidTap",
    "InvalidTask",
    "InvalidTopic",
    "LedgerError",
    "LookRefused",
    "MalformedDSN",
    "NoStreams",
    "NotConfigured",
    "NotRecorded",
    "PermissionDenied",
    "PublishRefused",
    "QueueInUse",
    "QueueNotFound",
    "ReadOnly",
    "RecordingError",
    "TLSFailed",
    "TapConflict",
    "TaskToolsError",
    "TopicConflict",
    "UnknownDelivery",
    "UnknownTap",
    "UnknownTask",
    "UnknownTopic",
    "UnknownWorker",
    "Unreachable",
    "Unroutable",
    "UnsafePeerCommand",
    "VhostNotFound",
    "WouldBeLost",
)

__version__ = "0.1.0"


if not TYPE_CHECKING:  # hides no misspelt name from a type checker

    def __getattr__(name: str) -> Any:
        """Import the widgets and the runner when they are first used: they take their time."""
        match name:
            case "widgets":
                return import_module(f"{__name__}.widgets")
            case "TaskRunner":
                return import_module(f"{__name__}.worker").TaskRunner
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
