"""A recorder that stops: what was heard is written, however it comes to its end."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.core.clock import SystemClock
from tasktools.history.writer import Writer
from tasktools.testing import eventually
from tasktools.testing.factories import worker_event
from tests.recorded import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db", every=0.5)
    yield scene
    scene.close()


def started(scene: Scene) -> list[str]:
    return scene.history().task_events()["task_id"].tolist()


def test_of_3000_workers_all_are_in_the_file_when_it_stops_early(scene: Scene) -> None:
    """Issue 11, row 16: ticks came late, so those that were sampled first were forgotten."""
    for part in range(3):
        names = (f"worker-{part}-{n:04}" for n in range(1_000))
        scene.say(*(worker_event("heartbeat", name) for name in names))
        scene.tick(2)
    assert len(scene.history().workers()) == 3_000
    scene.clock.advance(0.2)
    scene.say(worker_event("heartbeat", "the last one"))
    scene.recorder.close()
    assert len(scene.history().workers()) == 3_001


def test_workers_of_a_tick_that_could_not_be_written_are_written_by_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 11, row 16: a tick that failed counted as the one that had sampled its workers."""
    scene.say(*(worker_event("heartbeat", f"worker-{n:04}") for n in range(1_000)))
    with monkeypatch.context() as patched:
        patched.setattr("tasktools.history.writer.Writer._write_gaps", lambda *_, **__: 1 / 0)
        scene.tick()
    scene.tick()
    assert len(scene.history().workers()) == 1_000


def test_what_is_heard_after_the_last_tick_is_written(scene: Scene) -> None:
    """Issue 11, row 16: stopped between two ticks; also when nothing has passed since one."""
    scene.task("task_started", "t1")
    scene.tick()
    scene.task("task_started", "t2")
    scene.recorder.close()  # in the same millisecond as that tick
    assert started(scene) == ["t1", "t2"]
    assert scene.history().throughput(every="1min")["started"].sum() == 2


def test_what_is_heard_while_a_tick_is_under_way_is_written_when_it_stops_then(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 11, row 16: stopped while a tick is under way."""
    is_asked, may_answer = threading.Event(), threading.Event()
    report = MemoryBroker.topic_report

    def slow(broker: MemoryBroker, *args: Any) -> Any:
        is_asked.set()
        may_answer.wait(20)
        return report(broker, *args)

    monkeypatch.setattr(MemoryBroker, "topic_report", slow)
    ticking = threading.Thread(target=scene.recorder.tick)
    ticking.start()
    assert is_asked.wait(30)
    closing = threading.Thread(target=scene.recorder.close)
    closing.start()
    scene.task("task_started", "meanwhile")
    may_answer.set()
    ticking.join(20)
    closing.join(20)
    assert started(scene) == ["meanwhile"]


def test_what_happens_after_the_last_tick_is_no_part_of_the_recording(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was called lost, and ``tasktools record`` on a busy cluster ended with 1."""
    write = Writer.write

    def write_and_hear(writer: Writer, *args: Any, **options: Any) -> None:
        write(writer, *args, **options)
        scene.task("task_started", "later")

    scene.task("task_started", "t1")
    monkeypatch.setattr(Writer, "write", write_and_hear)
    scene.recorder.close()
    assert started(scene) == ["t1"]
    assert scene.recorder.problem is None


@pytest.mark.parametrize("error", [tt.BrokerTimeout("no answer"), ZeroDivisionError("a bug")])
def test_what_was_heard_is_written_though_the_cluster_cannot_be_looked_at(
    error: Exception, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 11, row 16: an exception in the last tick."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(MemoryBroker, "cluster_state", fail)
    scene.task("task_started", "t1")
    scene.recorder.close()
    assert started(scene) == ["t1"]
    assert str(error) in str(scene.recorder.problem)


def test_a_cluster_that_is_closed_first_costs_nothing_that_was_heard(scene: Scene) -> None:
    """Issue 11, row 16: the cluster was closed before its recorder."""
    scene.task("task_started", "t1")
    scene.cluster.close()
    scene.recorder.close()
    assert started(scene) == ["t1"]


def test_a_disk_that_is_full_at_the_end_is_told_with_what_is_lost(scene: Scene) -> None:
    """Issue 11, row 16: the disk is full when it stops."""
    scene.task("task_started", "before")
    scene.tick()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for n in range(50):
            scene.task("task_started", f"t{n}")
        scene.recorder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    problem = str(scene.recorder.problem)
    assert problem.startswith("The last 50 events or messages are not in sqlite:")
    assert "Make room for it" in problem
    assert "continues by itself" not in problem
    assert started(scene) == ["before"]


_UNCLOSED = """
import sys, threading
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.core import events
from tasktools.cluster.cluster import Cluster
from tasktools.testing.factories import task_event

server = MemoryServer()
recorder = Cluster(MemoryBroker(server)).record(sys.argv[1], every="1h")
recorder.start()
server.broadcast(events.encode(task_event("task_started", "t1")))
sys.exit(3 if sys.argv[2] == "exit" else 0)
"""


@pytest.mark.parametrize("way", ["exit", "end"])
def test_a_process_that_ends_without_closing_it_writes_what_was_heard(
    way: str, tmp_path: Path
) -> None:
    """Issue 11, row 16: a notebook's kernel is shut down (`atexit`)."""
    file = tmp_path / "ops.db"
    ended = subprocess.run(
        [sys.executable, "-c", _UNCLOSED, str(file), way], capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (3 if way == "exit" else 0, b"")
    with tt.connect(f"sqlite:///{file}") as history:
        assert history.task_events()["task_id"].tolist() == ["t1"]


def test_a_recorder_that_was_closed_is_let_go_of(scene: Scene) -> None:
    """Issue 11, row 16: nothing is written at the end of the process by a closed recorder."""
    recorder = scene.cluster.record(scene.path.with_name("other.db"), every=3600)
    recorder._clock = SystemClock()  # its thread waits for an hour
    recorder.start()
    assert eventually(lambda: recorder.ticks == 1)
    recorder.close()
    ticks = recorder.ticks
    recorder.close()
    assert recorder.ticks == ticks == 2
