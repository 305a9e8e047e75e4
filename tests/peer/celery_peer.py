"""A real Celery application: its workers, its client, and what the workers were given."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from tasktools.testing import RabbitMQNode, eventually
from tests.peer.programs import Programs
from tests.vhosts import Vhost

HERE: Final = Path(__file__).parent
QUEUES: Final = ("mail", "reports")


def celery_python() -> Path:
    """Return the Python of Celery's environment, made once in `.celery` (or `TASKTOOLS_CELERY`)."""
    made = subprocess.check_output([HERE.parents[1] / "scripts" / "peer", "celery"], text=True)
    return Path(made.strip()).absolute()


class CeleryPeer:
    """The application on one vhost, with its queues `mail` and `reports`.

    What dies in `mail` is led to `mail.dlq` by the queue's arguments, what dies in `reports` to
    `reports.dlq` by a policy, an exchange and a binding.
    """

    def __init__(self, node: RabbitMQNode, vhost: Vhost, folder: Path) -> None:
        self.vhost = vhost
        self._node = node
        self._python = celery_python()
        self._log = folder / "celery.jsonl"
        self._log.touch()
        self._gate = folder / "gate"
        self._folder = folder
        self._programs = Programs(folder)
        self.command = (str(self._python), "-m", "celery", "--app", "celery_tasks")
        self._declare()
        self.client = self._programs.shell(
            [self._python, HERE / "celery" / "celery_client.py"], self.environment()
        )
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._programs.stop()

    def _declare(self) -> None:
        """Lead what dies in `reports` to its dead-letter queue by policy, and make both queues."""
        dead = {"dead-letter-exchange": "dead"}
        self._put("policies", "dead-reports", {"pattern": "^reports$", "definition": dead})
        self._put("exchanges", "dead", {"type": "direct", "durable": True})
        for queue in QUEUES:
            self._put("queues", f"{queue}.dlq", {"durable": True})
        vhost = quote(self.vhost.name, safe="")
        path = f"/api/bindings/{vhost}/e/dead/q/reports.dlq"
        self._node.request("POST", path, {"routing_key": "reports"})

    def _put(self, what: str, name: str, settings: dict[str, Any]) -> None:
        self._node.request("PUT", f"/api/{what}/{quote(self.vhost.name, safe='')}/{name}", settings)

    def environment(self) -> dict[str, str]:
        """Return the environment of a program of the application."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "PYTHONPATH": str(HERE / "celery"),
            "BROKER_DSN": self.vhost.dsn,
            "TASK_LOG": str(self._log),
            "TASK_GATE": str(self._gate),
            "TASK_SENT_EVENTS": "1",
            "C_FORCE_ROOT": "1",  # it runs where the tests run, and takes pickles
        }

    def start_worker(
        self,
        name: str | None = None,
        *,
        queues: str = ",".join(QUEUES),
        events: bool = True,
        processes: int = 2,
    ) -> subprocess.Popen[bytes]:
        """Start a worker that prefetches as Celery does; with *events* it tells of its tasks."""
        name = name or f"w{len(self.workers)}"
        options = ["--hostname", f"{name}@shop", "--queues", queues, "--loglevel", "INFO"]
        options += ["--concurrency", str(processes), "--pool", "prefork"]
        options += ["--task-events"] if events else []
        worker = self._programs.start(name, [*self.command, "worker", *options], self.environment())
        self.workers.append(worker)
        return worker

    def until_ready(self, count: int | None = None) -> None:
        """Wait until all workers (or *count*) answer."""
        expected = len(self.workers) if count is None else count

        def answered() -> bool:
            return len(self.client("control", "ping", None, None, 1.0, expected)) == expected

        eventually(answered)

    def submit(
        self, task: str, *args: Any, _options: dict[str, Any] | None = None, **kwargs: Any
    ) -> str:
        """Send a task by Celery's own client, and return its id.

        *_options* are those of `send_task`: `countdown`, `queue`, `serializer` (`json`, `pickle`,
        `base64`), `compression`; also `protocol`.
        """
        return str(self.submit_many((task, args, kwargs, _options or {}))[0])

    def submit_many(self, *tasks: tuple[str, Any, dict[str, Any], dict[str, Any]]) -> list[str]:
        """Send each (name, args, kwargs, options), and return their ids."""
        return list(self.client("submit", tasks))

    def executed(self, task_id: str | None = None) -> list[dict[str, Any]]:
        """Return what workers were given (of one task): id, task, args, kwargs, headers …"""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [line for line in lines if task_id in (None, line["id"])]

    def let_go(self) -> None:
        """Let tasks `held` end, those that run and those to come."""
        self._gate.touch()

    def hold(self) -> None:
        """Hold tasks `held` again, those to come."""
        self._gate.unlink(missing_ok=True)
