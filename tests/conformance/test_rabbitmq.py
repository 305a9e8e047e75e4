"""The RabbitMQ backend keeps the contract, on a private node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasktools.brokers.rabbitmq import RabbitMQBroker
from tasktools.brokers.rabbitmq.connection.pika_border import properties_out
from tasktools.core.layout import FP, TASKWORKER, Layout
from tasktools.core.models import Properties
from tasktools.testing import BrokerConformance
from tests.support import Raw
from tests.vhosts import Vhost


class RabbitMQBackdoor:
    """Reaches the vhost with plain pika."""

    def __init__(self, raw: Raw, names: Layout) -> None:
        self._raw = raw
        self._names = names

    def put(self, queue: str, body: bytes, properties: Properties | None = None) -> None:
        sent = properties_out(properties or Properties())
        self._raw.channel.basic_publish("", queue, body, sent, mandatory=True)

    def say(self, body: bytes) -> None:
        self._raw.channel.basic_publish(self._names.worker_exchange, "", body)

    def declare_plain_queue(self, name: str) -> None:
        self._raw.declare(name)

    def declare_full_queue(self, name: str, max_length: int) -> None:
        self._raw.declare(name, x_max_length=max_length, x_overflow="reject-publish")
        exchange = self._names.task_exchange
        self._raw.channel.exchange_declare(exchange, "topic", durable=True)
        self._raw.channel.queue_bind(name, exchange, name)

    def declare_loop(self, first: str, second: str) -> None:
        for queue, target in ((first, second), (second, first)):
            self._raw.declare(queue, x_dead_letter_exchange="", x_dead_letter_routing_key=target)

    def declare_quorum_queue(self, name: str) -> None:
        self._raw.declare(name, x_queue_type="quorum")

    def depth(self, queue: str) -> int:
        return self._raw.depth(queue)

    def bodies(self, queue: str) -> list[bytes]:
        return self._raw.bodies(queue)


class TestRabbitMQBroker(BrokerConformance):
    lacks = frozenset({"layout taskworker"})
    names: Layout = FP

    def connect(self, vhost: Vhost, *, read_only: bool = False) -> RabbitMQBroker:
        return RabbitMQBroker(
            vhost.dsn,
            layout=self.names.name,
            management_url=vhost.management_url,
            read_only=read_only,
        )

    @pytest.fixture
    def broker(self, vhost: Vhost) -> Iterator[RabbitMQBroker]:
        with self.connect(vhost) as broker:
            yield broker

    @pytest.fixture
    def second_broker(self, vhost: Vhost) -> Iterator[RabbitMQBroker]:
        with self.connect(vhost) as broker:
            yield broker

    @pytest.fixture
    def read_only_broker(self, vhost: Vhost) -> Iterator[RabbitMQBroker]:
        with self.connect(vhost, read_only=True) as broker:
            yield broker

    @pytest.fixture
    def backdoor(self, raw: Raw) -> RabbitMQBackdoor:
        return RabbitMQBackdoor(raw, self.names)


class TestRabbitMQBrokerOfTheDocument(TestRabbitMQBroker):
    lacks = frozenset({"layout fp"})
    names = TASKWORKER
