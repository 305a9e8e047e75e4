"""The commands that change topics, workers and locks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tasktools
from tasktools import TaskRegistry, TaskRunner
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cli import main
from tasktools.cluster.cluster import Cluster
from tasktools.core import known_workers
from tasktools.core.events import Command, Event, Question
from tasktools.testing import eventually, worker_event


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, args, input=stdin, catch_exceptions=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MemoryServer:
    """Every command reaches this server, whatever its DSN."""
    server = MemoryServer()

    def connect(_dsn: str | None, *, read_only: bool, **_: Any) -> Cluster:
        return Cluster(MemoryBroker(server, read_only=read_only))

    monkeypatch.setattr(tasktools, "connect", connect)
    monkeypatch.setattr(known_workers, "ONE_HEARTBEAT", 0.2)
    return server


@pytest.fixture
def broker(server: MemoryServer) -> Iterator[MemoryBroker]:
    with MemoryBroker(server) as broker:
        yield broker


@pytest.fixture
def orders(broker: MemoryBroker) -> Iterator[list[Command]]:
    orders: list[Command] = []

    def hear(event: Event) -> None:
        if isinstance(event, Command):
            orders.append(event)

    stop = broker.listen(hear)
    yield orders
    stop()


@pytest.fixture
def peer(broker: MemoryBroker) -> Iterator[str]:
    """A peer's worker that speaks whenever anybody asks."""

    def hear(event: Event) -> None:
        if isinstance(event, Question):
            broker.broadcast(beat)

    beat = worker_event("heartbeat", "peer-1", running=["task-a"])
    stop = broker.listen(hear)
    yield "peer-1"
    stop()


def test_a_topic_is_created_and_once_more(server: MemoryServer) -> None:
    for _ in range(2):
        result = run("topic", "create", "emails", "--max-priority", "5", "--message-ttl", "60")
        assert result.exit_code == 0
        assert "emails" in result.stderr
    assert server.has_queue("emails")
    assert server.has_queue("emails.dead")


def test_a_topic_that_is_different_is_an_error_of_one_sentence(server: MemoryServer) -> None:
    run("topic", "create", "emails")
    result = run("topic", "create", "emails", "--max-priority", "5")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stdout == ""


def test_settings_are_changed_shown_and_taken_away(server: MemoryServer) -> None:
    run("topic", "create", "emails")
    run("topic", "configure", "emails", "--concurrency-limit", "3", "--max-retries", "2")
    changes = ("--no-dead-letter", "--retention", "60", "--max-retries", "none")
    row = json.loads(run("topic", "configure", "emails", *changes, "--json").stdout)["rows"][0]
    assert row == {
        "topic": "emails",
        "concurrency_limit": 3,
        "max_retries": None,
        "dead_letter_enabled": False,
        "retention": 60.0,
    }
    assert json.loads(run("topic", "settings", "--json").stdout)["rows"] == [row]
    assert "emails" in run("topic", "settings").stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "Name a setting"),
        (("--concurrency-limit", "many"), "neither a number"),
        (("--max-retries", "-1"), "neither a number"),
    ],
)
def test_settings_that_are_none_are_wrong_usage(
    server: MemoryServer, args: tuple[str, ...], says: str
) -> None:
    run("topic", "create", "emails")
    result = run("topic", "configure", "emails", *args)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_topic_that_is_not_known_is_not_configured(server: MemoryServer) -> None:
    result = run("topic", "configure", "nowhere", "--concurrency-limit", "3")
    assert result.exit_code == 1
    assert "no topic 'nowhere'" in result.stderr


def test_a_worker_of_ours_is_drained(server: MemoryServer, broker: MemoryBroker) -> None:
    with TaskRunner(broker=broker, topics=["emails"], registry=TaskRegistry(), worker_id="w"):
        (row,) = json.loads(run("drain", "w", "--json").stdout)["rows"]
        assert (row["worker_id"], row["tasktools"], row["draining"]) == ("w", True, True)
        assert "yes" in run("drain", "w").stdout


def test_a_peer_is_drained_by_force_and_after_a_question(
    server: MemoryServer, peer: str, orders: list[Command]
) -> None:
    refused = run("drain", peer)
    assert refused.exit_code == 1
    assert "task-a" in refused.stderr
    unsure = run("drain", peer, "--force", stdin="n\n")
    assert (unsure.exit_code, orders) == (1, [])
    assert "twice" in unsure.stderr
    sure = run("drain", peer, "--force", "--yes")
    assert sure.exit_code == 0
    assert eventually(lambda: orders)[0].kind == "worker_command"


def test_a_worker_that_is_not_there_is_not_drained(server: MemoryServer) -> None:
    result = run("drain", "nobody")
    assert result.exit_code == 1
    assert "nothing was sent" in result.stderr


