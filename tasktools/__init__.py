"""Tools for those who operate a RabbitMQ task-worker cluster from a notebook.

>>> import tasktools as tt
>>> cluster = tt.connect("memory://")
>>> cluster.workers().empty
True
>>> cluster.close()
"""

from tasktools.connect import connect, get_broker
from tasktools.core.errors import (
    AuthenticationFailed,
    BrokerError,
    BrokerTimeout,
    Closed,
    ConnectionLost,
    InvalidTask,
    InvalidTopic,
    LookRefused,
    MalformedDSN,
    NotConfigured,
    PermissionDenied,
    PublishRefused,
    QueueNotFound,
    ReadOnly,
    TaskToolsError,
    TLSFailed,
    TopicConflict,
    UnknownDelivery,
    UnknownTask,
    UnknownTopic,
    UnknownWorker,
    Unreachable,
    Unroutable,
    UnsafePeerCommand,
    VhostNotFound,
    WouldBeLost,
)
from tasktools.ops.cluster import Cluster
from tasktools.worker import CurrentTask, TaskRegistry, TaskRunner, current_task, task
from tasktools.worker.limits import TimeLimitExceeded

__all__ = (  # noqa: RUF022 - grouped
    # the way in
    "Cluster",
    "connect",
    "get_broker",
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
    "InvalidTask",
    "InvalidTopic",
    "LookRefused",
    "MalformedDSN",
    "NotConfigured",
    "PermissionDenied",
    "PublishRefused",
    "QueueNotFound",
    "ReadOnly",
    "TLSFailed",
    "TaskToolsError",
    "TopicConflict",
    "UnknownDelivery",
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
