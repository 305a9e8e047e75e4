"""Tools for those who operate a RabbitMQ task-worker cluster from a notebook.

>>> import tasktools as tt
>>> cluster = tt.connect("memory://")
>>> cluster.workers().empty
True
>>> cluster.close()
"""

from tasktools.connect import connect
from tasktools.core.errors import (
    AuthenticationFailed,
    BrokerError,
    BrokerTimeout,
    Closed,
    ConnectionLost,
    InvalidTask,
    LookRefused,
    MalformedDSN,
    NotConfigured,
    PermissionDenied,
    PublishRefused,
    QueueNotFound,
    ReadOnly,
    TaskToolsError,
    TLSFailed,
    UnknownDelivery,
    UnknownTask,
    UnknownTopic,
    Unreachable,
    Unroutable,
    VhostNotFound,
    WouldBeLost,
)
from tasktools.ops.cluster import Cluster

__all__ = (  # noqa: RUF022 - grouped
    # the way in
    "Cluster",
    "connect",
    # errors
    "AuthenticationFailed",
    "BrokerError",
    "BrokerTimeout",
    "Closed",
    "ConnectionLost",
    "InvalidTask",
    "LookRefused",
    "MalformedDSN",
    "NotConfigured",
    "PermissionDenied",
    "PublishRefused",
    "QueueNotFound",
    "ReadOnly",
    "TLSFailed",
    "TaskToolsError",
    "UnknownDelivery",
    "UnknownTask",
    "UnknownTopic",
    "Unreachable",
    "Unroutable",
    "VhostNotFound",
    "WouldBeLost",
)

__version__ = "0.1.0"
