"""A cluster of three nodes of which one is down, and a queue whose process has ended."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import tasktools as tt
from tasktools.core.errors import BrokerError
from tasktools.testing import RabbitMQCluster, RabbitMQNode, eventually
from tests.support import Raw
from tests.timing import within

_MAX_ANSWER: Final = 15.0  # seconds; a queue that does not answer has RabbitMQ wait for 60

KILL = """
Name = rabbit_misc:r(<<"/">>, queue, <<"{queue}">>),
Kill = fun(Again, Dead) ->
  {{ok, Queue}} = rabbit_amqqueue:lookup(Name),
  Pid = amqqueue:get_pid(Queue),
  timer:sleep(50),
  case is_process_alive(Pid) of
    true -> exit(Pid, kill), Again(Again, 0);
    false when Dead > 40 -> given_up;
    false -> Again(Again, Dead + 1)
  end
end,
Kill(Kill, 0).
"""
"""Kills a classic queue's process until its supervisor starts it no more."""


@dataclass(frozen=True)
class Broken:
    """The cluster's first node, which runs, and the name of the second, which is down."""

    node: RabbitMQNode
    down: str
    leaderless: str
    """A quorum queue whose leader was on the second."""
    minority: str
    """One whose leader is on the first, and whose other member was on the second."""
    third: RabbitMQNode
    """Runs as well."""

    def connect(self, *, management: bool = True, **options: Any) -> tt.Cluster:
        return tt.connect(
            self.node.dsn,
            management_url=self.node.management_url if management else False,
            topics=("emails", "alive", self.leaderless, self.minority),
            **options,
        )


@pytest.fixture(scope="module")
def broken() -> Iterator[Broken]:
    """Queues on three nodes, of which the second was killed then."""
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with RabbitMQCluster(3, root=Path(root) if root else None) as nodes:
        first, second = nodes[0], nodes[1]
        with tt.connect(second.dsn, management_url=False) as cluster:
            cluster.publish("emails", "shop:send", create=True)
        leaderless = declare_quorum(second, first)
        with tt.connect(first.dsn, management_url=False) as cluster:
            cluster.publish("alive", "shop:send", create=True)
            minority = declare_quorum(first, second)
            for topic in (leaderless, minority):
                for n in range(7):
                    cluster.publish(topic, "shop:send", args=[n], create=True)
        declare_shop(second)
        second.kill()
        assert "given_up" in first.ctl("eval", KILL.format(queue="alive.dead"))
        broken = Broken(first, second.name, leaderless, minority, nodes[2])
        with broken.connect() as cluster:
            eventually(lambda: queued_of(cluster.topics(), minority) is pd.NA)
        yield broken


def declare_shop(node: RabbitMQNode) -> None:
    """Declare on *node*, in a vhost of its own, a queue as workers of Celery do; a policy and a
    binding lead its dead letters to another queue."""
    raw = Raw(node.add_vhost("shop"))
    for exchange, kind in (("celeryev", "topic"), ("reports", "direct"), ("dead", "direct")):
        raw.channel.exchange_declare(exchange, kind, durable=True)
    raw.declare("reports")
    raw.declare("reports.dlq")
    raw.channel.queue_bind("reports", "reports", "reports")
    raw.channel.queue_bind("reports.dlq", "dead", "reports")
    definition = {"dead-letter-exchange": "dead"}
    policy = {"pattern": "^reports$", "definition": definition}
    node.request("PUT", "/api/policies/shop/dead", policy)
    raw.connection.close()


def declare_quorum(node: RabbitMQNode, other: RabbitMQNode) -> str:
    """Declare a quorum queue with its leader on *node* and its one other member on *other*;
    RabbitMQ chooses that by chance, so it is the first of several that came out so."""
    raw = Raw(node.dsn)
    for number in itertools.count():
        queue = raw.declare(
            f"quorum-{node.port}-{number}",
            x_queue_type="quorum",
            x_quorum_initial_group_size=2,
            x_queue_leader_locator="client-local",
        )
        if other.name in node.request("GET", f"/api/queues/%2F/{queue}")["members"]:
            break
    raw.connection.close()
    return queue


def row_of(frame: pd.DataFrame, topic: str) -> Any:
    return frame.set_index("topic").loc[topic]


