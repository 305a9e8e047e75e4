"""Worker events, and each client's view of the cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.events import (
    CounterDelta,
    Event,
    SettingsUpdate,
    TaskEvent,
    WorkerList,
)
from tasktools.core.models import ClusterState, TopicSettings, Worker
from tasktools.testing.conformance.base import Backdoor, Conformance
from tasktools.testing.eventually import eventually, threads_per_processor
from tasktools.testing.factories import (
    lock_event,
    peer_heartbeat,
    task_event,
    worker_event,
    worker_report,
)


def state_when(broker: Broker, holds: Callable[[ClusterState], object]) -> ClusterState:
    """Return the state of the cluster as soon as *holds* says so."""

    def state() -> ClusterState | None:
        now = broker.cluster_state()
        return now if holds(now) else None

    return eventually(state)


def running(state: ClusterState) -> dict[str, str]:
    """Return the running tasks and who runs them."""
    return {task.task_id: task.worker_id for task in state.running}


def tasks_in(received: Iterable[Event]) -> list[Event]:
    """Return the events of tasks among those *received*."""
    return [event for event in received if isinstance(event, TaskEvent)]


class Events(Conformance):
    """Behaviours of `broadcast`, `listen` and `cluster_state`."""

    def test_a_cluster_without_workers_is_empty_at_once(self, broker: Broker) -> None:
        began = time.monotonic()
        state = broker.cluster_state()
        assert time.monotonic() - began < 3 * threads_per_processor()
        assert (state.workers, state.running, state.locks) == ((), (), ())
        assert state.events.ok

    @pytest.fixture
    def worker(self, broker: Broker) -> Worker:
        """Return a worker that has sent one heartbeat, as `broker` sees it."""
        broker.cluster_state()
        broker.broadcast(worker_event("heartbeat", running=["task-1"], started_at=None))
        return state_when(broker, lambda state: state.workers).workers[0]

    def test_a_worker_that_registers_is_alive(self, broker: Broker) -> None:
        broker.cluster_state()
        broker.broadcast(worker_event("register"))
        (worker,) = state_when(broker, lambda state: state.workers).workers
        assert (worker.worker_id, worker.state, worker.uncertain) == ("worker-1", "alive", False)

    def test_a_worker_is_shown_as_it_describes_itself(self, worker: Worker) -> None:
        assert (worker.host, worker.pid, worker.role) == ("host-1", 4711, "worker")
        assert (worker.capacity, worker.running, worker.topics) == (4, 1, ("emails",))

    @pytest.mark.usefixtures("worker")
    def test_a_heartbeat_tells_of_running_tasks(self, broker: Broker) -> None:
        assert running(broker.cluster_state()) == {"task-1": "worker-1"}

    @pytest.mark.usefixtures("worker")
    def test_a_worker_that_says_goodbye_has_stopped(self, broker: Broker) -> None:
        broker.broadcast(worker_event("unregister"))
        state = state_when(broker, lambda state: state.workers[0].state == "stopped")
        assert (state.workers[0].running, state.running) == (0, ())

    def test_a_heartbeat_as_a_peer_writes_it_is_understood(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.cluster_state()
        backdoor.say(peer_heartbeat(at=time.time()))
        (worker,) = state_when(broker, lambda state: state.workers).workers
        assert (worker.running, worker.succeeded, worker.failed) == (1, 5, 3)

    def test_another_client_hears_the_same(self, broker: Broker, second_broker: Broker) -> None:
        for client in (broker, second_broker):
            client.cluster_state()
        broker.broadcast(worker_event("register"))
        for client in (broker, second_broker):
            assert len(state_when(client, lambda state: state.workers).workers) == 1

    def test_a_read_only_client_hears_the_events(
        self, broker: Broker, read_only_broker: Broker
    ) -> None:
        broker.cluster_state()
        state_when(read_only_broker, lambda state: state.events.ok)
        broker.broadcast(worker_event("register"))
        assert len(state_when(read_only_broker, lambda state: state.workers).workers) == 1

    def test_a_started_task_is_running(self, broker: Broker) -> None:
        broker.cluster_state()
        broker.broadcast(task_event("task_started"))
        (task,) = state_when(broker, lambda state: state.running).running
        assert (task.task_id, task.worker_id, task.topic) == ("task-1", "worker-1", "emails")
        assert task.started_at is not None

    @pytest.mark.parametrize("kind", ["task_completed", "task_failed"])
    def test_a_task_that_ended_is_not_running(self, broker: Broker, kind: str) -> None:
        broker.cluster_state()
        broker.broadcast(task_event("task_started"))
        broker.broadcast(task_event("task_started", "task-2"))
        state_when(broker, lambda state: len(state.running) == 2)
        broker.broadcast(task_event(kind))  # type: ignore[arg-type]
        assert running(state_when(broker, lambda s: len(s.running) == 1)) == {"task-2": "worker-1"}

    def test_what_others_say_of_a_worker_is_uncertain(self, broker: Broker) -> None:
        broker.cluster_state()
        broker.broadcast(WorkerList(sender_id="node", workers=(worker_report("far"),)))
        (worker,) = state_when(broker, lambda state: state.workers).workers
        assert (worker.worker_id, worker.uncertain, worker.last_seen) == ("far", True, None)

    def test_a_worker_is_certain_once_it_speaks_itself(self, broker: Broker) -> None:
        broker.cluster_state()
        broker.broadcast(WorkerList(sender_id="node", workers=(worker_report("far"),)))
        broker.broadcast(worker_event("heartbeat", "far"))
        state = state_when(broker, lambda s: s.workers and not s.workers[0].uncertain)
        assert state.workers[0].last_seen is not None

    def test_a_lock_is_held_until_it_is_released(self, broker: Broker) -> None:
        broker.cluster_state()
        broker.broadcast(lock_event("lock_acquired"))
        (lock,) = state_when(broker, lambda state: state.locks).locks
        assert (lock.lock, lock.task_id, lock.worker_id) == ("nightly", "task-1", "worker-1")
        broker.broadcast(lock_event("lock_released"))
        assert state_when(broker, lambda state: not state.locks).locks == ()

    def test_settings_of_a_topic_are_told(self, broker: Broker) -> None:
        settings = TopicSettings(concurrency_limit=3, dead_letter_enabled=True)
        broker.cluster_state()
        broker.broadcast(SettingsUpdate(sender_id="node", topic="emails", settings=settings))
        assert state_when(broker, lambda s: s.settings).settings == {"emails": settings}

    def test_counts_of_a_topic_add_up(self, broker: Broker) -> None:
        broker.cluster_state()
        for delta in (2, 3):
            counted = CounterDelta(sender_id="node", topic="emails", counter="error", delta=delta)
            broker.broadcast(counted)

        def requeued(state: ClusterState) -> int | None:
            counters = state.counters.get("emails")
            return counters.requeued if counters else None

        assert state_when(broker, lambda state: requeued(state) == 5).topics == {"emails"}

    @pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[]", b'{"event": 5}', b'"\xff"'])
    def test_what_is_no_event_is_counted_and_does_no_harm(
        self, broker: Broker, backdoor: Backdoor, body: bytes
    ) -> None:
        broker.cluster_state()
        backdoor.say(body)
        broker.broadcast(worker_event("register"))
        state = state_when(broker, lambda s: s.workers and s.events.note)
        assert "1 " in (state.events.note or "")
        assert state.events.ok

    def test_events_of_an_unknown_kind_do_no_harm(self, broker: Broker, backdoor: Backdoor) -> None:
        broker.cluster_state()
        backdoor.say(json.dumps({"event": "from_the_future", "sender_id": "x"}).encode())
        broker.broadcast(worker_event("register"))
        assert len(state_when(broker, lambda state: state.workers).workers) == 1

    def test_an_event_that_lies_about_its_types_does_no_harm(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.cluster_state()
        lies = {"worker_id": "liar", "pid": "x", "capacity": -1, "topics": 5, "started_at": []}
        backdoor.say(json.dumps({"event": "heartbeat", "worker": lies}).encode())
        (worker,) = state_when(broker, lambda state: state.workers).workers
        assert (worker.worker_id, worker.pid, worker.capacity) == ("liar", None, None)
        assert (worker.topics, worker.started_at) == ((), None)

    # --- listening ------------------------------------------------------------------

    def test_a_listener_hears_the_events_of_all_clients_in_order(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        received: list[Event] = []
        broker.listen(received.append)
        sent = [task_event("task_started", f"task-{n}") for n in range(20)]
        for client in (broker, second_broker):
            client.broadcast(*sent[:10])
            for event in sent[10:]:
                client.broadcast(event)
            eventually(lambda: tasks_in(received) == sent)
            received.clear()

    def test_a_listener_hears_nothing_once_it_was_ended(self, broker: Broker) -> None:
        ended, goes_on = list[Event](), list[Event]()
        stop = broker.listen(ended.append)
        broker.listen(goes_on.append)
        stop()
        stop()
        broker.broadcast(task_event())
        eventually(lambda: tasks_in(goes_on))
        assert not tasks_in(ended)

    def test_a_listener_that_fails_is_logged_and_hears_on(
        self, broker: Broker, caplog: pytest.LogCaptureFixture
    ) -> None:
        received: list[Event] = []

        def receive(event: Event) -> None:
            received.append(event)
            raise LookupError("out of order")

        broker.listen(receive)
        broker.broadcast(task_event("task_started"), task_event("task_completed"))
        eventually(lambda: len(tasks_in(received)) == 2)
        assert eventually(lambda: "out of order" in caplog.text)

    def test_a_listener_is_spared_what_is_no_event(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        received: list[Event] = []
        broker.listen(received.append)
        for body in (b"no JSON", b'{"event": "from_the_future", "sender_id": "x"}'):
            backdoor.say(body)
        broker.broadcast(task_event())
        eventually(lambda: tasks_in(received))
        assert {type(event).__name__ for event in received} <= {"Question", "TaskEvent"}

    def test_a_read_only_client_may_listen(self, broker: Broker, read_only_broker: Broker) -> None:
        received: list[Event] = []
        broker.cluster_state()  # the exchange is there
        read_only_broker.listen(received.append)
        broker.broadcast(task_event())
        eventually(lambda: tasks_in(received))
