"""The shell in which commands of the docs are run, on a private node."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tasktools.testing import RabbitMQNode
from tests.vhosts import Vhost


class Shell:
    """Runs a command as an operator would: rabbitmqctl and tasktools are those of the test.

    `programs` is first in its PATH, and `variables` are set in its environment.
    """

    def __init__(self, node: RabbitMQNode, vhost: Vhost, folder: Path) -> None:
        self._vhost = vhost
        self._folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        settings = {**node._environment(), "PATH": os.environ["PATH"]}
        self.add("rabbitmqctl", node._command("rabbitmqctl"), settings)
        self.add("tasktools", [sys.executable, "-m", "tasktools.cli"])

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command."""
        return {
            **os.environ,
            "BROKER_DSN": self._vhost.dsn,
            "BROKER_MANAGEMENT_URL": self._vhost.management_url,
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
        }

    def add(self, name: str, command: list[str], settings: Mapping[str, str] | None = None) -> None:
        """Add a program that runs *command* with *settings* in its environment."""
        set_first = [f"{key}={shlex.quote(value)}" for key, value in (settings or {}).items()]
        start = " ".join(["env", *set_first, shlex.join(command)])
        program = self.programs / name
        program.write_text(f'#!/bin/sh\nexec {start} "$@"\n', encoding="utf-8")
        program.chmod(0o700)

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start *command*, which goes on."""
        return subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            cwd=self._folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __call__(self, command: str, typed: str = "") -> str:
        """Run *command*, which must succeed, and return what it prints."""
        done = subprocess.run(
            ["sh", "-c", command.replace("VHOST", self._vhost.name)],
            cwd=self._folder,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout
