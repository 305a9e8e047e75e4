"""One delivery, from the message to its end.

It is settled only after the result is there: acknowledged when the task succeeded, requeued
with a delay when it is to be tried again, else put into the dead-letter queue with what went
wrong. What cannot be a task, or is none of ours, goes there at once. Each try is told by one
`task_started` and one `task_completed` or `task_failed`.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal

from tasktools.brokers.base import Broker, HeldLock
from tasktools.core import retries
from tasktools.core.clock import Clock, moment
from tasktools.core.errors import BrokerError, Closed, UnknownDelivery
from tasktools.core.events import TaskEvent
from tasktools.core.models import Delivery, Failure, FailureReason, TopicSettings
from tasktools.worker.context import CURRENT, CurrentTask
from tasktools.worker.limits import Deadlines, Interruption, TimeLimitExceeded
from tasktools.worker.loop import Loop
from tasktools.worker.presence import Presence
from tasktools.worker.registry import Task, TaskRegistry
from tasktools.worker.tally import Tally

_log = logging.getLogger("tasktools.worker")

TaskEventKind = Literal["task_started", "task_completed", "task_failed"]

_LOCK_DELAY: Final = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Execution:
    """Handles deliveries, in the threads that call it."""

    def __init__(
        self,
        broker: Broker,
        registry: TaskRegistry,
        *,
        worker_id: str,
        sender_id: str,
        presence: Presence,
        tally: Tally,
        settings: Callable[[str], TopicSettings],
        time_limit: float | None,
        clock: Clock,
    ) -> None:
        self._broker = broker
        self._registry = registry
        self._worker_id = worker_id
        self._sender_id = sender_id
        self._presence = presence
        self._tally = tally
        self._settings = settings
        self._time_limit = time_limit
        self._clock = clock
        self._deadlines = Deadlines()
        self._loop = Loop()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Try no more to settle what cannot be settled now."""
        self._stopping.set()

    def close(self) -> None:
        """End the threads behind tasks; those tasks that run still are left alone."""
        self._deadlines.close()
        self._loop.close()

    def handle(self, delivery: Delivery) -> None:
        """Execute the task in *delivery*, and settle it."""
        task = self._task_of(delivery)
        if task is None:
            return
        try:
            name = _lock_name(task, delivery)
            lock = None if name is None else self._acquire(name, delivery)
        except BrokerError as error:
            _log.warning("a lock cannot be had: %s", error)
            self._put_off(delivery)
        except Exception as error:  # noqa: BLE001 - of the function that names the lock
            self._conclude(delivery, task, 0.0, error)
        else:
            if name is None:
                self._execute(delivery, task, None)
            elif lock is None:
                self._put_off(delivery)
            else:
                with lock:
                    self._execute(delivery, task, lock)

    def _task_of(self, delivery: Delivery) -> Task | None:
        """Return the task; a message that is none, or none of ours, is given up."""
        message = delivery.task
        task = None if message.problem else self._registry.find(message)
        if message.problem is not None:
            self._reject(delivery, "invalid", message.problem)
        elif task is None:
            wanted = message.func_name or message.task_name
            self._reject(delivery, "unknown task", f"no task {wanted!r} is registered here")
        return task

    def _acquire(self, name: str, delivery: Delivery) -> HeldLock | None:
        return self._broker.acquire_lock(name, delivery.task.task_id, self._worker_id)

    def _put_off(self, delivery: Delivery) -> None:
        """Somebody has the lock: try again in a while, which is no attempt."""
        self._insist(lambda: self._broker.nack(delivery.id, delay=_LOCK_DELAY, count_attempt=False))
        self._presence.count(delivery.topic, "error")

    # --- executing ------------------------------------------------------------------

    def _execute(self, delivery: Delivery, task: Task, lock: HeldLock | None) -> None:
        current = self._current(delivery, task, lock)
        began = self._clock.time()
        self._tally.begin(delivery.id, current)
        started = self._event("task_started", delivery)
        self._presence.say(replace(started, started_at=began))
        error = self._call(task, delivery, current)
        self._conclude(delivery, task, self._clock.time() - began, error)

    def _current(self, delivery: Delivery, task: Task, lock: HeldLock | None) -> CurrentTask:
        message = delivery.task
        limit = self._limit(task)
        return CurrentTask(
            task_id=message.task_id or delivery.id,
            task_name=message.task_name or task.name,
            topic=delivery.topic,
            worker_id=self._worker_id,
            attempt=(message.attempts or 0) + 1,
            redelivered=delivery.redelivered,
            headers=message.headers,
            published_at=message.published_at,
            lock=None if lock is None else lock.name,
            fence=None if lock is None else lock.fence,
            deadline=None if limit is None else self._clock.time() + limit,
        )

    def _limit(self, task: Task) -> float | None:
        return self._time_limit if task.time_limit is None else task.time_limit

    def _call(self, task: Task, delivery: Delivery, current: CurrentTask) -> BaseException | None:
        """Call the function; return what it raised."""
        args, kwargs = delivery.task.args or (), delivery.task.kwargs or {}
        limit = self._limit(task)

        def call() -> Any:
            return task.function(*args, **kwargs)

        token = CURRENT.set(current)
        try:
            if task.is_async:
                self._loop.run(call, limit, current)
            elif limit is None:
                call()
            else:
                interruption = Interruption()
                self._deadlines.set(limit, interruption)
                return interruption.run(call)
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its failure
            return error
        finally:
            CURRENT.reset(token)
        return None

    def _conclude(
        self, delivery: Delivery, task: Task, duration: float, error: BaseException | None
    ) -> None:
        """Settle the delivery, and tell how the try ended."""
        if error is None:
            self._insist(lambda: self._broker.ack(delivery.id))
            self._presence.count(delivery.topic, "completed")
            ended = self._event("task_completed", delivery)
        else:
            self._settle_failed(delivery, task, error)
            ended = self._event("task_failed", delivery, _type(error), _text(error))
        self._tally.end(delivery.id, delivery.topic, failed=error is not None)
        self._presence.say(replace(ended, duration=duration))

    def _event(
        self,
        kind: TaskEventKind,
        delivery: Delivery,
        error_type: str | None = None,
        error: str | None = None,
    ) -> TaskEvent:
        return TaskEvent(
            kind=kind,
            sender_id=self._sender_id,
            task_id=delivery.task.task_id or delivery.id,
            worker_id=self._worker_id,
            topic=delivery.topic,
            error_type=error_type,
            error=error,
        )

    # --- failing --------------------------------------------------------------------

    def _settle_failed(self, delivery: Delivery, task: Task, error: BaseException) -> None:
        message, settings = delivery.task, self._settings(delivery.topic)
        said = (message.max_retries, task.max_retries, settings.max_retries)
        delay = retries.next_try(
            message.attempts or 0,
            max_retries=next((n for n in said if n is not None), None),
            retry_delay=message.retry_delay or task.retry_delay,
        )
        if delay is not None and not _does_not_fit(task, delivery, error):
            self._insist(lambda: self._broker.nack(delivery.id, delay=delay))
            self._presence.count(delivery.topic, "error")
            return
        timed_out = isinstance(error, TimeLimitExceeded)
        self._give_up(
            delivery,
            self._failure(
                delivery,
                "timed out" if timed_out else "failed",
                error_type=_type(error),
                error=f"longer than {self._limit(task):g} s" if timed_out else _text(error),
                trace="".join(traceback.format_exception(error)),
            ),
        )

    def _reject(self, delivery: Delivery, reason: FailureReason, why: str) -> None:
        """Give up a message that was not executed, on the first try."""
        error_type = "InvalidTask" if reason == "invalid" else "UnknownTask"
        _log.warning("%s: a message of topic %r is given up: %s", reason, delivery.topic, why)
        failure = self._failure(delivery, reason, error_type=error_type, error=why)
        self._give_up(delivery, failure)
        self._tally.end(delivery.id, delivery.topic, failed=True)
        self._presence.say(self._event("task_failed", delivery, error_type, why))

    def _failure(
        self,
        delivery: Delivery,
        reason: FailureReason,
        *,
        error_type: str,
        error: str,
        trace: str | None = None,
    ) -> Failure:
        return Failure(
            reason=reason,
            error_type=error_type,
            error=error,
            failed_at=moment(self._clock.time()),
            traceback=trace,
            worker_id=self._worker_id,
            attempts=(delivery.task.attempts or 0) + 1,
        )

    def _give_up(self, delivery: Delivery, failure: Failure) -> None:
        """Put the message into the dead-letter queue, unless the topic has that turned off."""
        settings = self._settings(delivery.topic)
        if settings.dead_letter_enabled is False:
            self._insist(lambda: self._broker.ack(delivery.id))
            self._presence.count(delivery.topic, "completed")
            return
        self._insist(
            lambda: self._broker.dead_letter(
                delivery.id, failure, retention=settings.retention_seconds
            )
        )
        self._presence.count(delivery.topic, "skipped")

    def _insist(self, settle: Callable[[], object]) -> None:
        """Settle a delivery, trying again as long as the broker cannot take it."""
        pause = _FIRST_PAUSE
        while True:
            try:
                settle()
            except (UnknownDelivery, Closed) as error:
                _log.warning("a task will run again, here or elsewhere: %s", error)
            except BrokerError as error:
                _log.warning("a task cannot be settled yet: %s", error)
                if not self._stopping.wait(pause):
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    continue
            return


def _lock_name(task: Task, delivery: Delivery) -> str | None:
    """Return the lock that the task wants held: what the message says goes first."""
    message = delivery.task
    if message.lock is not None:
        return message.lock
    if task.lock is None or isinstance(task.lock, str):
        return task.lock
    return task.lock(*(message.args or ()), **(message.kwargs or {}))


def _does_not_fit(task: Task, delivery: Delivery, error: BaseException) -> bool:
    """Whether the arguments can never be those of the function; trying again is no use then."""
    if not isinstance(error, TypeError) or task.signature is None:
        return False
    try:
        task.signature.bind(*(delivery.task.args or ()), **(delivery.task.kwargs or {}))
    except TypeError:
        return True
    return False


def _type(error: BaseException) -> str:
    kind = type(error)
    inside = kind.__module__ in ("builtins", "__main__")
    return kind.__qualname__ if inside else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception of a task that cannot even be printed
        return "(it cannot be printed)"
