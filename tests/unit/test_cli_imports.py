"""Commands that begin at once: what they import, and what the help says without importing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from tasktools.cli import main
from tests.recorded import Scene

_COMMAND = """
import sys
from tasktools.cli import main
sys.argv = ["tasktools", *sys.argv[1:]]
try:
    main(prog_name="tasktools")
except SystemExit as end:
    print(end.code or 0, [name for name in ("pandas", "numpy") if name in sys.modules], flush=True)
"""


def ended(code: str, *args: str) -> str:
    """Return the last line that a new process prints."""
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "dead --help",
        "workers",
        "topics emails",
        "tasks emails --json",
        "locks",
        "dead orders --where error_type~e",
        "topic settings",
        "failures --watch 0.1s",
        "ledger",
    ],
)
def test_a_table_takes_no_pandas(command: str) -> None:
    args = command.split()
    where = [] if args[0] in ("--help", "ledger") or args[-1] == "--help" else ["--dsn", "demo://"]
    assert ended(_COMMAND, *args, *where) == "0 []"


def test_a_recording_is_made_and_read_without_pandas(tmp_path: Path) -> None:
    file = tmp_path / "ops.db"
    assert ended(_COMMAND, "record", str(file), "--for", "0.3s", "--dsn", "demo://") == "0 []"
    scene = Scene(tmp_path / "scene.db")
    scene.task("task_failed", "t1")
    scene.tick()
    scene.close()
    for command in ("failures", "published", "topics", "workers"):
        assert ended(_COMMAND, command, "--dsn", f"sqlite:///{scene.path}") == "0 []"


@pytest.mark.parametrize("module", ["tasktools", "tasktools.worker", "tasktools.worker.runner"])
def test_a_worker_is_imported_without_pandas(module: str) -> None:
    assert ended(f"import sys, {module}; print('pandas' in sys.modules)") == "False"


def test_formulas_are_off_in_notebooks_as_soon_as_a_frame_is_made() -> None:
    """Of whichever import of pandas came first."""
    code = (
        "import pandas, tasktools\n"
        "tasktools.connect('memory://').workers()\n"
        "print(pandas.get_option('display.html.use_mathjax'))"
    )
    assert ended(code) == "False"


def test_the_help_names_each_command_in_a_line_of_its_own() -> None:
    context = click.Context(main)
    names = main.list_commands(context)
    for name in names:
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
    lines = main.get_help(context).splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("  ") and line.split()]
    assert [name for name in shown if name in names] == names
    assert all(len(line) <= 80 and not line.endswith("...") for line in lines[1:])


def test_a_command_that_does_not_exist_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tasktools.cli", "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "No such command 'nothing'" in done.stderr
