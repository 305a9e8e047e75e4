"""``tasktools tap``, ``untap`` and ``published``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tasktools
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cli import main
from tasktools.cluster.cluster import Cluster


def run(*args: str) -> Result:
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """A client of the server that every command reaches, whatever its DSN."""
    server = MemoryServer()

    def connect(_dsn: str | None, *, read_only: bool, **_: Any) -> Cluster:
        return Cluster(MemoryBroker(server, read_only=read_only))

    monkeypatch.setattr(tasktools, "connect", connect)
    return MemoryBroker(server)


def test_nothing_happens_without_yes(broker: MemoryBroker) -> None:
    result = run("tap", "--max-age", "2h")
    assert result.exit_code == 0
    assert "keeps what is published for 2h, at most 2,000,000,000 bytes" in result.stdout
    assert "publishers no longer get an error" in result.stdout
    assert "Nothing was done" in result.stderr
    assert not broker.untap("tasktools.tap")
    assert run("tap", "--yes").exit_code == 0
    result = run("untap", "--delete")
    assert "are deleted for good" in result.stdout
    assert "Nothing was done" in result.stderr
    assert broker.untap("tasktools.tap")


def test_what_was_published_is_shown_until_the_tap_is_deleted(broker: MemoryBroker) -> None:
    assert run("published").exit_code == 1
    assert "There is no tap" in run("published").stderr
    run("tap", "--yes")
    broker.publish("emails", {"task_name": "send", "kwargs": {"to": "a@b", "token": "hunter2"}})
    broker.publish("images", {"task_name": "<script>\x1b[31m"})
    shown = run("published").stdout
    assert '{"to": "a@b", "token": "•••"}' in shown
    assert "<script>\\x1b[31m" in shown
    only = json.loads(run("published", "images", "--json").stdout)
    assert [row["topic"] for row in only["rows"]] == ["images"]
    first = run("published", "--limit", "1", "--since", "5min")
    assert "images" not in first.stdout
    assert "there is more" in first.stderr
    assert "has ended" in run("untap", "--yes", "--delete").stderr
    assert "There is no tap" in run("untap", "--yes").stderr
    assert run("published").exit_code == 1


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("tap", "--max-age", "soon", "--yes"), "is no span"),
        (("published", "--since", "soon"), "is no moment"),
        (("published", "--until", "12:00"), "is no moment"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(
    args: tuple[str, ...], why: str, broker: MemoryBroker
) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert why in result.stderr
    assert not broker.untap("tasktools.tap")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("tap", "--max-bytes", "5", "--yes"), "max_bytes is 5"),
        (("tap", "--name", "emails", "--yes"), "cannot be called"),
        (("tap", "--yes", "--read-only"), "read_only"),
    ],
)
def test_what_is_refused_is_one_sentence(
    args: tuple[str, ...], why: str, broker: MemoryBroker
) -> None:
    result = run(*args)
    assert result.exit_code == 1
    assert why in result.stderr
    assert not broker.untap("tasktools.tap")
