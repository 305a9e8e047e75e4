"""The real peer: `fastpluggy-tasks-worker[rabbitmq]` in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PACKAGE = "fastpluggy-tasks-worker[rabbitmq]"


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """Python of the peer's environment, made once in `.peer` (or `TASKTOOLS_PEER`)."""
    folder = Path(os.environ.get("TASKTOOLS_PEER", HERE.parents[1] / ".peer"))
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
        (folder / "ready").touch()
    return python


class Peer:
    """Starts the peer's processes on one vhost."""

    def __init__(self, python: Path, dsn: str, folder: Path) -> None:
        self._python = python
        self._dsn = dsn
        self._folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "BROKER_TYPE": "rabbitmq",
            "BROKER_DSN": self._dsn,
            "DATABASE_URL": f"sqlite:///{self._folder}/{name}.db",
        }

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker process; its log is kept beside the test's other files."""
        name = f"worker{len(self.workers)}"
        with (self._folder / f"{name}.log").open("wb") as log:
            worker = subprocess.Popen(
                [self._python, HERE / "peer_worker.py"],
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(worker)
        return worker

    def submit(self, *tasks: tuple[str, dict[str, Any]]) -> None:
        """Submit tasks from a process of the peer's own."""
        subprocess.run(
            [self._python, HERE / "peer_submit.py", json.dumps(tasks)],
            env=self._environment("submit"),
            stdin=subprocess.DEVNULL,
            check=True,
            capture_output=True,
        )

    def stop(self) -> None:
        """Kill all workers."""
        for worker in self.workers:
            worker.kill()
            worker.wait(10)


@pytest.fixture
def peer(peer_python: Path, vhost: Any, tmp_path: Path) -> Iterator[Peer]:
    """Two worker processes of the peer on the vhost, up and listening."""
    peer = Peer(peer_python, vhost.dsn, tmp_path)
    peer.start_worker()
    peer.start_worker()
    yield peer
    peer.stop()


@pytest.fixture
def within() -> Callable[..., Any]:
    """Call until the answer is true, at most so many seconds; returns the answer."""

    def within(seconds: float, ask: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + seconds
        while not (answer := ask()):
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.1)
        return answer

    return within
