"""The commands for dead letters: look, plan, do it, and the ledger."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tasktools
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cli import filters, main
from tasktools.cluster import plans
from tasktools.cluster.cluster import Cluster
from tasktools.core.redaction import MASKED
from tasktools.replay.progress import in_background
from tasktools.testing import eventually, worker_event

GO = ("--yes", "--reason", "INC-42")
DEMO = ("--dsn", "demo://")


def run(*args: str) -> Result:
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output
    return result


def as_json(*args: str) -> Any:
    return json.loads(run(*args, "--json").stdout)


def test_own_names_are_masked_by_every_command_that_shows_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def masked(*options: str) -> list[set[str]]:
        rows = as_json("dead", "orders", *options, *DEMO)["rows"]
        shown = [row["kwargs"] for row in rows if row["kwargs"]]
        return [{name for name, value in kwargs.items() if value == "•••"} for kwargs in shown]

    assert {"card_token"} in masked()
    assert not {"order", "amount"} & set().union(*masked())
    monkeypatch.setenv("TASKTOOLS_MASK", "amount")
    assert {"card_token", "order", "amount"} in masked("--mask", "nowhere", "--mask", "order")
    plan = ("replay", "orders", "--where", "kwargs.amount~•", "--set", "kwargs.order=987654321")
    changed = run(*plan, "--mask", "order", *DEMO)
    assert "kwargs.order" in changed.output
    assert "987654321" not in changed.output
    refused = run("topics", "--mask", "--", *DEMO)
    assert refused.exit_code == 1
    assert "nothing was contacted" in refused.output


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MemoryServer:
    """Every command reaches this server, whatever its DSN."""
    server = MemoryServer()

    def connect(_dsn: str | None, *, read_only: bool, **_: Any) -> Cluster:
        return Cluster(MemoryBroker(server, read_only=read_only))

    monkeypatch.setattr(tasktools, "connect", connect)
    return server


@pytest.fixture
def broker(server: MemoryServer) -> Iterator[MemoryBroker]:
    """The server with six dead letters of ``emails``; every third is a report."""
    with MemoryBroker(server) as broker:
        broker.ensure_topic("emails")
        broker.ensure_topic("elsewhere")
        for n in range(6):
            bury(broker, n, "report" if n % 3 == 0 else "send")
        yield broker


def bury(broker: MemoryBroker, n: int, name: str = "send", **more: Any) -> None:
    kwargs = {"to": f"user{n}@shop", "token": f"geheim-{n}", **more}
    broker.publish("emails", {"task_name": name, "task_id": f"task-{n}", "kwargs": kwargs})
    delivery = broker.claim("emails", "w")
    assert delivery is not None
    broker.nack(delivery.id, requeue=False)


def kwargs_in(broker: MemoryBroker, queue: str) -> list[dict[str, Any] | None]:
    return [message.task.kwargs for message in broker.peek(queue).messages]


def keys(*options: str) -> list[str]:
    return [row["key"] for row in as_json("dead", "emails", *options)["rows"]]


# --- looking -------------------------------------------------------------------------


@pytest.mark.usefixtures("broker")
def test_dead_letters_are_shown_in_groups_and_then_one_by_one() -> None:
    result = run("dead", "emails", "--by", "task_name", "--rows", "2")
    groups, rows = result.stdout.split("\n\n")
    assert result.exit_code == 0
    assert [line.split()[0] for line in groups.splitlines()[1:]] == ["4", "2"]
    assert "67%" in groups
    assert len(rows.splitlines()) == 3
    assert "user0@shop" in rows
    assert "4 more" in result.stderr
    assert "geheim" not in result.output


@pytest.mark.usefixtures("broker")
def test_json_has_all_rows_groups_and_what_the_look_cost() -> None:
    by_path = as_json("dead", "emails", "--by", "kwargs.to")
    assert by_path["groups"][0]["group"].endswith("@shop")
    document = as_json("dead", "emails", "--by", "reason", "--by", "task_name")
    assert [row["task_id"] for row in document["rows"]] == [f"task-{n}" for n in range(6)]
    assert [(g["group"], g["count"]) for g in document["groups"]] == [
        ("rejected · send", 4),
        ("rejected · report", 2),
    ]
    assert document["looks"][0]["cost"] == "harmless"


def test_looking_changes_nothing(broker: MemoryBroker) -> None:
    before = kwargs_in(broker, "emails.dead")
    run("dead", "emails", "--read-only")
    run("replay", "emails", "--read-only")
    assert kwargs_in(broker, "emails.dead") == before
    assert not kwargs_in(broker, "emails")


@pytest.mark.usefixtures("server")
def test_a_topic_without_dead_letters_says_so(server: MemoryServer) -> None:
    with MemoryBroker(server) as broker:
        broker.ensure_topic("emails")
    result = run("dead", "emails")
    assert (result.exit_code, "There are no dead letters" in result.stderr) == (0, True)


@pytest.mark.parametrize("args", [("dead",), ("dead", "emails")])
def test_what_failed_without_a_dead_letter_is_not_kept_quiet(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    """A worker of fastpluggy acknowledges what fails: "There are no dead letters" was all."""
    with MemoryBroker(server) as broker:
        broker.ensure_topic("emails")
        cluster = Cluster(MemoryBroker(server))
        cluster.workers()
        counts: dict[str, Any] = {
            "finished_per_topic": {"emails": 3},
            "failed_per_topic": {"emails": 2},
        }
        broker.broadcast(worker_event("heartbeat", topics=("emails",), **counts))
        eventually(lambda: cluster.topics()["failed"].tolist() == [2])
        monkeypatch.setattr(tasktools, "connect", lambda *_, **__: cluster)
        result = run(*args)
    assert "There are no dead letters" in result.stderr
    assert "2 attempts failed since the workers started, and left no dead letter" in result.stderr
    assert "tasktools failures --watch 60s" in result.stderr


@pytest.mark.usefixtures("server")
def test_an_unknown_topic_is_one_sentence() -> None:
    for command in ("dead", "replay"):
        result = run(command, "emials")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: There is no topic 'emials'")


def test_the_demo_says_that_it_is_one() -> None:
    assert run("dead", "orders", *DEMO).stdout.startswith("DEMO")
    assert run("replay", "orders", *DEMO).stdout.startswith("DEMO")
    assert as_json("replay", "orders", *DEMO)["demo"] is True


# --- choosing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (("--where", "task_name=report"), [0, 3]),
        (("--where", "task_name!=report"), [1, 2, 4, 5]),
        (("--where", "kwargs.to=user4@shop"), [4]),
        (("--where", "kwargs.to~USER"), [0, 1, 2, 3, 4, 5]),
        (("--where", "kwargs.to~user", "--where", "task_name~rep"), [0, 3]),
        (("--where", "error_type="), [0, 1, 2, 3, 4, 5]),
        (("--where", "error_type!="), []),
        (("--where", "position=2"), [2]),
        (("--where", "kwargs.to=a=b~c"), []),
        (("--where", "kwargs.token=geheim-1"), []),
        (("--where", "kwargs.missing.deeper~"), [0, 1, 2, 3, 4, 5]),
        (("--where", "first_death~20", "--limit", "2"), [0, 1]),
        (("--fingerprint", "rejected in emails"), [0, 1, 2, 3, 4, 5]),
        (("--fingerprint", "something else"), []),
    ],
    ids=str,
)
@pytest.mark.usefixtures("broker")
def test_dead_letters_are_chosen(options: tuple[str, ...], chosen: list[int]) -> None:
    rows = as_json("dead", "emails", *options)["rows"]
    assert [row["task_id"] for row in rows] == [f"task-{n}" for n in chosen]


@pytest.mark.usefixtures("broker")
def test_a_value_that_no_dead_letter_has_is_told_with_those_that_are_like_it() -> None:
    """A new user read an empty table after a typing error."""
    result = run("dead", "emails", "--where", "task_name=reprot")
    assert "No task_name is 'reprot': did you mean 'report'?" in result.stderr
    assert result.exit_code == 0
    others = run("dead", "emails", "--where", "task_name=report", "--where", "kwargs.to=nobody")
    assert "did you mean" not in others.stderr


@pytest.mark.usefixtures("broker")
def test_dead_letters_are_chosen_by_their_keys() -> None:
    _, second, _, fourth, *_ = keys()
    assert keys("--key", fourth, "--key", second) == [second, fourth]
    result = run("replay", "emails", "--key", second, "--key", "k" * 20, *GO)
    assert result.exit_code == 1
    assert "kkk" in result.stderr
    assert "nothing was done" in result.stderr


def test_values_are_compared_as_they_are_shown() -> None:
    row = {"kwargs": {"n": 1.5, "on": True, "list": [1, "é"], "none": None}, "deaths": 3}
    for text in ("kwargs.n=1.5", "kwargs.on=true", 'kwargs.list=[1, "é"]', "kwargs.none=null"):
        assert filters.parsed(text).holds(row), text
    assert filters.parsed("deaths=3").holds(row)
    assert not filters.parsed("deaths=3.0").holds(row)
    assert filters.parsed("kwargs.password=•••").holds({"kwargs": {"password": MASKED}})


@pytest.mark.parametrize("text", ["task_name", "nothing=1", "task_name.x=1", "=x", "kwargs .x=1"])
def test_what_is_no_condition_is_wrong_usage(text: str) -> None:
    result = run("dead", "emails", "--where", text, *DEMO)
    assert result.exit_code == 2
    assert "--where" in result.stderr


# --- replaying -----------------------------------------------------------------------


def test_a_plan_is_shown_and_nothing_happens(broker: MemoryBroker) -> None:
    result = run("replay", "emails", "--where", "task_name=send", "--set", 'kwargs.to="x@y"')
    assert result.exit_code == 0
    assert result.stdout.startswith("replay 4 messages of emails.dead to emails\n")
    people = ", ".join(f"'user{n}@shop' (1)" for n in (1, 2, 4, 5))
    assert f"edits kwargs.to of 4: {people} → 'x@y'" in result.stdout
    assert "--yes --reason" in result.stderr
    assert len(kwargs_in(broker, "emails.dead")) == 6


def test_a_replay_does_what_was_planned_and_leaves_the_rest(broker: MemoryBroker) -> None:
    edits = ("--set", "kwargs.to=x@y", "--set", "kwargs.n=5", "--remove", "kwargs.token")
    result = run("replay", "emails", "--where", "task_name=report", *edits, *GO)
    assert result.exit_code == 0
    assert result.stdout.endswith("outcome   messages\nreplayed         2\n")
    assert "tasktools ledger 1" in result.stderr
    assert kwargs_in(broker, "emails") == [{"to": "x@y", "n": 5}] * 2
    left = [kwargs["to"] for kwargs in kwargs_in(broker, "emails.dead") if kwargs]
    assert left == [f"user{n}@shop" for n in (1, 2, 4, 5)]


def test_a_replay_to_another_queue_in_json(broker: MemoryBroker) -> None:
    document = as_json("replay", "emails", "--to", "elsewhere", "--rate", "1000", *GO)
    assert document["outcomes"] == {"replayed": 6}
    assert (document["run"], document["ended"], document["reason"]) == (1, "finished", "INC-42")
    assert {row["to"] for row in document["rows"]} == {"elsewhere"}
    assert len(kwargs_in(broker, "elsewhere")) == 6


def test_what_was_not_done_is_listed_and_exit_code_1(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    bury(broker, 6, address={"city": "x"})
    result = run("replay", "emails", "--set", 'kwargs.address.city="y"', *GO)
    assert result.exit_code == 1
    assert "skipped          6" in result.stdout
    assert "skipped: 6 messages, like " in result.stderr
    assert "kwargs.address.city has no place in it" in result.stderr
    assert server.depth("emails") == 1


def test_a_plan_that_was_saved_means_the_same_messages_later(
    broker: MemoryBroker, server: MemoryServer, tmp_path: Path
) -> None:
    file = tmp_path / "the plan.json"
    saved = run("replay", "emails", "--where", "task_name=send", "--save", str(file))
    assert f"--plan '{file}' --yes" in saved.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    bury(broker, 7)
    shown = run("replay", "--plan", str(file))
    now, then = "  warning: nobody consumes", "  warning when it was made: nobody consumes"
    assert now in saved.stdout
    assert shown.stdout == saved.stdout.replace(now, then)
    assert "warning: nobody consumes 'emails' now" in shown.stderr
    server.set_consumers("emails", 1)
    assert "nobody consumes" not in run("replay", "--plan", str(file)).stderr
    assert run("replay", "--plan", str(file), *GO).exit_code == 0
    assert len(kwargs_in(broker, "emails")) == 4
    again = run("replay", "--plan", str(file), *GO)
    assert (again.exit_code, "gone" in again.stdout) == (1, True)


@pytest.mark.usefixtures("broker")
def test_a_plan_that_was_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    run("replay", "emails", "--save", str(file))
    file.write_text(file.read_text().replace('"to":"emails"', '"to":"elsewhere"'))
    result = run("replay", "--plan", str(file), *GO)
    assert result.exit_code == 1
    assert "changed" in result.stderr


@pytest.mark.usefixtures("broker")
def test_a_plan_of_another_verb_is_refused_with_its_command(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    run("discard", "emails", "--no-archive", "--save", str(file))
    result = run("replay", "--plan", str(file), *GO)
    assert result.exit_code == 1
    assert f"tasktools discard --plan {file}" in result.stderr


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("options", [("--save", "/nowhere/p"), ("--plan", "/nowhere/p")])
def test_a_file_that_cannot_be_used_is_one_sentence(options: tuple[str, str]) -> None:
    topic = ("emails",) if "--save" in options else ()
    result = run("replay", *topic, *options, *GO)
    assert result.exit_code == 1
    assert "/nowhere/p cannot be" in result.stderr
    assert "nothing was done" in result.stderr


def test_read_only_refuses_to_run(broker: MemoryBroker) -> None:
    result = run("replay", "emails", "--read-only", *GO)
    assert result.exit_code == 1
    assert "read_only" in result.stderr
    assert len(kwargs_in(broker, "emails.dead")) == 6


@pytest.mark.usefixtures("broker")
def test_nothing_that_is_chosen_is_nothing_done() -> None:
    result = run("replay", "emails", "--where", "task_name=other", *GO)
    assert result.exit_code == 1
    assert "nothing was done" in result.stderr


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "args",
    [
        ("replay",),
        ("replay", "emails", "--yes"),
        ("replay", "emails", "--yes", "--reason", " "),
        ("replay", "emails", "--plan", "p"),
        ("replay", "--plan", "p", "--rate", "3"),
        ("replay", "--plan", "p", "--where", "reason=x"),
        ("replay", "--plan", "p", "--save", "q"),
        ("replay", "emails", "--set", "kwargs.to"),
        ("replay", "emails", "--rate", "0"),
        ("replay", "emails", "--rate", "fast"),
        ("replay", "emails", "--rate", "auto"),
        ("replay", "emails", "--rate", "auto", "--keep-wait", "30s"),
        ("replay", "emails", "--keep-wait", "30s"),
        ("discard", "emails"),
        ("discard", "emails", "--archive", "a", "--no-archive"),
        ("discard", "--plan", "p", "--no-archive"),
        ("restore",),
        ("restore", "/nowhere/at/all"),
        ("dead", "--key", "x"),
        ("dead", "emails", "--by", "nothing"),
        ("ledger", "--json", "--csv"),
        ("ledger", "0"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(args: tuple[str, ...]) -> None:
    assert run(*args).exit_code == 2


@pytest.mark.usefixtures("broker")
def test_an_edit_that_is_none_is_one_sentence() -> None:
    result = run("replay", "emails", "--set", "nonsense=1")
    assert result.exit_code == 1
    assert "no path of a task" in result.stderr


def test_a_ramp_stops_where_nobody_works(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasktools.cli.replay.Ramp", lambda: tasktools.Ramp(patience=0.3))
    result = run("replay", "emails", "--ramp", *GO)
    assert result.exit_code == 1
    assert "no worker has ended one" in result.stderr
    assert len(kwargs_in(broker, "emails")) == 1
    assert "not sent         5" in result.stdout
    assert "the same command continues the run" in result.stderr
    again = run("replay", "emails", *GO)
    assert (again.exit_code, len(kwargs_in(broker, "emails"))) == (0, 6)


@pytest.mark.parametrize("ends_by", ["ramp", "Ctrl-C"])
def test_what_a_run_left_is_told_in_a_few_lines(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, ends_by: str
) -> None:
    """There was a line for each of 20 messages."""
    for n in range(6, 40):
        bury(broker, n)
    if ends_by == "ramp":
        monkeypatch.setattr("tasktools.cli.replay.Ramp", lambda: tasktools.Ramp(patience=0.3))
        result = run("replay", "emails", "--ramp", *GO)
    else:

        def interrupted(work: Any, cancelled: threading.Event, _meanwhile: Any) -> Any:
            return in_background(work, cancelled, cancelled.set)

        monkeypatch.setattr(plans, "in_background", interrupted)
        result = run("replay", "emails", "--rate", "1", "--follow", "0", *GO)
        assert "The run was cancelled before its end." in result.stderr
    assert result.exit_code == 1
    sent = len(kwargs_in(broker, "emails"))
    assert sent < 40
    assert f"not sent: {40 - sent} messages, like " in result.stderr
    assert "are where they were; the same command continues the run" in result.stderr
    assert len(result.stderr.splitlines()) <= 6


# --- discarding and restoring --------------------------------------------------------


def test_what_was_discarded_into_an_archive_is_restored(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    before, file = kwargs_in(broker, "emails.dead"), str(tmp_path / "kept.jsonl")
    assert "kept in" in run("discard", "emails", "--archive", file).stdout
    assert run("discard", "emails", "--archive", file, *GO).exit_code == 0
    assert not kwargs_in(broker, "emails.dead")
    assert run("restore", file).stdout.startswith("restore 6 messages of ")
    assert as_json("restore", file, *GO)["outcomes"] == {"restored": 6}
    assert kwargs_in(broker, "emails.dead") == before


def test_what_is_discarded_without_an_archive_is_said_to_be_gone(broker: MemoryBroker) -> None:
    assert "gone for good" in run("discard", "emails", "--no-archive").stdout
    assert run("discard", "emails", "--limit", "2", "--no-archive", *GO).exit_code == 0
    assert len(kwargs_in(broker, "emails.dead")) == 4


@pytest.mark.usefixtures("broker")
def test_a_topic_without_dead_letters_has_none_to_replay() -> None:
    for command in (("replay",), ("discard", "--no-archive")):
        result = run(*command, "elsewhere")
        assert result.exit_code == 1
        assert "There are no dead letters in 'elsewhere'; nothing was done." in result.stderr


# --- the ledger ----------------------------------------------------------------------


@pytest.mark.usefixtures("broker")
def test_the_ledger_tells_the_runs_and_what_became_of_each_message(ledger_file: Path) -> None:
    run("replay", "emails", "--limit", "1", *GO)
    run("replay", "emails", "--yes", "--reason", "INC-43\x1b[2J")
    (latest, first) = as_json("ledger")["rows"]
    assert (latest["run"], latest["done"], latest["outcomes"]) == (2, 5, {"replayed": 5})
    assert first["reason"] == "INC-42"
    assert "INC-42" in run("ledger").stdout
    assert "INC-42" not in run("ledger", "--last", "1").stdout
    assert [row["outcome"] for row in as_json("ledger", "2")["rows"]] == ["replayed"] * 5
    assert stat.S_IMODE(ledger_file.stat().st_mode) == 0o600


@pytest.mark.usefixtures("broker")
def test_the_ledger_has_the_runs_of_the_cluster_that_is_named(
    monkeypatch: pytest.MonkeyPatch, ledger_file: Path
) -> None:
    run("replay", "emails", "--limit", "1", *GO)
    run("replay", "emails", "--limit", "1", *GO)
    with contextlib.closing(sqlite3.connect(ledger_file)) as file, file:
        file.execute("UPDATE runs SET cluster = 'amqp://ops@rabbit:5672/shop' WHERE run = 1")

    def numbers(*options: str) -> list[int]:
        return [row["run"] for row in as_json("ledger", *options)["rows"]]

    assert numbers() == [2, 1]
    assert "amqp://ops@rabbit:5672/shop" in run("ledger").stdout
    assert numbers("--dsn", "amqp://ops:geheim@rabbit/shop") == [1]
    assert numbers("--dsn", "demo://") == []
    monkeypatch.setenv("BROKER_DSN", "amqp://ops:geheim@rabbit/shop")
    assert numbers() == [1]
    shown = run("ledger")
    assert "note: runs on amqp://ops@rabbit:5672/shop; unset BROKER_DSN" in shown.stderr
    assert "amqp" not in shown.stdout
    assert len(as_json("ledger", "2")["rows"]) == 1


@pytest.mark.usefixtures("broker")
def test_the_ledger_is_exported_as_csv() -> None:
    run("replay", "emails", "--yes", "--reason", 'a "reason",\nof two lines')
    (row,) = csv.DictReader(io.StringIO(run("ledger", "--csv").stdout))
    assert row["reason"] == 'a "reason",\\nof two lines'
    assert json.loads(row["outcomes"]) == {"replayed": 6}
    assert (row["run"], row["note"]) == ("1", "")
    rows = list(csv.DictReader(io.StringIO(run("ledger", "1", "--csv").stdout)))
    assert [row["outcome"] for row in rows] == ["replayed"] * 6


def test_a_run_that_is_not_there_is_one_sentence() -> None:
    result = run("ledger", "7")
    assert result.exit_code == 1
    assert "There is no run 7" in result.stderr
    assert "There are no runs" in run("ledger").stderr
