"""The operator's commands to topics, workers and locks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal

from msgspec.structs import replace

from tasktools.cluster.overview import Overview
from tasktools.core import known_workers
from tasktools.core.dialects import registry
from tasktools.core.errors import (
    BrokerTimeout,
    CommandRefused,
    QueueNotFound,
    UnknownWorker,
    UnsafePeerCommand,
)
from tasktools.core.events import Command
from tasktools.core.lazy_imports import pd
from tasktools.core.models import ClusterState, QueueType, TopicSettings, Worker
from tasktools.core.suggestions import did_you_mean
from tasktools.core.timespans import in_words
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
_WITHOUT_REPLY: Final = ("shutdown",)


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
        """Create a topic, with the properties that cannot be changed later.

        A topic that exists with exactly these properties is left as it is.

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
            The topic exists with other properties; it was not changed.
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
            Delete the topic even if it has messages or consumers.

        Returns
        -------
        int
            The number of messages that were deleted with the topic; 0 without *force*.

        Raises
        ------
        TopicInUse
            The topic has messages, ready or unacknowledged, or consumers; nothing was deleted.
        UnknownTopic
            The topic has neither a queue nor a dead-letter queue.
        InvalidTopic, ReadOnly
            *name* is not a topic, but a dead-letter queue or a queue of a program; or the cluster
            is read-only.

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
        """Change settings of a topic, store them on the broker, and send them to all workers.

        Settings that are not given stay as they are; `None` removes a setting.

        Parameters
        ----------
        topic
            The topic.
        concurrency_limit
            Tasks that run at once in the whole cluster; 0 pauses the topic. (Workers of fastpluggy
            apply the limit in each of their processes.)
        max_retries
            Attempts after the first, for tasks that set no number themselves.
        dead_letter_enabled
            False drops tasks that failed for good.
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
        """Release a lock by force, whoever holds it.

        The holder is not stopped: a task that still runs may continue to use the protected
        resource. Check first in `locks` whether the lock is orphaned.

        Parameters
        ----------
        lock
            The name of the lock.

        Returns
        -------
        bool
            Whether the lock was held.

        Raises
        ------
        BrokerTimeout
            The holder is a worker of tasktools and does not release the lock.
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
        """Make a worker take no more tasks, and finish its running ones.

        Messages that it has fetched and not begun go back to their queues. `join_topic` ends the
        drain.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.
        force
            Send the command even to a worker that is not of tasktools. Such a worker runs its
            present tasks a second time, and does not report whether it has obeyed, so the call
            returns at once.

        Returns
        -------
        pandas.DataFrame
            The worker's row of `workers` (schema `WORKERS`), once it reports that it has obeyed.

        Raises
        ------
        UnknownWorker, ReadOnly
            Nothing was sent.
        UnsafePeerCommand
            The worker is not of tasktools, and *force* is not set; nothing was sent.
        BrokerTimeout
            The worker did not report within 6 s that it has obeyed; it may still obey.

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
        """Make a worker consume one more topic, which is created if it is missing; ends a `drain`.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.
        topic
            The topic; ``"*"`` ends the drain of a worker that consumes every topic.
        force
            As for `drain`.

        Returns
        -------
        pandas.DataFrame
            The worker's row of `workers` (schema `WORKERS`), once it has obeyed.

        Raises
        ------
        InvalidTopic
            Nothing was sent.
        UnknownWorker, ReadOnly, UnsafePeerCommand, BrokerTimeout
            As for `drain`.

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
        """Make a worker stop consuming a topic; its running tasks finish.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.
        topic
            The topic.
        force
            As for `drain`.

        Returns
        -------
        pandas.DataFrame
            The worker's row of `workers` (schema `WORKERS`), once it has obeyed.

        Raises
        ------
        UnknownWorker, ReadOnly, UnsafePeerCommand, BrokerTimeout
            As for `drain`.

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
        """Make a worker hold at most *prefetch* unacknowledged messages of a topic.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.
        topic
            The topic.
        prefetch
            Messages, 1 or more.
        force
            As for `drain`.

        Returns
        -------
        pandas.DataFrame
            The worker's row of `workers` (schema `WORKERS`), after its next heartbeat, which does
            not confirm the prefetch.

        Raises
        ------
        ValueError
            *prefetch* is below 1; nothing was changed.
        UnknownWorker, ReadOnly, UnsafePeerCommand, BrokerTimeout
            As for `drain`.

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
        if worker.dialect is not None:
            self.broker.check_writable(action)
            self._control(action, self._commanded(action, worker_id), params)
            self._await(worker, action, obeyed)
            return _row_of(self.workers(), "worker_id", worker_id)
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

    def _commanded(self, action: str, worker_id: str | None) -> list[str]:
        """Return the live workers that take the command *action*, or *worker_id* alone."""
        state = self.broker.cluster_state(settle=known_workers.ONE_HEARTBEAT)
        live = live_workers(state.workers)
        if worker_id is not None:
            live = [_live_worker(state, worker_id)]
        taking = [worker.worker_id for worker in live if action in _commands_of(worker)]
        if worker_id is not None and not taking:
            commands = ", ".join(_commands_of(live[0]))
            hint = f"It takes {commands}." if commands else registry.takers_of(action)
            raise CommandRefused(
                f"Worker {worker_id!r} does not take the command {action}; nothing was sent. {hint}"
            )
        if not taking:
            hint = registry.takers_of(action) if live else "Look at workers()."
            raise CommandRefused(
                f"No live worker takes the command {action}{_why_none(state)}; nothing was sent. "
                f"{hint}"
            )
        return taking

    def _control(self, action: str, workers: Sequence[str], params: Mapping[str, Any]) -> list[str]:
        """Send a command over the control channel of *workers*; return who refused it, and why."""
        wait = self.timing.obeyed
        replies = self.broker.command(action, workers, params, wait=wait)
        refusals = [f"{name} refused {action}: {why}" for name, why in replies.items() if why]
        if replies and len(refusals) == len(replies):
            raise CommandRefused(f"{'; '.join(refusals)}. Nothing was changed.")
        if not replies and action not in _WITHOUT_REPLY:
            raise BrokerTimeout(
                f"No worker replied within {wait:g} s whether it obeys {action}; whether any will "
                "is not known. Look at workers()."
            )
        silent = sorted(set(workers) - replies.keys()) if replies else []
        return [*refusals, *(f"{name} did not reply within {wait:g} s" for name in silent)]

    def _await(self, before: Worker, action: Action, obeyed: Callable[[Worker], bool]) -> None:
        """Wait for a heartbeat of the worker in which *obeyed* is true."""
        deadline = self._clock.monotonic() + self.timing.obeyed
        while True:
            for worker in self.broker.cluster_state().workers:
                is_it = worker.worker_id == before.worker_id
                if is_it and worker.last_seen != before.last_seen and obeyed(worker):
                    return
            if self._clock.monotonic() >= deadline:
                raise BrokerTimeout(
                    f"Worker {before.worker_id!r} did not confirm {action} within "
                    f"{self.timing.obeyed:g} s; whether it will obey is not known. Look at "
                    "workers()."
                )
            self._clock.sleep(_POLL_SECONDS)


