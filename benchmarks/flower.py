"""Flower and tasktools on one cluster of Celery: their answers, the time to them, the cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any, Final, Protocol

import requests

from benchmarks.measure import Result, at_least, at_most, processor_seconds, resident_megabytes
from tasktools.testing import RabbitMQNode, eventually
from tasktools.testing.node import free_ports
from tests.peer.celery_peer import CeleryPeer
from tests.peer.programs import Programs
from tests.vhosts import Vhost, fresh_vhost

_PROGRAMS: Final = Path(__file__).with_name("programs")
_WORKERS: Final = 3
_RUNNING: Final = 6  # two a worker
_WAITING: Final = 30
_FAILED: Final = 5
_SIMULATED: Final = 20  # workers whose events the generator makes
_LIMIT_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 600.0  # Flower answers nobody while it has events to go through
_LAG_SECONDS: Final = 1.0  # by which one that keeps up may count the last event later
_LOOK_SECONDS: Final = 5.0  # between two looks at the workers and failures
_STEP_SECONDS: Final = 8.0  # longer than the 5 s after which Flower's queue drops an event
_STEP: Final = 2
_FIRST_RATE: Final = 500  # events a second, below what either bears


@dataclass(frozen=True, slots=True)
class Answer:
    """A tool's view of the cluster: workers with processes and queues, and ids of tasks."""

    workers: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    running: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()

    @property
    def is_complete(self) -> bool:
        """Whether all real workers are there, with all that they run."""
        return len(self.workers) == _WORKERS and len(self.running) == _RUNNING


class Tool(Protocol):
    """A running process of one of both."""

    pid: int

    def answer(self) -> Answer:
        """Ask for the whole cluster."""

    def depths(self) -> dict[str, int]:
        """Return how many messages are in each queue of a worker, ready or not acknowledged."""

    def seen(self) -> tuple[int, int]:
        """Return how many tasks of simulated workers it saw end, and how many failures it has."""


class Flower:
    """A process of Flower, asked by its HTTP API."""

    def __init__(self, peer: CeleryPeer, programs: Programs) -> None:
        (port,) = free_ports(1)
        api = peer.vhost.management_url.replace("://", "://guest:guest@") + "/api/"
        options = [f"--port={port}", "--address=127.0.0.1", f"--broker-api={api}"]
        command = [*peer.command, "flower", *options]
        environment = peer.environment() | {"FLOWER_UNAUTHENTICATED_API": "true"}
        self.pid = programs.start(f"flower{port}", command, environment).pid
        self._url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()

    def _get(self, path: str, **parameters: Any) -> Any:
        answer = self._session.get(self._url + path, params=parameters, timeout=_ANSWER_SECONDS)
        answer.raise_for_status()
        return answer.json()

    def answer(self) -> Answer:
        """Ask for all workers, for what each runs, and for the failures."""
        try:
            names = list(self._get("/api/workers", refresh=1))
            with ThreadPoolExecutor() as pool:  # what a worker runs is told of one worker alone
                each = list(pool.map(self._worker, names))
        except requests.RequestException:  # it is not up yet, or does not know the worker yet
            return Answer()
        known = {
            name: worker
            for name, worker in zip(names, each, strict=True)
            if worker.keys() >= {"stats", "active_queues", "active"}
        }
        return Answer(
            {
                name: (
                    worker["stats"]["pool"]["max-concurrency"],
                    tuple(sorted(queue["name"] for queue in worker["active_queues"])),
                )
                for name, worker in known.items()
            },
            frozenset(task["id"] for worker in known.values() for task in worker["active"]),
            frozenset(self._get("/api/tasks", state="FAILURE")),
        )

    def _worker(self, name: str) -> Any:
        return self._get("/api/workers", refresh=1, workername=name)[name]

    def depths(self) -> dict[str, int]:
        """Ask for the lengths of queues, which it takes from the management API."""
        queues = self._get("/api/queues/length")["active_queues"]
        return {queue["name"]: queue["messages"] for queue in queues}

    def seen(self) -> tuple[int, int]:
        """Add up its counters of events, and list the tasks that failed."""
        workers = self._get("/workers", json=1)["data"]
        simulated = [worker for worker in workers if worker["hostname"].startswith("sim-")]
        ends = ("task-succeeded", "task-failed")
        ended = sum(worker.get(end, 0) for worker in simulated for end in ends)
        return ended, len(self._get("/api/tasks", state="FAILURE"))


