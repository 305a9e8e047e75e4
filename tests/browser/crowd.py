"""A cluster with many topics and workers, in memory, with a past; for the board."""

from __future__ import annotations

import random
import threading
import time
from typing import Final

from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster.cluster import Cluster
from tasktools.core import events
from tasktools.core.events import Event, TaskOnWorker
from tasktools.core.layout import FP
from tasktools.testing.factories import task_event, worker_event

MARKUP: Final = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
_BEAT: Final = 3
_CAPACITY: Final = 4


class Clock:
    """Real time, unless it is held *at* a moment of the past."""

    def __init__(self) -> None:
        self.at: float | None = None

    def time(self) -> float:
        return time.time() if self.at is None else self.at

    def monotonic(self) -> float:
        return self.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Crowd:
    """*topics* topics and *workers* workers that are busy; the last one of them dies early.

    One topic is called by markup.
    """

    def __init__(self, topics: int, workers: int) -> None:
        self.clock = Clock()
        self._server = MemoryServer(clock=self.clock)
        self.cluster = Cluster(
            MemoryBroker(self._server, layout=FP, clock=self.clock), clock=self.clock
        )
        self.topics = [MARKUP, *(f"shop.topic-{n:02}" for n in range(1, topics))]
        self.workers = [f"worker-{n:03}" for n in range(workers)]
        self._running: dict[str, list[tuple[str, str, float]]] = {
            event: [] for event in self.workers
        }
        self._dice = random.Random(5)
        self._seconds = self._tasks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="crowd", daemon=True)
        for topic in self.topics:
            self.cluster.broker.ensure_topic(topic)
        self.cluster.broker.listen(lambda _event: None)

    def live_through(self, seconds: int) -> None:
        """Let so many seconds have passed, of which the cluster was watched."""
        now = time.time()
        for second in range(seconds):
            self.clock.at = now - seconds + second
            self._step()
            with self.cluster.sampled():
                pass
        self.clock.at = None

    def start(self) -> None:
        """Live on, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join()
        self.cluster.close()

    def _live(self) -> None:
        while not self._stop.wait(1.0 - time.time() % 1.0):
            self._step()

    def _step(self) -> None:
        self._seconds += 1
        new_events: list[Event] = []
        for number, worker in enumerate(self.workers):
            if number == len(self.workers) - 1 and self._seconds > 20:
                continue  # it died
            new_events += self._work(worker)
            if (self._seconds + number) % _BEAT == 0:
                new_events.append(self._beat(worker))
        self._server.broadcast(*map(events.encode, new_events))
        self._queue()

    def _work(self, worker: str) -> list[Event]:
        now, running = self.clock.time(), self._running[worker]
        new_events: list[Event] = []
        for task in [task for task in running if task[2] <= now]:
            running.remove(task)
            failed = self._dice.random() < 0.03
            new_events.append(
                task_event(
                    "task_failed" if failed else "task_completed", task[0], worker, topic=task[1]
                )
            )
        if len(running) < _CAPACITY and self._dice.random() < 0.6:
            self._tasks += 1
            topic = self.topics[int(len(self.topics) * self._dice.random() ** 1.7)]
            running.append((f"task-{self._tasks}", topic, now + self._dice.expovariate(0.2)))
            new_events.append(task_event("task_started", running[-1][0], worker, topic=topic))
        return new_events

    def _beat(self, worker: str) -> Event:
        tasks = [TaskOnWorker(task_id=t, topic=topic) for t, topic, _ in self._running[worker]]
        return worker_event(
            "heartbeat",
            worker,
            running=tasks,
            capacity=_CAPACITY,
            topics=tuple(self.topics),
            last_heartbeat=self.clock.time(),
        )

    def _queue(self) -> None:
        """Let queues grow and shrink: jagged, as they are."""
        broker = self.cluster.broker
        for topic in self._dice.sample(self.topics, max(len(self.topics) // 8, 1)):
            if self._dice.random() < 0.5:
                payloads = [{"task_name": "shop:send"}] * self._dice.randrange(1, 9)
                broker.publish_many(
                    [broker.composer.compose(topic, event, None) for event in payloads]
                )
            else:
                broker.purge(topic)
