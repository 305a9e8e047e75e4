"""`diagnose` on a real node: causes that are found, and what a user with few rights is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.rabbitmq.runners import Runners, fill
from tests.support import Raw
from tests.vhosts import Vhost

CONSUMERLESS = ["no_consumer", "workers_gone"]


@pytest.fixture
def runners(vhost: Vhost, tmp_path: Path) -> Iterator[Runners]:
    runners = Runners(vhost.dsn, tmp_path)
    yield runners
    runners.kill_all()


@pytest.fixture
def user(rabbitmq: RabbitMQNode, vhost: Vhost, connect: Connect) -> Callable[..., tt.Cluster]:
    """Connect as a user of the vhost with exactly these rights and tags."""

    def user(name: str, **rights: Any) -> tt.Cluster:
        rabbitmq.add_user(name, "pw")
        rabbitmq.allow(name, vhost.name, **rights)
        return connect(vhost.dsn.replace("guest:guest@", f"{name}:pw@"), topics=["emails"])

    return user


@pytest.fixture
def consumed(cluster: tt.Cluster) -> str:
    """A topic with messages, of which somebody holds one and says nothing."""
    for _ in range(3):
        cluster.publish("emails", "shop:send", create=True)
    held = threading.Event()
    cluster.broker.consume("emails", lambda _delivery: held.set(), prefetch=1)
    assert held.wait(30)
    return "emails"


def verdicts(findings: pd.DataFrame) -> dict[str, str]:
    return dict(zip(findings["check"], findings["verdict"], strict=True))


def found_first(cluster: tt.Cluster, check: str, **options: Any) -> dict[str, Any]:
    """Diagnose until *check* is among the first two that are found."""

    def first_two() -> dict[Any, Any] | None:
        findings = tt.diagnose(cluster, **options)
        certain = findings[findings["verdict"] == "found"].head(2)
        rows = certain[certain["check"] == check]
        return None if rows.empty else rows.iloc[0].to_dict()

    row: dict[str, Any] = eventually(first_two)
    return row


@pytest.mark.parametrize("management", ["with it", "AMQP alone"])
def test_a_worker_that_was_killed_is_found(
    connect: Connect, runners: Runners, management: str
) -> None:
    cluster = connect(**({} if management == "with it" else {"management_url": False}))
    cluster.create_topic("emails")
    runner = runners.start("emails", capacity=2)
    eventually(lambda: len(cluster.workers()) == 1)
    fill(cluster, "emails", 20, seconds=30)
    eventually(lambda: cluster.workers()["running"].sum() == 2)
    assert "found" not in set(
        tt.diagnose(cluster, settle=0).query("check in @CONSUMERLESS")["verdict"]
    )
    runners.kill(runner)
    row = found_first(cluster, "workers_gone")
    assert (row["severity"], row["subject"]) == ("critical", "emails")
    assert "20 messages wait" in row["finding"]


@pytest.mark.parametrize("mode", ["writable", "read only"])
def test_a_queue_that_nobody_consumes_is_found_and_stays_as_it_is(
    connect: Connect, cluster: tt.Cluster, raw: Raw, mode: str
) -> None:
    cluster.create_topic("emails")
    watching = connect(read_only=mode == "read only")
    tt.diagnose(watching, settle=0)
    sent = 0

    def is_found() -> bool:
        nonlocal sent
        cluster.publish("emails", "shop:send", args=[sent])
        sent += 1
        findings = tt.diagnose(watching, settle=0)
        tt.topic_states(watching)
        return verdicts(findings).get("no_consumer") == "found"

    eventually(is_found)
    watching.close()
    cluster.close()
    assert raw.depth("emails") == sent
    for _ in range(sent):
        method, _properties, _body = raw.channel.basic_get("emails", auto_ack=True)
        assert method is not None
        assert not method.redelivered


def test_what_a_user_may_not_see_is_not_ruled_out(
    user: Callable[..., tt.Cluster], consumed: str
) -> None:
    del consumed
    findings = tt.diagnose(user("plain"), settle=0).set_index("check")
    for check in ("redelivery_loop", "dead_letters_unbound", "unroutable"):
        row = findings.loc[check]
        assert row["verdict"] == "cannot tell", (check, row["finding"])
        assert "tag" in row["finding"]
    assert "cannot tell: " in findings.attrs["summary"]


def test_over_amqp_alone_what_was_not_heard_is_not_ruled_out(
    connect: Connect, consumed: str
) -> None:
    alone = connect(management_url=False, topics=[consumed])
    checks = verdicts(tt.diagnose(alone, settle=0))
    assert checks["redelivery_loop"] == checks["vanishing"] == "cannot tell"

    nameless = connect(management_url=False)
    nothing_known = tt.diagnose(nameless, settle=0)
    if nameless.topics().empty:
        assert set(nothing_known["verdict"]) == {"cannot tell"}
        assert nothing_known["finding"].str.contains(r"connect\(topics=").any()


def test_a_healthy_cluster_has_no_finding(
    connect: Connect, cluster: tt.Cluster, runners: Runners
) -> None:
    cluster.create_topic("emails")
    runners.start("emails")
    eventually(lambda: len(cluster.workers()) == 1)
    watching = connect()
    for _ in range(4):
        fill(cluster, "emails", 10, seconds=0.02)
        findings = tt.diagnose(watching)
        certain = findings[findings["verdict"] == "found"]
        assert certain.empty, certain["finding"].tolist()
    assert (findings["verdict"] == "ruled out").sum() > 20


def test_an_alarm_is_found_first(own_node: RabbitMQNode) -> None:
    with tt.connect(own_node.dsn, management_url=own_node.management_url) as cluster:
        cluster.create_topic("emails")
    own_node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        with tt.connect(own_node.dsn, management_url=own_node.management_url) as cluster:
            row = found_first(cluster, "node_alarm", settle=0)
            assert row["severity"] == "critical"
    finally:
        own_node.ctl("set_vm_memory_high_watermark", "0.6")


@pytest.fixture
def own_node() -> Iterator[RabbitMQNode]:
    """A node of its own: an alarm blocks whoever uses it."""
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with RabbitMQNode(root=Path(root) if root else None) as node:
        yield node
