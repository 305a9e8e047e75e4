"""A simulated worker process: claims tasks, takes time, sends a peer's events."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from tasktools.brokers.base import Broker
from tasktools.core.amqp import replay_header
from tasktools.core.clock import moment
from tasktools.core.events import (
    CounterDelta,
    LockEvent,
    TaskEvent,
    TaskOnWorker,
    WorkerEvent,
    WorkerList,
    WorkerReport,
)
from tasktools.core.models import Delivery, Failure
from tasktools.demo import world
from tasktools.demo.world import Fate, Mishap, Node

BEAT: Final = 3.0
"""Seconds between heartbeats, as peers have it."""


class Cluster(Protocol):
    """The view of the cluster that a simulated worker needs."""

    def may_start(self, topic: str) -> bool:
        """Whether *topic* is consumed, and its concurrency limit allows one more."""

    def has_room_for_dead(self, topic: str) -> bool:
        """Whether one more failed task of *topic* is dead-lettered; if not, it is acknowledged."""

    def fate_of(self, delivery: Delivery, task_id: str, host: str, *, again: bool) -> Fate:
        """Return the fate of a task that begins now on *host*."""

    def reports(self, now: float) -> tuple[WorkerReport, ...]:
        """Return the reports of all workers with a recent event."""


@dataclass(frozen=True, slots=True)
class Run:
    """A task that is being executed."""

    delivery: Delivery
    task_id: str
    started: float
    fate: Fate

    @property
    def ends(self) -> float:
        """The time at which the task ends."""
        return self.started + self.fate.seconds


class SimulatedWorker:
    """A simulated worker. The caller passes the time."""

    def __init__(
        self,
        node: Node,
        connect: Callable[[], Broker],
        cluster: Cluster,
        now: float,
        *,
        dice: random.Random,
        running_for: float = 0.0,
    ) -> None:
        self.node = node
        self.topics = list(node.topics)
        self.pid = dice.randrange(400, 30_000)
        self.sender = f"{dice.getrandbits(32):08x}"
        self.worker_id = f"{node.host}-{self.pid}-{self.sender}"
        self.runs: list[Run] = []
        self.last_beat = now
        self.died: float | None = None
        self._broker = connect()
        self._cluster = cluster
        self.started = now
        self._started_at = now - running_for
        self._next_topic = 0
        self._finished: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self.connected = True
        self.is_new_release = False
        self._speak("register", now)

    # --- time -----------------------------------------------------------------------

    def step(self, now: float) -> None:
        """Do what is due at *now*: end tasks, begin tasks, send a heartbeat."""
        for run in [run for run in self.runs if run.ends <= now]:
            self._end(run, now)
        while len(self.runs) < self.node.capacity and (delivery := self._claim()) is not None:
            self._begin(delivery, now)
        if now - self.last_beat >= BEAT:
            self._speak("heartbeat", now)

    def kill(self, now: float) -> None:
        """Die as after ``kill -9``: send nothing, settle nothing."""
        self.died = now

    def disconnect(self) -> None:
        """Let the broker notice the death: unacknowledged messages are redelivered."""
        if self.connected:
            self.connected = False
            self.runs.clear()
            self._broker.close()

    def stop(self, now: float) -> None:
        """Stop in good order: give running tasks back, and say goodbye."""
        self._speak("unregister", now)
        self.disconnect()

    def answer(self, now: float) -> None:
        """Answer `who_is_alive`, as every node does: with all workers that it knows."""
        workers = self._cluster.reports(now)
        self._broker.broadcast(WorkerList(sender_id=self.sender, workers=workers))

    # --- tasks ----------------------------------------------------------------------

    def _claim(self) -> Delivery | None:
        """Take the next task: of the user's own topics first, then of the others in turn."""
        turn = self._next_topic % max(len(self.topics), 1)
        in_turn = self.topics[turn:] + self.topics[:turn]
        for topic in sorted(in_turn, key=world.BY_TOPIC.__contains__):
            if not self._cluster.may_start(topic):
                continue
            delivery = self._broker.claim(topic, self.worker_id)
            if delivery is not None:
                self._next_topic = self.topics.index(topic) + 1
                return delivery
        return None

    def _begin(self, delivery: Delivery, now: float) -> None:
        task = delivery.task
        if task.problem is not None or task.task_id is None:
            self._dead_letter(delivery, None)
            return
        again = replay_header.story(delivery.properties.headers).count > 0
        fate = self._cluster.fate_of(delivery, task.task_id, self.node.host, again=again)
        self.runs.append(Run(delivery, task.task_id, now, fate))
        self._broker.broadcast(self._task_event("task_started", self.runs[-1], now))
        self._lock_event("lock_acquired", self.runs[-1], now)

    def _end(self, run: Run, now: float) -> None:
        self.runs.remove(run)
        topic = run.delivery.topic
        self._finished[topic] += 1
        self._lock_event("lock_released", run, now)
        mishap = run.fate.mishap
        if mishap is None:
            self._broker.broadcast(self._task_event("task_completed", run, now))
            self._acknowledge(run.delivery)
            return
        self._failed[topic] += 1
        self._broker.broadcast(self._task_event("task_failed", run, now))
        if self._cluster.has_room_for_dead(topic):
            self._dead_letter(run.delivery, self._failure(mishap, now))
        else:
            self._acknowledge(run.delivery)

    def _acknowledge(self, delivery: Delivery) -> None:
        self._broker.ack(delivery.id)
        self._count(delivery.topic, "completed")

    def _dead_letter(self, delivery: Delivery, failure: Failure | None) -> None:
        if failure is None:
            self._broker.nack(delivery.id, requeue=False)
        else:
            self._broker.dead_letter(delivery.id, failure)
        self._count(delivery.topic, "skipped")

    def _failure(self, mishap: Mishap, now: float) -> Failure | None:
        """Return the failure to write into a dead letter; `None` if the node writes none."""
        if not self.node.tells_why:
            return None
        return Failure(
            reason="failed",
            error_type=mishap.error_type,
            error=mishap.error,
            failed_at=moment(now + self.node.clock),
            traceback=mishap.traceback(),
            worker_id=self.worker_id,
            attempts=1,
        )

    # --- what it says ---------------------------------------------------------------

    def report(self, *, telemetry: bool = True) -> WorkerReport:
        """Return the worker's report by its own clock; `register` has no telemetry."""
        return WorkerReport(
            worker_id=self.worker_id,
            host=self.node.host,
            pid=self.pid,
            role="worker",
            capacity=self.node.capacity,
            running=len(self.runs),
            topics=tuple(self.topics),
            started_at=self._started_at + self.node.clock,
            last_heartbeat=self.last_beat + self.node.clock,
            running_tasks=tuple(map(_on_worker, self.runs)) if telemetry else None,
            succeeded=self._finished.total() - self._failed.total(),
            failed=self._failed.total(),
            finished_per_topic=dict(self._finished),
            failed_per_topic=dict(self._failed),
        )

    def _speak(self, kind: Literal["register", "heartbeat", "unregister"], now: float) -> None:
        self.last_beat = now
        report = self.report(telemetry=kind == "heartbeat")
        self._broker.broadcast(WorkerEvent(kind=kind, sender_id=self.sender, worker=report))

    def _task_event(
        self, kind: Literal["task_started", "task_completed", "task_failed"], run: Run, now: float
    ) -> TaskEvent:
        mishap = run.fate.mishap
        return TaskEvent(
            kind=kind,
            sender_id=self.sender,
            task_id=run.task_id,
            worker_id=self.worker_id,
            topic=run.delivery.topic,
            started_at=run.started + self.node.clock,
            duration=now - run.started,
            error=None if mishap is None else str(mishap),
            error_type=None if mishap is None else mishap.error_type,
        )

    def _lock_event(
        self, kind: Literal["lock_acquired", "lock_released"], run: Run, now: float
    ) -> None:
        topic = world.BY_TOPIC.get(run.delivery.topic)
        if topic is None or topic.lock is None:
            return
        self._broker.broadcast(
            LockEvent(
                kind=kind,
                sender_id=self.sender,
                lock=topic.lock,
                task_id=run.task_id,
                locked_by=self.worker_id,
                acquired_at=now + self.node.clock,
            )
        )

    def _count(self, topic: str, counter: Literal["completed", "skipped"]) -> None:
        self._broker.broadcast(
            CounterDelta(sender_id=self.sender, topic=topic, counter=counter, delta=1)
        )


def _on_worker(run: Run) -> TaskOnWorker:
    return TaskOnWorker(
        task_id=run.task_id, task_name=run.delivery.task.task_name, topic=run.delivery.topic
    )
