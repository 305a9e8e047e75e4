"""A broker is known by itself: its cluster and vhost, not the address it was reached at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster.cluster import Cluster
from tasktools.core.models import BrokerIdentity
from tasktools.core.plans import Plan
from tasktools.replay.ledger import Ledger
from tasktools.replay.run_account import Account
from tasktools.replay.timing import Timing


def identity(cluster: str = "rabbit@host", vhost: str = "/", **known: str) -> BrokerIdentity:
    return BrokerIdentity(cluster=cluster, vhost=vhost, **known)


@pytest.mark.parametrize(
    ("first", "other", "is_same", "is_sure"),
    [
        (identity(), identity(), True, False),
        (identity(), identity(vhost="b"), False, False),
        (identity(), identity("rabbit@other"), False, False),
        (identity(cluster_id="1"), identity(), True, False),
        (identity(cluster_id="1"), identity(cluster_id="1"), True, True),
        (identity(cluster_id="1"), identity(cluster_id="2"), False, False),
        (identity(cluster_id="1"), identity("renamed", cluster_id="1"), True, True),
        (identity(cluster_id="1"), identity(vhost="b", cluster_id="1"), False, False),
    ],
)
def test_two_are_the_same(
    first: BrokerIdentity, other: BrokerIdentity, *, is_same: bool, is_sure: bool
) -> None:
    """Issue 11, row 8: two clusters may have one name, and a cluster may be renamed."""
    assert first.is_same_as(other) == other.is_same_as(first) == is_same
    assert first.is_surely(other) == other.is_surely(first) == is_sure


@pytest.fixture
def servers() -> tuple[MemoryServer, MemoryServer]:
    """Two clusters of the same name, whose ids nobody may read."""
    servers = MemoryServer(), MemoryServer()
    for server in servers:
        server.identity = identity()
    return servers


@pytest.fixture
def clusters(servers: tuple[MemoryServer, MemoryServer]) -> Iterator[list[Cluster]]:
    timing = Timing(requeued=0.01)
    opened = [
        Cluster(MemoryBroker(s, address=f"memory://{n}"), timing=timing)
        for n, s in enumerate(servers)
    ]
    for cluster in opened:
        cluster.create_topic("emails")
        for n in range(3):
            payload = {"task_name": "send", "kwargs": {"n": n}}
            cluster.broker.publish("emails", payload)
            delivery = cluster.broker.claim("emails", "w")
            assert delivery is not None
            cluster.broker.nack(delivery.id, requeue=False)
    yield opened
    for cluster in opened:
        cluster.close()


def break_off(cluster: Cluster, states: list[str]) -> Plan:
    """Leave a run in the ledger that was killed."""
    plan = cluster.plan_replay(cluster.dead_letters("emails"))
    with Ledger().open() as connection:
        account = Account.begin(connection, plan, reason="killed", now=0.0)
        account.note([(state, 1, None, n) for n, state in enumerate(states)], 0.0)  # type: ignore[misc]
    return plan


def test_a_killed_run_is_not_settled_in_the_queue_of_a_namesake(clusters: list[Cluster]) -> None:
    """Issue 11, row 8: what was confirmed on the one is not acknowledged by looking at another."""
    here, there = clusters
    break_off(here, ["confirmed", "intent", "planned"])
    outcome = there.run(there.plan_replay(there.dead_letters("emails")), reason="x", progress=False)
    assert Counter(outcome["outcome"]) == {"replayed": 3}
    assert any("so it stays as it is" in note for note in outcome.attrs["notes"])
    outcome = here.run(here.plan_replay(here.dead_letters("emails")), reason="x", progress=False)
    assert outcome["outcome"].tolist() == ["gone", "gone", "replayed"]
    assert here.broker.peek("emails").ready_before == 2  # the confirmed one was acknowledged


def test_a_renamed_cluster_whose_id_nobody_may_read_is_asked_about(
    clusters: list[Cluster], servers: tuple[MemoryServer, MemoryServer]
) -> None:
    """Issue 11, row 8: a killed run of the cluster's old name is not forgotten."""
    here, _ = clusters
    plan = break_off(here, ["confirmed", "intent", "planned"])
    servers[0].identity = identity("renamed")
    with pytest.raises(tt.InvalidPlan, match=r"'renamed'.*nothing was done"):
        here.run(plan, reason="x", progress=False)
    again = here.plan_replay(here.dead_letters("emails"))
    with pytest.raises(tt.InvalidPlan, match=r"^Run 1 of .* begun to send 2 of these messages"):
        here.run(again, reason="x", progress=False)
    outcome = here.run(again, reason="x", progress=False, force=True)
    assert Counter(outcome["outcome"]) == {"gone": 2, "replayed": 1}


def test_a_renamed_cluster_whose_id_is_known_goes_on(
    clusters: list[Cluster], servers: tuple[MemoryServer, MemoryServer]
) -> None:
    """Issue 11, row 8: the id stays when the name changes."""
    here, there = clusters
    servers[0].identity = identity(cluster_id="1")
    plan = here.plan_replay(here.dead_letters("emails"))
    servers[0].identity = identity("renamed", cluster_id="1")
    servers[1].identity = identity(cluster_id="2")
    with pytest.raises(tt.InvalidPlan, match="another of the same name"):
        there.run(plan, reason="x", progress=False)
    outcome = here.run(plan, reason="x", progress=False)
    assert Counter(outcome["outcome"]) == {"replayed": 3}


def test_a_broker_that_does_not_tell_its_name_is_known_by_its_address(
    clusters: list[Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBroker, "identity", None)
    here, there = clusters
    plan = here.plan_replay(here.dead_letters("emails"))
    with pytest.raises(tt.InvalidPlan, match="made on memory://0, and this is memory://1"):
        there.run(plan, reason="x", progress=False)
    assert Counter(here.run(plan, reason="x", progress=False)["outcome"]) == {"replayed": 3}
