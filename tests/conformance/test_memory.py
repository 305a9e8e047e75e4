"""The memory backend keeps the contract, in both layouts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.core.layout import FP, TASKWORKER, Layout
from tasktools.core.models import Properties
from tasktools.testing import BrokerConformance


class MemoryBackdoor:
    """Reaches a memory server directly."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    def put(self, queue: str, body: bytes, properties: Properties | None = None) -> None:
        self._server.put(queue, body, properties)

    def say(self, body: bytes) -> None:
        self._server.broadcast(body)

    def declare_plain_queue(self, name: str) -> None:
        self._server.declare_queue(name)

    def declare_full_queue(self, name: str, max_length: int) -> None:
        self._server.declare_queue(name, max_length=max_length)

    def declare_loop(self, first: str, second: str) -> None:
        self._server.declare_queue(first, dead_letter=("", second))
        self._server.declare_queue(second, dead_letter=("", first))

    def declare_quorum_queue(self, name: str) -> None:
        raise NotImplementedError(name)

    def depth(self, queue: str) -> int:
        return self._server.depth(queue)

    def bodies(self, queue: str) -> list[bytes]:
        seen, *_ = self._server.look(queue, 1_000_000)
        self._server.purge(queue)
        return [message.body for message, _ in seen]


class TestMemoryBroker(BrokerConformance):
    lacks = frozenset({"quorum_queues", "layout taskworker"})
    names: Layout = FP

    @pytest.fixture
    def server(self) -> MemoryServer:
        return MemoryServer()

    @pytest.fixture
    def broker(self, server: MemoryServer) -> Iterator[MemoryBroker]:
        with MemoryBroker(server, layout=self.names) as broker:
            yield broker

    @pytest.fixture
    def second_broker(self, server: MemoryServer) -> Iterator[MemoryBroker]:
        with MemoryBroker(server, layout=self.names) as broker:
            yield broker

    @pytest.fixture
    def read_only_broker(self, server: MemoryServer) -> Iterator[MemoryBroker]:
        with MemoryBroker(server, layout=self.names, read_only=True) as broker:
            yield broker

    @pytest.fixture
    def backdoor(self, server: MemoryServer) -> MemoryBackdoor:
        return MemoryBackdoor(server)


class TestMemoryBrokerOfTheDocument(TestMemoryBroker):
    lacks = frozenset({"quorum_queues", "layout fp"})
    names = TASKWORKER
