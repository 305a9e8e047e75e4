"""Targets that would drop, refuse or expire messages: a plan warns, and refuses a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.core import target_risks
from tasktools.core.errors import WouldBeLost
from tasktools.core.queue_facts import QueueFacts
from tasktools.testing import RabbitMQNode, eventually, task_body, task_payload
from tasktools.testing.factories import failure
from tests.rabbitmq.replays import put_tasks
from tests.support import Raw
from tests.vhosts import Vhost

COUNT = 30


def body(n: int) -> bytes:
    payload = task_payload(task_id=f"t{n}", topic="work", kwargs={"n": n})
    return task_body(message_id=f"m{n}", topic="work", payload=payload)


@pytest.fixture
def dead(cluster: tt.Cluster, vhost: Vhost) -> pd.DataFrame:
    """`COUNT` dead letters of the topic `work`."""
    cluster.create_topic("work")
    put_tasks(vhost, map(body, range(COUNT)))
    return cluster.dead_letters("work")


def counts(outcome: pd.DataFrame) -> dict[str, int]:
    return dict(outcome["outcome"].value_counts())


def test_a_target_that_drops_its_head_is_refused_unless_forced(
    dead: pd.DataFrame, cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 19: 30 into a queue that has room for 10."""
    raw.declare("small", x_max_length=10)
    plan = cluster.plan_replay(dead, "small")

    assert "drop-head" in repr(plan)
    assert "20 or more" in repr(plan)
    with pytest.raises(WouldBeLost, match="20 or more"):
        cluster.run(plan, reason="row 19", progress=False)
    assert (raw.depth("small"), raw.depth("work.dead")) == (0, COUNT)

    few = cluster.plan_replay(dead.head(10), "small")
    assert counts(cluster.run(few, reason="row 19", progress=False)) == {"replayed": 10}
    rest = cluster.plan_replay(dead.tail(20), "small")
    forced = cluster.run(rest, reason="row 19", progress=False, force=True)
    assert counts(forced) == {"replayed": 20}
    assert raw.depth("small") == 10


