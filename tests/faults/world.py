"""A cluster of real workers on a fresh vhost, in which things can be made to go wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from pika.exceptions import AMQPError

import tasktools as tt
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import ManualClock
from tasktools.testing import RabbitMQNode
from tests.faults.clients import Consumer, MadeWorker, Publisher, Traffic

HERE: Final = Path(__file__).parent
EXCHANGE: Final = "fp.tasks"
_UP_SECONDS: Final = 120.0  # a worker of the peer starts in 4 s, on a busy machine in 40
_DAY_SECONDS: Final = 90_000.0  # somewhat more than a day
_STEP_SECONDS: Final = 600.0


class Program:
    """A worker's process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def freeze(self) -> None:
        """Stop it, as a debugger or a full disk does; its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it in good order, as a deploy does."""
        self.process.terminate()

    def kill(self) -> None:
        """Kill it at once, and wait for its end."""
        self.process.kill()
        self.process.wait(30)


class World:
    """The vhost and all that runs on it; closing it ends all of it."""

    def __init__(self, node: RabbitMQNode, name: str, folder: Path, peer_python: Path) -> None:
        self.node = node
        self.vhost = f"{name}-{uuid.uuid4().hex[:6]}"
        self.dsn = node.add_vhost(self.vhost)
        self._folder = folder
        self._recording: Path | None = None
        self._peer_python = peer_python
        self._healers: list[Callable[[], object]] = []
        self._over = threading.Event()
        self.peers: list[Program] = []
        self.ours: list[Program] = []
        self.emails = Traffic(self.dsn, "emails", 0, delay=0.1)
        self.reports = Traffic(self.dsn, "reports", 0, delay=0.2)
        self.publisher = Publisher(self.dsn)
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def heals(self, healer: Callable[[], object]) -> None:
        """Call *healer* when the world is closed; the last one first."""
        self._healers.append(healer)

    def close(self) -> None:
        """Undo what strikes the node, end all programs and drop the vhost."""
        self._over.set()
        try:
            for heal in reversed(self._healers):
                heal()
        finally:
            for program in (*self.peers, *self.ours):
                program.kill()
            for traffic in (self.emails, self.reports):
                traffic.stop()
            with contextlib.suppress(AMQPError):
                self.publisher.close()
            self.node.delete_vhost(self.vhost)

    # --- workers --------------------------------------------------------------------

    def start_peer(
        self, topics: str = "emails,reports", capacity: int = 4, *, dies_after: float | None = None
    ) -> Program:
        """Start a worker of the real peer."""
        name = f"peer{len(self.peers)}"
        environment = self._environment(name) | {
            "FAULT_TOPICS": topics,
            "FAULT_CAPACITY": str(capacity),
        }
        if dies_after is not None:
            environment["FAULT_DIES_AFTER"] = str(dies_after)
        command = [str(self._peer_python), str(HERE / "peer" / "fault_worker.py")]
        program = self._start(name, command, environment)
        self.peers.append(program)
        return program

    def start_ours(self, topics: str = "emails,reports", capacity: int = 4, *more: str) -> Program:
        """Start a worker of tasktools; *more* are options of its command."""
        name = f"ours{len(self.ours)}"
        command = [sys.executable, "-m", "tasktools.cli", "worker", "--app", "fault_tasks"]
        command += ["--topics", topics, "--capacity", str(capacity), *more]
        environment = self._environment(name) | {"PYTHONPATH": str(HERE / "ours")}
        program = self._start(name, command, environment)
        self.ours.append(program)
        return program

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "BROKER_TYPE": "rabbitmq",
            "BROKER_DSN": self.dsn,
            "DATABASE_URL": f"sqlite:///{self._folder}/{name}.db",
        }

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> Program:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return Program(process)

    def supervise(self, start: Callable[[], Program], first: Program) -> None:
        """Start another program whenever *first*, or the last that was started, has ended."""
        program = first

        def restart() -> None:
            nonlocal program
            if program.process.poll() is not None:
                program = start()

        self.repeat(0.2, restart)

    def made_worker(self, worker_id: str, topics: str, **worker: Any) -> MadeWorker:
        """Start what beats as a worker of the peer does, and consumes nothing."""
        made = MadeWorker(self.dsn, worker_id, topics.split(","), **worker)
        self.heals(made.stop)
        return made

    def wait_consumed(self, **consumers: int) -> None:
        """Wait until each topic has as many consumers."""
        ends_at = time.monotonic() + _UP_SECONDS
        while (counts := {topic: self.consumers(topic) for topic in consumers}) != consumers:
            if time.monotonic() > ends_at:
                raise AssertionError(f"not {consumers} consumers, but {counts}")
            time.sleep(0.3)  # it is a busy machine

    # --- messages -------------------------------------------------------------------

    def traffic(self, topic: str, rate: float, **task: Any) -> Traffic:
        """Publish tasks at *rate* a second, until the end."""
        traffic = Traffic(self.dsn, topic, rate, **task)
        self.heals(traffic.stop)
        return traffic

    def publish(self, topic: str, count: int = 1, **task: Any) -> None:
        """Publish *count* tasks at once."""
        for _ in range(count):
            self.publisher.task(topic, **task)

    def consume(self, queue: str, **options: Any) -> Consumer:
        """Start a consumer that is no worker; `Consumer` says what it does."""
        consumer = Consumer(self.dsn, queue, **options)
        self.heals(consumer.stop)
        return consumer

    def repeat(self, every: float, action: Callable[[], object]) -> None:
        """Call *action* now and then *every* s, until the end."""

        def run() -> None:
            while True:
                action()
                if self._over.wait(every):
                    return

        thread = threading.Thread(target=run, daemon=True)
        self.heals(lambda: thread.join(60))
        thread.start()

    def once(self, action: Callable[[], object]) -> None:
        """Do *action* in a thread of its own; the end of the world waits for it."""
        thread = threading.Thread(target=action, daemon=True)
        self.heals(lambda: thread.join(60))
        thread.start()

    # --- the broker -----------------------------------------------------------------

    def declare(self, topic: str, **arguments: Any) -> None:
        """Declare a topic as a peer does; *arguments* are others of its queue."""
        named = {
            "x-dead-letter-exchange": "fp.dlx",
            "x-dead-letter-routing-key": f"dlx.{topic}",
        } | {name.replace("_", "-"): value for name, value in arguments.items()}
        self.publisher.declare(f"{topic}.dead", "fp.dlx", f"dlx.{topic}", {})
        self.publisher.declare(topic, EXCHANGE, topic, named)

    def declare_bare(self, queue: str) -> None:
        """Declare a queue for tasks from which nothing is dead-lettered."""
        self.publisher.declare(queue, EXCHANGE, queue, {})

    def api(self, method: str, what: str, path: str = "", body: object = None) -> Any:
        """Ask the management API about things of the vhost: ``queues``, ``policies``…"""
        return self.node.request(method, f"/api/{what}/{quote(self.vhost, safe='')}{path}", body)

    def queue(self, name: str) -> dict[str, Any]:
        """Return what the management API says of a queue now."""
        answer: dict[str, Any] = self.api("GET", "queues", f"/{quote(name, safe='')}")
        return answer

    def counted(self, queue: str, counter: str) -> int:
        """Return a counter of the messages of *queue*: `publish`, `deliver`, `ack`…"""
        return int(self.queue(queue).get("message_stats", {}).get(counter, 0))

    def consumers(self, queue: str) -> int:
        """Return the number of consumers of *queue*, 0 if it does not exist."""
        return self.publisher.counts(queue)[1]

    def ready(self, queue: str) -> int:
        """Return the number of ready messages of *queue*."""
        return self.publisher.counts(queue)[0]

    def token_is_out(self, lock: str) -> bool:
        """Whether the token of a lock of the peer, which exists, is not in its queue."""
        answer = self.publisher.counts_or_none(f"tw.lock.{lock}")
        return answer is not None and answer[0] == 0

    def policy(self, queue: str, **definition: Any) -> None:
        """Set a policy for one queue."""
        named = {name.replace("_", "-"): value for name, value in definition.items()}
        body = {"pattern": f"^{queue}$", "definition": named, "apply-to": "queues"}
        self.api("PUT", "policies", f"/{queue}", body)

    def record_a_day(self) -> None:
        """Make a recording of the vhost for `watched`, which goes on until the end.

        Its day before now are answers of the node at this moment, sampled every ten minutes of a
        clock that is set back.
        """
        path = self._folder / "day.db"
        clock = ManualClock(time.time() - _DAY_SECONDS)
        with self.connect() as now:
            past = Cluster(now.broker, clock=clock)
            with contextlib.closing(past.record(path, every=_STEP_SECONDS)) as recorder:
                recorder.open()
                while clock.time() + _STEP_SECONDS < time.time():
                    recorder.tick()
                    clock.advance(_STEP_SECONDS)
        cluster = self.connect()
        self.heals(cluster.close)
        recorder = cluster.record(path)
        self.heals(recorder.close)
        recorder.start()
        self._recording = path

    def watched(self, **options: Any) -> tt.Cluster:
        """Return what is judged: the recording, where there is one, or the vhost."""
        if self._recording is not None:
            return tt.connect(f"sqlite:///{self._recording}")
        return self.connect(**options)

    def connect(self, **options: Any) -> tt.Cluster:
        """Connect to the vhost, as an operator."""
        return tt.connect(self.dsn, **{"management_url": self.node.management_url} | options)
