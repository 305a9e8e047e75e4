"""The original document, with tasktools in place of its package: its code runs, and each limit
that it admits to, and each enhancement that it hopes for, is here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from msgspec import structs

from tasktools import TaskRegistry, TaskRunner, connect, get_broker
from tasktools.brokers.base import Broker, Look
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster.cluster import Cluster
from tasktools.core import known_workers
from tasktools.core.clock import ManualClock
from tasktools.core.errors import PermissionDenied, QueueNotFound
from tasktools.core.events import WorkerList
from tasktools.core.models import ClusterState, Delivery
from tasktools.core.peek_verdict import Cost, Verdict
from tasktools.testing import eventually, task_event, worker_event
from tasktools.testing.factories import worker_report

PAYLOAD = {"task_name": "send_email", "args": [], "kwargs": {"to": "a@b"}}

Client = Callable[[], Broker]


def take(broker: Broker, topic: str = "emails") -> Delivery:
    return eventually(lambda: broker.claim(topic=topic, worker_id="worker-1"))


def run(runner: TaskRunner) -> Callable[[], None]:
    """Run it as the document does, which blocks; returns what stops it."""
    thread = threading.Thread(target=runner.run, name="runner-of-the-test")
    thread.start()

    def stop() -> None:
        runner.stop()
        thread.join()

    return stop


class Document:
    """What the tests stand on. A subclass brings `document_dsn`."""

    @pytest.fixture
    def client(self, document_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
        """`get_broker`, whose brokers are closed at the end."""
        monkeypatch.setenv("BROKER_DSN", document_dsn)
        opened: list[Broker] = []

        def client() -> Broker:
            broker = get_broker()
            opened.append(broker)
            return broker

        yield client
        for broker in opened:
            broker.close()

    @pytest.fixture
    def broker(self, client: Client) -> Broker:
        broker = client()
        broker.setup()
        return broker

    @pytest.fixture
    def registry(self, monkeypatch: pytest.MonkeyPatch) -> TaskRegistry:
        """What `tasktools.task` fills, for one test."""
        registry = TaskRegistry()
        monkeypatch.setattr("tasktools.worker.runner.DEFAULT", registry)
        return registry


class DocumentBlocks(Document):
    """What the document shows."""

    def test_setup_can_be_called_again_and_again(self, broker: Broker) -> None:
        broker.setup()
        broker.setup()

    def test_a_task_is_published_claimed_and_acknowledged(self, broker: Broker) -> None:
        message_id = broker.publish(topic="emails", payload=PAYLOAD, headers={"priority": "high"})
        message = take(broker)
        assert message.id == message_id
        assert message.payload == PAYLOAD
        broker.ack(message.id)
        assert broker.claim(topic="emails", worker_id="worker-1") is None

    def test_a_priority_among_the_headers_stays_a_header(self, broker: Broker) -> None:
        broker.publish(topic="emails", payload=PAYLOAD, headers={"priority": "high"})
        message = take(broker)
        assert message.task.headers["priority"] == "high"
        assert message.properties.priority is None

    def test_nothing_to_claim_is_none(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        assert broker.claim(topic="emails", worker_id="worker-1") is None

    def test_a_requeue_counts_the_attempt(self, broker: Broker) -> None:
        broker.publish(topic="emails", payload=PAYLOAD)
        assert broker.nack(take(broker).id, requeue=True) is False
        message = take(broker)
        assert message.task.attempts == 1
        assert broker.nack(message.id, requeue=True, count_attempt=False) is False
        message = take(broker)
        assert message.task.attempts == 1
        assert message.redelivered

    def test_a_rejected_message_is_a_dead_letter(self, broker: Broker) -> None:
        broker.publish(topic="emails", payload=PAYLOAD)
        assert broker.nack(take(broker).id, requeue=False) is False
        assert take(broker, "emails.dead").payload == PAYLOAD

    def test_the_cluster_is_shown_in_figures(
        self, broker: Broker, client: Client, registry: TaskRegistry
    ) -> None:
        go = threading.Event()

        @registry.task
        def send_email(to: str) -> None:
            assert go.wait(30)

        with TaskRunner(broker=client(), topics=["emails"], capacity=1, worker_id="w") as runner:
            for _ in range(3):
                broker.publish(topic="emails", payload=PAYLOAD)
            eventually(lambda: broker.get_cluster_stats().total_running == 1)
            stats = broker.get_cluster_stats()
            assert (stats.workers, stats.total_capacity, stats.total_running) == (1, 1, 1)
            (topic,) = (topic for topic in broker.get_topics() if topic.topic == "emails")
            assert (topic.queued, topic.running, topic.subscribers) == (2, 1, 1)
            (worker,) = broker.get_workers()
            assert (worker.worker_id, worker.running, worker.capacity) == ("w", 1, 1)
            assert (worker.topics, worker.stale) == (("emails",), False)
            go.set()
            runner.stop()
        eventually(lambda: broker.get_cluster_stats().workers == 0)
        assert broker.get_workers() == []

    def test_a_runner_executes_tasks_until_it_is_stopped(
        self, broker: Broker, registry: TaskRegistry
    ) -> None:
        sent: list[str] = []

        @registry.task
        def send_email(to: str) -> None:
            sent.append(to)

        stop = run(TaskRunner(broker=broker, topics=["default", "emails"], capacity=4))
        try:
            for topic in ("default", "emails"):
                broker.publish(topic=topic, payload=PAYLOAD)
            eventually(lambda: sent == ["a@b"] * 2)
        finally:
            stop()


class DocumentLimits(Document):
    """Each limit of the document, and each of its hoped-for enhancements, by its name."""

    def test_worker_state_is_not_kept_in_one_process(
        self, client: Client, registry: TaskRegistry
    ) -> None:
        with TaskRunner(broker=client(), topics=["emails"], worker_id="w"):
            late = client()  # knows only what the cluster tells it
            worker = eventually(late.get_workers)[0]
            assert (worker.worker_id, worker.topics, worker.capacity) == ("w", ("emails",), 4)

    def test_locks_are_not_kept_in_one_process(self, client: Client) -> None:
        first_client, other = client(), client()
        assert first_client.acquire_lock("nightly", "task-1", "w-1")
        assert other.acquire_lock("nightly", "task-2", "w-2") is None
        first_client.close()
        assert eventually(lambda: other.acquire_lock("nightly", "task-2", "w-2"))

    def test_the_wildcard_topic_can_be_claimed(self, broker: Broker) -> None:
        for topic in ("emails", "reports"):
            broker.publish(topic=topic, payload=PAYLOAD)
        claimed = [take(broker, "*") for _ in range(2)]
        assert {message.topic for message in claimed} == {"emails", "reports"}

    def test_the_wildcard_topic_finds_new_topics(
        self, broker: Broker, client: Client, registry: TaskRegistry
    ) -> None:
        sent: list[str] = []

        @registry.task
        def send_email(to: str) -> None:
            sent.append(to)

        with TaskRunner(broker=client(), topics=["*"]) as runner:
            broker.publish(topic="new", payload=PAYLOAD)
            broker.broadcast(task_event("task_started", topic="new"))  # somebody speaks of it
            eventually(lambda: sent == ["a@b"])
            assert "new" in runner.topics

    def test_active_tasks_have_the_queued_ones(self, broker: Broker) -> None:
        broker.get_workers()
        broker.broadcast(task_event("task_started", "running-1", "w-1", topic="emails"))
        broker.publish(topic="emails", payload=PAYLOAD)
        broker.publish(topic="reports", payload=PAYLOAD)

        def active(topic: str | None) -> list[tuple[Any, ...]] | None:
            tasks = broker.get_all_active_tasks(topic)
            return [(t.state, t.topic, t.task_name, t.worker_id) for t in tasks]

        running = ("running", "emails", None, "w-1")
        queued = [("queued", topic, "send_email", None) for topic in ("emails", "reports")]
        assert eventually(lambda: active("emails") == [running, queued[0]])
        assert active(None) == [running, *queued]
        assert take(broker).payload == PAYLOAD  # and it is still there

    def test_nothing_is_polled(self, broker: Broker) -> None:
        """Messages come by themselves, and no more than are wanted at once."""
        broker.ensure_topic("emails")
        received: list[Delivery] = []
        consumer = broker.consume("emails", received.append, prefetch=2)
        for _ in range(3):
            broker.publish(topic="emails", payload=PAYLOAD)
        eventually(lambda: len(received) == 2)
        broker.ack(received[0].id)
        eventually(lambda: len(received) == 3)
        consumer.cancel()

    def test_there_are_priorities(self, broker: Broker) -> None:
        broker.create_topic("emails", max_priority=9)
        for priority in (1, 9, 5):
            payload = {**PAYLOAD, "args": [priority]}
            broker.publish(topic="emails", payload=payload, priority=priority)
        assert [take(broker).task.args for _ in range(3)] == [[9], [5], [1]]

    def test_messages_have_a_time_to_live(self, broker: Broker) -> None:
        broker.publish(topic="emails", payload=PAYLOAD, ttl=0.05)
        message = take(broker, "emails.dead")
        assert message.payload == PAYLOAD
        assert broker.claim(topic="emails", worker_id="worker-1") is None

    def test_topics_have_a_time_to_live(self, broker: Broker) -> None:
        broker.create_topic("emails", message_ttl=0.05)
        broker.publish(topic="emails", payload=PAYLOAD)
        assert take(broker, "emails.dead").payload == PAYLOAD

    def test_there_is_a_distributed_lock_with_a_fence(self, client: Client) -> None:
        first_client, other = client(), client()
        with eventually(lambda: first_client.acquire_lock("nightly")) as lock:
            assert lock.is_held
            first = lock.fence
        with eventually(lambda: other.acquire_lock("nightly")) as lock:
            assert lock.fence > first

    def test_a_delayed_requeue_is_honoured(self, broker: Broker) -> None:
        broker.publish(topic="emails", payload=PAYLOAD)
        assert broker.nack(take(broker).id, requeue=True, delay=0.2) is True
        assert broker.claim(topic="emails", worker_id="worker-1") is None
        assert take(broker).task.attempts == 1

    def test_a_concurrency_limit_holds_for_the_whole_cluster(self, client: Client) -> None:
        first_client, other = client(), client()
        first_client.ensure_topic("emails")
        received: list[Delivery] = []
        consumers = [
            broker.consume("emails", received.append, prefetch=4, limit=3)
            for broker in (first_client, other)
        ]
        for _ in range(8):
            first_client.publish(topic="emails", payload=PAYLOAD)
        eventually(lambda: len(received) == 3)
        (topic,) = (topic for topic in first_client.get_topics() if topic.topic == "emails")
        assert topic.queued == 5
        for consumer in consumers:
            consumer.cancel()


class InMemory:
    """A cluster of this process, on which nobody waits for workers that are not there."""

    @pytest.fixture
    def document_dsn(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        monkeypatch.setattr(known_workers, "ONE_HEARTBEAT", 0.1)
        yield "memory://"
        import_module("tasktools.connect")._memory_of_this_process.cache_clear()


class TestDocumentBlocksInMemory(InMemory, DocumentBlocks):
    pass


class TestDocumentLimitsInMemory(InMemory, DocumentLimits):
    pass


# --- what is special to the names ---------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MemoryServer:
    monkeypatch.setattr(known_workers, "ONE_HEARTBEAT", 0.0)
    return MemoryServer()


class Costly(MemoryBroker):
    """A broker on which every look uses up a delivery limit."""

    def look_verdict(self, queue: str, limit: int | None = None) -> Verdict:
        verdict = super().look_verdict(queue, limit)
        return replace(verdict, cost=Cost.COUNTS, why="it uses up the delivery limit")


def test_a_look_that_costs_is_not_made_and_a_warning_is_logged(
    server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Costly(server) as broker:
        broker.publish("emails", PAYLOAD)
        broker.get_workers()
        broker.broadcast(task_event("task_started", "running-1", topic="emails"))
        with caplog.at_level(logging.WARNING, logger="tasktools.broker"):
            tasks = broker.get_all_active_tasks("emails")
        assert [(task.task_id, task.state) for task in tasks] == [("running-1", "running")]
        assert "it uses up the delivery limit" in caplog.text
        delivery = broker.claim("emails", "w")
        assert delivery is not None
        assert not delivery.redelivered


def test_a_look_that_is_refused_is_not_made_and_a_warning_is_logged(
    server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    with MemoryBroker(server) as broker, MemoryBroker(server, read_only=True) as reader:
        broker.publish("emails", PAYLOAD)
        broker.consume("emails", lambda _: None, prefetch=1, limit=0)
        server.set_consumers("emails", 1)
        assert reader.get_all_active_tasks("emails") == []
        assert "read_only" in caplog.text


class NoRight(MemoryBroker):
    """A broker whose user may not read one of the queues."""

    def peek(self, queue: str, limit: int | None = None, **more: Any) -> Look:
        if queue == "secret":
            raise PermissionDenied("no right to read 'secret'; nothing was changed.")
        return super().peek(queue, limit, **more)


def test_a_queue_that_may_not_be_read_hides_no_other(
    server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    with NoRight(server) as broker:
        for topic in ("emails", "secret"):
            broker.publish(topic, PAYLOAD)
        assert [task.topic for task in broker.get_all_active_tasks()] == ["emails"]
        assert "no right to read 'secret'" in caplog.text


def test_active_tasks_of_a_topic_without_a_queue_are_not_none(server: MemoryServer) -> None:
    with MemoryBroker(server) as broker, pytest.raises(QueueNotFound):
        broker.get_all_active_tasks("nowhere")


def test_only_so_many_queued_tasks_are_looked_at(server: MemoryServer) -> None:
    with MemoryBroker(server) as broker:
        for _ in range(3):
            broker.publish("emails", PAYLOAD)
        assert len(broker.get_all_active_tasks("emails", limit=2)) == 2


def test_a_worker_that_is_gone_does_not_count_and_a_silent_one_is_stale() -> None:
    clock = ManualClock()
    with MemoryBroker(clock=clock) as broker:
        broker.get_workers()
        broker.broadcast(worker_event("heartbeat", "a"), worker_event("heartbeat", "b"))
        clock.advance(20)
        broker.broadcast(worker_event("heartbeat", "a"))
        assert [(w.worker_id, w.stale) for w in broker.get_workers()] == [("a", False), ("b", True)]
        clock.advance(20)
        assert [(w.worker_id, w.stale) for w in broker.get_workers()] == [("a", True)]
        assert broker.get_cluster_stats().total_capacity == 4


def test_what_is_not_known_is_none() -> None:
    """Issue 11, the rule behind all: nothing unknown is 0."""
    clock = ManualClock(1_800_000_000.0)
    hearsay = worker_report("a", running=2, capacity=None)
    with MemoryBroker(MemoryServer(clock=clock), clock=clock) as broker:
        broker.ensure_topic("emails")
        broker.cluster_state()
        broker.broadcast(WorkerList(sender_id="peer", workers=(hearsay,)))
        stats = broker.get_cluster_stats()
        assert (stats.workers, stats.total_capacity, stats.total_running) == (1, None, None)
        (worker,) = broker.get_workers()
        assert (worker.running, worker.capacity) == (None, None)
        broker.broadcast(worker_event("heartbeat", "a", running=["t1"], capacity=4))
        stats = broker.get_cluster_stats()
        assert (stats.total_capacity, stats.total_running) == (4, 1)
        broker.broadcast(worker_event("heartbeat", "b", running=["t2", "t3"], capacity=None))
        (row,) = Cluster(broker, clock=clock).stats().to_dict("records")
        assert (row["running"], row["capacity"], row["utilisation"]) == (3, 4, 0.25)


class Deaf(MemoryBroker):
    """A broker that cannot hear events."""

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        state = super().cluster_state(settle=settle)
        return structs.replace(
            state, events=structs.replace(state.events, ok=False, note="no right to listen")
        )


def test_where_nothing_can_be_heard_no_figure_is_0() -> None:
    with Deaf(MemoryServer()) as broker:
        broker.ensure_topic("emails")
        stats = broker.get_cluster_stats()
        assert (stats.workers, stats.total_capacity, stats.total_running) == (None, None, None)
        (topic,) = stats.topics
        assert (topic.queued, topic.running, topic.subscribers) == (0, None, None)


def test_the_demo_has_them_too() -> None:
    with connect("demo://") as cluster:
        stats = cluster.broker.get_cluster_stats()
        assert (stats.workers, len(stats.topics)) == (8, 6)
        assert stats.total_running == sum(topic.running or 0 for topic in stats.topics)
