"""Completion in shells, examples in the help, and the line that a recorder refreshes."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from tasktools.cli import main
from tasktools.cli.completion import completes
from tasktools.cli.examples import EXAMPLES
from tests.commands import commands


def completions(*args: str) -> list[str]:
    """Return how the last of *args* may go on."""
    shell = BashComplete(main, {}, "tasktools", "_TASKTOOLS_COMPLETE")
    return [item.value for item in shell.get_completions(list(args[:-1]), args[-1])]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"_TASKTOOLS_COMPLETE={shell}_complete" in result.stdout
    assert CliRunner().invoke(main, ["completion", "csh"]).exit_code == 2


def test_a_shell_completes_commands_options_columns_and_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BROKER_DSN", "demo://")
    assert completions("to") == ["topics", "topic"]
    assert completions("topic", "cr") == ["create"]
    assert "--watch" in completions("workers", "--w")
    assert completions("workers", "--sort", "f") == ["failed"]
    assert completions("dead", "o") == ["orders"]
    assert completions("topics", "emails", "ex") == ["exports"]
    assert completions("leave-topic", "worker", "em") == ["emails"]
    workers = completions("drain", "")
    assert len(workers) > 1
    assert completions("rate-limit", "send", "1/s", "--worker", workers[0]) == [workers[0]]
    assert completions("tasks", "--dsn", "memory://", "o") == []


@pytest.mark.parametrize(
    "name",
    [
        "$(touch x)",
        "`touch x`",
        "a;b",
        "a b",
        "a|b",
        "a*",
        "~root",
        "a'b",
        'a"b',
        "a\\b",
        "-rf",
        "",
    ],
)
def test_names_that_a_shell_would_obey_are_not_completed(name: str) -> None:
    assert not completes("", name)
    assert completes("", "shop.emails-2:é")


def test_a_broker_that_is_down_completes_nothing_and_says_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for dsn in ("amqp://127.0.0.1:1/", "nonsense", ""):
        monkeypatch.setenv("BROKER_DSN", dsn)
        assert completions("dead", "o") == []
    assert capfd.readouterr() == ("", "")


def test_bash_itself_reads_the_script() -> None:
    script = CliRunner().invoke(main, ["completion", "bash"], catch_exceptions=False).stdout
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ncomplete -p tasktools"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_tasktools_completion" in done.stdout


# --- examples ------------------------------------------------------------------------


def test_every_help_ends_with_examples() -> None:
    paths = [" ".join(path) for path in commands(main) if path]
    assert sorted(paths) == sorted(EXAMPLES)
    for path in paths:
        shown = CliRunner().invoke(main, [*path.split(), "--help"], catch_exceptions=False).stdout
        last = shown.rstrip().splitlines()[-len(EXAMPLES[path]) :]
        assert tuple(line.strip() for line in last) == EXAMPLES[path]


@pytest.mark.parametrize("path", sorted(set(EXAMPLES) - {"completion"}))
def test_examples_are_right_usage(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are parsed as they would be in a folder that has their files; nothing is done."""
    monkeypatch.chdir(tmp_path)
    for name in ("junk.jsonl", "tasks.csv", "plan.json", "notebooks/05_live_dashboard.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    for example in EXAMPLES[path]:
        program, *args = shlex.split(example)
        command: click.Command = main
        while isinstance(command, click.Group):
            inner = command.get_command(click.Context(command), args[0])
            assert inner is not None, example
            command, args = inner, args[1:]
        assert program == "tasktools"
        with command.make_context(path, args) as context:
            assert context.params


# --- a recording on a terminal -------------------------------------------------------


def test_a_recorder_refreshes_one_line_on_a_terminal(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    command = ["record", str(tmp_path / "ops.db"), "--dsn", "demo://", "--for", "1s"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tasktools.cli", *command, "--every", "0.2s"],
        stdout=subprocess.PIPE,
        stderr=child,
    )
    os.close(child)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while more := os.read(parent, 65_536):
            shown += more
    os.close(parent)
    assert process.wait(60) == 0
    assert process.stdout is not None
    assert re.fullmatch(rb"\d+ ticks; the file has [\d.]+ MB\n", process.stdout.read())
    process.stdout.close()
    lines = shown.decode().split("\r\n")
    refreshed = [line for line in lines if "ticks in" in line]
    assert len(refreshed) == 1
    assert refreshed[0].count("\r\x1b[2K") >= 3
    assert "MB" in refreshed[0]
