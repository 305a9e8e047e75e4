"""The blocks of the docs that take a RabbitMQ: read-only-user.md and replay-safely.md."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

import tasktools as tt
from tasktools.core.models import Failure
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect, Vhost
from tests.docs_pages import DOCS, Block, blocks

PAGES: Final = DOCS / "how-to"
THIS: Final = "tests/rabbitmq/test_docs.py"

REGISTRY: Final = tt.TaskRegistry()
SENT: Final[list[str]] = []

Shell = Callable[..., str]


@REGISTRY.task
def send(to: str) -> None:
    SENT.append(to)


def read_blocks(page: str) -> list[Block]:
    """Return the blocks of a page that name this file, in order."""
    return [block for block in blocks(PAGES / page) if block.options.get("by") == THIS]


@pytest.fixture
def shell(rabbitmq: RabbitMQNode, vhost: Vhost, tmp_path: Path) -> Shell:
    """Run a command as an operator would: rabbitmqctl and tasktools are those of this test."""
    programs = tmp_path / "bin"
    programs.mkdir()
    node = {**rabbitmq._environment(), "PATH": os.environ["PATH"]}
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in node.items())
    for name, start in {
        "rabbitmqctl": f"env {settings} {shlex.join(rabbitmq._command('rabbitmqctl'))}",
        "tasktools": shlex.join([sys.executable, "-m", "tasktools.cli"]),
    }.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {start} "$@"\n', encoding="utf-8")
        program.chmod(0o700)

    def run(command: str, typed: str = "") -> str:
        done = subprocess.run(
            ["sh", "-c", command.replace("VHOST", vhost.name)],
            cwd=tmp_path,
            env={
                **os.environ,
                "BROKER_DSN": vhost.dsn,
                "BROKER_MANAGEMENT_URL": vhost.management_url,
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            },
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def make_dead(cluster: tt.Cluster, error_type: str, **kwargs: object) -> None:
    """Publish a task to `emails` and dead-letter it, as a worker does that gives up."""
    cluster.publish("emails", f"{__name__}:send", kwargs=kwargs, create=True)
    delivery = cluster.broker.claim("emails", "worker-1")
    assert delivery is not None
    failure = Failure(
        reason="failed",
        error_type=error_type,
        error="it failed",
        failed_at=datetime.now(UTC),
    )
    cluster.broker.dead_letter(delivery.id, failure)


def test_the_user_who_may_only_look_sees_all_and_changes_nothing(
    cluster: tt.Cluster, connect: Connect, shell: Shell, vhost: Vhost, tmp_path: Path
) -> None:
    """how-to/read-only-user.md."""
    all_may, without_queues = read_blocks("read-only-user.md")
    make_dead(cluster, "Timeout", to="a@b")
    cluster.publish("emails", f"{__name__}:send", kwargs={"to": "c@d"})
    cluster.configure_topic("emails", concurrency_limit=3)
    for command in all_may.commands:
        shell(command, typed="pw\n")
    looker = connect(vhost.dsn.replace("guest:guest@", "looker:pw@"))
    try:
        topics = looker.topics()
        assert topics["queued"].tolist() == [1]
        assert topics["dead_letter"].tolist() == [1]
        assert topics["queue_type"].tolist() == ["classic"]
        assert topics["dead_lettering"].tolist() == [True]
        assert all(source["ok"] for source in topics.attrs["sources"].values())
        assert looker.active_tasks("emails")["kwargs"].tolist() == [{"to": "c@d"}]
        assert looker.dead_letters("emails")["error_type"].tolist() == ["Timeout"]
        assert looker.workers().attrs["sources"]["events"]["ok"]
        with looker.record(tmp_path / "ops.db", every=0.2):
            eventually(lambda: looker.topics()["unacked"].notna().all())
        assert tt.diagnose(looker)["verdict"].ne("cannot tell").any()
        refused: list[Callable[[], object]] = [
            lambda: looker.publish("emails", f"{__name__}:send"),
            lambda: looker.create_topic("new"),
            lambda: looker.delete_topic("emails", force=True),
            lambda: looker.configure_topic("emails", concurrency_limit=1),
            looker.topic_settings,
            lambda: looker.run(looker.plan_replay(looker.dead_letters("emails")), reason="no"),
        ]
        for change in refused:
            with pytest.raises(tt.PermissionDenied, match="nothing was"):
                change()
        for command in without_queues.commands:
            shell(command)
        fewer = connect(vhost.dsn.replace("guest:guest@", "looker:pw@"))
        assert fewer.topics()[["queued", "dead_letter"]].iloc[0].tolist() == [1, 1]
        assert fewer.workers().attrs["sources"]["events"]["ok"]
        with pytest.raises(tt.PermissionDenied):
            fewer.dead_letters("emails")
    finally:
        shell("rabbitmqctl delete_user looker")
    assert cluster.topics()[["queued", "dead_letter"]].iloc[0].tolist() == [1, 1]


def table_of_rights() -> dict[str, tuple[str, str]]:
    """Return what the page says must be configured and written, by the task it is for."""
    text = (PAGES / "read-only-user.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*) \| `(.*)` \| `(.*)` \|$", text, re.MULTILINE)
    return {
        task: (configure.replace(r"\|", "|"), write.replace(r"\|", "|"))
        for task, configure, write in rows
    }


def test_the_rights_in_the_table_suffice_and_are_needed(
    cluster: tt.Cluster, connect: Connect, rabbitmq: RabbitMQNode, vhost: Vhost, tmp_path: Path
) -> None:
    """how-to/read-only-user.md: each task fails for a user who may only look."""
    rights, looker = table_of_rights(), r"^tasktools\.(events|quiet)\."

    def replay(user: tt.Cluster) -> None:
        plan = user.plan_replay(user.dead_letters("emails"))
        assert user.run(plan, reason="INC-42", progress=False)["outcome"].eq("replayed").all()

    def record(user: tt.Cluster) -> None:
        with user.record(tmp_path / f"{uuid.uuid4()}.db", every=0.2, bodies=True):
            pass

    tasks: dict[str, Callable[[tt.Cluster], object]] = {
        "publishing to topics that exist": lambda user: user.publish("emails", "shop:send"),
        "replaying, discarding, restoring": replay,
        "changing settings of topics": lambda user: user.configure_topic(
            "emails", concurrency_limit=2
        ),
        "a tap": lambda user: user.tap(),
        "recording messages (`--bodies`)": record,
        "creating the topic `mail`": lambda user: user.create_topic("mail"),
    }
    assert tasks.keys() == rights.keys()
    make_dead(cluster, "Timeout", to="a@b")
    dsn = vhost.dsn.replace("guest:guest@", "mender:pw@")
    for task, do in tasks.items():
        configure, write = rights[task]
        rabbitmq.add_user("mender", "pw", tags="management")
        rabbitmq.allow("mender", vhost.name, configure=looker, write=looker)
        with pytest.raises(tt.PermissionDenied):
            do(connect(dsn))
        rabbitmq.allow("mender", vhost.name, configure=configure, write=write)
        do(connect(dsn))
    cluster.untap(delete=True)


def test_each_command_of_the_page_on_replays_does_what_it_says(
    cluster: tt.Cluster, connect: Connect, shell: Shell
) -> None:
    """how-to/replay-safely.md."""
    for error_type, to in [
        ("Timeout", "a@b"),
        ("Timeout", "c@d"),
        ("ValueError", "user1.example.com"),
        ("ValueError", "test@b"),
    ]:
        make_dead(cluster, error_type, to=to)
    replay, edit, discard = read_blocks("replay-safely.md")
    SENT.clear()
    with tt.TaskRunner(broker=connect().broker, topics=["emails"], registry=REGISTRY):
        for command in replay.commands:
            shell(command)
        assert sorted(SENT) == ["a@b", "c@d"]
        for command in edit.commands:
            shell(command)
        assert SENT[2:] == ["user1@example.com"]
    first, second = discard.commands
    shell(first)
    assert cluster.dead_letters("emails").empty
    shell(second)
    assert cluster.dead_letters("emails")["kwargs"].tolist() == [{"to": "test@b"}]
    verbs = tt.ledger()["verb"].tolist()
    assert sorted(verbs) == ["discard", "replay", "replay", "restore"]
