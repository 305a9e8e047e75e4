"""Runners as processes: signals, and ``tasktools worker``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasktools.cli import main

PROGRAM = """
    import logging, signal, sys, threading, time
    import tasktools as tt
    from tasktools.brokers.memory import MemoryBroker

    def say(text):
        print(text, flush=True)

    @tt.task
    def work(seconds):
        say("working")
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            time.sleep(0.01)
        say("worked")

    before = signal.getsignal(signal.SIGTERM)
    with MemoryBroker() as broker:
        broker.publish("work", {"task_name": "work", "args": [SECONDS]})
        runner = tt.TaskRunner(broker=broker, topics=["work"], grace=GRACE)
        log = logging.getLogger("tasktools.worker")
        log.addFilter(lambda record: record.msg.startswith("stopping") and say("stopping") or True)
        log.setLevel(logging.INFO)
        given_back = runner.run()
        say(f"given back {given_back}, queued {broker.server.depth('work')}")
        assert signal.getsignal(signal.SIGTERM) is before
        assert not [t for t in threading.enumerate() if t.name.startswith("tasktools-p")]
"""


@contextmanager
def running(*command: str | Path, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=cwd,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def program(*, seconds: float, grace: float = 30) -> Iterator[subprocess.Popen[str]]:
    """Run a task of *seconds*; enter when it has begun."""
    text = textwrap.dedent(PROGRAM).replace("SECONDS", str(seconds)).replace("GRACE", str(grace))
    with running("-c", text) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        yield process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_tasks_end(number: signal.Signals) -> None:
    with program(seconds=0.3) as process:
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    *before, last = out.splitlines()
    assert sorted(before) == ["stopping", "worked"]  # a busy machine may be late to stop
    assert last == "given back 0, queued 0"
    assert process.returncode == 0


def test_after_the_grace_a_running_task_is_given_back() -> None:
    with program(seconds=60, grace=0.2) as process:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert out.endswith("given back 1, queued 1\n")
    assert "did not end in time" in out


def test_a_second_signal_does_not_wait() -> None:
    with program(seconds=60, grace=60) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "stopping\n"  # else both signals may arrive as one
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert out.endswith("given back 1, queued 1\n")


# --- tasktools worker -----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with modules of its own that are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    yield tmp_path
    for name, imported in list(sys.modules.items()):
        if tmp_path in Path(getattr(imported, "__file__", None) or "/").parents:
            del sys.modules[name]


def module(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")


GOOD = """
    import tasktools as tt

    registry = tt.TaskRegistry()

    @registry.task(topic="emails")
    def send(): ...

    empty = tt.TaskRegistry()
    number = 7
"""
DEFAULT = """
    import tasktools as tt

    @tt.task(topic="reports")
    def report(): ...
"""


@pytest.mark.parametrize(
    ("app", "topics", "consumed"),
    [
        ("default_app", "work, emails,", "emails, work"),
        ("default_app", "*", "default, reports"),
        ("good_app:registry", "*", "default, emails"),
    ],
)
def test_it_runs_until_it_is_told_to_stop(
    folder: Path, app: str, topics: str, consumed: str
) -> None:
    module(folder, "good_app", GOOD)
    module(folder, "default_app", DEFAULT)
    command = ["-m", "tasktools.cli", "worker", "--dsn", "memory://", "--app", app]
    options = ["--topics", topics, "--capacity", "3", "--grace", "1", "--worker-id", "me"]
    with running(*command, *options, cwd=folder) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        started = next(line for line in lines if "capacity" in line)
        assert started.rstrip().endswith(f"worker me: capacity 3, topics {consumed}")
        process.send_signal(signal.SIGTERM)
        assert "stopped" in process.communicate(timeout=20)[0]
    assert process.returncode == 0


def fails(*options: str) -> str:
    done = CliRunner().invoke(main, ["worker", "--dsn", "memory://", *options])
    assert done.exit_code in (1, 2)
    return done.output


@pytest.mark.parametrize(
    ("app", "why"),
    [
        ("no_such_module", "There is no module 'no_such_module'; nothing was started."),
        ("good_app.more", "There is no module 'good_app.more'; nothing was started."),
        ("good_app:nothing", "'good_app:nothing' is no TaskRegistry; nothing was started."),
        ("good_app:number", "'good_app:number' is no TaskRegistry; nothing was started."),
        ("good_app:empty", "'good_app:empty' registers no tasks; nothing was started."),
        ("needy", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("broken", "ZeroDivisionError: division by zero"),
        ("wrong", "SyntaxError: "),
        ("leaving", "SystemExit: 3"),
        ("..good_app", "cannot be imported; nothing was started"),
    ],
)
def test_an_application_that_cannot_be_had_is_told_of_in_a_sentence(
    folder: Path, app: str, why: str
) -> None:
    module(folder, "good_app", GOOD)
    module(folder, "needy", "import no_such_thing\n")
    module(folder, "broken", "import os\n\n1 / 0\n")
    module(folder, "wrong", "def (\n")
    module(folder, "leaving", "raise SystemExit(3)\n")
    out = fails("--app", app, "--topics", "work")
    assert out.startswith("Error: ")
    assert why in out
    assert out.count("\n") == 1


def test_where_an_application_is_broken_is_said(folder: Path) -> None:
    module(folder, "broken", "import os\n\n1 / 0\n")
    assert "broken.py, line 3)" in fails("--app", "broken", "--topics", "work")


def test_without_topics_it_does_not_start(folder: Path) -> None:
    module(folder, "good_app", GOOD)
    assert "name at least one topic" in fails("--app", "good_app:registry", "--topics", " , ")


def test_a_cluster_that_may_not_be_changed_has_no_worker(folder: Path) -> None:
    module(folder, "good_app", GOOD)
    out = fails("--app", "good_app:registry", "--topics", "work", "--read-only")
    assert "read_only" in out
