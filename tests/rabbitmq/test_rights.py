"""Users with fewer rights than guest: everything works over AMQP alone, or says why not."""

from __future__ import annotations

from typing import Any

import pytest

import tasktools as tt

NO_LIST = ["unacked", "publish_rate", "ack_rate"]


@pytest.fixture
def user(rabbitmq: Any, vhost: Any, connect: Any) -> Any:
    """Connect as a user of the vhost with exactly these rights."""

    def user(name: str, **rights: Any) -> tt.Cluster:
        rabbitmq.add_user(name, "pw")
        rabbitmq.allow(name, vhost.name, **rights)
        dsn = vhost.dsn.replace("guest:guest@", f"{name}:pw@")
        cluster: tt.Cluster = connect(dsn, topics=["emails"])
        return cluster

    return user


def test_without_the_management_tag_the_columns_that_need_it_are_missing(
    user: Any, cluster: Any
) -> None:
    for n in range(3):
        cluster.publish("emails", "shop:send", args=[n], create=True)
    plain = user("plain")
    topics = plain.topics()
    assert topics["queued"].tolist() == [3]
    assert topics["dead_letter"].tolist() == [0]
    assert topics["queue_type"].tolist() == ["classic"]
    assert topics["dead_lettering"].tolist() == [True]
    assert topics[NO_LIST].isna().all(axis=None)
    source = topics.attrs["sources"]["management"]
    assert not source["ok"]
    assert "no management tag" in source["note"]
    assert set(NO_LIST) <= set(source["columns"])
    tasks = plain.active_tasks("emails")
    assert tasks["args"].tolist() == [[0], [1], [2]]
    assert tasks.attrs["looks"][0]["cost"] == "harmless"
    plain.publish("emails", "shop:send", args=[4])
    assert plain.topics()["queued"].tolist() == [4]


def test_a_quorum_queue_whose_policy_cannot_be_seen_is_not_looked_at(user: Any, raw: Any) -> None:
    raw.fill(raw.declare("emails", x_queue_type="quorum"), 5)
    frame = user("careful").active_tasks("emails")
    assert frame.empty
    (look,) = frame.attrs["looks"]
    assert look["refused"]
    assert "cannot be seen" in look["why"]
    assert raw.depth("emails") == 5


def test_a_user_who_may_only_read_sees_what_can_be_seen(user: Any, cluster: Any) -> None:
    cluster.publish("emails", "shop:send", create=True)
    reader = user("reader", configure="^tasktools\\.", write="^tasktools\\.", read=".*")
    assert reader.topics()["queued"].tolist() == [1]
    frame = reader.workers()
    assert frame.empty
    with pytest.raises(tt.PermissionDenied, match="nothing was"):
        reader.publish("emails", "shop:send")
    assert cluster.topics().set_index("topic").loc["emails", "queued"] == 1


def test_a_user_who_may_nothing_gets_a_sentence_not_a_crash(user: Any, cluster: Any) -> None:
    cluster.publish("emails", "shop:send", create=True)
    nobody = user("nobody", configure="^$", write="^$", read="^$")
    source = nobody.workers().attrs["sources"]["events"]
    assert not source["ok"]
    assert "refused" in source["note"]


def test_read_only_sends_nothing_that_changes(connect: Any, raw: Any) -> None:
    raw.fill(raw.declare("emails"), 2)
    cluster = connect(read_only=True)
    for change in (
        lambda: cluster.publish("emails", "shop:send"),
        lambda: cluster.publish("new", "shop:send", create=True),
        lambda: cluster.broker.purge("emails"),
        lambda: cluster.broker.claim("emails", "w"),
        cluster.broker.setup,
        lambda: cluster.broker.ensure_topic("new"),
    ):
        with pytest.raises(tt.ReadOnly, match="nothing was changed"):
            change()
    assert raw.depth("emails") == 2
    assert cluster.topics()["topic"].tolist() == []
    assert len(cluster.active_tasks("emails")) == 2
