"""Replays to a topic that a real peer consumes: nothing that it would take for ever."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.dialects import peer_form
from tasktools.testing import RabbitMQNode, celery_message, eventually
from tasktools.testing.factories import document_body
from tests.peer import bodies
from tests.peer.conftest import HERE, Peer
from tests.rabbitmq.replays import PERSISTENT, count, put
from tests.support import Raw
from tests.vhosts import Vhost

REPUBLISHED = "tests.republished"
MUTATED = 200  # a peer ends some 20 tasks a second


@pytest.fixture
def worker(quiet_peer: Peer, cluster: tt.Cluster, raw: Raw) -> Peer:
    """One worker of the peer; `REPUBLISHED` gets a copy of all that it publishes."""
    quiet_peer.start_worker()
    eventually(lambda: cluster.topics().set_index("topic")["consumers"].get("emails") == 1)
    raw.declare(REPUBLISHED)
    raw.channel.queue_bind(REPUBLISHED, cluster.broker.layout.task_exchange, "#")
    return quiet_peer


@pytest.mark.usefixtures("worker")
def test_what_a_peer_cannot_read_is_skipped_with_its_reason_unless_forced(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 3: the peer stays quiet."""
    broken = bodies.unreadable()
    for body in broken.values():
        raw.put("emails.dead", body)
    body, celery_properties = celery_message()
    raw.put(
        "emails.dead",
        body,
        headers=dict(celery_properties.headers),
        content_type="application/json",
    )
    raw.put("emails.dead", bodies.good("good"))

    dead = cluster.dead_letters("emails")
    plan = cluster.plan_replay(dead)

    assert len(plan) == 1
    assert sum(plan.skipped.values()) == len(broken) + 1
    assert all("for ever" in why for why in plan.skipped)
    assert "byte order mark" in repr(plan.frame()["skipped"].tolist())
    outcome = cluster.run(plan, reason="row 3", progress=False)
    assert outcome["outcome"].value_counts().to_dict() == {
        "skipped": len(broken) + 1,
        "replayed": 1,
    }
    eventually(lambda: cluster.workers()["succeeded"].sum() == 1)
    assert raw.depth(REPUBLISHED) == 0
    assert raw.depth("emails.dead") == len(broken) + 1

    document = dead[dead["unreadable"] == "its payload lacks task_id, func_name"]
    forced = cluster.plan_replay(document.head(1), undecodable=True)
    cluster.run(forced, reason="row 3, forced", progress=False)
    eventually(lambda: raw.depth(REPUBLISHED) > 5)


def test_what_the_check_admits_a_peer_runs_or_fails_once(
    worker: Peer, cluster: tt.Cluster, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 11, row 3: the check agrees with the real peer about generated bodies."""
    mutated = bodies.mutated(MUTATED, seed=3)
    admitted = [body for body in mutated if peer_form.problem(body) is None]
    assert 50 < len(admitted) < MUTATED
    last = cluster.follow("last")

    put(vhost, "emails", ((PERSISTENT, body) for body in [*admitted, bodies.good("last")]))

    last.wait(60)
    eventually(lambda: cluster.workers()["running"].sum() == 0)
    eventually(lambda: count(rabbitmq, vhost, "emails", "messages") == 0)
    worker.stop()
    eventually(lambda: cluster.topics().set_index("topic").loc["emails", "consumers"] == 0)
    assert raw.read_all("emails") == []
    assert raw.depth(REPUBLISHED) == 0


def test_what_the_check_refuses_by_name_a_peer_cannot_read(
    peer_python: Path, quiet_peer: Peer
) -> None:
    """Issue 11, row 3: no message is skipped without need."""
    broken = bodies.unreadable()
    lines = [base64.b64encode(body).decode() for body in (*broken.values(), bodies.good("t"))]
    output = subprocess.run(
        [peer_python, HERE / "peer_reads.py"],
        env=quiet_peer.environment("reads"),
        input="\n".join(lines),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    answers = [line for line in output.stdout.splitlines() if line.startswith(("read", "not read"))]
    assert dict(
        zip(broken, (answer != "read" for answer in answers), strict=False)
    ) == dict.fromkeys(broken, True)
    assert answers[-1] == "read"
    assert all(peer_form.problem(body) is not None for body in broken.values())


def test_a_topic_that_workers_of_tasktools_alone_consume_gets_the_documents_form(
    quiet_peer: Peer, cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 3: they read more; one peer beside them, and it is skipped."""
    quiet_peer.start_ours("emails")
    eventually(lambda: cluster.workers()["tasktools"].tolist() == [True])
    eventually(lambda: cluster.topics().set_index("topic")["consumers"].get("emails") == 1)
    for n in range(2):
        raw.put("emails.dead", document_body(message_id=f"d{n}", task_name="send_email"))
    dead = cluster.dead_letters("emails")

    plan = cluster.plan_replay(dead.head(1))
    assert len(plan) == 1
    outcome = cluster.run(plan, reason="row 3", progress=False)
    assert outcome["outcome"].tolist() == ["replayed"]

    quiet_peer.start_worker()
    eventually(lambda: len(cluster.workers()) == 2)
    later: Any = cluster.plan_replay(dead.tail(1))
    assert len(later) == 0
