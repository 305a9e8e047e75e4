"""``tasktools capacity``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tasktools.cli import main
from tasktools.core.frames.capacity_schemas import SOLUTIONS
from tasktools.demo.week import write_week


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ("capacity", *args))


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("week") / "ops.db"
    write_week(path)
    return f"sqlite:///{path}"


def test_a_week_is_solved(week: str) -> None:
    shown = run("--wait", "30s", "--dsn", week)
    assert shown.exit_code == 0
    header = next(line for line in shown.stdout.splitlines() if line.startswith("topic"))
    assert {"slots", "workers", "determined"} <= set(header.split())
    assert (
        "emails, newsletters: slots and workers are those of emails, newsletters together"
        in shown.stderr
    )


def test_json_has_every_column(week: str) -> None:
    rows = json.loads(run("--json", "--wait", "2min", "--quantile", "0.9", "--dsn", week).stdout)
    by_topic = {row["topic"]: row for row in rows["rows"]}
    assert list(by_topic["images"]) == list(SOLUTIONS.names)
    images = by_topic["images"]
    assert images["need_low"] < images["need"] < images["need_high"]
    assert 0.5 <= images["fit"] <= 2
    more = json.loads(run("--json", "--traffic", "3", "--dsn", week).stdout)["rows"]
    reports = more[-1]
    assert reports["slots"] is None
    assert "its limit of 2 is too small" in reports["note"]
    assert all(row["load"] > 2 * by_topic[row["topic"]]["load"] for row in more)


def test_what_cannot_be_used_is_wrong_usage(tmp_path: Path, week: str) -> None:
    for options in (("--wait", "soon"), ("--quantile", "1"), ("--traffic", "0"), ("--since", "x")):
        assert run("--dsn", week, *options).exit_code == 2
    missing = run("--dsn", f"sqlite:///{tmp_path / 'none.db'}")
    assert missing.exit_code == 1
    assert "Traceback" not in missing.output


def test_a_live_cluster_of_which_little_was_heard_says_so() -> None:
    rows = json.loads(run("--json", "--dsn", "demo://").stdout)["rows"]
    assert rows
    assert all(not row["determined"] and row["note"] for row in rows)


def test_a_live_cluster_of_which_nothing_was_heard_has_no_numbers() -> None:
    result = run("--json", "--dsn", "memory://")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["rows"] == []
