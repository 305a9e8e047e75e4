"""``tasktools board`` without a browser: what it refuses, and what its kernel is told."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_server.base.websocket import WebSocketMixin

from tasktools.board.options import VARIABLE, BoardOptions
from tasktools.board.starting_page import starting_page, theme_of
from tasktools.board.voila_app import BoardApp, ThisPython
from tasktools.cli import main
from tasktools.cli.listen_address import url_of, warnings


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["board", "--no-browser", *args], catch_exceptions=False)


def test_without_voila_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "voila", None)
    result = run("--dsn", "demo://")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "nothing was served. Install it: pip install 'tasktools-ops[board]'" in result.stderr


def test_a_cluster_that_cannot_be_opened_is_told_before_anything_is_served(tmp_path: Path) -> None:
    result = run("--dsn", f"sqlite:///{tmp_path}/none.db")
    assert result.exit_code == 1
    assert "none.db" in result.stderr
    assert "Serving" not in result.stderr


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--dsn", "demo://", "--port", str(port))
    assert result.exit_code == 1
    assert f"Nothing can listen at 127.0.0.1, port {port}" in result.stderr
    assert "nothing was served" in result.stderr


@pytest.mark.parametrize("theme", ["purple", "dark'><script>"])
def test_a_theme_that_does_not_exist_is_refused(theme: str) -> None:
    result = run("--dsn", "demo://", "--theme", theme)
    assert result.exit_code == 2
    assert theme_of(theme, "dark") == "dark"


def test_the_page_says_that_it_starts_in_its_theme() -> None:
    assert theme_of("dark", "light") == "dark"
    assert theme_of(None, "light") == "light"
    assert 'data-jp-theme-light="false"' in starting_page("dark")
    assert 'data-jp-theme-light="true"' in starting_page("light")
    assert "starting …" in starting_page("light")


def test_the_kernel_is_told_the_options_and_nobody_else() -> None:
    options = BoardOptions(
        folder="/ops",
        management_url="https://ops:s3cret@rabbit:15671",
        mask=("iban",),
        topics=("emails",),
    )
    assert "s3cret" not in repr(options)
    with options.in_environment():
        assert BoardOptions.from_environment() == options
    assert VARIABLE not in os.environ
    assert BoardOptions.from_environment() == BoardOptions()
    assert options.as_arguments()["management_url"] == "https://ops:s3cret@rabbit:15671"
    assert BoardOptions(management_url="off").as_arguments()["management_url"] is False


def test_the_kernel_is_this_python_whatever_is_installed_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["/other/python"], "display_name": "Python 3", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert KernelSpecManager().get_kernel_spec("python3").argv == ["/other/python"]
    kernels = ThisPython()
    assert list(kernels.find_kernel_specs()) == ["python3"]
    assert kernels.get_kernel_spec("python3").argv[0] == sys.executable


def test_a_page_has_longer_to_answer_a_ping_than_until_the_next() -> None:
    """Else its connection is closed at each, and what is new meanwhile is lost."""

    class Channel(WebSocketMixin):
        settings = BoardApp("127.0.0.1", 8866, "light").tornado_settings

    channel = Channel()
    assert channel.ping_timeout > channel.ping_interval > 0


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_an_address_of_this_machine_alone_needs_no_warning(address: str) -> None:
    assert warnings(address, "see it") == []


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "ops.example"])  # noqa: S104
def test_who_can_see_the_page_is_said(address: str) -> None:
    (warning,) = warnings(address, "see it")
    assert "everybody who can reach this address can see it; there is no password" in warning


def test_an_address_of_version_6_stands_in_brackets() -> None:
    assert url_of("::1", 8866) == "http://[::1]:8866/"
    assert url_of("127.0.0.1", 8866) == "http://127.0.0.1:8866/"
