"""Users with fewer rights than guest: everything works over AMQP alone, or says why not."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tasktools as tt
from tasktools.cli import main
from tasktools.testing import RabbitMQNode, eventually

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
    assert topics["dead_lettering"].isna().all()  # nobody but the management API tells bindings
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


def test_of_a_cluster_that_tells_a_user_nothing_no_figure_is_0(
    user: Any, cluster: Any, vhost: Any, connect: Any
) -> None:
    """Issue 11, new user: without events and without the list, no topic is known, which is not
    that there are none."""
    cluster.publish("emails", "shop:send", create=True)
    user("blind", configure="^$", write="^$", read=".*")
    blind = connect(vhost.dsn.replace("guest:guest@", "blind:pw@"))
    frame = blind.stats()
    assert frame.isna().all(axis=None)
    assert "no management tag" in "; ".join(frame.attrs["notes"])
    assert cluster.stats()[["topics", "queued"]].iloc[0].tolist() == [1, 1]


def test_a_user_who_may_nothing_gets_a_sentence_not_a_crash(user: Any, cluster: Any) -> None:
    cluster.publish("emails", "shop:send", create=True)
    nobody = user("nobody", configure="^$", write="^$", read="^$")
    source = nobody.workers().attrs["sources"]["events"]
    assert not source["ok"]
    assert "refused" in source["note"]


def test_a_recording_of_a_user_who_hears_nothing_says_what_is_not_in_it(
    user: Any, vhost: Any, tmp_path: Path
) -> None:
    """Issue 11: 2 ticks, rc 0, and not a word of it that no event was received."""
    user("deaf", configure="^$", write="^$", read=".*")
    dsn = vhost.dsn.replace("guest:guest@", "deaf:pw@")
    command = ["record", str(tmp_path / "ops.db"), "--every", "0.5", "--for", "2s", "--dsn", dsn]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "note: with " in result.stderr
    assert "refused for user 'deaf'" in result.stderr


@pytest.fixture
def reader(user: Any, vhost: Any, connect: Any) -> Any:
    """Connect as a user who may only read, to topics of these names."""
    user("reader", configure="^$", write="^$", read=".*")
    dsn = vhost.dsn.replace("guest:guest@", "reader:pw@")
    return lambda *topics: connect(dsn, topics=topics)


def test_the_board_of_a_user_who_sees_no_topic_says_why_and_what_to_do(
    reader: Any, cluster: Any
) -> None:
    """Issue 11, walk: it was empty, without a word."""
    cluster.publish("emails", "shop:send", create=True)
    board = tt.widgets.dashboard(reader())
    eventually(lambda: board.state.notes)
    board.close()
    assert board.state.topics == ()
    assert board.state.tile("queued").value is None
    events, topics = board.state.notes
    assert re.search("no events: (configure )?access to", events)  # 4.x says which
    assert "no topic is known (the user has no management tag" in topics
    assert "connect with topics=[…]" in topics


def test_the_board_of_a_user_who_cannot_hear_workers_says_why(reader: Any, cluster: Any) -> None:
    """Issue 11, walk: "workers cannot be heard" had no reason; what is counted is not doubted."""
    cluster.publish("emails", "shop:send", create=True)
    board = tt.widgets.dashboard(reader("emails"))
    eventually(lambda: board.state.notes)
    board.close()
    assert board.state.tile("queued").value == 1
    (events,) = board.state.notes
    assert re.search("no events: (configure )?access to", events)  # 4.x says which
    assert events.endswith("Ask for the permission, or connect as a user who has it.")


def test_a_publish_that_is_not_permitted_says_what_to_do(reader: Any, cluster: Any) -> None:
    """Issue 11, walk: the form said what was refused, and nothing more."""
    cluster.publish("emails", "shop:send", create=True)
    with pytest.raises(tt.PermissionDenied, match=r"nothing was changed\. Ask for the permission"):
        reader("emails").publish("emails", "shop:send")


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
    assert cluster.topics()["topic"].tolist() == ["emails"]
    assert len(cluster.active_tasks("emails")) == 2


def test_where_statistics_are_disabled_they_are_missing_and_never_zero() -> None:
    """Issue 11, row 15: of its kind: a list that leaves out what it does not know."""
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with (
        RabbitMQNode(
            config=["management_agent.disable_metrics_collector = true"],
            root=Path(root) if root else None,
        ) as node,
        tt.connect(node.dsn, management_url=node.management_url) as cluster,
    ):
        cluster.publish("emails", "shop:send", create=True)
        frame = cluster.topics()
        assert frame["topic"].tolist() == ["emails"]
        assert frame["queued"].tolist() == [1]
        assert frame["dead_lettering"].tolist() == [True]
        assert frame[NO_LIST].isna().all(axis=None)
        assert "no statistics" in " ".join(frame.attrs["notes"])


def test_workers_of_celery_are_heard_without_permissions_for_those_of_fastpluggy(
    user: Any, raw: Any
) -> None:
    """Issue 11, rights: Celery was silent for want of the right to declare fp.workers, and could
    not be asked for want of that to declare an exchange that is there."""
    rights = {
        "configure": r"^tasktools\.",
        "write": r"^(tasktools\..*|celery\.pidbox)$",
        "read": r"^(tasktools\..*|celeryev|reply\.celery\.pidbox)$",
    }
    kinds = {"celeryev": "topic", "celery.pidbox": "fanout", "reply.celery.pidbox": "direct"}
    for exchange, kind in kinds.items():
        raw.channel.exchange_declare(exchange, kind, durable=exchange == "celeryev")
    beat = b'{"type": "worker-heartbeat", "hostname": "w@h", "pid": 1, "freq": 2, "active": 0}'

    def heard(cluster: tt.Cluster) -> str:
        """Return the notes on the workers, once the one of Celery is heard."""

        def is_heard() -> bool:
            raw.channel.basic_publish("celeryev", "worker.heartbeat", beat)
            return list(cluster.workers()["worker_id"]) == ["w@h"]

        eventually(is_heard)
        return "; ".join(cluster.workers().attrs["notes"])

    notes = heard(user("few", **rights))
    assert "fp.workers" not in notes  # there is none
    assert "cannot be asked" not in notes
    raw.channel.exchange_declare("fp.workers", "fanout")
    notes = heard(user("few", **rights))
    assert "only events of Celery's workers are received (access to exchange 'fp.workers'" in notes
