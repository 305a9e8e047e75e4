"""A small scene on any cluster, always the same: for notebooks and tests."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final, Protocol, Self

from msgspec.structs import replace

from tasktools.brokers.base import Broker
from tasktools.core.clock import Clock, SystemClock, moment
from tasktools.core.errors import BrokerError, Closed
from tasktools.core.events import TaskEvent, TaskOnWorker, WorkerEvent, WorkerReport
from tasktools.core.models import Failure, Outgoing, Properties

QUEUED: Final = {"emails": 12, "reports": 5, "images": 3}
"""Tasks that are queued in each topic; in `images` a message that is no task follows them."""
DEAD: Final = {"emails": 3, "reports": 1}
"""Dead letters of each topic; the first two of `emails` say why they failed."""
RUNNING: Final = {"seed-worker-1": ("emails", "reports"), "seed-worker-2": ("images",)}
"""Each worker, with the topics of the tasks that it is running."""
POISON: Final = b"\x80\x04this is no JSON"

_EXPLAINED: Final = 2
_BEAT: Final = 3.0
_SENDER: Final = "tasktools-seed"
_FUNCTIONS: Final = {
    "emails": "demo_tasks:send_email",
    "reports": "demo_tasks:build_report",
    "images": "demo_tasks:resize_image",
}


class HasBroker(Protocol):
    """Anything with a broker, above all a `Cluster`."""

    @property
    def broker(self) -> Broker: ...


def seed(cluster: HasBroker, *, beat: float = _BEAT, clock: Clock | None = None) -> Seeded:
    """Fill *cluster* with queued tasks, dead letters, a poison message and two live workers.

    The workers are simulated: a thread named ``tasktools-seed`` sends their heartbeats until the
    returned handle is closed. Use it on an empty cluster without other workers.

    >>> import tasktools as tt
    >>> with tt.connect("memory://") as cluster, seed(cluster):
    ...     cluster.topics().set_index("topic")["dead_letter"].to_dict()
    {'emails': 3, 'images': 0, 'reports': 1}
    """
    broker = cluster.broker
    broker.setup()
    for topic in QUEUED:
        broker.ensure_topic(topic)
    _bury(broker, clock or SystemClock())
    for topic, count in QUEUED.items():
        for number in range(count):
            broker.publish(topic, _payload(topic, f"seed-{topic}-{number}", number))
    broker.publish_many([_poison("images")])
    return Seeded(broker, beat, clock or SystemClock())


def _payload(topic: str, task_id: str, number: int) -> dict[str, Any]:
    kwargs = {
        "emails": {"to": f"user{number}@example.org", "password": f"not-shown-{number}"},
        "reports": {"month": f"2026-{number + 1:02}", "pages": 10 * (number + 1)},
        "images": {"path": f"/pictures/{number}.png", "width": 640},
    }
    name = _FUNCTIONS[topic]
    return {"task_id": task_id, "task_name": name, "args": [], "kwargs": kwargs[topic]}


def _bury(broker: Broker, clock: Clock) -> None:
    for topic, count in DEAD.items():
        for number in range(count):
            broker.publish(topic, _payload(topic, f"seed-dead-{topic}-{number}", number))
            delivery = broker.claim(topic, _SENDER)
            if delivery is None:
                continue
            if topic == "emails" and number < _EXPLAINED:
                broker.dead_letter(delivery.id, _failure(number, clock.time()))
            else:
                broker.nack(delivery.id, requeue=False)


def _failure(number: int, now: float) -> Failure:
    where = (
        '  File "/srv/demo_tasks.py", line 12, in send_email\n    smtp.connect(host, timeout=30)'
    )
    error = f"smtp-{number}.example.org did not answer within 30 s"
    return Failure(
        reason="failed",
        error_type="TimeoutError",
        error=error,
        failed_at=moment(now),
        traceback=f"Traceback (most recent call last):\n{where}\nTimeoutError: {error}\n",
        worker_id="seed-worker-1",
        attempts=1,
    )


def _poison(topic: str) -> Outgoing:
    properties = Properties(message_id="seed-poison", delivery_mode=2)
    return Outgoing(topic=topic, message_id="seed-poison", body=POISON, properties=properties)


class Seeded:
    """The two workers of a seeded cluster, which send heartbeats until `close()`.

    `error` keeps the last error of a heartbeat that could not be sent.
    """

    def __init__(self, broker: Broker, beat: float, clock: Clock) -> None:
        self.error: BrokerError | None = None
        self._broker = broker
        self._beat = beat
        self._clock = clock
        self._started_at = clock.time()
        self._stop = threading.Event()
        broker.cluster_state()  # this client receives all their events
        for worker_id in RUNNING:
            broker.broadcast(self._event("register", worker_id))
        for started in self._starts():
            broker.broadcast(started)
        self._say("heartbeat")
        self._thread = threading.Thread(target=self._run, name="tasktools-seed", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the workers say goodbye, and stop. Idempotent."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            with contextlib.suppress(BrokerError):
                self._say("unregister")

    def _run(self) -> None:
        while not self._stop.wait(self._beat):
            try:
                self._say("heartbeat")
            except Closed:
                return
            except BrokerError as error:
                self.error = error

    def _say(self, kind: Any) -> None:
        for worker_id in RUNNING:
            self._broker.broadcast(self._event(kind, worker_id))

    def _event(self, kind: Any, worker_id: str) -> WorkerEvent:
        report = self._report(worker_id)
        if kind == "register":  # as a peer does: the first event has no telemetry
            report = replace(report, running_tasks=None)
        return WorkerEvent(kind=kind, sender_id=_SENDER, worker=report)

    def _report(self, worker_id: str) -> WorkerReport:
        tasks = tuple(
            TaskOnWorker(task_id=task_id, task_name=_FUNCTIONS[topic].split(":")[1], topic=topic)
            for topic, task_id in _running(worker_id)
        )
        return WorkerReport(
            worker_id=worker_id,
            host="seed-host",
            pid=1000 + list(RUNNING).index(worker_id),
            role="worker",
            capacity=4,
            running=len(tasks),
            topics=RUNNING[worker_id],
            started_at=self._started_at,
            last_heartbeat=self._clock.time(),
            running_tasks=tasks,
            succeeded=7,
            failed=1,
            finished_per_topic=dict.fromkeys(RUNNING[worker_id], 8 // len(tasks)),
            failed_per_topic={RUNNING[worker_id][0]: 1},
        )

    def _starts(self) -> Iterator[TaskEvent]:
        for worker_id in RUNNING:
            for topic, task_id in _running(worker_id):
                yield TaskEvent(
                    kind="task_started",
                    sender_id=_SENDER,
                    task_id=task_id,
                    worker_id=worker_id,
                    topic=topic,
                    started_at=self._started_at,
                )


def _running(worker_id: str) -> list[tuple[str, str]]:
    return [(topic, f"seed-running-{topic}") for topic in RUNNING[worker_id]]
