"""Processes of a peer: their logs, their standard input and output, and their end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Programs:
    """Starts programs; each has its log in *folder*, and none outlives `stop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._shells: list[Shell] = []

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start *command* in a session of its own; its log is `NAME.log`."""
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def shell(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> Shell:
        """Start a program that does what it is asked."""
        shell = Shell(command, environment)
        self._shells.append(shell)
        return shell

    def stop(self) -> None:
        """Kill all programs, with the processes that they started."""
        for process in self._processes:
            kill(process)
        for shell in self._shells:
            shell.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program of `Programs` with the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


class Shell:
    """A program that reads [method, arguments] a line and answers JSON; called by name."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.pid = self._process.pid
        self._until("ready")

    def _until(self, start: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # a peer logs to the same place
            if line.startswith(start):
                return line
        raise AssertionError("the peer's program has ended")

    def __call__(self, method: str, *arguments: Any) -> Any:
        """Call *method* of the program."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._until("answer ").removeprefix("answer "))

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        """Kill it and let go of the pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
