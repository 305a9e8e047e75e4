"""Runner processes whose tasks write down what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import tasktools as tt
from tasktools.testing import eventually

PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True)
class Execution:
    """One execution of task *n*; *ended* is `None` when its process was killed meanwhile."""

    n: int
    pid: int
    began: float
    ended: float | None


class Runners:
    """Starts `tasktools worker` processes on one vhost, and reads what their tasks wrote."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        self._folder = folder
        self._log = folder / "tasks.log"
        self._log.touch()
        self.running: list[subprocess.Popen[bytes]] = []
        self.killed: dict[int, float] = {}

    def start(self, topic: str, *options: str, capacity: int = 8) -> subprocess.Popen[bytes]:
        """Start a runner; what it logs is kept beside the test's other files."""
        command = [sys.executable, "-m", "tasktools.cli", "worker", "--app", "logged_tasks"]
        command += ["--topics", topic, "--capacity", str(capacity), *options]
        with (self._folder / f"runner-{time.monotonic_ns()}.log").open("wb") as log:
            runner = subprocess.Popen(
                command,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(PROGRAMS),
                    "BROKER_DSN": self._dsn,
                    "BROKER_MANAGEMENT_URL": "off",
                    "TASK_LOG": str(self._log),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.running.append(runner)
        return runner

    def kill(self, runner: subprocess.Popen[bytes]) -> None:
        """Kill *runner* with SIGKILL."""
        self.killed[runner.pid] = time.monotonic()
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        self.running.remove(runner)

    def stop(self) -> None:
        """Stop all runners as an operator does; each has to end by itself."""
        for runner in self.running:
            runner.terminate()
        for runner in self.running:
            assert runner.wait(40) == 0
        self.running.clear()

    def kill_all(self) -> None:
        """Leave none behind."""
        for runner in tuple(self.running):
            self.kill(runner)

    def executions(self) -> list[Execution]:
        """Return all executions so far."""
        began: dict[tuple[int, int], float] = {}
        done = []
        whole, _, _ = self._log.read_text().rpartition("\n")  # one may just be written
        for line in whole.splitlines():
            what, n, pid, at = line.split()
            key = int(n), int(pid)
            if what == "began":
                if key in began:  # the same process had it twice
                    done.append(Execution(*key, began[key], None))
                began[key] = float(at)
            else:
                done.append(Execution(*key, began.pop(key), float(at)))
        return [*done, *(Execution(*key, at, None) for key, at in began.items())]

    def finished(self) -> set[int]:
        """Return the tasks that were executed to their end."""
        return {run.n for run in self.executions() if run.ended is not None}


def fill(cluster: tt.Cluster, topic: str, count: int, *, seconds: float = 0.0) -> None:
    """Publish *count* tasks, numbered from 0."""
    compose = cluster.broker.composer.compose
    messages = [
        compose(
            topic,
            {"task_name": "logged_tasks:work", "kwargs": {"n": n, "seconds": seconds}},
        )
        for n in range(count)
    ]
    assert set(cluster.broker.publish_many(messages)) == {"confirmed"}


def most_at_once(runners: Runners) -> int:
    """Return how many executions overlapped; what a killed process had, ended with it."""
    steps = []
    for run in runners.executions():
        ended = max(runners.killed[run.pid], run.began) if run.ended is None else run.ended
        steps += [(run.began, 1), (ended, -1)]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def check_executions(runners: Runners, tasks: int, *, in_flight: int, restarts: int = 0) -> None:
    """Each task ran; more than once only what was in flight when a process was killed, or when
    the broker was restarted."""
    executions = runners.executions()
    assert {run.n for run in executions if run.ended is not None} == set(range(tasks))
    last = {run.n: run for run in sorted(executions, key=lambda run: run.began)}
    again: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for run in executions:
        if run is not last[run.n]:
            again[run.pid][run.n] += 1
    for pid, repeated in again.items():
        losses = (pid in runners.killed) + restarts
        assert losses, f"tasks of {pid}, which nothing happened to, ran again: {repeated}"
        assert repeated.total() <= losses * in_flight


def wait_for_all(runners: Runners, tasks: int, timeout: float = 120) -> None:
    """Return when every task was executed to its end."""
    eventually(lambda: len(runners.finished()) == tasks, timeout=timeout)
