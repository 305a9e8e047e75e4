"""``tasktools diagnose``, and what ``status`` ends with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tasktools as tt
from tasktools.cli import main
from tasktools.core.frames.diagnosis_schemas import FINDINGS
from tasktools.testing import eventually

PLAIN = "demo://"
HUNG = "demo://?incident=hung_tasks"


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_the_cause_comes_first_and_the_exit_code_tells_of_it() -> None:
    result = run("diagnose", "--dsn", HUNG)
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[0].startswith("DEMO")
    assert lines[1] == "critical  workers_hung, topic images"
    assert any(line.startswith("  next: tasktools tasks images") for line in lines)
    assert "checks ruled out" in lines[-1]
    assert "Traceback" not in result.output


def test_nothing_critical_is_exit_code_0() -> None:
    assert run("diagnose", "--dsn", PLAIN).exit_code == 0


def test_json_has_every_row_and_column() -> None:
    result = run("diagnose", "--json", "--dsn", HUNG)
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert all(list(row) == list(FINDINGS.names) for row in document["rows"])
    assert {"found", "ruled out"} <= {row["verdict"] for row in document["rows"]}
    assert "ruled out" in document["summary"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recording") / "ops.db"
    with tt.connect(HUNG) as cluster, cluster.record(path):
        pass
    return f"sqlite:///{path}"


def test_a_recording_is_diagnosed_at_a_moment(recording: str) -> None:
    result = run("diagnose", "--json", "--at", "1s", "--dsn", recording)
    document = json.loads(result.stdout)
    assert document["rows"]
    assert "recorded from" in document["notes"][0]


def test_watching_a_moment_of_the_past_is_refused(recording: str) -> None:
    result = run("diagnose", "--watch", "--at", "1s", "--dsn", recording)
    assert result.exit_code == 2
    assert "--watch begins now" in result.stderr


def test_a_span_that_is_none_is_refused_before_anything_is_looked_at() -> None:
    result = run("diagnose", "--watch", "soon", "--dsn", "amqp://nowhere")
    assert result.exit_code == 2
    assert "'soon'" in result.stderr


def test_watching_shows_changes_until_it_is_interrupted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tasktools.cli", "diagnose", "--watch", "1s", "--json"]
    with out.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--dsn", HUNG], stdout=file, stderr=subprocess.PIPE, env=os.environ
        )
        try:
            eventually(lambda: _last_worst(out) == "workers_hung")
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert b"Traceback" not in stderr


def _last_worst(out: Path) -> Any:
    lines = out.read_text().splitlines()
    return lines and json.loads(lines[-1])["rows"][0]["check"]


def test_status_ends_with_the_worst_finding() -> None:
    result = run("status", "--dsn", HUNG)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("critical, ")
    document = json.loads(run("status", "--json", "--dsn", HUNG).stdout)
    assert document["worst"]["severity"] == "critical"
    quiet = run("status", "--dsn", "memory://")
    assert quiet.stdout.splitlines()[-1].startswith("Nothing found")
    assert json.loads(run("status", "--json", "--dsn", "memory://").stdout)["worst"] is None


def test_output_that_cannot_be_written_is_an_error_of_one_line() -> None:
    """A full disk was a traceback."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tasktools.cli", "diagnose", "--dsn", PLAIN],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: The answer cannot be written (No space")
    assert "Traceback" not in done.stderr
