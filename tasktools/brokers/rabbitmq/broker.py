"""The RabbitMQ broker: the contract of `tasktools.brokers.base` over the parts beside it."""

from __future__ import annotations

from tasktools.brokers.base import changes
from tasktools.brokers.rabbitmq.delivering import Delivering
from tasktools.brokers.rabbitmq.locks import RabbitMQLock
from tasktools.brokers.rabbitmq.looking import Looking


class RabbitMQBroker(Delivering, Looking):
    """A client of a task-worker cluster on RabbitMQ 3.10 or newer.

    *dsn* is ``amqp://user:password@host:port/vhost`` (``amqps`` for TLS). *layout* overrides
    what is found; *management_url* is for an HTTP API that is not at port 15672 (15671 with
    TLS) of the same host, `False` for none. *timeout*: seconds that any call may take. *functions*
    are those that are known from the start.
    """

    @changes
    def acquire_lock(
        self, name: str, task_id: str | None = None, worker_id: str | None = None
    ) -> RabbitMQLock | None:
        self._follow()  # to hear when an operator takes the lock away
        return self._locks.acquire(self.layout, name, task_id, worker_id)

    @changes
    def force_release_lock(self, name: str) -> bool:
        return self._locks.force_release(self.layout, name)