def _commands_of(worker: Worker) -> Collection[str]:
    """Return the commands that *worker* takes over a control channel of its own."""
    return () if worker.dialect is None else registry.named(worker.dialect).commands


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
        why = f"Worker {worker_id!r} is gone, silent for {in_words(worker.silence or 0)}"
    live = (known.worker_id for known in live_workers(state.workers))
    hint = did_you_mean(worker_id, live) or "look at workers(), or tasktools workers."
    raise UnknownWorker(f"{why}{_why_none(state)}; nothing was sent: {hint}")


def _why_none(state: ClusterState) -> str:
    """Return in brackets why workers may be there of which no events are received, or ""; events of
    Celery alone may be missing."""
    is_certain = state.events.ok and not state.without_events
    return f" ({state.events.note})" if state.events.note and not is_certain else ""


def _unsafe(state: ClusterState, worker: Worker, action: Action) -> UnsafePeerCommand:
    """Return the error that says what a command to a worker of fastpluggy would do."""
    own_workers = {w.worker_id for w in state.workers if w.is_tasktools}
    its = [task.task_id for task in state.running if task.worker_id == worker.worker_id]
    others = sum(task.worker_id not in {*own_workers, worker.worker_id} for task in state.running)
    if action == "join_topic":
        would = "every peer that knows it would consume the topic"
    else:
        would = (
            "every peer that knows it would close consumers and run again what it has not "
            "acknowledged"
        )
    named = ", ".join(its[:_MAX_NAMED_TASKS]) + (
        f" and {len(its) - _MAX_NAMED_TASKS} more" if len(its) > _MAX_NAMED_TASKS else ""
    )
    return UnsafePeerCommand(
        f"{action} was not sent to {worker.worker_id!r}, which is no worker of tasktools: {would}. "
        f"It runs {named or 'nothing'}; other peers run {others or 'no'} "
        f"task{'' if others == 1 else 's'}. "
        "Pass force=True (on the command line --force) to send it anyway."
    )
