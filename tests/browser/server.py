"""Web servers that notebooks are shown by, as processes of the tests' own."""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.jupyter import jupyter_environment

_STARTS_WITHIN: Final = 90.0
_STOPS_WITHIN: Final = 20.0


@contextlib.contextmanager
def running_server(
    command: Sequence[str], home: Path, url: str, **variables: str
) -> Iterator[Path]:
    """Start *command* with everything of its own in *home*, wait until *url* answers, and stop it
    by its process. Gives the file that it writes to."""
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=jupyter_environment(home, **variables),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_it_answers(process, url, log)
        yield log
    finally:
        _stop(process)


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            urllib.request.urlopen(url, timeout=5),  # noqa: S310 - loopback
        ):
            return
        time.sleep(0.1)
    log_text = log.read_text(encoding="utf-8", errors="replace")[-4000:]
    raise AssertionError(f"The server did not start:\n{log_text}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)  # it shuts its kernels down
    try:
        process.wait(_STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
