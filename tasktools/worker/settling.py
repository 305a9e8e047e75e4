"""Settling deliveries, so that none is dropped whatever the broker does meanwhile."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.core import retries
from tasktools.core.clock import Clock, moment
from tasktools.core.errors import BrokerError, Closed, UnknownDelivery
from tasktools.core.models import Delivery, Failure, TopicSettings
from tasktools.worker.presence import Counted, Presence
from tasktools.worker.registry import Task
from tasktools.worker.trouble import Trouble

_log = logging.getLogger("tasktools.worker")

_NOT_NOW: Final = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Settling:
    """Tells the broker what became of a delivery, and counts it.

    While the broker cannot take it, it is told again after growing pauses. Once `stop` was
    called it is left to the broker, which delivers again what was never settled.
    """

    def __init__(
        self,
        broker: Broker,
        worker_id: str,
        *,
        settings: Callable[[str], TopicSettings],
        presence: Presence,
        clock: Clock,
    ) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._settings = settings
        self._presence = presence
        self._clock = clock
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Insist no more."""
        self._stopping.set()

    def succeeded(self, delivery: Delivery) -> None:
        """It is done."""
        self._insist(delivery, "completed", lambda: self._broker.ack(delivery.id))

    def put_off(self, delivery: Delivery) -> None:
        """It cannot be executed now: it comes again in a second, which counts as no try."""
        nack = functools.partial(self._broker.nack, delay=_NOT_NOW, count_attempt=False)
        self._insist(delivery, "error", lambda: nack(delivery.id))

    def failed(self, delivery: Delivery, trouble: Trouble, task: Task | None) -> None:
        """It is tried again later, or given up: dead-lettered, unless its topic has that off."""
        settings = self._settings(delivery.topic)
        delay = self._next_try(delivery, trouble, task, settings)
        if delay is not None:
            self._insist(delivery, "error", lambda: self._broker.nack(delivery.id, delay=delay))
        elif settings.dead_letter_enabled is False:
            self._insist(delivery, "completed", lambda: self._broker.ack(delivery.id))
        else:
            failure = self._failure(delivery, trouble)
            bury = functools.partial(self._broker.dead_letter, delivery.id, failure)
            kept = settings.retention_seconds
            self._insist(delivery, "skipped", lambda: bury(retention=kept))

    def _next_try(
        self, delivery: Delivery, trouble: Trouble, task: Task | None, settings: TopicSettings
    ) -> float | None:
        if trouble.is_final or task is None:
            return None
        return retries.next_try(
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
        pause = _FIRST_PAUSE
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
                self._presence.count(delivery.topic, counter)
                return
            if self._stopping.wait(pause):
                return
            pause = min(pause * 2, _LONGEST_PAUSE)