class Ours:
    """A process that has a cluster open."""

    def __init__(self, vhost: Vhost, programs: Programs) -> None:
        command = [sys.executable, str(_PROGRAMS / "celery_watch.py")]
        command += [vhost.dsn, vhost.management_url]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_PROGRAMS.parents[1])}
        self._shell = programs.shell(command, environment)
        self.pid = self._shell.pid

    def answer(self) -> Answer:
        """Ask for the three frames."""
        frames = self._shell("answer")
        workers = {
            name: (size, tuple(queues)) for name, (size, queues) in frames["workers"].items()
        }
        return Answer(workers, frozenset(frames["running"]), frozenset(frames["failed"]))

    def depths(self) -> dict[str, int]:
        """Add up the columns of `topics()`."""
        return dict(self._shell("depths"))

    def seen(self) -> tuple[int, int]:
        """Add up the columns of `workers()`, and count the rows of `failures()`."""
        ended, failures = self._shell("seen")
        return ended, failures


class Bench:
    """A cluster of real workers on which six tasks run, and what starts either tool on it."""

    def __init__(self, peer: CeleryPeer, folder: Path) -> None:
        self._peer = peer
        self._folder = folder
        self.starts: dict[str, Callable[[Programs], Tool]] = {
            "ours": lambda programs: Ours(peer.vhost, programs),
            "flower": lambda programs: Flower(peer, programs),
        }
        for _ in range(_WORKERS):
            peer.start_worker()
        peer.until_ready()
        for number in range(_RUNNING + _WAITING):
            peer.submit("shop.held", f"h{number}@b")
        eventually(lambda: len(peer.executed()) == _RUNNING)

    @contextmanager
    def running(self, *names: str) -> Iterator[list[Tool]]:
        """Start tools, and wait until each has a complete answer; they end with the context."""
        programs = Programs(self._folder)
        try:
            tools = [self.starts[name](programs) for name in names]
            eventually(lambda: all(tool.answer().is_complete for tool in tools), _LIMIT_SECONDS)
            yield tools
        finally:
            programs.stop()

    def seconds_to_answer(self, name: str) -> float:
        """Return the seconds from the start of a tool to its first complete answer."""
        began = time.perf_counter()
        with self.running(name):
            return time.perf_counter() - began

    def fail(self) -> frozenset[str]:
        """Let tasks fail, once those that run have ended; returns their ids."""
        self._peer.let_go()
        ids = frozenset(self._peer.submit("shop.fail") for _ in range(_FAILED))
        eventually(lambda: ids <= {line["id"] for line in self._peer.executed()})
        return ids

    def send(self, events: int, rate: int, tools: list[Tool]) -> dict[str, Any]:
        """Send events of simulated workers while somebody looks at *tools*; return how many."""
        command = [sys.executable, str(_PROGRAMS / "celery_events.py"), self._peer.vhost.dsn]
        arguments = [str(_SIMULATED), str(events), str(rate)]
        over = Event()
        with ThreadPoolExecutor() as pool:  # a tool that is slow to answer delays no other
            looks = [pool.submit(_look_at, tool, over) for tool in tools]
            try:
                output = subprocess.check_output([*command, *arguments], text=True)
            finally:
                over.set()
            for look in looks:
                look.result()
        return dict(json.loads(output))


def _look_at(tool: Tool, over: Event) -> None:
    while not over.wait(_LOOK_SECONDS):
        tool.seen()


def beside_flower(node: RabbitMQNode, *, events: int, rate: int, rounds: int) -> Iterator[Result]:
    """Compare both on one cluster; with *rounds* also the first answer, memory and highest rate."""
    with (
        fresh_vhost(node) as vhost,
        tempfile.TemporaryDirectory() as folder,
        CeleryPeer(node, vhost, Path(folder)) as peer,
    ):
        bench = Bench(peer, Path(folder))
        if rounds:
            yield _first_answer(bench, rounds)
            yield _highest_rate(bench)
        yield from _side_by_side(bench, events, rate, with_memory=bool(rounds))


