"""`Cluster`: the facade for people. It answers in DataFrames."""

from __future__ import annotations

from tasktools.cluster.changes import RecordedChanges
from tasktools.cluster.dead_letters import DeadLetters
from tasktools.cluster.demand import RecordedDemand
from tasktools.cluster.marks import Marks
from tasktools.cluster.observation import Observing
from tasktools.cluster.plans import Plans
from tasktools.cluster.taps import Tapping
from tasktools.cluster.tasks import TaskHistory
from tasktools.cluster.worker_commands import WorkerCommands


class Cluster(
    WorkerCommands,
    DeadLetters,
    Plans,
    Tapping,
    Marks,
    Observing,
    RecordedChanges,
    TaskHistory,
    RecordedDemand,
):
    """A task-worker cluster to look at and to act on. Made by `tasktools.connect`.

    Every frame says in ``attrs["sources"]`` where its columns came from, how old they are, and what
    could not be determined; schemas are in `tasktools.core.frames.schemas`. Secrets in arguments
    and headers are masked, those of ``mask=[…]`` too, unless it was opened with ``reveal=True``.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("memory://") as cluster:
    ...     task_id = cluster.publish("emails", "send", kwargs={"to": "a@b"}, create=True)
    ...     cluster.topics()[["topic", "queued"]]
    topics: 1 row; from events, broker; memory://, layout taskworker
       topic   queued
    0  emails       1

    """
