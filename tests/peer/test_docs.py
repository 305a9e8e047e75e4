"""The blocks of the docs that take workers of Celery and Dramatiq."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import tasktools as tt
from tasktools.testing import RabbitMQNode, eventually
from tests.docs_pages import DOCS, blocks_tried_by
from tests.docs_shell import Shell
from tests.peer.celery_peer import CeleryPeer, celery_python
from tests.peer.dramatiq_peer import DramatiqPeer
from tests.support import Raw
from tests.vhosts import Vhost

PAGES: Final = DOCS / "how-to"
THIS: Final = "tests/peer/test_docs.py"


def test_a_celery_user_sees_workers_and_replays(
    rabbitmq: RabbitMQNode,
    vhost: Vhost,
    quiet_celery: CeleryPeer,
    cluster: tt.Cluster,
    raw: Raw,
    tmp_path: Path,
) -> None:
    """how-to/celery.md."""
    connect, switch_on, command, dead = blocks_tried_by(PAGES / "celery.md", THIS)
    shell = Shell(rabbitmq, vhost, tmp_path)
    (tmp_path / "shop.py").write_text("from celery_tasks import app\n", encoding="utf-8")
    environment = quiet_celery.environment()
    environment["PYTHONPATH"] += f":{tmp_path}"
    shell.add("celery", [str(celery_python()), "-m", "celery"], environment)
    start_worker, enable = switch_on.commands
    worker = shell.start(f"{start_worker} --queues mail,reports --hostname w1@shop")
    try:
        eventually(lambda: cluster.workers()["topics"].tolist() == [["mail", "reports"]])
        task_id = quiet_celery.submit("shop.refuse_until_let_go", "a@b")
        eventually(lambda: raw.depth("mail.dlq") == 1)
        quiet_celery.let_go()
        assert "OK" in shell(enable)
        status, workers, topics = (shell(command) for command in connect.commands)
        assert "capacity" in status
        assert "w1@shop" in workers
        assert "mail.dlq" in topics
        _, dead_output, *_ = [shell(command) for command in dead.commands]
        assert "shop.refuse_until_let_go" in dead_output
        eventually(lambda: len(quiet_celery.executed(task_id)) == 2)
        later = quiet_celery.submit("shop.send_email", "a@b", _options={"countdown": 600})
        (capacity,) = cluster.workers()["capacity"]
        *commands, stop = (line.replace("TASK_ID", later) for line in command.commands)
        shown = [shell(line) for line in commands]
        assert all("w1@shop" in table for table in shown)
        assert ["extra" in table for table in shown[2:4]] == [True, False]
        eventually(lambda: cluster.workers()["capacity"].tolist() == [capacity + 1])
        assert answer(quiet_celery, "revoked") == [later]
        limits = ["rate_limit", "soft_time_limit", "time_limit"]
        described = "shop.report [rate_limit=10/m soft_time_limit=60 time_limit=90]"
        assert described in answer(quiet_celery, "registered", taskinfoitems=limits)
        shell(stop)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait(10)


def answer(celery: CeleryPeer, question: str, **arguments: Any) -> Any:
    """Return what the worker answers Celery's own client."""
    ((answer,),) = (each.values() for each in celery.client("control", question, arguments))
    return answer


def test_a_dramatiq_user_sees_the_error_and_replays(
    rabbitmq: RabbitMQNode, vhost: Vhost, quiet_dramatiq: DramatiqPeer, raw: Raw, tmp_path: Path
) -> None:
    """how-to/dramatiq.md."""
    (block,) = blocks_tried_by(PAGES / "dramatiq.md", THIS)
    shell = Shell(rabbitmq, vhost, tmp_path)
    quiet_dramatiq.start_worker()
    message_id = quiet_dramatiq.submit("fail_until_let_go", 9)
    eventually(lambda: raw.depth("orders.XQ") == 1)
    quiet_dramatiq.let_go()
    tries = len(quiet_dramatiq.executed(message_id))
    topics, dead_output, _ = (shell(command) for command in block.commands)
    assert "dramatiq" in topics
    assert "ConnectionError" in dead_output
    eventually(lambda: len(quiet_dramatiq.executed(message_id)) > tries)