def _first_answer(bench: Bench, rounds: int) -> Result:
    seconds: dict[str, list[float]] = {name: [] for name in bench.starts}
    for _ in range(rounds):
        for name, times in seconds.items():
            times.append(bench.seconds_to_answer(name))
    mine, theirs = (median(seconds[name]) for name in ("ours", "flower"))
    return at_most(
        f"from start to all of {_WORKERS} Celery workers with what they run, against Flower",
        mine / theirs,
        1,
        f"{mine:.1f} s against {theirs:.1f} s",
    )


def _side_by_side(bench: Bench, events: int, rate: int, *, with_memory: bool) -> Iterator[Result]:
    """Let both hear the same events; compare their answers and their cost."""
    with bench.running("ours", "flower") as tools:
        shown = [tool.answer() for tool in tools]
        eventually(lambda: [tool.depths().get("mail") for tool in tools] == [_WAITING] * len(tools))
        failed = bench.fail()
        eventually(lambda: all(tool.answer().failed >= failed for tool in tools))
        failures = [tool.answer().failed for tool in tools]
        before = [processor_seconds(tool.pid) for tool in tools]
        sent = bench.send(events, rate, tools)
        tasks = sent["succeeded"] + sent["failed"]
        seen = [_settled(tool, tasks) for tool in tools]
        used = [processor_seconds(tool.pid) for tool in tools]
        memory = [resident_megabytes(tool.pid) for tool in tools]
    same = [
        shown[0].workers == shown[1].workers,
        shown[0].running == shown[1].running,
        failures[0] == failures[1] == failed,
    ]
    yield at_least(
        "workers, running tasks, failures and queues of Celery that are as Flower shows them",
        sum(same) / len(same),
        1,
        f"{_WORKERS} workers with pool and queues, {_RUNNING} tasks, {_FAILED} failures, "
        f"{_WAITING} messages",
    )
    pace = sent["events"] / sent["seconds"]
    what = f"{sent['events']:,} task events of Celery at {pace:,.0f} a second"
    yield at_least(
        f"ends and failures of tasks that are seen: {what}",
        min(seen[0][0] / tasks, seen[0][1] / (sent["failed"] + _FAILED)),
        1,
        f"{seen[0][0]:,} ends, {seen[0][1]:,} failures; Flower {seen[1][0]:,} and {seen[1][1]:,}",
    )
    cpu = [after - at for after, at in zip(used, before, strict=True)]
    yield at_most(
        f"processor time for {what}, against Flower",
        cpu[0] / cpu[1],
        1,
        f"{cpu[0]:.1f} s against {cpu[1]:.1f} s",
    )
    if with_memory:
        yield at_most(
            f"memory after {what}, against Flower",
            memory[0] / memory[1],
            1,
            f"{memory[0]:.0f} MB against {memory[1]:.0f} MB",
        )


def _settled(tool: Tool, tasks: int) -> tuple[int, int]:
    """Return what *tool* has seen, once that are all *tasks* or become no more."""
    before, seen = (-1, -1), tool.seen()
    while before < seen and seen[0] < tasks:
        time.sleep(_LAG_SECONDS)
        before, seen = seen, tool.seen()
    return seen


def _highest_rate(bench: Bench) -> Result:
    mine, theirs = (_sustained(bench, name) for name in ("ours", "flower"))
    return at_least(
        "task events of Celery a second without loss or lag, against Flower",
        mine / theirs,
        1,
        f"{mine:,.0f} against {theirs:,.0f} a second",
    )


def _sustained(bench: Bench, name: str) -> float:
    """Return the highest rate, of steps, at which a tool has counted all a second later."""
    rate, best = _FIRST_RATE, 0.0
    while True:
        with bench.running(name) as (tool,):
            sent = bench.send(int(rate * _STEP_SECONDS), rate, [tool])
            time.sleep(_LAG_SECONDS)
            ended, _ = tool.seen()
        if ended < sent["succeeded"] + sent["failed"]:
            assert best, f"{name} lags at {rate} events a second: this machine is too busy"
            return best
        best = float(sent["events"] / sent["seconds"])
        if best < rate / _STEP:  # the generator can no more
            return best
        rate *= _STEP
