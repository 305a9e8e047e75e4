"""``tasktools forecast``."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from click.testing import CliRunner, Result

import tasktools
from tasktools.cli import main
from tests.capacity.recordings import record

DRAINING = [(at, 4000.0 - 2 * at, 50.0, 50.0, 8.0) for at in range(0, 1200, 5)]


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_a_recorded_drain_is_forecast(tmp_path: Path) -> None:
    record(tmp_path / "r.db", "emails", DRAINING)
    dsn = f"sqlite:///{tmp_path / 'r.db'}"
    shown = run("forecast", "emails", "--dsn", dsn)
    assert shown.exit_code == 0
    assert "down to 10 between" in shown.output
    values = dict(line.split(maxsplit=1) for line in shown.output.splitlines() if " " in line)
    assert [values[name].strip() for name in ("level", "slots")] == ["10.0", "8.0"]
    assert values["not_within"].strip().endswith("%")
    assert values["completions"].strip().endswith("/s")
    asked = run("forecast", "emails", "--json", "--level", "0", "--at", "5min", "--dsn", dsn)
    (row,) = json.loads(asked.stdout)["rows"]
    assert (row["level"], row["topic"]) == (0, "emails")
    assert row["earliest"] < row["expected"] < row["latest"]


def test_a_live_cluster_is_listened_to() -> None:
    listened = run("forecast", "emails", "--watch", "1s", "--json", "--dsn", "demo://")
    assert "Listening for 1 s" in listened.stderr
    (row,) = json.loads(listened.stdout)["rows"]
    assert row["topic"] == "emails"


def test_what_is_unknown_is_no_zero() -> None:
    with tasktools.connect("demo://", topics=("nowhere",)) as cluster:
        (row,) = tasktools.drain_forecast(cluster, "nowhere").to_dict("records")
    assert row["note"].startswith("not known: ")
    assert "did you mean 'nowhere'" not in row["note"]  # itself, as it is asked for
    assert pd.isna(row["not_within"])


def test_a_topic_that_is_not_there_is_an_error() -> None:
    refused = run("forecast", "emialz", "--watch", "60s", "--json", "--dsn", "demo://")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "There is no topic 'emialz'" in refused.stderr
    assert "did you mean 'emails'?" in refused.stderr  # and not itself, as it is asked for


def test_what_cannot_be_used_is_wrong_usage(tmp_path: Path) -> None:
    record(tmp_path / "r.db", "emails", DRAINING)
    dsn = f"sqlite:///{tmp_path / 'r.db'}"
    for options in (("--horizon", "9D"), ("--horizon", "soon"), ("--watch", "2h")):
        assert run("forecast", "emails", "--dsn", dsn, *options).exit_code == 2
