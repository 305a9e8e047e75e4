"""``tasktools board`` in a browser: the page, its themes, its kernels, and how it ends."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect

from tasktools.testing import eventually
from tests.browser.lab import Outside
from tests.jupyter import jupyter_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SECONDS = 90.0
expect.set_options(timeout=60_000)


@dataclass
class Server:
    """The command as a process of its own."""

    process: subprocess.Popen[str]
    url: str

    @property
    def kernels(self) -> set[int]:
        """The processes that it has started and not ended."""
        command = ["pgrep", "-P", str(self.process.pid)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return set(map(int, shown.split()))

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send the signal; return the exit code, and what the process had still to say."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "tasktools.cli", "board", "--no-browser", "--port", "0"]
    process = subprocess.Popen(
        command,
        env=jupyter_environment(tmp_path, BROKER_DSN="demo://?incident=dead_worker"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        address = re.search(r"Serving (http://127\.0\.0\.1:\d+/) of demo://", line)
        assert address, line
        yield Server(process, address[1])
    finally:
        process.kill()
        process.communicate()


def runs(process: int) -> bool:
    """Whether *process* is there, and not only its exit code."""
    command = ["ps", "-o", "stat=", "-p", str(process)]
    state = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_for_numbers(page: Page) -> None:
    board = page.locator(".tasktools-dashboard")
    expect(board).to_contain_text(re.compile(r"newest point [0-3]\.\d s old"), timeout=90_000)
    expect(board).to_contain_text(re.compile(r"Queued\s*[\d,]+"))


def luminance(page: Page, selector: str) -> float:
    """Return how light the background of an element is: 0 black, 1 white."""
    colour = page.locator(selector).first.evaluate("e => getComputedStyle(e).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / (3 * 255)


def test_the_page_starts_at_once_and_is_the_board_alone(
    server: Server, page: Page, outside: Outside, tmp_path: Path
) -> None:
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_viewport_size({"width": 1280, "height": 720})

    page.goto(server.url, wait_until="commit")
    expect(page.get_by_role("status").first).to_have_text("Live board: starting …")
    wait_for_numbers(page)
    expect(page.get_by_text("starting …")).to_be_hidden()
    board = page.locator(".tasktools-board").bounding_box()
    assert board is not None
    assert board["x"] <= 16
    assert board["width"] >= 1280 - 2 * 16
    assert board["y"] <= 16
    assert page.locator("#rendered_cells > *").count() == 1
    assert luminance(page, "body") > 0.9
    assert luminance(page, ".tasktools-board") > 0.9
    (tmp_path / "light.png").write_bytes(page.screenshot())

    page.goto(f"{server.url}?theme=dark", wait_until="commit")
    wait_for_numbers(page)
    assert luminance(page, "body") < 0.2
    assert luminance(page, ".tasktools-board") < 0.2
    (tmp_path / "dark.png").write_bytes(page.screenshot())
    # The kernel of the page that was left has ended; there is one for this page, and one ready.
    eventually(lambda: len(server.kernels) == 2)
    assert problems == []
    assert outside.urls == []

    page.locator(".tb-finding").click()  # all of the board works, the incident below it too
    expect(page.locator(".tasktools-incident")).to_contain_text("read only")
    kernels = server.kernels
    page.goto("about:blank")
    assert server.end(signal.SIGINT) == (0, "")
    assert not any(map(runs, kernels))


def test_who_leaves_while_it_starts_and_an_end_just_then_cause_no_traceback(
    server: Server,
) -> None:
    """A health check, or a closed tab; then Ctrl-C while the first kernel only begins."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), SECONDS) as leaving:
        leaving.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert leaving.recv(100)
    kernels = eventually(lambda: server.kernels)
    assert server.end(signal.SIGINT) == (0, "")
    assert not any(map(runs, kernels))


def test_a_health_check_takes_no_kernel(server: Server) -> None:
    """Each request of the page takes one, for 10 minutes if no browser is behind it."""

    def answer() -> tuple[int, bytes]:
        try:
            with urlopen(f"{server.url}health", timeout=SECONDS) as response:  # noqa: S310 - http
                return response.status, response.read()
        except HTTPError as error:
            return error.code, error.read()

    seen = set()
    while (last := answer()) != (200, b"ok\n"):
        seen.add(last)
    assert seen <= {(503, b"starting\n")}
    eventually(lambda: server.kernels)
    for _ in range(20):
        assert answer() == (200, b"ok\n")
    assert len(server.kernels) == 1  # the one that is kept ready
    assert server.end(signal.SIGINT) == (0, "")


def test_a_kernel_does_not_outlive_the_command(server: Server) -> None:
    kernels = eventually(lambda: server.kernels)
    server.process.kill()
    eventually(lambda: not any(map(runs, kernels)))
    with contextlib.suppress(ProcessLookupError):
        assert server.process.wait(SECONDS) == -signal.SIGKILL
