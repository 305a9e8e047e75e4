"""Real peers: `fastpluggy-tasks-worker[rabbitmq]` and Celery, each in an environment of its own,
and Dramatiq.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasktools.testing import RabbitMQNode
from tests.peer.celery_peer import CeleryPeer
from tests.peer.dramatiq_peer import DramatiqPeer
from tests.peer.programs import Programs, Shell
from tests.vhosts import Vhost, fresh_vhost

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """Python of the peer's environment, made once in `.peer` (or `TASKTOOLS_PEER`)."""
    made = subprocess.check_output([HERE.parents[1] / "scripts" / "peer"], text=True)
    return Path(made.strip()).absolute()


class Peer:
    """Starts the peer's processes on one vhost."""

    def __init__(self, python: Path, dsn: str, folder: Path) -> None:
        self._python = python
        self._dsn = dsn
        self._folder = folder
        self._programs = Programs(folder)
        self.log = folder / "tasks.log"
        self.log.touch()
        self._gate = folder / "gate"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.ours: list[subprocess.Popen[bytes]] = []
        self.stop = self._programs.stop

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a program of the peer."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "BROKER_TYPE": "rabbitmq",
            "BROKER_DSN": self._dsn,
            "DATABASE_URL": f"sqlite:///{self._folder}/{name}.db",
            "TASK_LOG": str(self.log),
            "TASK_GATE": str(self._gate),
        }

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker process."""
        name = f"worker{len(self.workers)}"
        command = [self._python, HERE / "peer_worker.py"]
        self.workers.append(self._programs.start(name, command, self.environment(name)))
        return self.workers[-1]

    def submit(self, *tasks: tuple[str, dict[str, Any]]) -> None:
        """Submit tasks from a process of the peer's own."""
        subprocess.run(
            [self._python, HERE / "peer_submit.py", json.dumps(tasks)],
            env=self.environment("submit"),
            stdin=subprocess.DEVNULL,
            check=True,
            capture_output=True,
        )

    def start_ours(self, topics: str = "emails,reports") -> subprocess.Popen[bytes]:
        """Start a runner of ours with the same tasks."""
        command = [sys.executable, "-m", "tasktools.cli", "worker", "--app", "peer_tasks"]
        options = ["--topics", topics, "--capacity", "4"]
        environment = self.environment("ours") | {"PYTHONPATH": str(HERE / "ours")}
        runner = self._programs.start(f"ours{len(self.ours)}", [*command, *options], environment)
        self.ours.append(runner)
        return runner

    def let_go(self) -> None:
        """Let tasks `held` end, those that run and those to come."""
        self._gate.touch()

    def shell(self) -> Shell:
        """Start a node of the peer that does what it is asked."""
        command = [self._python, HERE / "peer_shell.py"]
        return self._programs.shell(command, self.environment("shell"))


@pytest.fixture
def quiet_peer(peer_python: Path, vhost: Any, tmp_path: Path) -> Iterator[Peer]:
    """The peer's programs on the vhost; none runs yet."""
    peer = Peer(peer_python, vhost.dsn, tmp_path)
    yield peer
    peer.stop()


@pytest.fixture
def peer(quiet_peer: Peer) -> Peer:
    """Two worker processes of the peer on the vhost, up and listening."""
    quiet_peer.start_worker()
    quiet_peer.start_worker()
    return quiet_peer


@pytest.fixture(scope="module")
def celery(
    rabbitmq: RabbitMQNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CeleryPeer]:
    """A Celery application with a worker that tells of its tasks, on a vhost of the module's own.

    For `connect`, `cluster` and `raw` to be on it a module has a fixture `vhost`, which returns
    `celery.vhost`.
    """
    folder = tmp_path_factory.mktemp("celery")
    with fresh_vhost(rabbitmq) as vhost, CeleryPeer(rabbitmq, vhost, folder) as peer:
        peer.start_worker()
        peer.until_ready()
        yield peer


@pytest.fixture
def quiet_celery(rabbitmq: RabbitMQNode, vhost: Vhost, tmp_path: Path) -> Iterator[CeleryPeer]:
    """A Celery application on the vhost of the test; no worker runs yet."""
    with CeleryPeer(rabbitmq, vhost, tmp_path) as peer:
        yield peer


@pytest.fixture(scope="module")
def dramatiq(
    rabbitmq: RabbitMQNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DramatiqPeer]:
    """Actors of Dramatiq with a worker, on a vhost of the module's own."""
    folder = tmp_path_factory.mktemp("dramatiq")
    with fresh_vhost(rabbitmq) as vhost, DramatiqPeer(vhost, folder) as peer:
        peer.start_worker()
        yield peer


@pytest.fixture
def quiet_dramatiq(vhost: Vhost, tmp_path: Path) -> Iterator[DramatiqPeer]:
    """Actors of Dramatiq on the vhost of the test; no worker runs yet."""
    with DramatiqPeer(vhost, tmp_path) as peer:
        yield peer
