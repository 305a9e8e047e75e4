"""Queues with a consumer timeout of their own, which RabbitMQ 4.3 keeps to the second; 3.10 ignores
the argument and knows no such policy."""

from __future__ import annotations

from typing import Any

import pytest

import tasktools as tt
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.rabbitmq import replays
from tests.support import Raw
from tests.vhosts import Vhost

COUNT, RATE, TIMEOUT = 16, 2.0, 4_000  # the run lasts twice as long as messages may be held


@pytest.mark.parametrize("is_seen", [True, False], ids=["argument", "policy-that-we-cannot-see"])
def test_a_run_that_lasts_longer_sends_each_message_once_and_leaves_none(
    is_seen: bool,  # noqa: FBT001
    connect: Connect,
    raw: Raw,
    rabbitmq: RabbitMQNode,
    vhost: Vhost,
    version: tuple[int, int],
) -> None:
    """It said "replayed" of messages that RabbitMQ had taken back, and that a second run sent."""
    limit: dict[str, Any] = {"x_delivery_limit": -1} if version >= (4, 3) else {}
    if is_seen:
        raw.declare("source", x_queue_type="quorum", x_consumer_timeout=TIMEOUT, **limit)
    else:
        raw.declare("source", x_queue_type="quorum", **limit)
        definition = {"consumer-timeout": TIMEOUT}
        policy = {"pattern": "^source$", "definition": definition, "apply-to": "queues"}
        if version >= (4, 3):
            rabbitmq.request("PUT", f"/api/policies/{vhost.name}/timeout", policy)
    cluster = connect(management_url=vhost.management_url if is_seen else False)
    cluster.create_topic("emails")
    for body in replays.tasks(COUNT):
        raw.put("source", body)
    assert eventually(lambda: raw.depth("source") == COUNT)
    frame = cluster.peek("source", force=True)
    if is_seen:
        why = frame.attrs["looks"][0]["why"]
        assert ("takes back" in why) == (version >= (4, 3))
    outcome = cluster.run(cluster.plan_replay(frame, "emails", rate=RATE), reason="t", force=True)
    assert outcome["outcome"].tolist() == ["replayed"] * COUNT
    assert eventually(lambda: raw.depth("source") == 0)
    assert sorted(raw.bodies("emails")) == sorted(replays.tasks(COUNT))


def test_plans_and_verdicts_say_what_a_short_timeout_does(
    cluster: tt.Cluster, raw: Raw, version: tuple[int, int]
) -> None:
    is_kept = version >= (4, 3)
    raw.declare("source")
    raw.declare("short", x_queue_type="quorum", x_consumer_timeout=1_000)
    for body in replays.tasks(2):
        raw.put("source", body)
        raw.put("short", body)
    assert eventually(lambda: raw.depth("source") == raw.depth("short") == 2)
    plan = cluster.plan_replay(cluster.peek("source"), "short")
    assert any("is run again" in warning for warning in plan.warnings or ()) == is_kept
    back = cluster.plan_replay(cluster.peek("short", force=True), "source")
    if is_kept:
        with pytest.raises(tt.LookRefused, match="takes back after 1 s what is held"):
            cluster.run(back, reason="t")
    assert raw.depth("short") == 2
