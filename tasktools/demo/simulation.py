"""The simulation of the demo cluster: deterministic steps for the same seed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from tasktools.brokers.base import Broker
from tasktools.core import events
from tasktools.core.events import Question, SettingsReply, SettingsUpdate, WorkerReport
from tasktools.core.models import Delivery, Outgoing, TopicSettings
from tasktools.demo import world
from tasktools.demo.incidents import Incident
from tasktools.demo.worker import SimulatedWorker
from tasktools.demo.world import Fate

STEP: Final = 0.5
"""Seconds of simulated time in one step."""

_HOUR_AT_OPENING: Final = 12.8
_BURST_AT: Final = 12.0
_LOOK_EVERY: Final = 4  # steps between two looks at how long the queues are
_SILENT_AT: Final = 108.0  # seconds after the start at which a worker is killed
_OPEN_FOR: Final = 20_000.0
"""Seconds for which the workers of the beginning, as they say, have been running."""
_LIVES: Final = 900.0  # seconds that a worker's replacements live
_NOTICED_AFTER: Final = 4.0  # seconds until the broker notices
_BACK_AFTER: Final = 240.0  # seconds until another takes its place
_MAX_DEAD: Final = 1_000
"""Dead letters of a topic, at most."""
_MAX_DEAD_OF_INCIDENT: Final = 10_000
"""Dead letters of the incident's topic, at most: it lasts for more than two hours. They take 30
MB."""
_MAX_WAITING_OF_INCIDENT: Final = 10_000
_QUESTIONS: Final = (b"who_is_alive", b"config_request")
_ADMIN: Final = "ad3150ff"


class Server(Protocol):
    """The part of the server that the simulation needs beyond a client's."""

    def set_consumers(self, queue: str, count: int) -> None:
        """Set the number of consumers of *queue*."""


