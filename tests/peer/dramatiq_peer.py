"""Real Dramatiq actors: their workers, their client, and what the workers were given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

from tests.peer.programs import Programs
from tests.vhosts import Vhost

HERE: Final = Path(__file__).parent


class DramatiqPeer:
    """The actors on one vhost, with the queues `orders`, `orders.DQ` and `orders.XQ`."""

    def __init__(self, vhost: Vhost, folder: Path) -> None:
        self.vhost = vhost
        self._log = folder / "dramatiq.jsonl"
        self._log.touch()
        self._gate = folder / "gate"
        self._folder = folder
        self._programs = Programs(folder)
        self.client = self._programs.shell(
            [sys.executable, HERE / "dramatiq" / "dramatiq_client.py"], self._environment()
        )
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._programs.stop()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "PYTHONPATH": str(HERE / "dramatiq"),
            "BROKER_DSN": self.vhost.dsn,
            "TASK_LOG": str(self._log),
            "TASK_GATE": str(self._gate),
        }

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of one process and two threads."""
        command = [sys.executable, "-m", "dramatiq", "--processes", "1", "--threads", "2"]
        name = f"dramatiq{len(self.workers)}"
        worker = self._programs.start(name, [*command, "dramatiq_actors"], self._environment())
        self.workers.append(worker)
        return worker

    def submit(
        self, actor: str, *args: Any, _options: dict[str, Any] | None = None, **kwargs: Any
    ) -> str:
        """Send a message by Dramatiq's own client, and return its id; `delay` is in ms."""
        return str(self.submit_many((actor, args, kwargs, _options or {}))[0])

    def submit_many(self, *messages: tuple[str, Any, dict[str, Any], dict[str, Any]]) -> list[str]:
        """Send each (actor, args, kwargs, options), and return their ids."""
        return list(self.client("submit", messages))

    def executed(self, message_id: str | None = None) -> list[dict[str, Any]]:
        """Return the messages that workers were given (one message), as Dramatiq has them."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [line for line in lines if message_id in (None, line["message_id"])]

    def let_go(self) -> None:
        """Let actors `held` end, those that run and those to come."""
        self._gate.touch()
