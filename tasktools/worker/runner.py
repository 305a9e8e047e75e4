"""The task runner: consumes topics and executes their tasks without losing any."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterable
from typing import Final, Literal, Self

from tasktools.brokers.base import Broker
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.errors import BrokerError
from tasktools.core.events import WorkerReport
from tasktools.core.models import RetryRule, TopicSettings
from tasktools.worker.control import ControlThread
from tasktools.worker.executor import Execution
from tasktools.worker.heartbeat import Heartbeat
from tasktools.worker.intervals import DEFAULT_INTERVALS, Intervals
from tasktools.worker.poison import BeginCounts
from tasktools.worker.registry import DEFAULT, TaskRegistry
from tasktools.worker.settlement import Settlement
from tasktools.worker.signals import Signals
from tasktools.worker.subscriptions import Subscriptions
from tasktools.worker.task_counts import TaskCounts
from tasktools.worker.thread_pool import ThreadPool

_log = logging.getLogger("tasktools.worker")

POISON_LIMIT: Final = 5
"""Begins without an end after which a task is dead-lettered."""
_MAX_RULES: Final = 200


class TaskRunner:
    """A worker that executes tasks until it is stopped.

    Parameters
    ----------
    broker
        The broker whose topics are consumed.
    topics
        Names of topics; those that are missing are created. ``"*"`` stands for every topic that
        can be known, also later ones.
    capacity
        Number of tasks that run at once.
    registry
        The tasks; by default those that `tasktools.task` has registered.
    worker_id
        The worker's name for others; made up by default.
    grace
        Seconds that running tasks have to end after `stop`; then they are given back and run
        again elsewhere.
    time_limit
        Seconds that a task without a limit of its own may take.
    prefetch
        Largest number of unacknowledged messages per topic; by default the capacity.
        A worker of several topics may hold so many of each while others idle;
        `tasktools.capacity.solve` says what that costs.
    poison_limit
        Number of times that a redelivered task may begin without an end, because its worker's
        process ended each time, before it is dead-lettered as ``poison``; `None` for no limit. The
        first delivery does not count, nor do tasks that a worker gave back when it stopped. The
        broker counts in a queue ``tasktools.begun.…`` for each such task; a quorum queue's
        delivery limit holds as well.
    clock
        The source of time; the system's by default.
    intervals
        How often things are checked and retried.

    Raises
    ------
    TypeError, ValueError
        An argument makes no sense; nothing was started.

    Examples
    --------
    >>> import tasktools as tt
    >>> registry, greeted = tt.TaskRegistry(), []
    >>> @registry.task()
    ... def greet(name: str) -> None:
    ...     greeted.append(name)
    >>> with tt.connect("memory://") as cluster:
    ...     _ = cluster.publish("emails", "greet", kwargs={"name": "Ann"}, create=True)
    ...     with tt.TaskRunner(broker=cluster.broker, topics=["emails"], registry=registry):
    ...         while not greeted:
    ...             pass
    >>> greeted
    ['Ann']

    """

    def __init__(  # noqa: PLR0913 - one an option
        self,
        *,
        broker: Broker,
        topics: Iterable[str],
        capacity: int = 4,
        registry: TaskRegistry | None = None,
        worker_id: str | None = None,
        grace: float = 30.0,
        time_limit: float | None = None,
        prefetch: int | None = None,
        poison_limit: int | None = POISON_LIMIT,
        clock: Clock | None = None,
        intervals: Intervals = DEFAULT_INTERVALS,
    ) -> None:
        if isinstance(topics, str):
            raise TypeError(f"topics is a list of names, like [{topics!r}]; nothing was started.")
        requested = tuple(topics)
        _check(requested, capacity, prefetch, grace, time_limit)
        if poison_limit is not None and poison_limit < 1:
            raise ValueError("poison_limit is 1 or more, or None; nothing was started.")
        self.worker_id = worker_id or _new_worker_id()
        self._broker = broker
        self._grace = grace
        self._prefetch = prefetch
        self._clock = clock or SystemClock()
        self._started_at = self._clock.time()
        self._version = _version()
        sender_id = f"tasktools-{secrets.token_hex(4)}"
        tasks = DEFAULT if registry is None else registry
        self._retries = _retries(tasks)
        self._counts = TaskCounts()
        self._heartbeat = Heartbeat(broker, self._report, sender_id, intervals)
        self._settlement = Settlement(
            broker,
            self.worker_id,
            settings=self._settings,
            heartbeat=self._heartbeat,
            clock=self._clock,
            intervals=intervals,
        )
        self._execution = Execution(
            broker,
            tasks,
            worker_id=self.worker_id,
            sender_id=sender_id,
            heartbeat=self._heartbeat,
            settlement=self._settlement,
            counts=self._counts,
            begins=BeginCounts(broker, poison_limit),
            time_limit=time_limit,
            clock=self._clock,
        )
        self._waited_enough = threading.Event()
        self._pool = ThreadPool(self._execution.handle, capacity, self._waited_enough.set)
        self._subscriptions = Subscriptions(
            broker,
            requested,
            always=tasks.topics,
            receive=self._pool.put,
            give_back=self._give_back,
            prefetch=prefetch or capacity,
        )
        self._control = ControlThread(
            broker,
            self.worker_id,
            sender_id=sender_id,
            subscriptions=self._subscriptions,
            heartbeat=self._heartbeat,
            report=self._report,
            intervals=intervals,
        )
        self._state: Literal["new", "running", "stopped"] = "new"
        self._changing = threading.Lock()
        self._signals = Signals()
        self._unfinished = 0

    def __repr__(self) -> str:
        topics = ", ".join(self._subscriptions.topics)
        return f"<TaskRunner {self.worker_id} capacity={self.capacity} topics={topics}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are consumed now."""
        return self._subscriptions.topics

    @property
    def capacity(self) -> int:
        """The number of tasks that run at once.

        Can be set while the worker runs: an increase holds at once, a decrease as tasks end.
        """
        return self._pool.capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, not 1 or more; nothing was changed.")
        self._pool.resize(capacity)
        if self._prefetch is None:
            self._subscriptions.set_default_prefetch(capacity)
        self._heartbeat.beat()

    # --- running --------------------------------------------------------------------

    def run(self) -> int:
        """Work until SIGTERM, SIGINT or `stop`; returns how many tasks were given back
        unfinished. A second signal does not wait for running tasks.

        In another thread than the main one, signals are left alone. Raises what `start` raises.
        """
        with self._signals.signals():
            self.start()
            self._signals.wait()  # a signal, or somebody has called stop()
            stopping = threading.Thread(target=self.stop, name="tasktools-stop")
            stopping.start()
            self._signals.wait()  # until the runner has stopped, or a second signal comes
            self._waited_enough.set()
            stopping.join()
        return self._unfinished

    def start(self) -> None:
        """Begin to work, in threads of its own; `stop` ends it. A runner starts once.

        Raises `TaskToolsError` when it cannot listen or a topic cannot be consumed; then nothing
        is left running.
        """
        with self._changing:
            if self._state != "new":
                raise RuntimeError(f"This runner is {self._state}; make a new one.")
            self._state = "stopped"
            with contextlib.ExitStack() as undo:
                undo.callback(self._execution.close)
                undo.callback(self._pool.close)
                self._pool.start()
                undo.callback(self._control.stop)
                self._control.listen()
                undo.callback(self._subscriptions.drain)
                self._subscriptions.start()
                undo.pop_all()
            self._heartbeat.start()
            self._control.start()
            self._state = "running"
        topics = ", ".join(self.topics)
        _log.info("worker %s: capacity %d, topics %s", self.worker_id, self.capacity, topics)

    def stop(self, grace: float | None = None) -> int:
        """Take no new tasks, let running tasks end within *grace* seconds, and stop the worker.

        Tasks that have not begun go back to their places. Tasks that do not end in time are given
        back and run again elsewhere, while here they run on until the process ends (coroutines are
        cancelled). Returns the number of the latter. From any thread; idempotent.
        """
        with self._changing:
            if self._state == "running":
                self._stop(self._grace if grace is None else grace)
            self._state = "stopped"
            self._signals.ring()
            return self._unfinished

    def _stop(self, grace: float) -> None:
        _log.info("stopping; %d tasks run", len(self._counts.running()))
        self._control.stop()
        self._subscriptions.drain()
        self._pool.close()
        self._waited_enough.wait(grace)
        self._settlement.stop()
        self._unfinished = self._give_back_unfinished()
        self._give_back(None)
        self._execution.close()
        self._heartbeat.stop()
        _log.info("stopped")

    def _give_back_unfinished(self) -> int:
        unfinished = self._counts.give_up()
        for delivery_id, task in unfinished.items():
            _log.warning("task %s did not end in time and will run again", task.task_id)
            self._nack(delivery_id)
            self._execution.given_back(delivery_id, task)
        return len(unfinished)

    def _give_back(self, topic: str | None) -> None:
        for delivery in self._pool.take_back(topic):
            self._nack(delivery.id)

    def _nack(self, delivery_id: str) -> None:
        with contextlib.suppress(BrokerError):  # then it is lost to us, and comes again
            self._broker.nack(delivery_id, count_attempt=False)

    def _settings(self, topic: str) -> TopicSettings:
        return self._subscriptions.settings(topic)

    def _report(self) -> WorkerReport:
        running = self._counts.running()
        succeeded, failed = self._counts.counts()
        return WorkerReport(
            worker_id=self.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            role="worker",
            capacity=self.capacity,
            running=len(running),
            topics=self._subscriptions.topics,
            started_at=self._started_at,
            last_heartbeat=self._clock.time(),
            running_tasks=running,
            succeeded=succeeded.total(),
            failed=failed.total(),
            finished_per_topic=succeeded + failed,
            failed_per_topic=failed,
            requested_topics=self._subscriptions.requested,
            tasktools=self._version,
            draining=self._subscriptions.draining,
            prefetch=self._subscriptions.prefetch,
            retries=self._retries,
        )


def _check(
    topics: tuple[str, ...],
    capacity: int,
    prefetch: int | None,
    grace: float,
    time_limit: float | None,
) -> None:
    if not topics:
        raise ValueError("a runner has one topic at least; nothing was started.")
    if capacity < 1 or (prefetch is not None and prefetch < 1):
        raise ValueError("capacity and prefetch are 1 or more; nothing was started.")
    if not grace >= 0 or (time_limit is not None and not time_limit > 0):
        raise ValueError("grace is 0 or more, time_limit more than 0; nothing was started.")


def _retries(tasks: TaskRegistry) -> dict[str, RetryRule]:
    """Return the rules of *tasks* for heartbeats, which more than 200 would make too long."""
    if len(tasks) > _MAX_RULES:
        return {}
    return {task.name: RetryRule(task.max_retries, task.retry_delay) for task in tasks}


def _new_worker_id() -> str:
    return f"tasktools:{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"


def _version() -> str:
    from importlib.metadata import version  # slow to import

    return version("tasktools-ops")
