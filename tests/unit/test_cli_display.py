"""The options that every table has: sorted, cut, wide, as CSV, refreshed; in local time."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tasktools.cli import main, render
from tasktools.cli.display import Display
from tasktools.core.clock import moment
from tasktools.core.errors import BrokerError
from tasktools.core.frames.schemas import LOCKS, SCHEMAS, TOPICS
from tasktools.core.frames.table import Table
from tests.recorded import Scene

DEMO = ("--dsn", "demo://")
TABLES = ("workers", "topics", "tasks", "locks", "dead", "timeline", "ledger", "topic settings")


def run(*args: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


def where(table: str) -> tuple[str, ...]:
    return () if table == "ledger" else DEMO


def rows_of(*args: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run(*args, "--csv", *DEMO).stdout)))


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_csv_too_with_the_columns_of_its_json(table: str) -> None:
    cells = list(csv.reader(io.StringIO(run(*table.split(), "--csv", *where(table)).stdout)))
    document = json.loads(run(*table.split(), "--json", *where(table)).stdout)
    assert all(list(row) == cells[0] for row in document["rows"])
    assert {len(line) for line in cells} == {len(cells[0])}


@pytest.mark.parametrize("table", TABLES)
def test_csv_and_json_exclude_each_other(table: str) -> None:
    result = run(*table.split(), "--csv", "--json", status=2)
    assert "Give --csv or --json." in result.stderr


def test_a_table_is_sorted_by_a_column_either_way() -> None:
    queued = [int(row["queued"]) for row in rows_of("topics", "--sort", "queued")]
    assert queued == sorted(queued)
    assert len(set(queued)) > 1
    names = [row["topic"] for row in rows_of("topics", "--sort", "-topic")]
    assert names == sorted(names, reverse=True)
    document = json.loads(run("topics", "--sort", "-topic", "--json", *DEMO).stdout)
    assert [row["topic"] for row in document["rows"]] == names
    table = run("topics", "--sort", "-topic", *DEMO).stdout.splitlines()[2:]
    assert [line.split()[0] for line in table] == names


def test_what_is_missing_is_at_the_end_either_way() -> None:
    for sort in ("concurrency_limit", "-concurrency_limit"):
        limits = [row["concurrency_limit"] for row in rows_of("topics", "--sort", sort)]
        assert limits[0]
        assert limits[-1] == ""


def test_a_column_that_is_not_there_is_refused_before_anything_is_asked() -> None:
    result = run("topics", "--sort", "depth", "--dsn", "amqp://nowhere", status=2)
    assert "'depth' is none of topic, queued" in result.stderr
    for command, column in (("dead",), "key"), (("dead", "orders"), "queued"), (("ledger",), "key"):
        arguments = () if command == ("ledger",) else ("--dsn", "amqp://nowhere")
        result = run(*command, "--sort", column, *arguments, status=2)
        assert f"This table has no column {column} to sort by." in result.stderr


def test_wide_has_all_columns() -> None:
    heading = run("topics", "--wide", *DEMO).stdout.splitlines()[1]
    assert heading.split() == list(TOPICS.names)


def test_tasks_are_cut_and_the_queues_are_looked_at_only_when_asked() -> None:
    running = run("tasks", *DEMO)
    assert " queued " not in running.stdout
    cut = run("tasks", "--rows", "2", *DEMO)
    assert len(cut.stdout.splitlines()) == 2 + 2
    assert "more; --rows, --csv or --json lists them" in cut.stderr
    both = json.loads(run("tasks", "--queued", "--json", *DEMO).stdout)
    assert len(both["rows"]) > 20
    assert both["looks"]
    assert json.loads(run("tasks", "--json", *DEMO).stdout)["looks"] == []


# --- dead letters of all topics ------------------------------------------------------


def test_dead_without_a_topic_lists_the_queues_that_have_some() -> None:
    result = run("dead", *DEMO)
    (line,) = result.stdout.splitlines()[2:]
    topic, count, *_ = line.split()
    assert topic == "orders"
    assert int(count) >= 20
    assert "tasktools dead TOPIC" in result.stderr
    (row,) = json.loads(run("dead", "--json", *DEMO).stdout)["rows"]
    assert row["topic"] == "orders"
    assert row["dead_letter"] >= 20


def test_dead_without_a_topic_says_when_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_DSN", "memory://")
    result = run("dead")
    assert "There are no dead letters." in result.stderr
    assert "tasktools dead TOPIC" not in result.stderr


def test_dead_without_a_topic_takes_no_conditions() -> None:
    assert "Give TOPIC" in run("dead", "--where", "reason=rejected", *DEMO, status=2).stderr


# --- again and again -----------------------------------------------------------------


def watching(*args: str, tty: bool) -> tuple[int, str]:
    """Watch until the second look, then interrupt; return the exit code, and what was shown."""
    parent, child = pty.openpty() if tty else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "tasktools.cli", *args, "--watch", "0.2s", *DEMO],
        stdout=child,
        stderr=subprocess.DEVNULL,
    )
    os.close(child)
    shown = b""
    end = time.monotonic() + 90
    while shown.count(b"worker_id") + shown.count(b"worker id") < 2 and time.monotonic() < end:
        shown += os.read(parent, 65_536)
    process.send_signal(signal.SIGINT)
    os.set_blocking(parent, False)
    code = process.wait(timeout=60)
    os.close(parent)
    return code, shown.decode()


def test_watch_writes_one_table_below_the_other_in_a_pipe() -> None:
    code, shown = watching("workers", tty=False)
    assert code == 0
    assert shown.count("every 0.2 s until Ctrl-C") >= 2
    assert "\x1b" not in shown


def test_watch_begins_a_terminal_anew_each_time() -> None:
    code, shown = watching("workers", tty=True)
    assert code == 0
    assert shown.count("\x1b[2J") >= 2


def test_watch_with_json_is_a_document_a_line() -> None:
    code, shown = watching("workers", "--json", tty=False)
    assert code == 0
    documents = [json.loads(line) for line in shown.splitlines()[:2]]
    assert all(document["demo"] for document in documents)


@pytest.mark.parametrize("as_json", [False, True])
def test_watch_goes_on_when_the_broker_is_back(
    capfd: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    display = Display(
        schemas=(LOCKS,), sort=None, wide=False, as_csv=False, as_json=as_json, watch=0.01
    )
    looks = iter(["before", None, None, "after"])

    def look() -> Table:
        name = next(looks)
        if name is None:
            raise BrokerError("No RabbitMQ answers")
        if name == "after":
            os.kill(os.getpid(), signal.SIGINT)
        return Table.of_rows(LOCKS, [(name, None, None, None, None, None)], sources={}, notes=[])

    display.show(look)
    output, errors = capfd.readouterr()
    assert output.index("before") < output.index("after")
    assert errors.count("No RabbitMQ answers\n") == 2
    looks = iter([None])
    with pytest.raises(BrokerError):  # who was never reached
        display.show(look)


def test_watch_refuses_what_it_cannot_do() -> None:
    assert "not --csv" in run("topics", "--watch", "2s", "--csv", *DEMO, status=2).stderr
    assert "without --at" in run("topics", "--watch", "2s", "--at", "1h", *DEMO, status=2).stderr


@pytest.mark.parametrize("option", [(), ("--watch", "1s"), ("--csv",), ("--sort", "topic")])
def test_a_broker_that_is_down_is_one_sentence(option: tuple[str, ...]) -> None:
    result = run("topics", *option, "--dsn", "amqp://127.0.0.1:1/", "--timeout", "2", status=1)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


# --- times ---------------------------------------------------------------------------


def test_a_recording_is_sorted_and_shown_in_local_time_with_its_zone(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "ops.db")
    for n in range(3):
        scene.task("task_failed", f"t{n}")
        scene.tick(60)
    scene.close()
    command = ["failures", "--rows", "9", "--sort", "failed_at", "--dsn", f"sqlite:///{scene.path}"]
    done = subprocess.run(
        [sys.executable, "-m", "tasktools.cli", *command],
        env={**os.environ, "TZ": "America/New_York"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if " t" in line and "-05:00" in line]
    assert [line[:25] for line in lines] == [
        "2027-01-15 03:00:00-05:00",
        "2027-01-15 03:01:00-05:00",
        "2027-01-15 03:02:00-05:00",
    ]


def test_a_time_can_be_typed_as_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for zone in ("UTC", "Asia/Kolkata"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        shown = render.local(moment(1_800_000_000))
        monkeypatch.undo()
        time.tzset()
        assert moment(1_800_000_000).isoformat().startswith("2027-01-15T08:00:00")
        assert shown == {"UTC": "2027-01-15 08:00:00Z"}.get(zone, "2027-01-15 13:30:00+05:30")


def test_each_schema_can_be_shown_in_all_its_columns() -> None:
    for schema in SCHEMAS:
        grid, left_out = render.all_columns(Table.of_rows(schema, []), schema, width=80)
        assert (len(grid.columns), left_out) == (len(schema.columns), ())