def test_a_worker_of_ours_joins_and_leaves_a_topic(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    with TaskRunner(broker=broker, topics=["emails"], registry=TaskRegistry(), worker_id="w"):
        (joined,) = json.loads(run("join-topic", "w", "sms", "--json").stdout)["rows"]
        assert joined["topics"] == ["emails", "sms"]
        (left,) = json.loads(run("leave-topic", "w", "emails", "--json").stdout)["rows"]
        assert left["topics"] == ["sms"]


OF_CELERY = [
    ("shutdown", "w", "--yes"),
    ("resize-pool", "w", "--by", "-1"),
    ("rate-limit", "shop.report", "10/m", "--worker", "w"),
    ("time-limit", "shop.report", "--hard", "90", "--worker", "w", "--yes"),
    ("enable-task-events", "--worker", "w"),
]
"""Commands that only workers of Celery take; `tests/peer/test_docs.py` sends them to some."""


def test_what_only_workers_of_celery_take_is_sent_to_no_other(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    with TaskRunner(broker=broker, topics=["emails"], registry=TaskRegistry(), worker_id="w"):
        for command in OF_CELERY:
            result = run(*command)
            assert result.exit_code == 1
            assert "Worker 'w' does not take the command" in result.stderr
            assert "nothing was sent. Only workers of Celery do." in result.stderr
        nobody = run("revoke", "task-1", "--yes")
        assert nobody.exit_code == 1
        assert "No live worker takes the command revoke; nothing was sent" in nobody.stderr


@pytest.mark.parametrize(
    ("args", "asks"),
    [
        (("shutdown", "w"), "Stop the worker w"),
        (("revoke", "task-1"), "Drop the task task-1 when it comes?"),
        (("revoke", "task-1", "--terminate"), "its work half done?"),
        (("time-limit", "shop.report", "--hard", "90"), "Kill each shop.report"),
        (("join-topic", "w", "sms", "--force"), "twice"),
        (("leave-topic", "w", "sms", "--force"), "twice"),
    ],
)
def test_what_cannot_be_undone_is_asked_first(
    server: MemoryServer, args: tuple[str, ...], asks: str
) -> None:
    unsure = run(*args, stdin="n\n")
    assert unsure.exit_code == 1
    assert asks in unsure.stderr
    assert "Error" not in unsure.stderr
    assert "nothing was sent" in run(*args, stdin="y\n").stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("resize-pool", "w", "--by", "0"), "0 changes nothing"),
        (("resize-pool", "w"), "--by"),
        (("time-limit", "shop.report"), "Name --soft or --hard"),
        (("time-limit", "shop.report", "--soft", "long"), "neither a number"),
    ],
)
def test_a_command_that_changes_nothing_is_wrong_usage(
    server: MemoryServer, args: tuple[str, ...], says: str
) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert says in result.stderr


def test_locks_are_shown_and_taken_away_after_a_question(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    lock = broker.acquire_lock("nightly", "task-1", "w-1")
    assert lock
    unsure = run("unlock", "nightly", stdin="n\n")
    assert unsure.exit_code == 1
    assert lock.is_held
    assert "taken away" in run("unlock", "nightly", "--yes").stderr
    assert not lock.is_held
    assert "Nobody had" in run("unlock", "nightly", stdin="y\n").stderr


def test_locks_of_the_demo_are_shown() -> None:
    (row,) = json.loads(run("locks", "--json", "--dsn", "demo://").stdout)["rows"]
    assert (row["lock"], row["orphaned"]) == ("ledger", False)


@pytest.mark.parametrize(
    "args",
    [
        ("topic", "create", "new"),
        ("topic", "configure", "emails", "--max-retries", "1"),
        ("unlock", "nightly", "--yes"),
        ("revoke", "task-1", "--yes"),
        *OF_CELERY,
    ],
)
def test_read_only_refuses_them(
    server: MemoryServer, broker: MemoryBroker, args: tuple[str, ...]
) -> None:
    broker.ensure_topic("emails")
    result = run(*args, "--read-only")
    assert result.exit_code == 1
    assert "read_only" in result.stderr


def test_a_name_full_of_escapes_does_nothing(server: MemoryServer) -> None:
    for args in (("unlock", "a\x1b[2J"), ("drain", "a\x1b[2J", "--force")):
        assert "\x1b" not in run(*args, stdin="y\n").output


def test_a_topic_is_deleted_after_asking(broker: MemoryBroker) -> None:
    """Issue 11, new user."""
    broker.ensure_topic("emails")
    refused = run("topic", "delete", "emails", stdin="n\n")
    assert refused.exit_code != 0
    assert broker.topic_exists("emails")
    done = run("topic", "delete", "emails", "--yes")
    assert done.exit_code == 0
    assert "The topic emails was deleted." in done.stderr
    assert not broker.topic_exists("emails")


@pytest.mark.usefixtures("broker")
def test_no_question_comes_before_a_topic_that_is_not_there() -> None:
    refused = run("topic", "delete", "nope", "--force")
    assert refused.exit_code == 1
    assert "There is no topic 'nope'; nothing was changed" in refused.stderr
    assert "Delete" not in refused.output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("topcs",), "There is no command 'topcs': did you mean 'topics' or 'topic'"),
        (("topic", "delte", "a"), "There is no command 'delte': did you mean 'delete'?"),
        (("xyzzy",), "No such command 'xyzzy'"),
        (("wo\x1brkers",), r"'wo\x1brkers': did you mean 'workers'"),
    ],
)
def test_a_mistyped_command_is_answered_with_similar_ones(args: tuple[str, ...], says: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_worker_that_is_not_there_is_looked_up_with_a_command(server: MemoryServer) -> None:
    refused = run("drain", "nope")
    assert refused.exit_code == 1
    assert "nothing was sent: look at workers(), or tasktools workers." in refused.stderr


def test_a_topic_with_messages_is_deleted_only_by_force(broker: MemoryBroker) -> None:
    """Issue 11, new user."""
    broker.publish("emails", {"task_name": "shop:send"})
    refused = run("topic", "delete", "emails", "--yes")
    assert refused.exit_code == 1
    assert "emails has 1 message" in refused.stderr
    assert "--force" in refused.stderr
    assert broker.topic_exists("emails")
    done = run("topic", "delete", "emails", "--yes", "--force")
    assert "and 1 message with it" in done.stderr
    assert not broker.topic_exists("emails")
