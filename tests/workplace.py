"""A cluster in memory, with workers of ours, tasks for them, and all that is said."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.core.amqp import failure_headers
from tasktools.core.clock import Clock
from tasktools.core.events import Event, TaskEvent, WorkerEvent, WorkerReport
from tasktools.core.models import Failure, SeenMessage, TopicSettings
from tasktools.testing import eventually

TOPIC = "work"


class Workplace:
    """Everything happens on the topic ``work``, unless said otherwise."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.server = MemoryServer(clock)
        self.broker = MemoryBroker(self.server)
        self.broker.ensure_topic(TOPIC)
        self.registry = tt.TaskRegistry()
        self.heard: list[Event] = []
        self._runners: list[tt.TaskRunner] = []
        self._brokers = [self.broker]
        self._let_go = threading.Event()
        self._stop_listening = self.broker.listen(self.heard.append)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._let_go.set()
        for runner in self._runners:
            runner.stop(1.0)
        self._stop_listening()
        for broker in self._brokers:
            broker.close()

    # --- workers --------------------------------------------------------------------

    def new_runner(self, broker: MemoryBroker | None = None, **options: Any) -> tt.TaskRunner:
        """Return a runner on a client of its own, stopped at the end at the latest."""
        if broker is None:
            broker = MemoryBroker(self.server)
        self._brokers.append(broker)
        usual: dict[str, Any] = {"topics": [TOPIC], "registry": self.registry, "worker_id": "ours"}
        runner = tt.TaskRunner(broker=broker, **usual | options)
        self._runners.append(runner)
        return runner

    def run(self, broker: MemoryBroker | None = None, **options: Any) -> tt.TaskRunner:
        """Return a runner that runs."""
        runner = self.new_runner(broker, **options)
        runner.start()
        return runner

    def slow_task(self, name: str = "slow") -> Slow:
        """Register a task that runs until it is told to end, or the test is over."""
        slow = Slow(self._let_go)
        self.registry.task(name=name)(slow.function)
        return slow

    # --- messages -------------------------------------------------------------------

    def publish(
        self,
        name: str | Callable[..., object],
        *args: Any,
        topic: str = TOPIC,
        headers: dict[str, Any] | None = None,
        payload: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """Publish a task and return its id; *payload* are fields besides the arguments."""
        task_name = name if isinstance(name, str) else name.__name__
        body = {"task_name": task_name, "args": list(args), "kwargs": kwargs, **(payload or {})}
        message = self.broker.composer.compose(topic, body, headers)
        self.broker.ensure_topic(topic)
        assert self.broker.publish_many([message]) == ["confirmed"]
        assert message.task_id is not None
        return message.task_id

    def configure(self, topic: str = TOPIC, **settings: Any) -> None:
        """Set what the topic's settings are."""
        self.broker.configure_topic(topic, TopicSettings(**settings))

    def depth(self, queue: str = TOPIC) -> int:
        """Return how many messages are ready."""
        return self.server.depth(queue)

    def held(self, topic: str = TOPIC) -> int:
        """Return how many messages are delivered and not settled."""
        stats = {each.topic: each for each in self.broker.topic_report([topic]).topics}
        return stats[topic].unacked or 0

    def is_done(self, topic: str = TOPIC) -> bool:
        """Whether the topic is empty and all of it settled."""
        return self.depth(topic) == self.held(topic) == 0

    def dead(self, topic: str = TOPIC) -> list[SeenMessage]:
        """Return the dead letters."""
        return list(self.broker.peek(f"{topic}.dead", 1000).messages)

    def one_failure(self, topic: str = TOPIC) -> Failure:
        """Wait for the one dead letter and return what is wrong with it."""
        eventually(lambda: self.dead(topic))
        (dead,) = self.dead(topic)
        failure = failure_headers.from_headers(dead.properties.headers)
        assert failure is not None
        return failure

    # --- events ---------------------------------------------------------------------

    def told(self, task_id: str) -> list[TaskEvent]:
        """Return what was said of a task."""
        events = [event for event in tuple(self.heard) if isinstance(event, TaskEvent)]
        return [event for event in events if event.task_id == task_id]

    def kinds(self, task_id: str) -> list[str]:
        """Return the kinds of what was said of a task."""
        return [event.kind for event in self.told(task_id)]

    def reports(self, *kinds: str) -> list[WorkerReport]:
        """Return what workers said of themselves, in events of these *kinds* or of any."""
        events = [event for event in tuple(self.heard) if isinstance(event, WorkerEvent)]
        return [event.worker for event in events if not kinds or event.kind in kinds]


class Slow:
    """A task that is held up: *running* counts how many of it run now, *ran* notes the rest."""

    def __init__(self, let_go: threading.Event) -> None:
        self._test_is_over = let_go
        self._go = threading.Semaphore(0)
        self._lock = threading.Lock()
        self.running = 0
        self.most = 0
        self.ran: list[Any] = []

    def function(self, n: int = 0) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        while not self._go.acquire(timeout=0.01) and not self._test_is_over.is_set():
            pass
        with self._lock:
            self.running -= 1
            self.ran.append(n)

    def end(self, count: int = 1) -> None:
        """Let *count* of them end."""
        self._go.release(count)
