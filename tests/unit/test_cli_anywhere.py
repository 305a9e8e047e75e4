"""The command line on any terminal, in any environment, and with times as people type them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasktools.cli import main
from tests.commands import commands
from tests.recorded import Scene


def terminal(encoding: str, *args: str, dsn: str = "demo://") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict", "BROKER_DSN": dsn}
    return subprocess.run(
        [sys.executable, "-m", "tasktools.cli", *args],
        env=environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_every_help_can_be_read_on_a_terminal_of_another_encoding(encoding: str) -> None:
    """Issue 11, misleading: `replay --help` on a latin-1 terminal was a traceback."""
    for path in commands(main):
        result = CliRunner(charset=encoding).invoke(main, [*path, "--help"])
        assert result.exception is None, path
        assert result.stdout_bytes.startswith(b"Usage:")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_process_whose_output_is_not_utf_8_says_all_in_escapes(
    encoding: str, tmp_path: Path
) -> None:
    """Issue 11, misleading: tables, errors and help, by a real process."""
    assert terminal(encoding, "replay", "--help").returncode == 0
    scene = Scene(tmp_path / "ops.db")
    scene.task(
        "task_failed", "t1", error="gr\u00fc\u00dfe \u2192 \u6f22 \U0001f600", worker_id="w\u2192"
    )
    scene.tick()
    scene.close()
    for command in ("failures", "status", "workers", "topics", "published"):
        shown = terminal(encoding, command, dsn=f"sqlite:///{scene.path}")
        assert (shown.returncode, b"Traceback" in shown.stderr) == (0, False), shown.stderr
    failed = terminal(encoding, "failures", dsn=f"sqlite:///{scene.path}").stdout
    assert b"\\u2192" in failed
    assert b"\\U0001f600" in failed
    wrong = terminal(encoding, "status", dsn=f"sqlite:///{tmp_path}/\u2192.db")
    assert wrong.returncode == 1
    if encoding == "latin-1":  # click says errors on an ASCII terminal in UTF-8
        assert b"\\u2192.db" in wrong.stderr


_HOMELESS = """
import os, pwd

def nobody(*_):
    raise KeyError("not found")

pwd.getpwuid = pwd.getpwnam = nobody
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_STATE_HOME", "TASKTOOLS_LEDGER"):
    os.environ.pop(name, None)
from tasktools.cli import main
main(prog_name="tasktools")
"""


@pytest.mark.parametrize(
    "command",
    [
        ("ledger",),
        ("replay", "orders", "--where=error_type~Error", "--yes", "--reason=x", "--follow=0"),
        ("status",),
        ("dead", "orders"),
    ],
)
def test_a_process_without_a_home_is_told_what_to_set(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """Issue 11, misleading: no HOME was a traceback."""
    result = subprocess.run(
        [sys.executable, "-c", _HOMELESS, *command],
        env={**os.environ, "BROKER_DSN": "demo://"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in result.stderr
    needs_it = command[0] == "ledger"  # the ledger of a demo is in a file that ends with it
    assert ("Set TASKTOOLS_LEDGER to a file" in result.stderr) is needs_it
    assert result.returncode == (1 if needs_it else 0)
    assert list(tmp_path.iterdir()) == []


# --- times ------------------------------------------------------------------------------


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "ops.db")
    for n in range(3):
        scene.task("task_failed", f"t{n}")
        scene.tick(60)  # 08:01, 08:02 and 08:03 UTC; each failed a minute earlier
    scene.close()
    return scene


def shown(scene: Scene, *args: str) -> str:
    command = ["failures", *args, "--rows", "9", "--dsn", f"sqlite:///{scene.path}"]
    result = CliRunner().invoke(main, command, env={"TZ": "America/New_York"})
    return result.output


@pytest.mark.parametrize(
    "typed",
    [
        "2027-01-15T08:01Z",
        "2027-01-15 08:01",
        "2027-01-15T08:01:00",
        "2027-01-15 08:01:00Z",
        "2027-01-15 08:01:00 UTC",
        "2027-01-15T09:01+01:00",
    ],
)
def test_a_time_without_a_zone_is_utc_as_all_that_are_shown(typed: str, scene: Scene) -> None:
    """Issue 11, misleading: times on the command line without zone."""
    table = shown(scene, "--since", typed)
    assert "t0" not in table
    assert "2027-01-15 08:01:00Z" in table
    assert "2027-01-15 08:02:00Z" in table
    assert "2027-01-15 08:03:00 UTC" in table.splitlines()[0]


@pytest.mark.parametrize("typed", ["12:00", "12:00:00", "2026", "5", "1.5", "-3", "noon", "99999h"])
def test_what_is_neither_a_time_nor_a_span_is_refused(typed: str, scene: Scene) -> None:
    """Issue 11, misleading: 12:00 was twelve hours ago, and 2026 some nanoseconds."""
    result = shown(scene, "--since", typed)
    assert ("is no moment" in result) is (typed != "99999h"), result
    assert "Traceback" not in result


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_who_closes_an_output_has_the_command_done_without_it(closed: str) -> None:
    line = f'"{sys.executable}" -m tasktools.cli "$@" --dsn demo:// {closed}'
    for args, code in ((["topics", "--sort", "topic"], 0), (["dead", "nope"], 1)):
        done = subprocess.run(
            ["sh", "-c", line, "sh", *args], capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert (done.stdout == "") is (closed != "2>&-" or code == 1)
