"""An incident of 40 minutes in memory, recorded, with everything that a timeline shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasktools.core.events import Command, SettingsUpdate
from tasktools.core.models import TopicSettings
from tasktools.testing.factories import lock_event, task_event, worker_event
from tests.recorded import Scene

MINUTE = 60.0
STEP = 5.0


class Incident(Scene):
    """A scene that goes on by steps of 5 s, with workers that live until they do not."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.alive: dict[str, float] = {}
        self.count = 0
        self.cluster.create_topic("emails")
        self.tick(0)

    def come(self, worker_id: str) -> None:
        """Let a worker register."""
        self.alive[worker_id] = self.clock.time()
        self.say(worker_event("register", worker_id, **self._facts(worker_id)))

    def leave(self, worker_id: str) -> None:
        """Let a worker say goodbye."""
        self.say(worker_event("unregister", worker_id, **self._facts(worker_id)))
        del self.alive[worker_id]

    def _facts(self, worker_id: str) -> dict[str, Any]:
        return {
            "host": f"host-of-{worker_id}",
            "topics": ("emails",),
            "started_at": self.alive[worker_id],
        }

    def go(
        self,
        seconds: float,
        *,
        published: int = 1,
        taken: int = 1,
        failing: int = 0,
        recorded: bool = True,
    ) -> None:
        """Let *seconds* pass; in each step tasks are *published* and *taken*, of which the first
        are *failing*."""
        broker = self.cluster.broker
        for _ in range(round(seconds / STEP)):
            for _ in range(published):
                self.count += 1
                task = {"task_name": "shop:send", "task_id": f"t{self.count}"}
                broker.publish("emails", task)
            for n in range(taken):
                self._work(fails=n < failing)
            self.clock.advance(STEP)
            for worker_id in self.alive:
                self.beat(worker_id, **self._facts(worker_id))
            if recorded:
                self.recorder.tick()

    def _work(self, *, fails: bool) -> None:
        delivery = self.cluster.broker.claim("emails", "nobody")
        if delivery is None:
            return
        task = delivery.task.task_id or "?"
        worker = next(iter(self.alive), "worker-1")
        self.say(task_event("task_started", task, worker))
        if fails:
            error = {"error_type": "Timeout", "error": "no answer from amqp://ops:hunter2@10.0.0.7"}
            self.say(task_event("task_failed", task, worker, duration=0.2, **error))
        else:
            self.say(task_event("task_completed", task, worker, duration=0.2))
        self.cluster.broker.ack(delivery.id)

    def settings(self, **settings: Any) -> None:
        """Let an operator's node tell the settings of the topic."""
        self.say(SettingsUpdate(sender_id="n", topic="emails", settings=TopicSettings(**settings)))


def record(path: Path) -> Incident:
    """Return the whole incident, whose recorder is closed."""
    scene = Incident(path)
    scene.settings(concurrency_limit=4)
    scene.come("worker-1")
    scene.come("worker-2")
    scene.go(9 * MINUTE)
    scene.say(lock_event("lock_acquired", "nightly", "worker-2"))
    scene.go(1 * MINUTE)
    scene.cluster.mark("deploy 1.4")  # after 10 minutes
    scene.settings(concurrency_limit=8)
    scene.go(1 * MINUTE)
    scene.go(1 * MINUTE, published=4, taken=1, failing=1)
    del scene.alive["worker-2"]  # it was killed, after 12 minutes
    scene.go(4 * MINUTE, published=4, taken=1, failing=1)
    scene.go(4 * MINUTE, published=2, taken=0)
    scene.come("worker-3")  # after 20 minutes
    command = {"target": "worker-3", "action": "update_prefetch"}
    params = {"topic": "emails", "prefetch": 8}
    scene.say(Command(kind="worker_command", sender_id="ops", params=params, **command))
    scene.say(lock_event("lock_released", "nightly", "worker-2"))
    scene.go(10 * MINUTE, published=1, taken=6)
    scene.recorder.close()
    scene.go(3 * MINUTE, recorded=False)  # nobody records, and worker-3 is killed meanwhile
    del scene.alive["worker-3"]
    scene.recorder = scene.new_recorder()
    scene.go(5 * MINUTE, published=1, taken=2)
    scene.leave("worker-1")
    scene.go(2 * MINUTE, published=0, taken=0)
    scene.recorder.close()
    return scene
