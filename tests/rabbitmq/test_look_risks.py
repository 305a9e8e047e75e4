"""Queues that would lose something by a look or a run: foreseen, refused, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.testing import RabbitMQNode, eventually
from tasktools.testing.conformance.moving import Diary
from tests.conftest import Connect
from tests.support import Raw
from tests.timing import within
from tests.vhosts import Vhost

WITHOUT_MANAGEMENT = [None, False]
DEAD = "emails.dead"
DEAD_LETTERING = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "other"}


def management(vhost: Vhost, setting: Any) -> Any:
    """Return the URL of the management API, or *setting*, if there is one."""
    return vhost.management_url if setting is None else setting


@pytest.mark.parametrize("management_url", WITHOUT_MANAGEMENT)
def test_an_auto_delete_queue_is_neither_looked_at_nor_worked_through(
    management_url: Any, connect: Connect, raw: Raw, vhost: Vhost
) -> None:
    """Issue 11, row 1: the queue goes with our consumer, and its messages with it."""
    raw.channel.queue_declare(DEAD, durable=True, auto_delete=True)
    bodies = raw.fill(DEAD, 3)
    cluster = connect(management_url=management(vhost, management_url))
    verdict = cluster.broker.look_verdict(DEAD)
    assert verdict.cost == "could drop"
    assert "auto-delete queue" in verdict.why
    with pytest.raises(tt.LookRefused, match="auto-delete queue"):
        cluster.dead_letters("emails")
    with pytest.raises(tt.LookRefused, match="auto-delete queue"):
        cluster.broker.mover(DEAD)
    assert raw.bodies(DEAD) == bodies


def test_a_forced_look_at_an_auto_delete_queue_does_what_the_verdict_says(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 1: whoever forces it was told."""
    raw.channel.queue_declare(DEAD, durable=True, auto_delete=True)
    raw.fill(DEAD, 3)
    look = cluster.broker.peek(DEAD, force=True)
    assert len(look.messages) == 3
    assert look.ready_after == 0
    assert "the queue is gone" in str(look.note)


@pytest.mark.parametrize("management_url", WITHOUT_MANAGEMENT)
@pytest.mark.parametrize(
    ("arguments", "cost", "words"),
    [
        ({"x-expires": 30_000}, "could drop", "x-expires"),
        ({"x-expires": 3_600_000}, "harmless", "1 h after its last use"),
        ({"x-message-ttl": 30_000}, "could drop", "drops"),
        ({"x-message-ttl": 30_000, **DEAD_LETTERING}, "expires", "moves them to 'other'"),
        ({"x-message-ttl": 86_400_000, **DEAD_LETTERING}, "harmless", "expire after 1 d"),
        ({"x-max-length": 4}, "could drop", "drop-head"),
        ({"x-max-length": 100_000}, "harmless", "beyond 100,000 messages"),
        ({"x-max-length": 4, "x-overflow": "reject-publish"}, "harmless", "only marks"),
        ({"x-max-length-bytes": 80}, "could drop", "beyond 80 bytes"),  # there are 74
        ({"x-single-active-consumer": True}, "reorders", "single active consumer"),
        ({}, "harmless", "own TTL is over"),
    ],
)
def test_what_was_declared_is_in_the_verdict(
    arguments: dict[str, Any],
    cost: str,
    words: str,
    management_url: Any,
    connect: Connect,
    raw: Raw,
    vhost: Vhost,
) -> None:
    """Issue 11, row 1: all that can make a look lose something, with and without management."""
    raw.channel.queue_declare("q", durable=True, arguments=arguments)
    bodies = raw.fill("q", 4)
    broker = connect(management_url=management(vhost, management_url)).broker
    verdict = broker.look_verdict("q")
    assert (verdict.cost, words in verdict.why) == (cost, True), verdict.why
    if cost == "could drop":
        with pytest.raises(tt.LookRefused):
            broker.peek("q")
        with pytest.raises(tt.LookRefused):
            broker.mover("q")
    else:
        assert len(broker.peek("q").messages) == 4
    assert raw.bodies("q") == bodies


