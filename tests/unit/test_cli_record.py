"""``tasktools record``, and the other commands on what it recorded."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import tasktools as tt
from tasktools.cli import main
from tasktools.testing import eventually


def run(*args: str) -> Result:
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


def test_it_records_for_as_long_as_it_is_told(tmp_path: Path) -> None:
    file = tmp_path / "ops.db"
    result = run("record", str(file), "--dsn", "demo://", "--every", "0.2", "--for", "1s")
    assert result.exit_code == 0
    assert f"Recording demo:// into {file} every 0.2 s" in result.stderr
    assert "ticks; the file has" in result.stdout
    for command in ("status", "workers", "topics", "tasks", "locks"):
        shown = run(command, "--dsn", f"sqlite:///{file}")
        assert shown.exit_code == 0
        demo, first, *_ = shown.stdout.splitlines()
        assert demo.startswith("DEMO")
        assert first.startswith("recorded from demo://, 20")
        assert "recorded from" not in shown.stderr


INTERRUPTED_WAIT = """
import signal, sys
from tasktools.cli.end_signal import end_signals

def interrupt(frame, event, _arg):  # at the entry of every Python function that the wait calls
    if event == "call":
        signal.raise_signal(signal.SIGINT)

with end_signals() as end_signal:
    sys.settrace(interrupt)
    end_signal.wait(1)
    sys.settrace(None)
    print(end_signal.wait(0))
"""


def test_a_signal_that_interrupts_the_wait_for_it_anywhere_ends_the_command() -> None:
    run = [sys.executable, "-c", INTERRUPTED_WAIT]
    done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout == "True\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_all_is_written(number: int, tmp_path: Path) -> None:
    file = tmp_path / "ops.db"
    command = ["record", str(file), "--dsn", "demo://", "--every", "60s"]
    before = signal.signal(number, signal.SIG_DFL)  # nohup has it ignored
    child = subprocess.Popen(
        [sys.executable, "-m", "tasktools.cli", *command], stderr=subprocess.PIPE, text=True
    )
    signal.signal(number, before)
    assert child.stderr is not None
    assert "Recording" in child.stderr.readline()
    assert eventually(lambda: not tt.connect(f"sqlite:///{file}").stats().empty)
    time.sleep(0.3)
    child.send_signal(number)
    assert child.wait(30) == 0
    child.stderr.close()
    with tt.connect(f"sqlite:///{file}") as history:
        assert len(history.utilisation(by="cluster")) == 2
        assert not history.task_events().empty


def test_a_full_disk_is_said_and_it_goes_on_once_there_is_room(tmp_path: Path) -> None:
    file = tmp_path / "ops.db"
    command = ["record", str(file), "--dsn", "demo://", "--every", "0.2"]
    child = subprocess.Popen(
        [sys.executable, "-m", "tasktools.cli", *command], stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    try:
        assert "Recording" in child.stderr.readline()
        before = resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (4096, -1))
        lines = iter(child.stderr.readline, "")
        assert any("Nothing can be written into" in line for line in lines)
        time.sleep(1)  # so that some ticks are missing, on the busiest machine
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, before)
        assert any("It continues." in line for line in lines)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()
        child.stderr.close()
    with tt.connect(f"sqlite:///{file}") as history:
        gaps = history.gaps()
        assert gaps["what"].tolist() == ["samples"]
        assert gaps["why"].str.startswith("Nothing can be written").all()


def test_a_file_that_is_moved_away_ends_it_with_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "ops.db"

    def is_recording() -> bool:
        with contextlib.suppress(tt.RecordingError), tt.connect(f"sqlite:///{file}") as history:
            return not history.utilisation(by="cluster").empty
        return False

    def move() -> None:
        assert eventually(is_recording)
        file.rename(tmp_path / "old.db")

    mover = threading.Thread(target=move)
    mover.start()
    result = run("record", str(file), "--dsn", "demo://", "--every", "0.2", "--for", "20s")
    mover.join()
    assert result.exit_code == 1
    assert "was moved or deleted while it was written" in result.stderr


@pytest.mark.parametrize("wrong", ["soon", "-1s", "0"])
def test_a_span_that_is_none_is_wrong_usage(wrong: str, tmp_path: Path) -> None:
    result = run("record", str(tmp_path / "a.db"), "--dsn", "demo://", "--every", wrong)
    assert result.exit_code == 2
    assert "span of time" in result.stderr


def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    result = run("record", str(tmp_path / "text"), "--dsn", "demo://", "--for", "1s")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Nothing can be recorded into")


def test_a_recording_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    result = run("status", "--dsn", f"sqlite:///{tmp_path / 'none.db'}")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: There is no recording")


def test_a_timeline_is_shown_of_a_recording_and_of_what_is_heard_now(tmp_path: Path) -> None:
    file = tmp_path / "ops.db"
    with tt.connect("demo://") as cluster, cluster.record(file, every=0.2):
        cluster.mark("deploy 1.4")
    shown = run("timeline", "--dsn", f"sqlite:///{file}")
    assert shown.exit_code == 0
    (line,) = (line for line in shown.stdout.splitlines() if "deploy 1.4" in line)
    assert line.split()[3:] == ["mark", "-", "deploy", "1.4"]
    document = json.loads(run("timeline", "--json", "--dsn", f"sqlite:///{file}").stdout)
    (mark,) = (row for row in document["rows"] if row["kind"] == "mark")
    assert mark["sentence"] == "deploy 1.4"
    assert mark["until"] is None
    live = run("timeline", "--since", "1h", "--dsn", "demo://")
    assert "nothing was recorded from" in live.stdout
    assert "this process has listened since" in live.stderr
    dates = ("--since", "2026-01-02T00:00Z", "--until", "2026-01-01T00:00Z")
    wrong = run("timeline", *dates, "--dsn", f"sqlite:///{file}")
    assert wrong.exit_code == 2
    assert "is not before until" in wrong.stderr
