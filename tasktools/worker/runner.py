"""The runner: consumes topics, executes their tasks, and can be trusted with them."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterable
from typing import Literal, Self

from tasktools.brokers.base import Broker
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.errors import BrokerError
from tasktools.core.events import WorkerReport
from tasktools.core.models import TopicSettings
from tasktools.worker.bell import Bell
from tasktools.worker.execution import Execution
from tasktools.worker.presence import Presence
from tasktools.worker.registry import DEFAULT, TaskRegistry
from tasktools.worker.settling import Settling
from tasktools.worker.slots import Slots
from tasktools.worker.steward import Steward
from tasktools.worker.subscriptions import Subscriptions
from tasktools.worker.tally import Tally

_log = logging.getLogger("tasktools.worker")


class TaskRunner:
    """A worker: executes the tasks of *topics*, *capacity* at a time, until it is stopped.

    *topics* are created where they are missing; ``"*"`` stands for every topic that can be
    known, also those to come. The tasks are those of *registry*, by default the one that
    `tasktools.task` fills. *worker_id* names it to others. *grace*: seconds that running tasks
    have to end when it is stopped; then they are given back, and run again elsewhere.
    *time_limit*: seconds that a task may take which has no limit of its own. *prefetch*:
    messages of a topic that it holds at most, by default the capacity.

    ::

        TaskRunner(broker=get_broker(), topics=["emails"], capacity=4).run()
    """

    def __init__(
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
        clock: Clock | None = None,
    ) -> None:
        if isinstance(topics, str):
            raise TypeError(f"topics is a list of names, like [{topics!r}]; nothing was started.")
        requested = tuple(topics)
        _check(requested, capacity, prefetch, grace, time_limit)
        self.worker_id = worker_id or _new_worker_id()
        self._broker = broker
        self._grace = grace
        self._prefetch = prefetch
        self._clock = clock or SystemClock()
        self._started_at = self._clock.time()
        self._version = _version()
        sender_id = f"tasktools-{secrets.token_hex(4)}"
        tasks = DEFAULT if registry is None else registry
        self._tally = Tally()
        self._presence = Presence(broker, self._report, sender_id)
        self._settling = Settling(
            broker,
            self.worker_id,
            settings=self._settings,
            presence=self._presence,
            clock=self._clock,
        )
        self._execution = Execution(
            broker,
            tasks,
            worker_id=self.worker_id,
            sender_id=sender_id,
            presence=self._presence,
            settling=self._settling,
            tally=self._tally,
            time_limit=time_limit,
            clock=self._clock,
        )
        self._waited_enough = threading.Event()
        self._slots = Slots(self._execution.handle, capacity, self._waited_enough.set)
        self._subscriptions = Subscriptions(
            broker,
            requested,
            always=tasks.topics,
            receive=self._slots.put,
            give_back=self._give_back,
            prefetch=prefetch or capacity,
        )
        self._steward = Steward(
            broker,
            self.worker_id,
            sender_id=sender_id,
            subscriptions=self._subscriptions,
            presence=self._presence,
            report=self._report,
        )
        self._state: Literal["new", "running", "stopped"] = "new"
        self._changing = threading.Lock()
        self._bell = Bell()
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
        """How many tasks run at once. Can be set while it runs: more begin at once, fewer as
        tasks end."""
        return self._slots.capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, not 1 or more; nothing was changed.")
        self._slots.resize(capacity)
        if self._prefetch is None:
            self._subscriptions.set_default_prefetch(capacity)
        self._presence.beat()

    # --- running --------------------------------------------------------------------

    def run(self) -> int:
        """Work until SIGTERM, SIGINT or `stop`; returns how many tasks were given back
        unfinished. A second signal does not wait for running tasks.

        In another thread than the main one, signals are left alone. Raises what `start` raises.
        """
        with self._bell.signals():
            self.start()
            self._bell.wait()  # a signal, or somebody has called stop()
            stopping = threading.Thread(target=self.stop, name="tasktools-stop")
            stopping.start()
            self._bell.wait()  # it has stopped, or a second signal
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
                undo.callback(self._slots.close)
                self._slots.start()
                undo.callback(self._steward.stop)
                self._steward.listen()
                undo.callback(self._subscriptions.drain)
                self._subscriptions.start()
                undo.pop_all()
            self._presence.start()
            self._steward.start()
            self._state = "running"
        topics = ", ".join(self.topics)
        _log.info("worker %s: capacity %d, topics %s", self.worker_id, self.capacity, topics)

    def stop(self, grace: float | None = None) -> int:
        """Take no new tasks, let the running ones end within *grace* seconds, and leave.

        What was not begun goes back to its place; what does not end is given back and runs
        again elsewhere, while here it runs on until the process ends (coroutines are
        cancelled). Returns how many of these there were. From any thread; idempotent.
        """
        with self._changing:
            if self._state == "running":
                self._stop(self._grace if grace is None else grace)
            self._state = "stopped"
            self._bell.ring()
            return self._unfinished

    def _stop(self, grace: float) -> None:
        _log.info("stopping; %d tasks run", len(self._tally.running()))
        self._steward.stop()
        self._subscriptions.drain()
        self._slots.close()
        self._waited_enough.wait(grace)
        self._settling.stop()
        self._unfinished = self._give_back_unfinished()
        self._give_back(None)
        self._execution.close()
        self._presence.stop()
        _log.info("stopped")

    def _give_back_unfinished(self) -> int:
        unfinished = self._tally.give_up()
        for delivery_id, task in unfinished.items():
            _log.warning("task %s did not end in time and will run again", task.task_id)
            self._nack(delivery_id)
            self._execution.tell_given_back(task)
        return len(unfinished)

    def _give_back(self, topic: str | None) -> None:
        for delivery in self._slots.take_back(topic):
            self._nack(delivery.id)

    def _nack(self, delivery_id: str) -> None:
        with contextlib.suppress(BrokerError):  # then it is lost to us, and comes again
            self._broker.nack(delivery_id, count_attempt=False)

    def _settings(self, topic: str) -> TopicSettings:
        return self._subscriptions.settings(topic)

    def _report(self) -> WorkerReport:
        running = self._tally.running()
        succeeded, failed = self._tally.counts()
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


def _new_worker_id() -> str:
    return f"tasktools:{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"


def _version() -> str:
    from importlib.metadata import version  # slow to import

    return version("tasktools-ops")
