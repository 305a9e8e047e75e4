"""The operator's commands to topics, workers and locks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, Literal

from msgspec.structs import replace

from tasktools.cluster.overview import Overview
from tasktools.core import known_workers
from tasktools.core.errors import (
    BrokerTimeout,
    QueueNotFound,
    UnknownWorker,
    UnsafePeerCommand,
)
from tasktools.core.events import Command
from tasktools.core.lazy import pd
from tasktools.core.models import ClusterState, QueueType, TopicSettings, Worker
from tasktools.core.suggestions import did_you_mean
from tasktools.core.topic_rules import check_name
from tasktools.core.workload import is_live, live_workers
from tasktools.monitor import active_tasks

Action = Literal["drain", "join_topic", "leave_topic", "update_prefetch"]


class Unchanged(Enum):
    """The default of settings that stay as they are."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Unchanged.UNCHANGED

_POLL_SECONDS: Final = 0.05
_EVERY_TOPIC: Final = "*"
_MAX_NAMED_TASKS: Final = 10


class Commands(Overview):
    """The part of `Cluster` that changes topics, workers and locks.

    On a cluster opened with ``read_only=True`` all of these raise `ReadOnly`.
    """

    # --- topics ---------------------------------------------------------------------

    def create_topic(
        self,
        name: str,
        *,
        queue_type: QueueType = "classic",
        max_priority: int | None = None,
        message_ttl: float | None = None,
    ) -> None:
        """Create a topic, with what can only be chosen now.

        A topic that exists and is exactly so is fine.

        Parameters
        ----------
        name
            The topic.
        queue_type
            ``classic`` or ``quorum``.
        max_priority
            1 to 255: gives a classic queue priorities; quorum queues have their own.
        message_ttl
            Seconds after which messages that are not delivered are dead-lettered.

        Raises
        ------
        TopicConflict
            It exists and is not so; it stays as it is.
        InvalidTopic, ReadOnly
            Nothing was changed.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.create_topic("emails", max_priority=5)
        ...     cluster.topics()["topic"].tolist()
        ['emails']

        """
        check_name(name)
        self.broker.create_topic(
            name, queue_type=queue_type, max_priority=max_priority, message_ttl=message_ttl
        )
        self._named.add(name)

    def delete_topic(self, name: str, *, force: bool = False) -> int:
        """Delete a topic: its queue, its dead-letter queue, and its settings.

        Parameters
        ----------
        name
            The topic. Workers that consume every topic create ``default`` again.
        force
            Delete it with its messages, and although it has consumers.

        Returns
        -------
        int
            How many messages were deleted with it; 0 without *force*.

        Raises
        ------
        TopicInUse
            It has messages, ready or unacknowledged, or consumers; nothing was deleted.
        UnknownTopic
            It has neither queue.
        InvalidTopic, ReadOnly
            It is no topic, but a queue of one or of a program; or nothing may be changed.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.create_topic("emails")
        ...     cluster.delete_topic("emails")
        ...     cluster.broker.topic_exists("emails")
        0
        False

        """
        try:
            deleted = self.broker.delete_topic(name, force=force)
        except QueueNotFound:
            raise active_tasks.unknown_topic(self.broker, name) from None
        self._named.discard(name)
        return deleted

    def configure_topic(
        self,
        topic: str,
        *,
        concurrency_limit: int | Unchanged | None = UNCHANGED,
        max_retries: int | Unchanged | None = UNCHANGED,
        dead_letter_enabled: bool | Unchanged | None = UNCHANGED,
        retention_seconds: int | Unchanged | None = UNCHANGED,
    ) -> pd.DataFrame:
        """Change settings of a topic, keep them on the broker, and tell all workers.

        What is not given stays as it is; `None` takes a setting away.

        Parameters
        ----------
        topic
            The topic.
        concurrency_limit
            Tasks that run at once in the whole cluster; 0 pauses the topic. (Workers of fastpluggy
            hold it in each of their processes.)
        max_retries
            Attempts after the first, for tasks that do not say it themselves.
        dead_letter_enabled
            False drops what failed for good.
        retention_seconds
            For how long dead letters are kept.

        Returns
        -------
        pandas.DataFrame
            The settings of the topic, one row (schema `SETTINGS`).

        Raises
        ------
        UnknownTopic, InvalidTopic, ReadOnly
            Nothing was changed.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.create_topic("emails")
        ...     settings = cluster.configure_topic("emails", concurrency_limit=4)
        ...     settings[["topic", "concurrency_limit"]]
        settings: 1 row; from broker; memory://, layout taskworker
           topic   concurrency_limit
        0  emails                  4

        """
        check_name(topic)
        active_tasks.check_known(self.broker, self.broker.cluster_state(), topic)
        settings: dict[str, Any] = {
            "concurrency_limit": concurrency_limit,
            "max_retries": max_retries,
            "dead_letter_enabled": dead_letter_enabled,
            "retention_seconds": retention_seconds,
        }
        changed = {name: value for name, value in settings.items() if value is not UNCHANGED}
        before = self.broker.topic_settings().get(topic, TopicSettings())
        self.broker.configure_topic(topic, replace(before, **changed))
        self._named.add(topic)
        return _row_of(self.topic_settings(), "topic", topic)

    # --- locks ----------------------------------------------------------------------

    def force_release_lock(self, lock: str) -> bool:
        """Take a lock away from whoever has it.

        Its holder is not stopped: a task that still runs may go on using what the lock protects.
        Look at `locks` first, whether it is orphaned.

        Parameters
        ----------
        lock
            The name of the lock.

        Returns
        -------
        bool
            Whether anybody had it.

        Raises
        ------
        BrokerTimeout
            The holder is a worker of tasktools and does not let go.
        ReadOnly
            Nothing was changed.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     lock = cluster.broker.acquire_lock("nightly", "task-1", "worker-1")
        ...     cluster.force_release_lock("nightly")
        True

        """
        return self.broker.force_release_lock(lock)

    # --- workers --------------------------------------------------------------------

    def drain(self, worker_id: str, *, force: bool = False) -> pd.DataFrame:
        """Let a worker take no more tasks, and finish those that it runs.

        What it has fetched beyond goes back to its queue. `join_topic` ends the drain.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.
        force
            Command also a worker that is none of tasktools: it runs again what it has in hand, and
            never says whether it obeyed, so this returns at once.

        Returns
        -------
        pandas.DataFrame
            Its row of `workers` (schema `WORKERS`), once it says that it obeyed.

        Raises
        ------
        UnknownWorker, ReadOnly
            Nothing was sent.
        UnsafePeerCommand
            It is no worker of tasktools, and *force* is not set; nothing was sent.
        BrokerTimeout
            It did not say within 6 s that it obeyed; whether it will is not known.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:  # whose workers are none of tasktools
        ...     worker_id = cluster.workers()["worker_id"][0]
        ...     row = cluster.drain(worker_id, force=True)
        ...     row["worker_id"].tolist() == [worker_id]
        True

        """
        return self._command(worker_id, "drain", {}, lambda w: w.draining is True, force=force)

    def join_topic(self, worker_id: str, topic: str, *, force: bool = False) -> pd.DataFrame:
        """Let a worker consume one more topic, which is created if it is missing; ends a `drain`.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.
        topic
            The topic; ``"*"`` ends the drain of a worker that consumes every topic.
        force
            As of `drain`.

        Returns
        -------
        pandas.DataFrame
            Its row of `workers` (schema `WORKERS`), once it obeyed.

        Raises
        ------
        InvalidTopic
            Nothing was sent.
        UnknownWorker, ReadOnly, UnsafePeerCommand, BrokerTimeout
            As of `drain`.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:  # whose workers are none of tasktools
        ...     worker_id = cluster.workers()["worker_id"][0]
        ...     row = cluster.join_topic(worker_id, "sms", force=True)
        ...     row["worker_id"].tolist() == [worker_id]
        True

        """
        if topic != _EVERY_TOPIC:
            check_name(topic)

        def obeyed(worker: Worker) -> bool:
            return worker.draining is False if topic == _EVERY_TOPIC else topic in worker.topics

        return self._command(worker_id, "join_topic", {"topic": topic}, obeyed, force=force)

    def leave_topic(self, worker_id: str, topic: str, *, force: bool = False) -> pd.DataFrame:
        """Let a worker take nothing more of a topic; it finishes what it runs.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.
        topic
            The topic.
        force
            As of `drain`.

        Returns
        -------
        pandas.DataFrame
            Its row of `workers` (schema `WORKERS`), once it obeyed.

        Raises
        ------
        UnknownWorker, ReadOnly, UnsafePeerCommand, BrokerTimeout
            As of `drain`.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:  # whose workers are none of tasktools
        ...     worker_id = cluster.workers()["worker_id"][0]
        ...     row = cluster.leave_topic(worker_id, "emails", force=True)
        ...     row["worker_id"].tolist() == [worker_id]
        True

        """
        params = {"topic": topic}
        return self._command(
            worker_id, "leave_topic", params, lambda w: topic not in w.topics, force=force
        )

    def update_prefetch(
        self, worker_id: str, topic: str, prefetch: int, *, force: bool = False
    ) -> pd.DataFrame:
        """Let a worker hold at most so many messages of a topic.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.
        topic
            The topic.
        prefetch
            Messages, 1 or more.
        force
            As of `drain`.

        Returns
        -------
        pandas.DataFrame
            Its row of `workers` (schema `WORKERS`), once it has spoken again: no worker tells its
            prefetch.

        Raises
        ------
        ValueError
            *prefetch* is below 1; nothing was changed.
        UnknownWorker, ReadOnly, UnsafePeerCommand, BrokerTimeout
            As of `drain`.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:  # whose workers are none of tasktools
        ...     worker_id = cluster.workers()["worker_id"][0]
        ...     row = cluster.update_prefetch(worker_id, "emails", 8, force=True)
        ...     row["worker_id"].tolist() == [worker_id]
        True

        """
        if prefetch < 1:
            raise ValueError(f"prefetch is {prefetch}, not 1 or more; nothing was changed.")
        params = {"topic": topic, "prefetch": prefetch}
        return self._command(worker_id, "update_prefetch", params, lambda _: True, force=force)

    def _command(
        self,
        worker_id: str,
        action: Action,
        params: Mapping[str, Any],
        obeyed: Callable[[Worker], bool],
        *,
        force: bool,
    ) -> pd.DataFrame:
        state = self.broker.cluster_state(settle=known_workers.ONE_HEARTBEAT)
        worker = _live_worker(state, worker_id)
        if not worker.is_tasktools and not force:
            raise _unsafe(state, worker, action)
        self.broker.broadcast(
            Command(
                kind="tasktools_command" if worker.is_tasktools else "worker_command",
                sender_id=f"tasktools-{secrets.token_hex(4)}",
                target=worker_id,
                action=action,
                params=params,
            )
        )
        if worker.is_tasktools:
            self._await(worker, action, obeyed)
        return _row_of(self.workers(), "worker_id", worker_id)

    def _await(self, before: Worker, action: Action, obeyed: Callable[[Worker], bool]) -> None:
        """Wait for a heartbeat of the worker that shows that it *obeyed*."""
        deadline = self._clock.monotonic() + self.timing.obeyed
        while True:
            for worker in self.broker.cluster_state().workers:
                is_it = worker.worker_id == before.worker_id
                if is_it and worker.last_seen != before.last_seen and obeyed(worker):
                    return
            if self._clock.monotonic() >= deadline:
                raise BrokerTimeout(
                    f"Worker {before.worker_id!r} did not say within {self.timing.obeyed:g} s that "
                    f"it obeyed {action}; whether it will is not known. Look at workers()."
                )
            self._clock.sleep(_POLL_SECONDS)


