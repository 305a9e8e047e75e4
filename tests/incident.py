"""A recording of an incident: after a deploy, the workers of `emails` hang."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.recorded import START, Scene

MINUTES: Final = 30
GAP_AT, DEPLOY_AT, HANGS_AT = 8, 19, 20
"""Minutes: nothing is recorded for one, a mark is set, and no task of emails ends any more."""
WORKERS: Final = {"emails-1": "emails", "emails-2": "emails", "img-1": "images", "rep-1": "reports"}
CAPACITY: Final = 4
SCRIPT: Final = "<script>document.title='pwned'</script>"
SECRETS: Final = tuple(f"hunter{n:02}-Zx9Q" for n in range(1, 13))
"""Planted in arguments, errors, URLs, headers, names, marks and settings."""
UNTIL: Final = START + MINUTES * 60

_ERRORS: Final = (
    ("TimeoutError", "img-{n}.example.org did not answer within 30 s; password={0}"),
    ("ValueError", f"no picture: {SCRIPT} Authorization: Bearer {{1}}"),
    ("OperationalError", "could not connect to postgres://shop:{2}@db:5432/shop"),
)


def record_incident(path: Path) -> None:
    """Record half an hour, with a sample every 5 s."""
    scene = Scene(path, messages=True, bodies=True)
    try:
        _Incident(scene).happen()
    finally:
        scene.close()


class _Incident:
    """The cluster of a scene, second by second."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.broker = scene.cluster.broker
        self.number = 0
        self.running: dict[str, list[str]] = {worker: [] for worker in WORKERS}

    def happen(self) -> None:
        self.broker.setup()
        for topic in ("emails", "images", "reports"):
            self.broker.ensure_topic(topic)
            self.scene.server.set_consumers(topic, list(WORKERS.values()).count(topic))
        for worker, topic in WORKERS.items():
            self.beat(worker, topic)
        for tick in range(MINUTES * 12):
            minute = tick / 12
            if minute == GAP_AT:
                self.scene.recorder.close()
            elif minute == GAP_AT + 1:
                self.scene.recorder = self.scene.new_recorder()
            elif minute == DEPLOY_AT:
                self.scene.cluster.mark(f"deploy 1.4, token={SECRETS[3]}")
            self.work(tick, hangs=minute >= HANGS_AT)
            self.scene.clock.advance(5)
            for worker, topic in WORKERS.items():
                self.beat(worker, topic)
            if not GAP_AT <= minute < GAP_AT + 1:
                self.scene.recorder.tick()

    def beat(self, worker: str, topic: str) -> None:
        fields = {"topics": (topic,), "capacity": CAPACITY, "host": f"host-{worker[:3]}"}
        fields |= {
            "started_at": START - 3600,
            "succeeded": self.number,
            "failed": self.number // 50,
        }
        self.scene.beat(worker, self.running[worker], **fields)

    def work(self, tick: int, *, hangs: bool) -> None:
        """Let tasks be published, begin, and end, or not."""
        for worker, count in (("emails-1", 2), ("emails-2", 1), ("img-1", 1), ("rep-1", tick % 2)):
            for _ in range(count):
                if hangs and WORKERS[worker] == "emails":
                    self.hang(worker)
                else:
                    self.task(worker)

    def publish(self, topic: str) -> str:
        self.number += 1
        task_id = f"task-{self.number}"
        kwargs: dict[str, Any] = {"to": f"user{self.number}@example.org", "note": SCRIPT}
        kwargs |= {"password": SECRETS[4], "dsn": f"amqp://u:{SECRETS[5]}@h/v"}
        kwargs |= {"url": f"https://x/?sig={SECRETS[10]}", "auth": f"Bearer {SECRETS[11]}"}
        kwargs |= {"options": ["--api-key", SECRETS[6]], "raw": f'{{"secret": "{SECRETS[7]}"}}'}
        payload = {"task_id": task_id, "task_name": f"shop.{topic}:run", "args": []}
        headers = {"x-token": SECRETS[8], "cookie": SECRETS[9]}
        self.broker.publish(topic, {**payload, "kwargs": kwargs}, headers)
        return task_id

    def task(self, worker: str) -> None:
        topic = WORKERS[worker]
        task_id = self.publish(topic)
        delivery = self.broker.claim(topic, worker)
        assert delivery is not None
        self.scene.task("task_started", task_id, topic=topic, worker_id=worker)
        fails = topic == "images" and self.number % 4 == 0
        more: dict[str, Any] = {}
        if fails:
            kind, text = _ERRORS[self.number // 16 % len(_ERRORS)]
            error = text.replace("{n}", str(self.number))
            for n, secret in enumerate(SECRETS):
                error = error.replace(f"{{{n}}}", secret)
            more = {"error_type": kind, "error": error}
        kind = "task_failed" if fails else "task_completed"
        took = 0.4 + self.number % 7 / 10
        self.scene.task(kind, task_id, topic=topic, worker_id=worker, duration=took, **more)
        self.broker.ack(delivery.id)

    def hang(self, worker: str) -> None:
        """Publish a task, and let the worker begin it if it has room: it never ends."""
        task_id = self.publish("emails")
        if len(self.running[worker]) < CAPACITY and self.broker.claim("emails", worker):
            self.running[worker].append(task_id)
            self.scene.task("task_started", task_id, topic="emails", worker_id=worker)
