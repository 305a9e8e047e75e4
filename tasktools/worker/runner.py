"""The runner: consumes topics, executes their tasks, and can be trusted with them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Final, Self

from tasktools.brokers.base import Broker
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.errors import BrokerError
from tasktools.core.events import WorkerReport
from tasktools.core.models import TopicSettings
from tasktools.worker.execution import Execution
from tasktools.worker.presence import Presence
from tasktools.worker.registry import DEFAULT, TaskRegistry
from tasktools.worker.slots import Slots
from tasktools.worker.steward import Steward
from tasktools.worker.subscriptions import Subscriptions
from tasktools.worker.tally import Tally

_log = logging.getLogger("tasktools.worker")

_GLANCE: Final = 0.05


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
        if capacity < 1 or (prefetch is not None and prefetch < 1):
            raise ValueError("capacity and prefetch are 1 or more; nothing was started.")
        self.worker_id = worker_id or _new_worker_id()
        self._broker = broker
        self._grace = grace
        self._prefetch = prefetch
        self._clock = clock or SystemClock()
        self._started_at = self._clock.time()
        self._version = importlib.metadata.version("tasktools-ops")
        sender_id = f"tasktools-{secrets.token_hex(4)}"
        tasks = DEFAULT if registry is None else registry
        self._tally = Tally()
        self._presence = Presence(broker, self._report, sender_id, self._clock)
        self._execution = Execution(
            broker,
            tasks,
            worker_id=self.worker_id,
            sender_id=sender_id,
            presence=self._presence,
            tally=self._tally,
            settings=self._settings,
            time_limit=time_limit,
            clock=self._clock,
        )
        self._slots = Slots(self._execution.handle, capacity)
        self._subscriptions = Subscriptions(
            broker,
            topics,
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
        self._asked = threading.Event()
        self._hurry = threading.Event()
        self._stopping = threading.Lock()
        self._running = False
        self._given_back = 0

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
        with self._signals():
            self.start()
            self._asked.wait()
            return self.stop()

    def start(self) -> None:
        """Begin to work, in threads of its own.

        Raises `BrokerError` when a topic cannot be consumed; then nothing was started.
        """
        self._running = True
        self._slots.start()
        try:
            self._subscriptions.start()
        except BaseException:
            self._halt()
            raise
        self._presence.start()
        self._steward.start()
        _log.info(
            "worker %s: capacity %d, topics %s",
            self.worker_id,
            self.capacity,
            ", ".join(self._subscriptions.topics) or "none yet",
        )

    def stop(self, grace: float | None = None) -> int:
        """Take no new tasks, let the running ones end within *grace* seconds, and leave.

        What was not begun goes back to its place; what does not end is given back and runs
        again elsewhere. Returns how many of these there were. Idempotent.
        """
        with self._stopping:
            if self._running:
                self._running = False
                self._given_back = self._stop(self._grace if grace is None else grace)
            self._asked.set()
            return self._given_back

    def _stop(self, grace: float) -> int:
        _log.info("stopping; %d tasks run", len(self._tally.running))
        self._steward.stop()
        self._subscriptions.drain()
        self._slots.close()
        deadline = time.monotonic() + grace
        while self._slots.busy and time.monotonic() < deadline and not self._hurry.is_set():
            self._hurry.wait(_GLANCE)
        self._execution.stop()
        unfinished = self._tally.running
        for delivery_id, task in unfinished.items():
            _log.warning("task %s did not end in time and will run again", task.task_id)
            self._nack(delivery_id)
        self._execution.close()
        self._presence.stop()
        _log.info("stopped")
        return len(unfinished)

    def _halt(self) -> None:
        """Undo a start that failed."""
        self._running = False
        self._subscriptions.drain()
        self._slots.close()
        self._execution.close()

    def _give_back(self, topic: str | None) -> None:
        for delivery in self._slots.take_back(topic):
            self._nack(delivery.id)

    def _nack(self, delivery_id: str) -> None:
        with contextlib.suppress(BrokerError):  # then it is lost to us, and comes again
            self._broker.nack(delivery_id, count_attempt=False)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(_number: int, _frame: FrameType | None) -> None:
            if self._asked.is_set():
                self._hurry.set()
            self._asked.set()

        before = {number: signal.signal(number, handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _settings(self, topic: str) -> TopicSettings:
        return self._subscriptions.settings(topic)

    def _report(self) -> WorkerReport:
        running = self._tally.running_tasks()
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


_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def _new_worker_id() -> str:
    return f"tasktools:{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"
