"""Execution of one delivery, from the message to its settlement.

The delivery is settled only after the result is there: acknowledged when the task succeeded,
requeued with a delay when it is to be tried again, else put into the dead-letter queue with what
went wrong. A message that is no task, or whose task is not registered, goes there at once. Each try
has one event `task_started` and one `task_completed` or `task_failed`, also when another try
follows.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from contextvars import Context
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from tasktools.brokers.base import Broker, HeldLock
from tasktools.core.clock import Clock, moment
from tasktools.core.errors import BrokerError
from tasktools.core.events import TaskEvent
from tasktools.core.models import Delivery, TaskMessage
from tasktools.worker import failure
from tasktools.worker.context import CURRENT, CurrentTask
from tasktools.worker.failure import Trouble
from tasktools.worker.heartbeat import Heartbeat
from tasktools.worker.poison import BeginCounts
from tasktools.worker.registry import Task, TaskRegistry
from tasktools.worker.settlement import Settlement
from tasktools.worker.task_counts import TaskCounts
from tasktools.worker.time_limit import Deadlines, Interruption, TimeLimitExceeded

if TYPE_CHECKING:
    from tasktools.worker.async_loop import Loop

_log = logging.getLogger("tasktools.worker")

TaskEventKind = Literal["task_started", "task_completed", "task_failed"]


class Execution:
    """Handles deliveries, in the threads that call it."""

    def __init__(  # noqa: PLR0913 - one for each part of the runner
        self,
        broker: Broker,
        registry: TaskRegistry,
        *,
        worker_id: str,
        sender_id: str,
        heartbeat: Heartbeat,
        settlement: Settlement,
        counts: TaskCounts,
        begins: BeginCounts,
        time_limit: float | None,
        clock: Clock,
    ) -> None:
        self._broker = broker
        self._registry = registry
        self._worker_id = worker_id
        self._sender_id = sender_id
        self._heartbeat = heartbeat
        self._settlement = settlement
        self._counts = counts
        self._begins = begins
        self._time_limit = time_limit
        self._clock = clock
        self._deadlines = Deadlines()
        self._loop: Loop | None = None
        self._is_closed = False
        self._starting = threading.Lock()

    def close(self) -> None:
        """End the threads behind tasks: cancel coroutines; functions run on."""
        self._deadlines.close()
        with self._starting:
            self._is_closed = True
        if self._loop is not None:
            self._loop.close()

    def handle(self, delivery: Delivery) -> None:
        """Execute the task in *delivery* and settle it. Never raises."""
        try:
            self._handle(delivery)
        except Exception:  # noqa: BLE001 - a thread of the worker goes on
            _log.exception("a defect of tasktools; the message is put off")
            self._settlement.put_off(delivery)

    def _handle(self, delivery: Delivery) -> None:
        message = delivery.task
        if message.problem is not None:
            self._refuse(delivery, failure.of_message(message.problem))
            return
        task = self._registry.find(message)
        if task is None:
            self._refuse(delivery, failure.of_name(message.func_name or message.task_name))
            return
        lock_name: str | None = None
        try:
            lock_name = _lock_name(task, message)
            lock = None if lock_name is None else self._acquire(lock_name, message)
        except BrokerError as error:
            _log.warning("the lock %r cannot be had now: %s", lock_name, error)
            self._settlement.put_off(delivery)
        except Exception as error:  # noqa: BLE001 - no name of a lock, or none that a lock can have
            self._counts.end(delivery.id, delivery.topic, failed=True)
            self._fail(delivery, task, error)
        else:
            if lock_name is not None and lock is None:
                self._settlement.put_off(delivery)
            else:
                self._execute_under(lock, delivery, task)

    def _refuse(self, delivery: Delivery, why: Trouble) -> None:
        """Dead-letter a message that this worker cannot execute, at the first attempt."""
        _log.warning(
            "a message of topic %r is given up (%s): %s", delivery.topic, why.reason, why.error
        )
        self._counts.end(delivery.id, delivery.topic, failed=True)
        self._settlement.failed(delivery, why, None)
        if delivery.task.task_id is not None:
            self._tell_failed(delivery, why)

    def _acquire(self, name: str, message: TaskMessage) -> HeldLock | None:
        return self._broker.acquire_lock(name, message.task_id, self._worker_id)

    # --- executing ------------------------------------------------------------------

    def _execute_under(self, lock: HeldLock | None, delivery: Delivery, task: Task) -> None:
        """Execute the task while *lock* is held."""
        try:
            self._execute(delivery, task, lock)
        finally:
            if lock is not None:
                self._release(lock, delivery)

    def _execute(self, delivery: Delivery, task: Task, lock: HeldLock | None) -> None:
        begun = self._begins.begin(delivery)
        if begun is not None:
            self._refuse(delivery, failure.of_begins(begun))
            self._begins.end(delivery.id)
            return
        limit = self._time_limit if task.time_limit is None else task.time_limit
        began, started_at = time.perf_counter(), self._clock.time()
        deadline = None if limit is None else moment(started_at + limit)
        current = self._current(delivery, task, lock, deadline)
        if not self._counts.begin(delivery.id, current):
            self._begins.end(delivery.id)
            self._settlement.put_off(delivery)
            return
        self._tell("task_started", delivery, started_at=started_at)
        error = Context().run(self._call, task, delivery.task, current, limit)
        duration = time.perf_counter() - began
        self._begins.end(delivery.id)
        if not self._counts.end(delivery.id, delivery.topic, failed=error is not None):
            return  # the delivery was given back meanwhile; another worker may have it now
        if error is not None:
            self._fail(delivery, task, error, duration)
        else:
            self._settlement.succeeded(delivery)
            self._tell("task_completed", delivery, duration=duration)

    def _current(
        self, delivery: Delivery, task: Task, lock: HeldLock | None, deadline: datetime | None
    ) -> CurrentTask:
        message = delivery.task
        return CurrentTask(
            task_id=message.task_id or delivery.id,
            task_name=message.task_name or task.name,
            topic=delivery.topic,
            worker_id=self._worker_id,
            attempts=(message.attempts or 0) + 1,
            redelivered=delivery.redelivered,
            headers=message.headers,
            published_at=message.published_at,
            lock_name=None if lock is None else lock.name,
            fence=None if lock is None else lock.fence,
            deadline=deadline,
        )

    def _call(
        self, task: Task, message: TaskMessage, current: CurrentTask, limit: float | None
    ) -> BaseException | None:
        """Call the function in a context of its own; return its exception."""
        CURRENT.set(current)
        args, kwargs = message.args or (), message.kwargs or {}

        def call() -> None:
            result = task.function(*args, **kwargs)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError(f"{task.func_name} returned a coroutine, and is no async function")

        error: BaseException | None = None
        try:
            if task.is_async:
                error = self._async_loop().run(task.function(*args, **kwargs), limit)
            elif limit is None:
                call()
            else:
                interruption = Interruption()
                self._deadlines.set(limit, interruption)
                error = interruption.run(call)
        except BaseException as raised:  # noqa: BLE001 - whatever a task raises is its failure
            return raised
        if isinstance(error, TimeLimitExceeded) and not error.args:
            error.args = (f"It took longer than {limit:g} s.",)
        return error

    def _async_loop(self) -> Loop:
        with self._starting:
            if self._is_closed:  # the task was given back before it came to its function
                raise RuntimeError("the worker has stopped")
            if self._loop is None:
                from tasktools.worker.async_loop import (
                    Loop,  # asyncio, which takes its time to import
                )

                self._loop = Loop()
            return self._loop

    def _release(self, lock: HeldLock, delivery: Delivery) -> None:
        if not lock.is_held:
            _log.warning("task %s lost its lock %r meanwhile", delivery.task.task_id, lock.name)
        try:
            lock.release()
        except BrokerError as error:
            _log.warning("the lock %r is not released: %s", lock.name, error)

    def _fail(
        self, delivery: Delivery, task: Task, error: BaseException, duration: float = 0.0
    ) -> None:
        """Settle the delivery of a task that raised *error*, and publish the event."""
        why = failure.of_exception(error, is_final=_does_not_fit(task, delivery.task, error))
        self._settlement.failed(delivery, why, task)
        self._tell_failed(delivery, why, duration)

    # --- telling --------------------------------------------------------------------

    def _tell_failed(self, delivery: Delivery, why: Trouble, duration: float | None = None) -> None:
        self._tell(
            "task_failed",
            delivery,
            duration=duration,
            error=why.error,
            error_type=why.error_type,
        )

    def given_back(self, delivery_id: str, task: CurrentTask) -> None:
        """Publish the end of an attempt that was given back while it ran."""
        self._begins.end(delivery_id)
        self._heartbeat.say(
            TaskEvent(
                kind="task_failed",
                sender_id=self._sender_id,
                task_id=task.task_id,
                worker_id=self._worker_id,
                topic=task.topic,
                error="The worker stopped before the task had ended; it will run again.",
                error_type="GivenBack",
            )
        )

    def _tell(self, kind: TaskEventKind, delivery: Delivery, **more: Any) -> None:
        self._heartbeat.say(
            TaskEvent(
                kind=kind,
                sender_id=self._sender_id,
                task_id=delivery.task.task_id or delivery.id,
                worker_id=self._worker_id,
                topic=delivery.topic,
                **more,
            )
        )


def _lock_name(task: Task, message: TaskMessage) -> str | None:
    """Return the name of the lock that the task needs; the message takes precedence."""
    if message.lock is not None:
        return message.lock
    if task.lock is None or isinstance(task.lock, str):
        return task.lock
    return task.lock(*(message.args or ()), **(message.kwargs or {}))


def _does_not_fit(task: Task, message: TaskMessage, error: BaseException) -> bool:
    """Whether the arguments do not fit the function's signature, so that a retry is useless."""
    signature = task.signature if isinstance(error, TypeError) else None
    if signature is None:
        return False
    try:
        signature.bind(*(message.args or ()), **(message.kwargs or {}))
    except TypeError:
        return True
    return False
