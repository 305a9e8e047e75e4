"""Detection of poison tasks, which end their worker's process each time they begin."""

from __future__ import annotations

import hashlib
import logging

from tasktools.brokers.base import Broker
from tasktools.core.errors import BrokerError
from tasktools.core.models import Delivery

_log = logging.getLogger("tasktools.worker")


class BeginCounts:
    """Counts how often redelivered tasks began; with *limit* `None` it counts nothing.

    A first delivery is not counted, which saves a query to the broker.
    """

    def __init__(self, broker: Broker, limit: int | None) -> None:
        self._broker = broker
        self._limit = limit
        self._counted: dict[str, tuple[str, str]] = {}

    def begin(self, delivery: Delivery) -> int | None:
        """Count that the task of *delivery* begins.

        Returns the number of earlier begins if it has reached the limit, else `None`."""
        if self._limit is None or not delivery.redelivered:
            return None
        topic, task = delivery.topic, _identity(delivery)
        try:
            count = self._broker.count_begin(topic, task)
        except BrokerError as error:
            _log.warning("task %s begins without being counted: %s", task, error)
            return None
        self._counted[delivery.id] = topic, task
        return count if count >= self._limit else None

    def end(self, delivery_id: str) -> None:
        """Forget the count of a task that has ended or was given back in good order."""
        counted = self._counted.pop(delivery_id, None)
        if counted is None:
            return
        try:
            self._broker.forget_begins(*counted)
        except BrokerError as error:
            _log.warning("the begins of task %s are not forgotten: %s", counted[1], error)


def _identity(delivery: Delivery) -> str:
    """Return an identity that survives redelivery."""
    task = delivery.task
    return task.task_id or task.message_id or hashlib.sha256(delivery.body).hexdigest()
