"""The commands, from the arguments to the exit code."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import tasktools
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cli import main, output
from tasktools.cli.publish import text_of
from tasktools.cluster.cluster import Cluster
from tasktools.core import layout
from tasktools.core.frames import build
from tasktools.core.frames.schemas import ACTIVE_TASKS, STATS, TOPICS, WORKERS
from tasktools.core.models import Outgoing, PublishResult, PublishResults

DEMO = ("--dsn", "demo://")


def run(*args: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(main, args, input=stdin, catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


class Broker(MemoryBroker):
    """A memory broker that does what a test wants to messages."""

    results: Callable[[int], PublishResult] | None = None

    def publish_many(
        self, messages: Sequence[Outgoing], progress: Callable[[int], object] | None = None
    ) -> PublishResults:
        results = super().publish_many(messages, progress)
        if self.results is None:
            return results
        return PublishResults(map(self.results, range(len(results))))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MemoryServer:
    """Every command reaches this server, whatever its DSN."""
    server = MemoryServer()

    def connect(_dsn: str | None, *, topics: Any = (), read_only: bool, **_: Any) -> Cluster:
        return Cluster(Broker(server, layout=layout.FP, read_only=read_only), topics=topics)

    monkeypatch.setattr(tasktools, "connect", connect)
    return server


def queued(server: MemoryServer, topic: str) -> list[dict[str, Any] | None]:
    with MemoryBroker(server, layout=layout.FP) as broker:
        return [message.task.kwargs for message in broker.peek(topic, 1000).messages]


# --- looking -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "schema"),
    [("status", STATS), ("workers", WORKERS), ("topics", TOPICS), ("tasks", ACTIVE_TASKS)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_json_is_one_document_with_every_column(command: str, schema: Any) -> None:
    result = run(command, "--json", *DEMO)
    document = json.loads(result.stdout)

    assert result.exit_code == 0
    assert all(list(row) == list(schema.names) for row in document["rows"])
    assert document["rows"]
    assert document["demo"] is True
    assert "DEMO" in document["cluster"]
    assert document["sources"]["events"]["ok"]
    assert isinstance(document["notes"], list)
    assert ("looks" in document) == (command == "tasks")


@pytest.mark.parametrize("command", ["status", "workers", "topics", "tasks"])
def test_tables_say_demo_and_are_not_cut_in_a_pipe(command: str) -> None:
    result = run(command, *DEMO)

    assert result.exit_code == 0
    assert result.stdout.startswith("DEMO")
    assert "…" not in result.stdout
    assert "\x1b" not in result.output


def test_workers_show_who_is_late_and_whose_clock_is_wrong() -> None:
    lines = run("workers", *DEMO).stdout.splitlines()

    assert sum(" alive " in line for line in lines) == 7
    assert sum(" late " in line for line in lines) == 1
    assert sum("+2 h" in line for line in lines) == 1


def test_topics_can_be_asked_for_by_name() -> None:
    rows = json.loads(run("topics", "reports", "nowhere", "--json", *DEMO).stdout)["rows"]

    assert {row["topic"]: row["exists"] for row in rows} == {"reports": True, "nowhere": False}


def test_tasks_of_one_topic_with_and_without_looking() -> None:
    both = json.loads(run("tasks", "reports", "--queued", "--limit", "3", "--json", *DEMO).stdout)
    only = json.loads(run("tasks", "reports", "--json", *DEMO).stdout)

    assert [row["state"] for row in both["rows"]].count("queued") == 3
    assert {row["topic"] for row in both["rows"]} == {"reports"}
    assert {row["state"] for row in only["rows"]} == {"running"}
    assert only["looks"] == []


def test_notes_go_under_the_table_and_to_stderr() -> None:
    result = run("tasks", "reports", "--queued", "--limit", "1", *DEMO)

    assert "1 of" in result.stderr
    assert "reorders" in result.stderr
    assert "note" not in result.stdout


def test_refused_looks_are_told(server: MemoryServer) -> None:
    with MemoryBroker(server, layout=layout.FP) as broker:
        broker.publish("emails", {"task_name": "shop:send"})
    server.set_consumers("emails", 1)

    result = run("tasks", "--queued", "--read-only")

    assert result.exit_code == 0
    assert "was refused" in result.stderr
    assert "No active tasks are known." in result.stderr


def test_of_workers_that_nobody_hears_of_it_says_no_more_than_it_knows() -> None:
    """A worker that was killed before the command began is heard of by nobody."""
    result = run("workers", "--dsn", "memory://")
    assert (result.exit_code, result.stderr.count("No workers are known.")) == (0, 1)
    assert "There are no" not in result.stderr


@pytest.mark.parametrize(
    ("ok", "message"), [(True, "There are no topics."), (False, "No topics are")]
)
def test_that_there_is_nothing_is_said_only_where_all_that_was_asked_has_answered(
    *, ok: bool, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = build.frame_from(TOPICS, [])
    frame.attrs["sources"] = {"broker": {"ok": ok}, "events": {"ok": True}}
    output.section(frame, TOPICS)
    assert message in capsys.readouterr().err


def test_where_no_worker_is_heard_it_does_not_say_that_nothing_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = build.frame_from(ACTIVE_TASKS, [])
    frame.attrs |= {"sources": {"events": {"ok": True}}, "unheard": True}
    output.section(frame, ACTIVE_TASKS)
    assert "No active tasks are known." in capsys.readouterr().err


def test_secrets_are_masked(server: MemoryServer) -> None:
    with MemoryBroker(server, layout=layout.FP) as broker:
        broker.publish("emails", {"task_name": "shop:send", "kwargs": {"password": "geheim"}})

    assert "•••" in run("tasks", "emails", "--queued").stdout
    assert "geheim" not in run("tasks", "emails", "--queued").output
    row = json.loads(run("tasks", "emails", "--queued", "--json").stdout)["rows"][0]
    assert row["kwargs"] == {"password": "•••"}


def test_a_name_full_of_escapes_does_nothing(server: MemoryServer) -> None:
    with MemoryBroker(server, layout=layout.TASKWORKER) as broker:
        server.ensure_topic(layout.FP, "emails")
        broker.publish("emails", {"task_name": "\x1b]0;owned\x07[bold]x[/bold]"})

    result = run("tasks", "emails", "--queued")

    assert r"\x1b]0;owned\x07[bold]x[/bold]" in result.stdout
    assert "\x1b" not in result.output


def test_an_output_that_is_not_utf_8_gets_readable_escapes(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    monkeypatch.setattr("sys.stdout", open("/dev/null", "w", encoding="ascii"))  # noqa: SIM115, PTH123
    output.write("Grüße •••")
    sys.stdout.close()


# --- publishing ----------------------------------------------------------------------


def test_publish_prints_the_task_id_and_nothing_else(server: MemoryServer) -> None:
    result = run("publish", "emails", "shop:send", "--kwargs", '{"to": "a@b"}', "--create")

    assert result.exit_code == 0
    assert len(result.stdout.strip()) == 36
    assert result.stderr == "Published to emails, confirmed.\n"
    assert queued(server, "emails") == [{"to": "a@b"}]


def test_publish_takes_args_headers_and_priority(server: MemoryServer) -> None:
    options = ["--args", "[1]", "--headers", '{"trace": "x"}', "--priority", "7", "--create"]
    result = run("publish", "emails", "shop:send", "--json", *options)

    row = json.loads(result.stdout)["rows"][0]
    with MemoryBroker(server, layout=layout.FP) as broker:
        (message,) = broker.peek("emails", 10).messages
    assert row["outcome"] == "confirmed"
    assert row["task_id"] == message.task.task_id
    assert message.task.args == [1]
    assert message.task.headers == {"trace": "x"}
    assert message.properties.priority == 7


def test_a_task_of_fastpluggy_is_not_published_without_its_name() -> None:
    result = run("publish", "emails", *DEMO)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the payload has no task_name (on the command line: give TASK after TOPIC); " in (
        result.stderr
    )


def test_publish_in_the_demo_says_so() -> None:
    assert "DEMO" in run("publish", "emails", "shop.emails:send_email", *DEMO).stderr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("publish", "nowhere", "shop:send"), "There is no topic 'nowhere'"),
        (("publish", "a", "bare_name", "--create"), "module:function"),
        (("publish", "a", "m:f", "--create", "--read-only"), "read_only"),
        (("tasks", "nowhere"), "There is no topic 'nowhere'"),
        (("tasks", "no\x1bwhere"), r"no\x1bwhere"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_1(
    server: MemoryServer, args: tuple[str, ...], why: str
) -> None:
    del server
    result = run(*args)

    assert result.exit_code == 1
    assert why in result.stderr
    assert "\x1b" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "args",
    [
        ("publish",),
        ("publish", "emails", "m:f", "--args", "{}"),
        ("publish", "emails", "m:f", "--kwargs", "[]"),
        ("publish", "emails", "m:f", "--kwargs", "nope"),
        ("publish", "emails", "m:f", "--priority", "256"),
        ("publish", "emails", "m:f", "--from", "-"),
        ("publish", "--from", "/nowhere/at/all.csv"),
        ("status", "--layout", "other"),
        ("status", "--timeout", "0"),
        ("tasks", "--limit", "0"),
        ("nonsense",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(args: tuple[str, ...]) -> None:
    assert run(*args, *(DEMO if args != ("nonsense",) else ())).exit_code == 2


CSV = 'topic,task_name,kwargs\nemails,shop:send,"{""n"": 1}"\nemails,shop:send,"{""n"": 2}"\n'


def test_a_file_is_published_and_its_outcomes_are_counted(
    server: MemoryServer, tmp_path: Path
) -> None:
    path = tmp_path / "tasks.csv"
    path.write_text("\ufeff" + CSV, encoding="utf-8")

    result = run("publish", "--from", str(path), "--create")

    assert result.exit_code == 0
    assert result.stdout.split() == ["outcome", "tasks", "confirmed", "2"]
    assert queued(server, "emails") == [{"n": 1}, {"n": 2}]


def test_a_file_in_json_has_rows_and_counts(server: MemoryServer) -> None:
    del server
    document = json.loads(run("publish", "--from", "-", "--create", "--json", stdin=CSV).stdout)

    assert document["outcomes"] == {"confirmed": 2}
    assert [row["outcome"] for row in document["rows"]] == ["confirmed"] * 2


@pytest.mark.parametrize(
    "last", ['emails,shop:send,"{"\n', "emails,bare,\n", "nowhere,shop:send,\n", ",shop:send,\n"]
)
def test_everything_is_checked_before_anything_is_sent(server: MemoryServer, last: str) -> None:
    server.ensure_topic(layout.FP, "emails")

    result = run("publish", "--from", "-", stdin=CSV + last)

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert queued(server, "emails") == []


def test_what_was_not_confirmed_is_listed_and_exit_code_1(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    monkeypatch.setattr(Broker, "results", lambda _self, n: "in doubt" if n else "confirmed")
    text = CSV + "emails,shop:send,\n" * 30

    result = run("publish", "--from", "-", "--create", stdin=text)
    alone = run("publish", "--from", "-", "--create", "--json", stdin=text)

    assert result.exit_code == alone.exit_code == 1
    assert result.stdout.split()[2:] == ["confirmed", "1", "in", "doubt", "31"]
    assert result.stderr == "in doubt: 31 tasks, like task 2 of the file, send (emails)\n"
    assert json.loads(alone.stdout)["outcomes"] == {"confirmed": 1, "in doubt": 31}


def test_one_task_that_is_in_doubt_says_so(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    monkeypatch.setattr(Broker, "results", lambda _self, _n: "in doubt")

    result = run("publish", "emails", "shop:send", "--create")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "in doubt" in result.stderr


def test_a_file_that_is_not_utf_8_is_one_sentence(server: MemoryServer, tmp_path: Path) -> None:
    del server
    path = tmp_path / "tasks.csv"
    path.write_bytes(b"topic,task_name\nem\xe4ils,shop:send\n")

    result = run("publish", "--from", str(path))

    assert result.exit_code == 1
    assert "not UTF-8" in result.stderr


def test_an_interrupt_says_how_far_it_got(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server

    def interrupted(_self: Broker, _messages: Any, progress: Any) -> list[PublishResult]:
        progress(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(Broker, "publish_many", interrupted)

    result = run("publish", "--from", "-", "--create", stdin=CSV)

    assert result.exit_code == 1
    assert "Interrupted after 1 of 2" in result.stderr


# --- reaching a cluster --------------------------------------------------------------


def test_nothing_configured_is_one_sentence() -> None:
    result = run("status")

    assert result.exit_code == 1
    assert "BROKER_DSN" in result.stderr


@pytest.mark.parametrize(
    "dsn", ["amqp://ops:geheim@127.0.0.1:1/", "amqp://ops:geheim@", "http://ops:geheim@h/"]
)
@pytest.mark.parametrize("where", ["option", "environment"])
def test_the_password_is_never_echoed(
    dsn: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_DSN", dsn)
    options = ["--dsn", dsn] if where == "option" else []

    result = run("workers", "--timeout", "1", *options)

    assert result.exit_code == 1
    assert "geheim" not in result.output
    assert "geheim" not in run("workers", "--help").output


def test_the_options_reach_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def connect(dsn: str | None, **options: Any) -> Cluster:
        asked.append((dsn, options))
        return Cluster(MemoryBroker())

    monkeypatch.setattr(tasktools, "connect", connect)
    run("status", "--dsn", "x", "--layout", "taskworker", "--read-only", "--timeout", "2")
    run("status", "--management-url", "off")

    assert asked[0] == (
        "x",
        {
            "management_url": None,
            "layout": "taskworker",
            "dialect": (),
            "dead": None,
            "read_only": True,
            "timeout": 2.0,
            "mask": (),
            "topics": (),
        },
    )
    assert asked[1][1]["management_url"] is False


def test_tables_and_exit_codes_hold_in_a_process_of_its_own() -> None:
    def tasktools_(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tasktools.cli", *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    shown, failed, wrong = tasktools_("workers", *DEMO), tasktools_("status"), tasktools_("nope")

    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) == 2 + 8
    assert shown.stderr.startswith("note: clocks of workers that differ")  # one of the demo
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    assert wrong.returncode == 2


def test_a_terminal_gets_colours_its_own_width_and_a_hint_at_what_has_no_room() -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": "90", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "tasktools.cli", "workers", *DEMO]
    process = subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=environment, close_fds=True
    )
    os.close(child)
    shown = _all_of(parent)
    os.close(parent)

    assert process.wait(timeout=60) == 0
    assert "\x1b[32malive\x1b[0m" in shown
    assert "\x1b[33mlate" in shown
    assert "no room for draining, succeeded" in shown
    table = re.sub(r"\x1b\[[\d;]*m", "", shown).replace("\r", "").split("\n\n")[1]
    assert max(map(len, table.split("\n"))) <= 90


def _all_of(terminal: int) -> str:
    read = b""
    while True:
        try:
            more = os.read(terminal, 65_536)
        except OSError:  # Linux says so when the other end is closed
            more = b""
        if not more:
            return read.decode()
        read += more


def test_a_file_of_tasks_is_read_in_bounds() -> None:
    """Issue 11, secrets: a stranger's file may have gigabytes in one line."""
    file = io.StringIO("topic,task_name\n" + "x" * 200)
    with pytest.raises(click.ClickException, match="more than 100 characters; nothing was publ"):
        text_of(file, max_chars=100)
    assert file.tell() == 101  # the rest was not read