def test_a_policy_that_came_after_the_plan_is_seen_by_the_run(
    dead: pd.DataFrame, cluster: tt.Cluster, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 11, row 19: the target can have changed; policies count like arguments."""
    plan = cluster.plan_replay(dead)
    assert "drop-head" not in repr(plan)
    policy = {"pattern": "^work$", "definition": {"max-length": 10}, "apply-to": "queues"}
    rabbitmq.request("PUT", f"/api/policies/{vhost.name}/small", policy)
    eventually(lambda: cluster.broker.queue_facts("work").max_length == 10)

    with pytest.raises(WouldBeLost, match=r"dlx|where they come from"):
        cluster.run(plan, reason="row 19", progress=False)
    assert (raw.depth("work"), raw.depth("work.dead")) == (0, COUNT)


HAZARDS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "bytes": ({"x_max_length_bytes": 2_000}, "2,000 bytes", True),
    "refuses": ({"x_max_length": 10, "x_overflow": "reject-publish"}, "refuses more", False),
    "no ttl": ({"x_message_ttl": 0}, "expire at once", True),
    "short ttl": ({"x_message_ttl": 5_000}, "after 5 s: those that no worker has taken are", True),
    "long ttl": ({"x_message_ttl": 86_400_000}, "after 1 d", False),
    "ttl that leads back": (
        {
            "x_message_ttl": 5_000,
            "x_dead_letter_exchange": "",
            "x_dead_letter_routing_key": "work.dead",
        },
        "back to 'work.dead', where they come from",
        False,
    ),
    "expires": ({"x_expires": 600_000}, "deleted with its messages when nobody uses it", True),
}


def test_each_hazard_of_a_target_is_told_and_losses_are_refused(
    dead: pd.DataFrame, cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 19: lengths, refusals, TTLs, loops and queues that go."""
    for name, (arguments, words, loses) in HAZARDS.items():
        raw.declare(name, **arguments)
        plan = cluster.plan_replay(dead, name)
        assert words in repr(plan), name
        if loses:
            with pytest.raises(WouldBeLost):
                cluster.run(plan, reason="row 19", progress=False)
            assert raw.depth(name) == 0
    raw.channel.queue_declare("gone", durable=True, auto_delete=True)
    plan = cluster.plan_replay(dead, "gone")
    assert "last consumer" in repr(plan)
    with pytest.raises(WouldBeLost):
        cluster.run(plan, reason="row 19", progress=False)
    assert raw.depth("work.dead") == COUNT


def test_a_run_into_a_queue_that_refuses_keeps_what_has_no_room(
    dead: pd.DataFrame, cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 19: refused messages stay; nothing is lost."""
    raw.declare("full", x_max_length=10, x_overflow="reject-publish")
    plan = cluster.plan_replay(dead, "full")
    outcome = cluster.run(plan, reason="row 19", progress=False)
    arrived = counts(outcome)["replayed"]
    assert raw.depth("full") == arrived
    assert raw.depth("work.dead") == COUNT - arrived == counts(outcome)["refused"]


def test_a_batch_and_a_restoration_have_the_same_check(
    dead: pd.DataFrame, cluster: tt.Cluster, raw: Raw, tmp_path: Path
) -> None:
    """Issue 11, row 19: `publish_many`, and an archive into a queue that is smaller now."""
    raw.declare("small", x_max_length=10)
    tasks = pd.DataFrame({"topic": ["small"] * 11, "task_name": "m:f"})
    with pytest.raises(WouldBeLost, match="drop-head"):
        cluster.publish_many(tasks)
    assert raw.depth("small") == 0
    published = cluster.publish_many(tasks.head(10))
    assert any("10 messages" in note for note in published.attrs["notes"])

    archive = tmp_path / "archive.jsonl"
    cluster.run(cluster.plan_discard(dead, archive=archive), reason="r", progress=False)
    raw.channel.queue_delete("work.dead")
    raw.declare("work.dead", x_max_length=5)
    plan = cluster.plan_restore(archive)
    assert "drop-head" in repr(plan)
    with pytest.raises(WouldBeLost):
        cluster.run(plan, reason="row 19", progress=False)
    assert raw.depth("work.dead") == 0


def test_what_cannot_be_found_out_of_a_target_is_said() -> None:
    """Issue 11, row 19: unknown is not fine."""
    facts = QueueFacts(queue="q", server=(4, 3), queue_type=None, arguments=None, policy=None)
    load = target_risks.Load(count=1, size=1)
    (hazard,) = target_risks.hazards(facts, load, MemoryBroker().layout)
    assert "could not be found out" in hazard.text


def test_a_dead_letter_with_a_retention_is_replayed_without_it(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 9: `expiration` of a dead letter never travels."""
    cluster.create_topic("work")
    raw.put("work.dead", body(1), expiration="86400000")
    raw.put("work", body(2), expiration="1")  # dies of it, and its x-death tells
    eventually(lambda: raw.depth("work.dead") == 2)

    dead = cluster.dead_letters("work").sort_values("task_id")
    assert dead["ttl"].dt.total_seconds().tolist()[1:] == [0.001]
    plan = cluster.plan_replay(dead)
    assert "had a time to live of" in repr(plan)
    assert counts(cluster.run(plan, reason="row 9", progress=False)) == {"replayed": 2}

    replayed = raw.read_all("work")
    assert len(replayed) == 2
    assert [properties.expiration for properties, _ in replayed] == [None, None]


def test_a_task_that_our_worker_gave_up_with_retention_outlives_it_once_replayed(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 9: our own retention of dead letters is no time to live of the task."""
    cluster.create_topic("work")
    raw.put("work", body(1))
    delivery = cluster.broker.claim("work", "w")
    assert delivery is not None
    cluster.broker.dead_letter(delivery.id, failure(), retention=3600)
    eventually(lambda: raw.depth("work.dead") == 1)

    dead = cluster.dead_letters("work")
    assert dead["ttl"].isna().all()
    plan = cluster.plan_replay(dead)
    assert "time to live" not in repr(plan)
    cluster.run(plan, reason="row 9", progress=False)
    ((properties, _),) = raw.read_all("work")
    assert properties.expiration is None
