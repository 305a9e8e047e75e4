"""The operator's commands, to topics, workers and locks: what `Cluster` can do but look and
publish."""

from __future__ import annotations

import difflib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, Literal

import pandas as pd
from msgspec.structs import replace

from tasktools.brokers.base import Broker
from tasktools.core import cluster_view
from tasktools.core.clock import Clock
from tasktools.core.errors import (
    BrokerTimeout,
    UnknownWorker,
    UnsafePeerCommand,
)
from tasktools.core.events import Command
from tasktools.core.models import ClusterState, QueueType, TopicSettings, Worker
from tasktools.core.topics import check_name
from tasktools.ops import tasks

Action = Literal["drain", "join_topic", "leave_topic", "update_prefetch"]


class Unchanged(Enum):
    """What a setting that is not given is."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Unchanged.UNCHANGED

_PATIENCE: Final = 6.0
"""Seconds a worker has to obey: it beats at once when it did, else every 3 s."""
_GLANCE: Final = 0.05
_ALL: Final = "*"
_MOST_NAMED: Final = 10


class Commands(ABC):
    """The part of `Cluster` that changes topics, workers and locks.

    On a cluster opened with ``read_only=True`` all of these raise `ReadOnly`.
    """

    broker: Broker
    _clock: Clock
    _named: set[str]

    @abstractmethod
    def workers(self) -> pd.DataFrame:
        """Return one row a worker (schema `WORKERS`)."""

    @abstractmethod
    def topic_settings(self) -> pd.DataFrame:
        """Return one row a topic that has settings (schema `SETTINGS`)."""

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

        *queue_type* is ``classic`` or ``quorum``. *max_priority* (1 to 255) gives a classic queue
        priorities; quorum queues have their own. Messages that are not delivered within
        *message_ttl* seconds are dead-lettered. A topic that exists and is exactly so is fine;
        one that is not raises `TopicConflict` and stays as it is. Raises `InvalidTopic`,
        `ReadOnly`.
        """
        check_name(name)
        self.broker.create_topic(
            name, queue_type=queue_type, max_priority=max_priority, message_ttl=message_ttl
        )
        self._named.add(name)

    def configure_topic(
        self,
        topic: str,
        *,
        concurrency_limit: int | Unchanged | None = UNCHANGED,
        max_retries: int | Unchanged | None = UNCHANGED,
        dead_letter_enabled: bool | Unchanged | None = UNCHANGED,
        retention_seconds: int | Unchanged | None = UNCHANGED,
    ) -> pd.DataFrame:
        """Change settings of a topic, keep them on the broker, tell all workers, and return them
        (schema `SETTINGS`, one row).

        What is not given stays as it is; `None` takes a setting away. *concurrency_limit*: tasks
        that run at once in the whole cluster; 0 pauses the topic. (Peers hold it in each of their
        processes.) *max_retries*: tries after the first, for tasks that do not say it
        themselves. *dead_letter_enabled*: false drops what failed for good.
        *retention_seconds*: for how long dead letters are kept. Raises `UnknownTopic`,
        `InvalidTopic`, `ReadOnly`.
        """
        check_name(topic)
        tasks.check_known(self.broker, self.broker.cluster_state(), topic)
        given: dict[str, Any] = {
            "concurrency_limit": concurrency_limit,
            "max_retries": max_retries,
            "dead_letter_enabled": dead_letter_enabled,
            "retention_seconds": retention_seconds,
        }
        changed = {name: value for name, value in given.items() if value is not UNCHANGED}
        before = self.broker.topic_settings().get(topic, TopicSettings())
        self.broker.configure_topic(topic, replace(before, **changed))
        self._named.add(topic)
        return _row_of(self.topic_settings(), "topic", topic)

    # --- locks ----------------------------------------------------------------------

    def force_release_lock(self, lock: str) -> bool:
        """Take the lock away from whoever has it; returns whether anybody had.

        Its holder is not stopped: a task that still runs may go on using what the lock protects.
        Look at `locks()` first, whether it is orphaned. Raises `ReadOnly`, and `BrokerTimeout`
        when the holder is one of ours and does not let go.
        """
        return self.broker.force_release_lock(lock)

    # --- workers --------------------------------------------------------------------

    def drain(self, worker_id: str, *, force: bool = False) -> pd.DataFrame:
        """Let a worker take no more tasks and finish those that it runs (what it holds beyond
        goes back); returns its row of `workers()` once it says that it does so.

        `join_topic` ends it. Raises as all commands to workers do: `UnknownWorker`; `ReadOnly`;
        `BrokerTimeout` when the worker does not say within 6 s that it obeyed;
        `UnsafePeerCommand` when it is no worker of tasktools, since a peer's workers run what
        they have in hand twice then. With *force* a peer is commanded all the same; peers never
        say whether they obeyed, so that returns at once.
        """
        return self._command(worker_id, "drain", {}, lambda w: w.draining is True, force=force)

    def join_topic(self, worker_id: str, topic: str, *, force: bool = False) -> pd.DataFrame:
        """Let a worker consume *topic*, too, which is created if it is missing; ends a `drain`.

        ``"*"`` ends the drain of a worker that consumes every topic. Returns its row once it
        does as told. Raises as `drain` does, and `InvalidTopic`.
        """
        if topic != _ALL:
            check_name(topic)

        def obeyed(worker: Worker) -> bool:
            return worker.draining is False if topic == _ALL else topic in worker.topics

        return self._command(worker_id, "join_topic", {"topic": topic}, obeyed, force=force)

    def leave_topic(self, worker_id: str, topic: str, *, force: bool = False) -> pd.DataFrame:
        """Let a worker take nothing more of *topic*; it finishes what it runs.

        Returns its row once it did so. Raises as `drain` does.
        """
        params = {"topic": topic}
        return self._command(
            worker_id, "leave_topic", params, lambda w: topic not in w.topics, force=force
        )

    def update_prefetch(
        self, worker_id: str, topic: str, prefetch: int, *, force: bool = False
    ) -> pd.DataFrame:
        """Let a worker hold at most *prefetch* messages of *topic* (1 or more).

        No worker tells its prefetch, so the row is returned once it has spoken again. Raises as
        `drain` does, and `ValueError`.
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
        state = self.broker.cluster_state(settle=cluster_view.ONE_HEARTBEAT)
        worker = _live_worker(state, worker_id)
        if not worker.ours and not force:
            raise _unsafe(state, worker, action)
        self.broker.broadcast(
            Command(
                kind="tasktools_command" if worker.ours else "worker_command",
                sender_id=f"tasktools-{secrets.token_hex(4)}",
                target=worker_id,
                action=action,
                params=params,
            )
        )
        if worker.ours:
            self._await(worker, action, obeyed)
        return _row_of(self.workers(), "worker_id", worker_id)

    def _await(self, before: Worker, action: Action, obeyed: Callable[[Worker], bool]) -> None:
        """Wait until the worker was heard again, and as one that *obeyed*."""
        deadline = self._clock.time() + _PATIENCE
        while True:
            for worker in self.broker.cluster_state().workers:
                is_it = worker.worker_id == before.worker_id
                if is_it and worker.last_seen != before.last_seen and obeyed(worker):
                    return
            if self._clock.time() >= deadline:
                raise BrokerTimeout(
                    f"Worker {before.worker_id!r} did not say within {_PATIENCE:g} s that it "
                    f"obeyed {action}; whether it will is not known. Look at workers()."
                )
            self._clock.sleep(_GLANCE)


def _row_of(frame: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    row = frame[frame[column] == name].reset_index(drop=True)
    row.attrs = frame.attrs
    return row


def _live_worker(state: ClusterState, worker_id: str) -> Worker:
    """Return the worker of that name; raises `UnknownWorker` unless it lives."""
    workers = {worker.worker_id: worker for worker in state.workers}
    found = workers.get(worker_id)
    if found is not None and found.state in ("alive", "late"):
        return found
    if found is None:
        why = f"There is no worker {worker_id!r}"
    elif found.state == "stopped":
        why = f"Worker {worker_id!r} has stopped"
    else:
        why = f"Worker {worker_id!r} is gone, silent for {found.silence or 0:.0f} s"
    live = sorted(name for name, worker in workers.items() if worker.state in ("alive", "late"))
    close = difflib.get_close_matches(worker_id, live, n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "look at workers()."
    note = f" ({state.events.note})" if not state.events.ok and state.events.note else ""
    raise UnknownWorker(f"{why}{note}; nothing was sent: {hint}")


def _unsafe(state: ClusterState, worker: Worker, action: Action) -> UnsafePeerCommand:
    """Say what a command to a peer would do."""
    ours = {w.worker_id for w in state.workers if w.ours}
    its = [task.task_id for task in state.running if task.worker_id == worker.worker_id]
    others = sum(task.worker_id not in {*ours, worker.worker_id} for task in state.running)
    if action == "join_topic":
        would = "every peer that has heard of it would consume the topic"
    else:
        would = (
            "every peer that has heard of it would close consumers and run again what it has not "
            "acknowledged"
        )
    named = ", ".join(its[:_MOST_NAMED]) + (
        f" and {len(its) - _MOST_NAMED} more" if len(its) > _MOST_NAMED else ""
    )
    return UnsafePeerCommand(
        f"{action} was not sent to {worker.worker_id!r}, which is no worker of tasktools: {would}. "
        f"It runs {named or 'nothing'}; other peers run {others or 'no'} "
        f"task{'' if others == 1 else 's'}. "
        "Pass force=True (on the command line --force) to send it all the same."
    )
