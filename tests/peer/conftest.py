"""The real peer: `fastpluggy-tasks-worker[rabbitmq]` in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
        self.log = folder / "tasks.log"
        self.log.touch()
        self._gate = folder / "gate"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.ours: list[subprocess.Popen[bytes]] = []
        self._shells: list[Shell] = []

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
        """Start a worker process; its log is kept beside the test's other files."""
        name = f"worker{len(self.workers)}"
        with (self._folder / f"{name}.log").open("wb") as log:
            worker = subprocess.Popen(
                [self._python, HERE / "peer_worker.py"],
                env=self.environment(name),
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
            env=self.environment("submit"),
            stdin=subprocess.DEVNULL,
            check=True,
            capture_output=True,
        )

    def start_ours(self, topics: str = "emails,reports") -> subprocess.Popen[bytes]:
        """Start a runner of ours with the same tasks."""
        command = [sys.executable, "-m", "tasktools.cli", "worker", "--app", "peer_tasks"]
        with (self._folder / f"ours{len(self.ours)}.log").open("wb") as log:
            runner = subprocess.Popen(
                [*command, "--topics", topics, "--capacity", "4"],
                env=self.environment("ours") | {"PYTHONPATH": str(HERE / "ours")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.ours.append(runner)
        return runner

    def let_go(self) -> None:
        """Let tasks `held` end, those that run and those to come."""
        self._gate.touch()

    def shell(self) -> Shell:
        """Start a node of the peer that does what it is told."""
        shell = Shell(self._python, self.environment("shell"))
        self._shells.append(shell)
        return shell

    def stop(self) -> None:
        """Kill all processes."""
        for process in (*self.workers, *self.ours):
            process.kill()
            process.wait(10)
        for shell in self._shells:
            shell.close()


class Shell:
    """A node of the peer; its broker's methods are called by name."""

    def __init__(self, python: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, HERE / "peer_shell.py"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._until("ready")

    def _until(self, start: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # the peer logs to the same place
            if line.startswith(start):
                return line
        raise AssertionError("the peer's node has ended")

    def __call__(self, method: str, *arguments: Any) -> Any:
        """Call *method* of the peer's broker."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._until("answer ").removeprefix("answer "))

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        """Kill it and let go of the pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


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