class Simulation:
    """A simulated cluster, advanced by `step`. Not thread-safe."""

    def __init__(
        self,
        server: Server,
        connect: Callable[[], Broker],
        *,
        seed: int,
        speed: float,
        start: float,
        opening: float,
        incident: Incident | None = None,
    ) -> None:
        self.now = start
        self._opening = opening
        self._incident = incident
        self.workers: list[SimulatedWorker] = []
        self._server = server
        self._connect = connect
        self._broker = connect()
        self._dice = random.Random(seed)  # noqa: S311 - a demo
        self._speed = speed
        self._start = start
        self._steps = 0
        self._published = 0
        self._waiting: dict[str, int] = {}
        self._dead: dict[str, int] = {}
        self._questions: deque[str] = deque(maxlen=100)
        self._open()

    # --- time -----------------------------------------------------------------------

    def step(self) -> None:
        """Advance by `STEP` seconds."""
        self.now += STEP
        self._steps += 1
        if self._steps % _LOOK_EVERY == 0:
            self._look()
        self._arrive()
        self._answer()
        self._silence()
        self._deploy()
        for worker in self._alive():
            worker.step(self.now)

    def handle_event(self, body: bytes) -> None:
        """Queue an event, from any thread; the next step answers it."""
        if any(question in body for question in _QUESTIONS):
            event = events.parse(body)
            if isinstance(event, Question):
                self._questions.append(event.kind)

    def close(self) -> None:
        """Release the broker."""
        for worker in self.workers:
            worker.disconnect()
        self._broker.close()

    # --- what happens ---------------------------------------------------------------

    def _open(self) -> None:
        for topic in world.TOPICS:
            self._broker.ensure_topic(topic.name)
        for node in world.NODES:
            self._join(self._of_incident(node), running_for=_OPEN_FOR)
        for name, settings in self._settings().items():
            self._broker.broadcast(SettingsUpdate(sender_id=_ADMIN, topic=name, settings=settings))
        self._publish(
            [task for topic in world.TOPICS for task in self._tasks(topic, topic.at_start)]
        )
        self._publish([world.poison(self.now)])

    def _of_incident(self, node: world.Node) -> world.Node:
        """Return *node*; if it is the spare worker and must not help in the incident, without
        topics."""
        is_idle = self._incident is not None and not self._incident.spare_helps and node.any_topic
        return replace(node, topics=()) if is_idle else node

    def _join(self, node: world.Node, *, running_for: float = 0.0) -> SimulatedWorker:
        worker = SimulatedWorker(
            node, self._connect, self, self.now, dice=self._dice, running_for=running_for
        )
        # Not all at the same moment: each has a heartbeat of its own.
        worker.last_beat -= self._dice.uniform(0.0, 3.0)
        self.workers.append(worker)
        return worker

    def _arrive(self) -> None:
        hour = self._hour(self.now)
        arriving: list[Outgoing] = []
        for topic in world.TOPICS:
            waiting = self._waiting.get(topic.name, 0)
            if topic.chain:
                number = int(self._steps % _LOOK_EVERY == 0 and self._is_idle(topic.name))
            else:
                rate = topic.rate * world.rhythm(hour) * self._speed
                room = max(self._most_waiting(topic) - waiting, 0)
                number = min(self._round(rate * STEP), room)
            if topic.burst and self._hour(self.now - STEP) < _BURST_AT <= hour:
                number += topic.burst
            arriving += self._tasks(topic, number)
        self._publish(arriving)

    def _most_waiting(self, topic: world.Topic) -> int:
        """Return how many tasks of *topic* wait at most: those of an incident's topic keep
        growing."""
        incident = self._incident
        is_slow = incident is not None and (incident.kind, incident.topic) == ("slow", topic.name)
        return _MAX_WAITING_OF_INCIDENT if is_slow else topic.at_most

    def _is_idle(self, topic: str) -> bool:
        return self._waiting.get(topic, 0) == 0 and self._running(topic) == 0

    def _round(self, expected: float) -> int:
        whole = int(expected)
        return whole + (self._dice.random() < expected - whole)

    def _hour(self, at: float) -> float:
        days = (at - self._opening) * self._speed / world.DAY
        return (_HOUR_AT_OPENING + days * 24.0) % 24.0

    def _tasks(self, topic: world.Topic, number: int) -> list[Outgoing]:
        tasks = []
        for _ in range(number):
            self._published += 1
            tasks.append(world.message(topic, self._published, self.now, self._dice))
        return tasks

    def _publish(self, tasks: list[Outgoing]) -> None:
        if tasks:
            self._broker.publish_many(tasks)

    def _look(self) -> None:
        """Read the queues' lengths, and let wildcard workers find topics that were there before.

        Messages that were published with a new topic and expire at once have expired by then.
        """
        earlier_topics = self._waiting.keys()
        report = self._broker.topic_report()
        self._waiting = {stats.topic: stats.queued or 0 for stats in report.topics if stats.exists}
        self._dead = {stats.topic: stats.dead_letter or 0 for stats in report.topics}
        for worker in self.workers:
            if worker.node.any_topic:
                known = world.BY_TOPIC.keys() | set(worker.topics)
                worker.topics += [
                    name for name in self._waiting if name in earlier_topics and name not in known
                ]
        for topic in self._waiting:
            count = sum(topic in worker.topics and worker.connected for worker in self.workers)
            if self._is_stopped(topic):
                count = 0
            self._server.set_consumers(topic, count)

    def _answer(self) -> None:
        questions = {self._questions.popleft() for _ in range(len(self._questions))}
        if "who_is_alive" in questions:
            for worker in self._alive():
                worker.answer(self.now)
        if "config_request" in questions:
            self._broker.broadcast(SettingsReply(sender_id=_ADMIN, settings=self._settings()))

    def _silence(self) -> None:
        """Kill a worker, let the broker notice, and start a replacement much later.

        With an incident only its own workers die: there is one thing to find.
        """
        for worker in list(self.workers):
            is_killed = self._incident is not None and self._incident.kills(
                worker.node.host, self._since_start
            )
            if worker.died is None:
                first = worker.started == self._start
                is_due = self.now - worker.started >= (_SILENT_AT if first else _LIVES)
                if is_killed or (worker.node.goes_silent and is_due and self._incident is None):
                    worker.kill(self.now)
            elif self.now - worker.died >= _BACK_AFTER and not is_killed:
                self.workers.remove(worker)
                self._join(worker.node)
            elif self.now - worker.died >= _NOTICED_AFTER:
                worker.disconnect()

    def _deploy(self) -> None:
        """Stop the workers of the incident's hosts, and start workers of a new release in their
        place."""
        for worker in list(self.workers):
            if self._incident is None or worker.is_new_release:
                continue
            if self._incident.deploys(worker.node.host, self._since_start):
                worker.stop(self.now)
                self.workers.remove(worker)
                self._join(worker.node).is_new_release = True

    @property
    def _since_start(self) -> float:
        return self.now - self._start

    def _is_stopped(self, topic: str) -> bool:
        return self._incident is not None and self._incident.stops(topic, self._since_start)

    # --- what workers ask -----------------------------------------------------------

    def may_start(self, topic: str) -> bool:
        """Whether *topic* is consumed, and its concurrency limit allows one more."""
        if self._is_stopped(topic):
            return False
        settings = self._settings().get(topic)
        limit = None if settings is None else settings.concurrency_limit
        return limit is None or self._running(topic) < limit

    def has_room_for_dead(self, topic: str) -> bool:
        """Whether one more failed task of *topic* is dead-lettered; if not, it is acknowledged."""
        is_of_incident = self._incident is not None and self._incident.topic == topic
        most = _MAX_DEAD_OF_INCIDENT if is_of_incident else _MAX_DEAD
        return self._dead.get(topic, 0) < most

    def fate_of(self, delivery: Delivery, task_id: str, host: str, *, again: bool) -> Fate:
        """Return the fate of a task that begins now on *host*."""
        topic, message_id = delivery.topic, delivery.task.message_id
        fate = world.fate(task_id, message_id, topic, self._speed, again=again)
        if self._incident is None:
            return fate
        return self._incident.changed(fate, delivery, host, self._since_start)

    def reports(self, now: float) -> tuple[WorkerReport, ...]:
        """Return the reports of all workers with an event within 30 s."""
        return tuple(w.report() for w in self.workers if now - w.last_beat <= 30.0)

    def _running(self, topic: str) -> int:
        return sum(run.delivery.topic == topic for w in self._alive() for run in w.runs)

    def _alive(self) -> list[SimulatedWorker]:
        return [worker for worker in self.workers if worker.died is None]

    @staticmethod
    def _settings() -> dict[str, TopicSettings]:
        return {topic.name: topic.settings for topic in world.TOPICS if topic.settings}
