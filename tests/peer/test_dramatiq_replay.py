"""Replays and publishes on real Dramatiq, and of plain messages beside it."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.testing import eventually
from tests.peer.dramatiq_peer import DramatiqPeer
from tests.support import Raw
from tests.vhosts import Vhost


@pytest.fixture
def vhost(dramatiq: DramatiqPeer) -> Vhost:
    return dramatiq.vhost


def test_a_dead_letter_of_dramatiq_begins_anew(
    dramatiq: DramatiqPeer, cluster: tt.Cluster, raw: Raw
) -> None:
    """It fails, is tried again as often as at first, and dies again; edited it succeeds."""
    failed = dramatiq.submit("fail", 9)
    eventually(lambda: raw.depth("orders.XQ") == 1)
    assert len(dramatiq.executed(failed)) == 2
    dead: pd.DataFrame = cluster.dead_letters("orders")
    row = dead.iloc[0]
    assert (row["task_id"], row["error_type"], row["attempts"]) == (failed, "ValueError", 1)
    plan = cluster.plan_replay(dead)
    assert plan.targets == {"orders": 1}
    assert "resets 1 of Dramatiq: options.retries is 0 again" in repr(plan)
    outcome = cluster.run(plan, reason="INC-42", progress=False)
    assert outcome["outcome"].tolist() == ["replayed"]
    eventually(lambda: len(dramatiq.executed(failed)) == 4 and raw.depth("orders.XQ") == 1)
    retries = [message["options"].get("retries", 0) for message in dramatiq.executed(failed)]
    assert retries == [0, 1, 0, 1]

    mended = {"task_name": "charge", "kwargs.amount": 2}
    plan = cluster.plan_replay(cluster.dead_letters("orders"), edits=mended)
    cluster.run(plan, reason="INC-42", progress=False)
    eventually(lambda: dramatiq.executed(failed)[-1]["actor_name"] == "charge")
    execution = dramatiq.executed(failed)[-1]
    assert (execution["args"], execution["kwargs"]) == ([9], {"amount": 2})
    assert raw.depth("orders.XQ") == 0


def test_a_message_sent_to_another_queue_of_dramatiq_is_tried_and_settled_there(
    dramatiq: DramatiqPeer, cluster: tt.Cluster, raw: Raw
) -> None:
    """Its worker settles a message with the consumer of its `queue_name`: with that of the old
    queue it would stay unacknowledged, and be tried again in the old one."""
    failed = dramatiq.submit("fail", 9)
    eventually(lambda: raw.depth("orders.XQ") == 1)
    plan = cluster.plan_replay(cluster.dead_letters("orders"), to="returns")
    assert "queue_name is the queue that it is sent to" in repr(plan)
    outcome = cluster.run(plan, reason="INC-42", progress=False)
    assert outcome["outcome"].tolist() == ["replayed"]
    eventually(lambda: raw.depth("returns.XQ") == 1)
    queues = [message["queue_name"] for message in dramatiq.executed(failed)]
    assert queues == ["orders", "orders", "returns", "returns"]
    assert raw.depth("orders.XQ") == 0
    raw.channel.queue_purge("returns.XQ")


def test_what_is_published_is_run_by_a_worker_of_dramatiq(
    dramatiq: DramatiqPeer, cluster: tt.Cluster
) -> None:
    """At once, and later, from the queue in which its client would have it wait."""
    at_once = cluster.publish("orders", "charge", args=["hé"], kwargs={"amount": 2}, priority=3)
    later = cluster.publish("orders", "charge", args=[8], delay=1.0, ttl=600.0)
    eventually(lambda: dramatiq.executed(at_once) and dramatiq.executed(later))
    (execution,), (delayed,) = dramatiq.executed(at_once), dramatiq.executed(later)
    assert (execution["args"], execution["kwargs"]) == (["hé"], {"amount": 2})
    assert delayed["options"]["max_age"] == 600_000
    assert delayed["at"] >= delayed["message_timestamp"] / 1000 + 1.0


def test_plain_messages_are_replayed_byte_for_byte_and_edited_by_their_own_paths(
    dramatiq: DramatiqPeer, cluster: tt.Cluster, raw: Raw
) -> None:
    del dramatiq
    raw.declare("bills.dlq")
    raw.declare("bills", x_dead_letter_exchange="", x_dead_letter_routing_key="bills.dlq")
    bodies = [b'{"bill": 7.10, "customer": {"id": "c-1"}}', b"\xff\x00", b"[1, 2]", b""]
    for body in bodies:
        raw.put("bills", body, headers={"tenant": "t-1"}, type="BillSent")
        method = eventually(lambda: raw.channel.basic_get("bills")[0])
        raw.channel.basic_reject(method.delivery_tag, requeue=False)
    eventually(lambda: raw.depth("bills.dlq") == len(bodies))
    dead: pd.DataFrame = cluster.dead_letters("bills")
    assert set(dead["dialect"]) == {"plain"}
    edits: Any = lambda row: {"kwargs.customer.id": "c-2"} if row.position == 0 else {}  # noqa: E731
    outcome = cluster.run(cluster.plan_replay(dead, edits=edits), reason="r", progress=False)
    assert outcome["outcome"].tolist() == ["replayed"] * len(bodies)
    assert raw.bodies("bills") == [bodies[0].replace(b"c-1", b"c-2"), *bodies[1:]]

    cluster.publish("bills", kwargs={"bill": 8}, headers={"tenant": "t-2"})
    ((properties, body),) = raw.read_all("bills")
    assert (json.loads(body), properties.headers) == ({"bill": 8}, {"tenant": "t-2"})
