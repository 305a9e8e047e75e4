"""The blocks of the docs that take a RabbitMQ, but no workers of others."""

from __future__ import annotations

import re
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
from tests.conftest import Connect
from tests.docs_pages import DOCS, Block, blocks_tried_by
from tests.docs_shell import Shell
from tests.support import Raw
from tests.vhosts import Vhost

PAGES: Final = DOCS / "how-to"
THIS: Final = "tests/rabbitmq/test_docs.py"

REGISTRY: Final = tt.TaskRegistry()
SENT: Final[list[str]] = []


@REGISTRY.task
def send(to: str) -> None:
    SENT.append(to)


def read_blocks(page: str) -> list[Block]:
    """Return the blocks of a page that name this file, in order."""
    return blocks_tried_by(PAGES / page, THIS)


@pytest.fixture
def shell(rabbitmq: RabbitMQNode, vhost: Vhost, tmp_path: Path) -> Shell:
    return Shell(rabbitmq, vhost, tmp_path)


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


def test_a_plain_queue_is_looked_into_and_replayed(
    cluster: tt.Cluster, shell: Shell, raw: Raw
) -> None:
    """how-to/plain-rabbitmq.md."""
    (block,) = read_blocks("plain-rabbitmq.md")
    raw.declare("orders", x_dead_letter_exchange="", x_dead_letter_routing_key="orders.dlq")
    raw.declare("orders.dlq")
    bodies = [b'{"customer": "c-1", "n": 1}', b'{"customer": "c-2", "n": 2}']
    for n, body in enumerate(bodies):
        raw.put("orders", body, message_id=f"m{n}", headers={"x-exception-message": "no stock"})
        method = eventually(lambda: raw.channel.basic_get("orders")[0])
        raw.channel.basic_reject(method.delivery_tag, requeue=False)
    eventually(lambda: raw.depth("orders.dlq") == 2)
    shown = [shell(command) for command in block.commands]
    assert "plain" in shown[0]
    assert "no stock" in shown[1]
    assert raw.bodies("orders") == bodies[:1]
    assert raw.bodies("orders.dlq") == bodies[1:]


def test_a_dead_letter_of_a_first_worker_is_mended_and_replayed(
    shell: Shell, tmp_path: Path
) -> None:
    """how-to/try-with-a-broker.md, on the node that it starts."""
    node, mail, work, die, mend = read_blocks("try-with-a-broker.md")
    (tmp_path / "node.py").write_text(node.text, encoding="utf-8")
    (tmp_path / "mail.py").write_text(mail.text, encoding="utf-8")
    create, worker = work.commands
    *publish, topics, dead = die.commands
    with subprocess.Popen(
        [sys.executable, "node.py"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline(), program.stdout.readline()]
        (tmp_path / "cluster.sh").write_text("".join(lines), encoding="utf-8")

        def run(command: str) -> str:
            return shell(f". ./cluster.sh; {command}")

        run(create)
        runner = shell.start(f"sh -c '. ./cluster.sh; exec {worker}'")
        try:
            for command in publish:
                run(command)
            eventually(lambda: "bob is no address" in run(dead))
            assert "emails" in run(topics)
            planned, replayed, ledger = map(run, mend.commands)
            assert "nothing has happened" in planned
            assert "1 replayed, 1 succeeded" in replayed
            assert "my first replay" in ledger
        finally:
            runner.terminate()
            runner.wait()
            program.communicate("\n")
    assert program.returncode == 0
