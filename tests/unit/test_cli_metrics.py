"""``tasktools metrics`` as a program: what it serves, refuses and prints, and how it ends."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from click.testing import CliRunner, Result

import tasktools as tt
from tasktools.cli import main
from tasktools.demo import write_week
from tasktools.testing import eventually
from tests.unit.metrics.scrape import scrape, value, values


def run(*args: str) -> Result:
    result = CliRunner().invoke(main, ["metrics", *args], catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


@contextmanager
def serving(*args: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the command; give its process, and the port at which it serves."""
    command = [sys.executable, "-m", "tasktools.cli", "metrics", "--port", "0", *args]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stderr is not None
        line = child.stderr.readline()
        address = re.search(r"Serving http://127\.0\.0\.1:(\d+)/metrics of", line)
        assert address, line
        yield child, int(address[1])
    finally:
        child.kill()
        child.communicate()


def test_it_serves_the_demo_until_a_signal_ends_it_cleanly() -> None:
    with serving("--dsn", "demo://", "--every", "0.2") as (child, port):
        eventually(lambda: value(values(scrape(port)), "tasktools_up") == 1)
        child.terminate()
        out, err = child.communicate(timeout=30)
        assert (child.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--dsn", "demo://", "--port", str(port))
    assert result.exit_code == 1
    assert f"Nothing can listen at 127.0.0.1, port {port}" in result.stderr
    assert "nothing was served" in result.stderr


def test_an_address_that_is_no_address_is_one_sentence() -> None:
    result = run("--dsn", "demo://", "--address", "no.such.host.invalid", "--port", "0")
    assert result.exit_code == 1
    assert "Nothing can listen at no.such.host.invalid" in result.stderr


def test_a_recording_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ops.db"
    with tt.connect("demo://") as cluster, cluster.record(file):
        pass
    result = run("--dsn", f"sqlite:///{file}")
    assert result.exit_code == 1
    assert "this is a recording; nothing was served" in result.stderr


def test_the_needed_workers_are_those_of_the_recording(tmp_path: Path) -> None:
    file = tmp_path / "week.db"
    write_week(file)
    with serving("--dsn", "demo://", "--recorded", str(file), "--wait", "60s") as (_, port):
        name = "tasktools_topic_needed_workers"
        eventually(lambda: value(values(scrape(port)), name, topic="orders") is not None)
        scraped = values(scrape(port))
    with tt.connect(f"sqlite:///{file}") as history:
        solved = tt.capacity.solve(history, wait_below="60s").set_index("topic")
    for topic in solved.index:
        for suffix in ("", "_low", "_high"):
            needed = solved.loc[topic, f"workers{suffix}"]
            served = value(scraped, f"{name}{suffix}", topic=str(topic))
            assert served == (None if needed is pd.NA else needed)
    assert solved["workers"].isna().tolist().count(True) == 1  # a limit that is too small


def test_a_recording_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    result = run("--dsn", "demo://", "--recorded", str(tmp_path / "none.db"))
    assert result.exit_code == 1
    assert "none.db" in result.stderr


def test_a_look_at_every_moment_is_refused() -> None:
    assert run("--dsn", "demo://", "--every", "0s").exit_code == 2


def test_the_command_line_is_as_light_as_before() -> None:
    code = "import sys, tasktools, tasktools.cli; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
