"""Settlement of deliveries: retried until the broker takes it."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.core.backoff import Backoff
from tasktools.core.clock import Clock, moment
from tasktools.core.errors import BrokerError, Closed, UnknownDelivery
from tasktools.core.escaping import cut, harmless
from tasktools.core.models import Delivery, Failure, TopicSettings
from tasktools.core.redaction import mask_text
from tasktools.core.tasks import retry
from tasktools.worker.failure import Trouble
from tasktools.worker.heartbeat import Counted, Heartbeat
from tasktools.worker.intervals import Intervals
from tasktools.worker.registry import Task

_log = logging.getLogger("tasktools.worker")

_MAX_ERROR_CHARS: Final = 300


class Settlement:
    """Acknowledges, requeues or dead-letters deliveries, and counts them.

    While the broker cannot be reached, settling is retried after growing pauses. After `stop`
    unsettled deliveries are left to the broker, which delivers them again.
    """

    def __init__(
        self,
        broker: Broker,
        worker_id: str,
        *,
        settings: Callable[[str], TopicSettings],
        heartbeat: Heartbeat,
        clock: Clock,
        intervals: Intervals,
    ) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._settings = settings
        self._heartbeat = heartbeat
        self._clock = clock
        self._intervals = intervals
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop retrying."""
        self._stopping.set()

    def succeeded(self, delivery: Delivery) -> None:
        """Acknowledge a task that succeeded."""
        self._insist(delivery, "completed", lambda: self._broker.ack(delivery.id))

    def put_off(self, delivery: Delivery) -> None:
        """Requeue a task that cannot run now, with a delay of a second; this does not count as an
        attempt."""
        nack = functools.partial(
            self._broker.nack, delay=self._intervals.put_off, count_attempt=False
        )
        self._insist(delivery, "error", lambda: nack(delivery.id))

    def failed(self, delivery: Delivery, trouble: Trouble, task: Task | None) -> None:
        """Requeue a failed task for later, or dead-letter it unless its topic turns that off."""
        settings = self._settings(delivery.topic)
        delay = self._next_try(delivery, trouble, task, settings)
        if task is not None:
            _log.info("%s", _in_words(delivery, trouble, delay, settings))
        if delay is not None:
            self._insist(delivery, "error", lambda: self._broker.nack(delivery.id, delay=delay))
        elif settings.dead_letter_enabled is False:
            self._insist(delivery, "completed", lambda: self._broker.ack(delivery.id))
        else:
            failure = self._failure(delivery, trouble)
            bury = functools.partial(self._broker.dead_letter, delivery.id, failure)
            retention = settings.retention_seconds
            self._insist(delivery, "skipped", lambda: bury(retention=retention))

    def _next_try(
        self, delivery: Delivery, trouble: Trouble, task: Task | None, settings: TopicSettings
    ) -> float | None:
        if trouble.is_final or task is None:
            return None
        return retry.next_try(
            delivery.task, settings, max_retries=task.max_retries, retry_delay=task.retry_delay
        )

    def _failure(self, delivery: Delivery, trouble: Trouble) -> Failure:
        return Failure(
            reason=trouble.reason,
            error_type=trouble.error_type,
            error=trouble.error,
            failed_at=moment(self._clock.time()),
            traceback=trouble.traceback,
            worker_id=self._worker_id,
            attempts=(delivery.task.attempts or 0) + 1,
        )

    def _insist(self, delivery: Delivery, counter: Counted, settle: Callable[[], object]) -> None:
        backoff = Backoff(self._intervals.settle_first, self._intervals.settle_most)
        while True:
            try:
                settle()
            except (UnknownDelivery, Closed) as error:
                task_id = delivery.task.task_id or delivery.id
                _log.warning("task %s will run again, here or elsewhere: %s", task_id, error)
                return
            except BrokerError as error:
                _log.warning("a delivery of topic %r is not settled yet: %s", delivery.topic, error)
            else:
                self._heartbeat.count(delivery.topic, counter)
                return
            if self._stopping.wait(backoff.pause()):
                return


def _in_words(
    delivery: Delivery, trouble: Trouble, delay: float | None, settings: TopicSettings
) -> str:
    """Return which task failed, why, and its fate, without secrets and on one line."""
    if delay is not None:
        then = f"it is tried again in {delay:g} s"
    elif settings.dead_letter_enabled is False:
        then = "it is dropped, by the settings of its topic"
    else:
        then = "it goes to the dead letters"
    task = delivery.task
    error = cut(trouble.error, _MAX_ERROR_CHARS)
    text = (
        f"task {task.task_id} ({task.task_name}) of topic {delivery.topic!r} failed: "
        f"{trouble.error_type}: {error}; {then}"
    )
    return harmless(mask_text(text))
