"""Blocks of the pages: run when the page is built, tried by a test, or marked as not run.

``{shell}``
    Shell commands, run one after the other in a folder of the page, and shown with their output.
    BROKER_DSN is ``demo://``, or what the option ``dsn`` says. A command must end with exit code 0,
    or with one of those in ``exit``. So many ``seconds`` after its first words a command is ended,
    as by Ctrl-C. ``silent`` shows no output.
``{tested}``
    Code of the language that it names, which the test in its option ``by`` reads and tries.
``{not-run}``
    Code that neither the build nor a test runs; ``why`` says so on the page.

Python in a page is a ``{code-cell}`` of myst-nb, which is run as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Final

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_COLUMNS: Final = 100  # of the terminal that commands see
_ENDS_WITHIN: Final = 60.0  # seconds
_CONTINUED: Final = re.compile(r"\\\n")
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the blocks."""
    app.add_directive("shell", Shell)
    app.add_directive("tested", Tested)
    app.add_directive("not-run", NotRun)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _numbers(argument: str) -> list[int]:
    return [int(number) for number in argument.split()]


class Shell(SphinxDirective):
    """Shell commands, with the output that they have now."""

    has_content = True
    option_spec = {  # noqa: RUF012 - docutils' name and kind
        "dsn": directives.unchanged_required,
        "exit": _numbers,
        "seconds": directives.positive_int,
        "silent": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        """Run the commands; one that ends otherwise than expected fails the page."""
        is_silent = "silent" in self.options
        shown = []
        for command in _commands("\n".join(self.content)):
            exit_code, output = self._run(command)
            if exit_code not in self.options.get("exit", [0]):
                raise self.error(f"exit code {exit_code} of:\n{command}\n{output}")
            shown.append(f"$ {command}" if is_silent else f"$ {command}\n{output}")
        text = ("\n" if is_silent else "\n\n").join(shown).rstrip()
        block = nodes.literal_block(text, text, language="console")
        self.set_source_info(block)
        return [block]

    def _run(self, command: str) -> tuple[int, str]:
        """Run a command in a terminal, and return its exit code and what it shows."""
        environment = {
            **os.environ,
            "BROKER_DSN": self.options.get("dsn", "demo://"),
            "COLUMNS": str(_COLUMNS),
            "NO_COLOR": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TASKTOOLS_LEDGER": "ledger.db",
            "TERM": "xterm",
            "TZ": "UTC",
        }
        terminal, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, _COLUMNS, 0, 0))
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}" if "seconds" in self.options else command],
            cwd=self._folder(),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=its,
            stderr=its,
        )
        os.close(its)
        output = _read(terminal, _ENDS_WITHIN, only_first="seconds" in self.options)
        if "seconds" in self.options:  # from its first words on: how long it starts is no matter
            output += _read(terminal, self.options["seconds"])
            process.send_signal(signal.SIGINT)
            output += _read(terminal, _ENDS_WITHIN)
        os.close(terminal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_WITHIN)
        if process.poll() is None:
            process.kill()
            process.wait()
        return process.returncode, _as_seen(output)

    def _folder(self) -> str:
        """Return the folder of this page, in which its earlier blocks may have left files."""
        temporary = self.env.temp_data
        if "shell_folder" not in temporary:  # removed with the data of the page
            temporary["shell_folder"] = tempfile.TemporaryDirectory(prefix="tasktools-")
        name: str = temporary["shell_folder"].name
        return name


class _Code(SphinxDirective):
    has_content = True
    optional_arguments = 1

    def _block(self) -> nodes.literal_block:
        text = "\n".join(self.content)
        block = nodes.literal_block(text, text)
        block["language"] = self.arguments[0] if self.arguments else "text"
        self.set_source_info(block)
        return block


class Tested(_Code):
    """Code that a test reads from the page."""

    option_spec = {"by": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Show the code; a test that does not exist, or does not read the page, is an error."""
        test = Path(self.env.srcdir).parent / self.options["by"]
        page = Path(self.env.docname).name
        if not test.is_file() or page not in test.read_text(encoding="utf-8"):
            raise self.error(f"{self.options['by']} reads no page {page!r}")
        return [self._block()]


class NotRun(_Code):
    """Code that nothing runs."""

    option_spec = {"why": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Show the code below the sentence that it was not run."""
        words = f"Not run when these pages are built, only read: {self.options['why']}."
        block = self._block()
        container = nodes.container("", literal_block=True, classes=["literal-block-wrapper"])
        container += nodes.caption(words, words)
        container += block
        return [container]


def _read(terminal: int, seconds: float, *, only_first: bool = False) -> bytes:
    """Return what is written to a terminal until its last writer ends, for *seconds* at most; or
    *only_first* what comes first.
    """
    deadline, output = time.monotonic() + seconds, b""
    with contextlib.suppress(OSError):  # how Linux tells the end
        while select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0]:
            chunk = os.read(terminal, 65536)
            if not chunk:
                break
            output += chunk
            if only_first:
                break
    return output


def _as_seen(output: bytes) -> str:
    """Return what is seen of *output*: without colours, and of rewritten lines the last."""
    lines = output.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    seen = (_ESCAPES.sub("", line.rpartition("\r")[2]).rstrip() for line in lines)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(seen)).strip("\n")


def _commands(text: str) -> list[str]:
    """Return the commands in *text*: one a line, unless the line ends with a backslash."""
    joined = _CONTINUED.sub("\0", text)
    return [line.replace("\0", "\\\n") for line in joined.splitlines() if line.strip()]