def _row_of(frame: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    row = frame[frame[column] == name].reset_index(drop=True)
    row.attrs = frame.attrs
    return row


def _live_worker(state: ClusterState, worker_id: str) -> Worker:
    """Return the live worker *worker_id*; raises `UnknownWorker` if there is none."""
    workers = {known.worker_id: known for known in state.workers}
    worker = workers.get(worker_id)
    if worker is not None and is_live(worker):
        return worker
    if worker is None:
        why = f"There is no worker {worker_id!r}"
    elif worker.state == "stopped":
        why = f"Worker {worker_id!r} has stopped"
    else:
        why = f"Worker {worker_id!r} is gone, silent for {worker.silence or 0:.0f} s"
    live = (known.worker_id for known in live_workers(state.workers))
    hint = did_you_mean(worker_id, live) or "look at workers()."
    note = f" ({state.events.note})" if not state.events.ok and state.events.note else ""
    raise UnknownWorker(f"{why}{note}; nothing was sent: {hint}")


def _unsafe(state: ClusterState, worker: Worker, action: Action) -> UnsafePeerCommand:
    """Return the error that says what a command to a worker of fastpluggy would do."""
    own_workers = {w.worker_id for w in state.workers if w.is_tasktools}
    its = [task.task_id for task in state.running if task.worker_id == worker.worker_id]
    others = sum(task.worker_id not in {*own_workers, worker.worker_id} for task in state.running)
    if action == "join_topic":
        would = "every peer that has heard of it would consume the topic"
    else:
        would = (
            "every peer that has heard of it would close consumers and run again what it has not "
            "acknowledged"
        )
    named = ", ".join(its[:_MAX_NAMED_TASKS]) + (
        f" and {len(its) - _MAX_NAMED_TASKS} more" if len(its) > _MAX_NAMED_TASKS else ""
    )
    return UnsafePeerCommand(
        f"{action} was not sent to {worker.worker_id!r}, which is no worker of tasktools: {would}. "
        f"It runs {named or 'nothing'}; other peers run {others or 'no'} "
        f"task{'' if others == 1 else 's'}. "
        "Pass force=True (on the command line --force) to send it all the same."
    )
