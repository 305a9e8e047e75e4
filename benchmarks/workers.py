"""Runners on tasks that do nothing: ours, the peer's and Dramatiq's, on one node, in turns."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import tasktools as tt
from benchmarks.measure import Result, at_least, at_most, processor_seconds
from tasktools.testing import RabbitMQNode

_PROGRAMS = Path(__file__).with_name("programs")
_SCRIPTS = Path(__file__).parents[1] / "scripts"
_THREADS = 8
_PEER_TASKS = 100  # of which it runs 20 a second
_LIMIT = 120.0


def throughput(node: RabbitMQNode, *, tasks: int, rounds: int) -> Iterator[Result]:
    """Tasks a second, from the first execution to the last one."""
    python = subprocess.check_output([_SCRIPTS / "peer"], text=True).strip()
    names = ("ours", "peer", "dramatiq")
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            count = min(tasks, _PEER_TASKS) if name == "peer" else tasks
            _queue(node, name, count)
            command = _command(name, python)
            rates[name].append(count / _seconds(node, command, count))
    mine = median(rates["ours"])
    for name, bound in (("peer", 2.0), ("dramatiq", 0.8)):
        theirs = median(rates[name])
        yield at_least(
            f"runner on {tasks:,} no-op tasks, {_THREADS} threads, against {name}'s",
            mine / theirs,
            bound,
            f"{mine:,.0f} against {theirs:,.0f} a second",
        )


def _command(name: str, peer_python: str) -> list[str]:
    threads = str(_THREADS)
    if name == "peer":
        return [peer_python, str(_PROGRAMS / "with_peer.py"), threads]
    if name == "dramatiq":
        flags = ["--processes", "1", "--threads", threads]
        return [sys.executable, "-m", "dramatiq", *flags, "with_dramatiq"]
    worker = [sys.executable, "-m", "tasktools.cli", "worker"]
    return [*worker, "--app", "ours", "--topics", "ours", "--capacity", threads]


def _queue(node: RabbitMQNode, name: str, tasks: int) -> None:
    if name == "dramatiq":
        command = [sys.executable, str(_PROGRAMS / "with_dramatiq.py"), str(tasks)]
        subprocess.run(command, env=_environment(node, tasks, ""), check=True)
        return
    with tt.connect(node.dsn, management_url=node.management_url) as cluster:
        broker = cluster.broker
        broker.ensure_topic(name)
        task = {"task_name": "noop:noop"}
        messages = [
            broker.composer.compose(name, task | {"kwargs": {"n": n}}) for n in range(tasks)
        ]
        assert set(broker.publish_many(messages)) == {"confirmed"}


def _seconds(node: RabbitMQNode, command: list[str], tasks: int) -> float:
    with _running(node, command, tasks) as result:
        deadline = time.monotonic() + _LIMIT
        while not result.exists():
            assert time.monotonic() < deadline, f"{command} did not finish"
            time.sleep(0.05)
        return float(result.read_text().split()[0])


@contextmanager
def _running(node: RabbitMQNode, command: list[str], tasks: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result"
        environment = _environment(node, tasks, str(result))
        environment["DATABASE_URL"] = f"sqlite:///{folder}/peer.db"
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield result
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(node: RabbitMQNode, tasks: int, result: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{_PROGRAMS}{os.pathsep}{_PROGRAMS.parents[1]}",
        "BROKER_TYPE": "rabbitmq",
        "BROKER_DSN": node.dsn,
        "BROKER_MANAGEMENT_URL": "off",
        "BENCH_TOTAL": str(tasks),
        "BENCH_RESULT": result,
    }


def idle(node: RabbitMQNode, *, seconds: float) -> Result:
    """CPU of our runner while there is nothing to do."""
    with tt.connect(node.dsn, management_url=False) as cluster:
        cluster.broker.ensure_topic("idle")
    command = _command("ours", "")
    with _running(node, command, 0):
        time.sleep(5)  # started and settled
        pid = _pid_of(command)
        before = processor_seconds(pid)
        time.sleep(seconds)
        used = (processor_seconds(pid) - before) / seconds
    return at_most("CPU of an idle runner", used, 0.01, f"{used * 100:.2f} % over {seconds:g} s")


def _pid_of(command: list[str]) -> int:
    """Return the id of the process we started with *command*."""
    line = "\0".join(command).encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().rstrip(b"\0") == line:
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError("the runner is not there")
