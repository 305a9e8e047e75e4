"""The RabbitMQ backend keeps the contract, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pika
import pytest

from tasktools.brokers.rabbitmq import RabbitMQBroker
from tasktools.core.models import Properties
from tasktools.testing import BrokerConformance


class PikaBackdoor:
    """Reaches a vhost with plain pika."""

    def __init__(self, dsn: str, worker_exchange: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(dsn))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._worker_exchange = worker_exchange

    def close(self) -> None:
        self._connection.close()

    def put(self, queue: str, body: bytes, properties: Properties | None = None) -> None:
        told = properties or Properties()
        self._channel.basic_publish(
            "",
            queue,
            body,
            pika.BasicProperties(
                headers=dict(told.headers) or None,
                message_id=told.message_id,
                correlation_id=told.correlation_id,
                content_type=told.content_type,
                content_encoding=told.content_encoding,
                delivery_mode=told.delivery_mode,
            ),
            mandatory=True,
        )

    def say(self, body: bytes) -> None:
        self._channel.basic_publish(self._worker_exchange, "", body)

    def declare_plain_queue(self, name: str) -> None:
        self._declare(name, {})

    def declare_full_queue(self, name: str, max_length: int) -> None:
        self._declare(name, {"x-max-length": max_length, "x-overflow": "reject-publish"})

    def declare_loop(self, first: str, second: str) -> None:
        for name, other in ((first, second), (second, first)):
            to_other = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other}
            self._declare(name, to_other)

    def declare_quorum_queue(self, name: str) -> None:
        self._declare(name, {"x-queue-type": "quorum"})

    def _declare(self, name: str, arguments: dict[str, Any]) -> None:
        self._channel.queue_declare(name, durable=True, arguments=arguments)

    def depth(self, queue: str) -> int:
        return int(self._channel.queue_declare(queue, passive=True).method.message_count)

    def bodies(self, queue: str) -> list[bytes]:
        found = []
        while True:
            method, _, body = self._channel.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            found.append(body)


class TestRabbitMQBroker(BrokerConformance):
    lacks = frozenset({"layout taskworker"})
    names = "fp"

    @pytest.fixture
    def broker(self, vhost: Any) -> Iterator[RabbitMQBroker]:
        with self._client(vhost) as broker:
            yield broker

    @pytest.fixture
    def second_broker(self, vhost: Any) -> Iterator[RabbitMQBroker]:
        with self._client(vhost) as broker:
            yield broker

    @pytest.fixture
    def read_only_broker(self, vhost: Any) -> Iterator[RabbitMQBroker]:
        with self._client(vhost, read_only=True) as broker:
            yield broker

    def _client(self, vhost: Any, **options: Any) -> RabbitMQBroker:
        return RabbitMQBroker(
            vhost.dsn, layout=self.names, management_url=vhost.management_url, **options
        )

    @pytest.fixture
    def backdoor(self, vhost: Any, broker: RabbitMQBroker) -> Iterator[PikaBackdoor]:
        backdoor = PikaBackdoor(vhost.dsn, broker.layout.worker_exchange)
        yield backdoor
        backdoor.close()


class TestRabbitMQBrokerOfTheDocument(TestRabbitMQBroker):
    lacks = frozenset({"layout fp"})
    names = "taskworker"