def queued_of(frame: pd.DataFrame, topic: str) -> Any:
    return row_of(frame, topic)["queued"]


def notes_of(frame: pd.DataFrame) -> str:
    return "\n".join(frame.attrs["notes"])


@pytest.mark.parametrize("management", [True, False], ids=["management", "AMQP alone"])
def test_a_topic_whose_node_is_down_exists_and_its_counts_are_missing(
    broken: Broken, *, management: bool
) -> None:
    """Issue 11, row 5: said without it as well, from what RabbitMQ answers."""
    with within(_MAX_ANSWER), broken.connect(management=management) as cluster:
        frame = cluster.topics()
        version = cluster.broker.server_version or ""
    row = row_of(frame, "emails")
    assert row["exists"] is True or bool(row["exists"])
    assert row[["queued", "dead_letter", "consumers", "unacked", "dead_lettering"]].isna().all()
    if management or version.startswith("3."):
        assert f"emails: its node {broken.down} is down" in notes_of(frame)
    else:
        assert "emails: it does not answer" in notes_of(frame)


def test_a_topic_whose_node_is_down_is_not_called_unknown(broken: Broken) -> None:
    """Issue 11, row 5: looks, plans and publishing say what is wrong, within the timeout."""
    with broken.connect() as cluster, within(2 * _MAX_ANSWER):
        looks = cluster.active_tasks("emails").attrs["looks"]
        assert looks[0]["refused"]
        assert f"its node {broken.down} is down" in looks[0]["why"]
        for act in (
            lambda: cluster.dead_letters("emails"),
            lambda: cluster.publish("emails", "shop:send"),
            lambda: cluster.publish("emails", "shop:send", create=True),
        ):
            with pytest.raises(BrokerError, match=f"its node {broken.down} is down"):
                act()


@pytest.mark.parametrize("which", ["leaderless", "minority"])
def test_a_quorum_queue_without_majority_has_no_counts(broken: Broken, which: str) -> None:
    """Issue 11, row 6: RabbitMQ itself answers 0, or what the last leader knew."""
    topic = getattr(broken, which)
    with broken.connect() as cluster:
        frame = cluster.topics()
    row = row_of(frame, topic)
    assert bool(row["exists"])
    assert row[["queued", "consumers", "unacked"]].isna().all()
    assert f"{topic}: it has no majority of its members ({broken.down} is down)" in notes_of(frame)


def test_over_amqp_alone_a_quorum_queue_without_its_leader_is_not_called_empty(
    broken: Broken,
) -> None:
    """Issue 11, row 6: RabbitMQ answers 0 then, as it does of one that is empty."""
    with broken.connect(management=False) as cluster:
        frame = cluster.topics()
    row = row_of(frame, broken.leaderless)
    assert bool(row["exists"])
    assert row["queued"] is pd.NA
    assert f"{broken.leaderless}: RabbitMQ reports 0, as it also does" in notes_of(frame)


@pytest.mark.parametrize("which", ["leaderless", "minority"])
def test_over_amqp_alone_a_look_at_a_queue_without_majority_ends(
    broken: Broken, which: str
) -> None:
    """Issue 11, row 6: a consumer of it waits for 65 s."""
    with within(2 * _MAX_ANSWER), broken.connect(management=False) as cluster:
        (look,) = cluster.active_tasks(getattr(broken, which)).attrs["looks"]
        assert look["refused"] or look["note"] or not look["ready"]
        assert queued_of(cluster.topics(), "alive") == 1


@pytest.mark.parametrize("management", [True, False], ids=["management", "AMQP alone"])
def test_a_topic_whose_messages_cannot_be_counted_is_not_deleted(
    broken: Broken, *, management: bool
) -> None:
    """Issue 11, rows 5, 6 and 12: a quorum queue without its leader answers that it has none."""
    with broken.connect(management=management) as cluster:
        for topic in ("emails", "alive", broken.leaderless):
            with pytest.raises(tt.QueueUnavailable, match="nothing was changed"):
                cluster.delete_topic(topic)
        assert cluster.broker.topic_exists("alive")