@pytest.mark.parametrize("by", ["policies", "operator-policies"])
def test_what_policies_set_is_in_the_verdict(
    by: str, cluster: tt.Cluster, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 11, row 1: by argument, by policy and by operator policy; also when set later."""
    settings = {"expires": 50_000, "message-ttl": 40_000, "max-length": 5}
    raw.fill(raw.declare("q"), 4)
    assert cluster.broker.look_verdict("q").cost == "harmless"
    body = {"pattern": "^q$", "definition": settings, "apply-to": "queues"}
    rabbitmq.request("PUT", f"/api/{by}/{vhost.name}/risky", body)
    eventually(lambda: cluster.broker.look_verdict("q").cost == "could drop")
    why = cluster.broker.look_verdict("q").why
    assert all(words in why for words in ("x-expires", "40 s (TTL)", "beyond 5 messages"))
    assert raw.depth("q") == 4


def test_a_read_only_cluster_looks_at_none_of_them(connect: Connect, raw: Raw) -> None:
    """Issue 11, row 1: read_only allows only what is harmless."""
    raw.fill(raw.declare("expiring", x_message_ttl=30_000, x_dead_letter_exchange="x"), 2)
    raw.fill(raw.declare("single", x_single_active_consumer=True), 2)
    raw.fill(raw.declare("calm", x_message_ttl=86_400_000), 2)
    broker = connect(read_only=True).broker
    for queue in ("expiring", "single"):
        with pytest.raises(tt.LookRefused, match="read_only"):
            broker.peek(queue)
    assert len(broker.peek("calm").messages) == 2


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_look_beside_a_single_active_consumer_ends_and_a_run_is_refused(
    kind: str, cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 1: the look would wait for ever, and so would the run."""
    raw.declare("q", x_queue_type=kind, x_single_active_consumer=True)
    raw.fill("q", 30)
    raw.channel.basic_qos(prefetch_count=5)
    raw.channel.basic_consume("q", lambda *_: None)
    raw.connection.process_data_events(0.2)
    with within(15, "the look"):
        look = cluster.broker.peek("q")
    assert "another consumer is its single active consumer" in look.verdict.why
    assert (look.messages, look.ready_after) == ((), 25)
    with pytest.raises(tt.LookRefused, match="First end that consumer"):
        cluster.broker.mover("q")
    raw.channel.close()
    raw.channel = raw.connection.channel()
    eventually(lambda: raw.depth("q") == 30)


def test_what_holding_could_lose_does_not_keep_an_archive_from_being_restored(
    cluster: tt.Cluster, raw: Raw, tmp_path: Path
) -> None:
    """Issue 11, row 1: a run that only puts messages into the queue holds none of it."""
    cluster.broker.ensure_topic("emails")
    bodies = raw.fill(DEAD, 3)
    plan = cluster.plan_discard(cluster.dead_letters("emails"), archive=tmp_path / "archive")
    cluster.run(plan, reason="test")
    raw.channel.queue_delete(DEAD)
    raw.declare(DEAD, x_max_length=20)
    raw.put(DEAD, b"was there")
    with pytest.raises(tt.LookRefused, match="drop-head"):
        cluster.dead_letters("emails")
    outcome = cluster.run(cluster.plan_restore(tmp_path / "archive"), reason="test")
    assert set(outcome["outcome"]) == {"restored"}
    assert raw.bodies(DEAD) == [b"was there", *bodies]


def test_a_forced_run_beside_a_single_active_consumer_does_not_wait_for_ever(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 17: a pass that gets nothing ends, and begins again for two minutes only."""
    raw.declare("q", x_single_active_consumer=True)
    raw.fill("q", 30)
    raw.channel.basic_qos(prefetch_count=5)
    raw.channel.basic_consume("q", lambda *_: None)
    raw.connection.process_data_events(0.2)
    with (
        cluster.broker.mover("q", force=True) as mover,
        pytest.raises(tt.QueueInUse, match="single active consumer"),
    ):
        mover.work(Diary(lambda _n: None))


def test_an_exclusive_consumer_is_named_by_the_refusal(cluster: tt.Cluster, raw: Raw) -> None:
    """Issue 11, row 1: RabbitMQ lets no other consumer in, and its words are passed on."""
    raw.fill(raw.declare("q"), 3)
    raw.channel.basic_qos(prefetch_count=1)
    raw.channel.basic_consume("q", lambda *_: None, exclusive=True)
    raw.connection.process_data_events(0.2)
    with pytest.raises(tt.PermissionDenied, match="exclusive"):
        cluster.broker.peek("q")
    eventually(lambda: "exclusive one" in cluster.broker.look_verdict("q").why)
    with pytest.raises(tt.LookRefused, match="exclusive"):
        cluster.broker.mover("q")


LOOK = """
import os, tasktools as tt
cluster = tt.connect({dsn!r}, management_url={url!r})
cluster.broker.peek("q", receive=lambda *_: os.kill(os.getpid(), 9))
"""


@pytest.mark.parametrize(("limit", "cost"), [(2, "could drop"), (7, "counts"), (20, "harmless")])
def test_a_look_that_is_killed_counts_against_a_delivery_limit_as_its_verdict_says(
    limit: int, cost: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost, version: tuple[int, int]
) -> None:
    """Issue 11, row 20: from 4.3 on only an interrupted look counts, three of them drop all."""
    raw.declare("q", x_queue_type="quorum", x_delivery_limit=limit)
    raw.fill("q", 20)
    verdict = cluster.broker.look_verdict("q")
    if version >= (4, 3):
        assert verdict.cost == cost
        assert "interrupted" in verdict.why
        assert f"delivery limit of {limit}" in verdict.why
    else:
        assert verdict.cost == "counts"
    if verdict.cost == "could drop":
        with pytest.raises(tt.LookRefused, match="interrupted"):
            cluster.broker.peek("q")
        with pytest.raises(tt.LookRefused, match="interrupted"):
            cluster.broker.mover("q")
    else:
        code = LOOK.format(dsn=vhost.dsn, url=vhost.management_url)
        killed = subprocess.run([sys.executable, "-c", code], check=False, env=os.environ)
        assert killed.returncode == -signal.SIGKILL
        eventually(lambda: raw.depth("q") == 20)
        counts = {(seen.headers or {}).get("x-delivery-count") for seen, _ in raw.read_all("q")}
        assert counts == {1}