@pytest.mark.parametrize("which", ["leaderless", "minority"])
def test_looks_and_publishing_say_that_there_is_no_majority(broken: Broken, which: str) -> None:
    """Issue 11, row 6: within the timeout, not after RabbitMQ's own of 65 s."""
    topic = getattr(broken, which)
    with within(_MAX_ANSWER), broken.connect() as cluster:
        (look,) = cluster.active_tasks(topic).attrs["looks"]
        assert look["refused"]
        assert "no majority of its members" in look["why"]
        with pytest.raises(BrokerError, match="no majority of its members"):
            cluster.publish(topic, "shop:send")


@pytest.mark.parametrize("management", [True, False], ids=["management", "AMQP alone"])
def test_a_queue_that_does_not_answer_hides_no_other(broken: Broken, *, management: bool) -> None:
    """Issue 11, row 12: its process was killed more often than its supervisor allows."""
    with contextlib.ExitStack() as stack:
        with within(_MAX_ANSWER):
            cluster = stack.enter_context(broken.connect(management=management))
            frame = cluster.topics()
        assert bool(row_of(frame, "alive")["exists"])
        assert queued_of(frame, "alive") == 1
        assert row_of(frame, "alive")["dead_letter"] is pd.NA
        assert "alive.dead: it" in notes_of(frame)
        # What is asked next does not wait behind it.
        assert cluster.broker.queue_exists("alive.dead")
        assert not cluster.broker.topic_exists("nowhere")


def test_a_dead_letter_queue_that_takes_nothing_loses_no_delivery(broken: Broken) -> None:
    """Issue 11, rows 7 and 12: RabbitMQ would drop what is rejected; it stays ours."""
    with broken.connect() as cluster:
        delivery = eventually(lambda: cluster.broker.claim("alive", "w"))
        with pytest.raises(tt.WouldBeLost, match="still holds it"):
            cluster.broker.nack(delivery.id, requeue=False)
        cluster.broker.nack(delivery.id, count_attempt=False)
        assert row_of(cluster.topics(), "alive")["dead_lettering"] is not True


def test_totals_say_which_topics_they_leave_out(broken: Broken) -> None:
    """Issue 11, rows 5 and 6: a sum of what is known is not that of all."""
    with broken.connect() as cluster:
        frame = cluster.stats()
        counted = cluster.topics()["queued"]
    assert frame["queued"].item() == counted.sum()
    missing = f"{counted.isna().sum()} of {len(counted)} topics"
    assert f"queued leaves out {missing}" in notes_of(frame)


def test_a_tap_of_a_cluster_without_majority_is_not_waited_for(broken: Broken) -> None:
    """Issue 11, row 6: RabbitMQ tries for 30 s to begin, and closes the connection then."""
    with broken.connect() as cluster:
        cluster.tap()
        cluster.publish("alive", "shop:send")
        broken.third.kill()
        try:
            with within(_MAX_ANSWER), pytest.raises(BrokerError, match="tap"):
                cluster.published(since="1h")
        finally:
            broken.third.start()


def test_the_board_says_which_topics_it_cannot_count_and_why(broken: Broken) -> None:
    """Issue 11, walk: "Queued" was the sum of what is known, and nothing gave a reason."""
    with broken.connect() as cluster:
        frame = cluster.topics()
        board = tt.widgets.dashboard(cluster)
        try:
            eventually(lambda: board.state.notes)
            tile = board.state.tile("queued")
            status = " ".join(board.state.status)
        finally:
            board.close()
    assert tile.value == frame["queued"].sum()
    assert tile.note.startswith(f"{frame['queued'].isna().sum()} not known")
    assert f"emails: its node {broken.down} is down" in status
    assert f"{broken.leaderless}: it has no majority of its members" in status
    assert board.state.problem == ""


def test_policy_and_bindings_of_a_queue_whose_node_is_down_are_not_taken_for_none(
    broken: Broken,
) -> None:
    """Issue 11, row 5: no version lists its policy, 3.10 not even its bindings."""
    url = broken.node.management_url
    with tt.connect(f"{broken.node.dsn}shop", management_url=url) as cluster:
        row = row_of(cluster.topics(), "reports")
        assert row["dead_lettering"] is pd.NA
        assert row["dialect"] is pd.NA or row["dialect"] == "celery"
        with pytest.raises(tt.QueueUnavailable, match=f"since its node {broken.down} is down"):
            cluster.dead_letters("reports")
        assert "did you mean" not in tt.drain_forecast(cluster, "reports").attrs["notes"]
