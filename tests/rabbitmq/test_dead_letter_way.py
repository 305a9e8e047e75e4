"""The whole way of a dead letter: the exchange, the binding, the queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq.queues.topic_stats import EXACT_UP_TO
from tasktools.core.models import Failure, TopicStats
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.support import Raw
from tests.vhosts import Vhost

TASK = {"task_name": "some_module:f"}

BREAKS: dict[str, Callable[[Raw], object]] = {
    "the exchange is deleted": lambda raw: raw.channel.exchange_delete("fp.dlx"),
    "the queue is unbound": lambda raw: raw.channel.queue_unbind(
        "emails.dead", "fp.dlx", "dlx.emails"
    ),
    "the queue is deleted": lambda raw: raw.channel.queue_delete("emails.dead"),
}
every_break = pytest.mark.parametrize("name", BREAKS)


def stats_of(cluster: tt.Cluster, topic: str) -> TopicStats:
    return {row.topic: row for row in cluster.broker.topic_report([topic]).topics}[topic]


@every_break
def test_a_broken_way_is_not_called_dead_lettering(
    cluster: tt.Cluster, connect: Connect, raw: Raw, name: str
) -> None:
    """Issue 11, row 7: without the management API bindings cannot be seen: missing, never true."""
    cluster.broker.ensure_topic("emails")
    alone = connect(management_url=False)
    assert stats_of(cluster, "emails").dead_lettering is True
    assert stats_of(alone, "emails").dead_lettering is None
    BREAKS[name](raw)
    assert stats_of(cluster, "emails").dead_lettering is False
    assert stats_of(alone, "emails").dead_lettering is (False if "exchange" in name else None)
    (row,) = cluster.topics().itertuples()
    assert not row.dead_lettering


def test_what_is_dead_lettered_into_a_stream_is_kept_where_the_server_keeps_it(
    cluster: tt.Cluster, raw: Raw, version: tuple[int, int]
) -> None:
    raw.channel.queue_declare("s", durable=True, arguments={"x-queue-type": "stream"})
    way = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "s"}
    raw.channel.queue_declare("mail", durable=True, arguments=way)
    eventually(lambda: stats_of(cluster, "mail").dead_lettering is not None)
    keeps = version >= (3, 11)
    assert stats_of(cluster, "mail").dead_lettering is keeps
    notes = " ".join(cluster.topics().attrs["notes"])
    assert ("loses messages that it dead-letters into a stream" in notes) is not keeps


@every_break
@pytest.mark.parametrize("url", ["management", "AMQP alone"])
def test_what_is_missing_on_the_way_is_declared_again(
    cluster: tt.Cluster, connect: Connect, raw: Raw, name: str, url: str
) -> None:
    """Issue 11, row 7: `nack(requeue=False)` was accepted, and the message lost."""
    if url == "AMQP alone":
        cluster = connect(management_url=False)
    cluster.broker.publish("emails", TASK)
    delivery = eventually(lambda: cluster.broker.claim("emails", "w"))
    BREAKS[name](raw)
    cluster.broker.nack(delivery.id, requeue=False)
    eventually(lambda: raw.depth("emails.dead") == 1)


@every_break
def test_a_dead_letter_of_a_worker_is_kept_on_a_broken_way(
    cluster: tt.Cluster, raw: Raw, name: str
) -> None:
    """Issue 11, row 7: our workers publish dead letters themselves."""
    cluster.broker.publish("emails", TASK)
    delivery = eventually(lambda: cluster.broker.claim("emails", "w"))
    BREAKS[name](raw)
    failure = Failure(
        reason="failed", error_type="ValueError", error="no", failed_at=datetime.now(UTC)
    )
    cluster.broker.dead_letter(delivery.id, failure)
    assert raw.depth("emails.dead") == 1


@every_break
def test_what_would_be_lost_stays_ours_where_we_may_not_mend_it(
    cluster: tt.Cluster,
    connect: Connect,
    rabbitmq: RabbitMQNode,
    vhost: Vhost,
    raw: Raw,
    name: str,
) -> None:
    """Issue 11, row 7: a user who may consume, and declare nothing."""
    user = f"consumer-{vhost.name}"
    rabbitmq.add_user(user, "pw", tags="management")
    rabbitmq.allow(user, vhost.name, configure="^tasktools", write="^emails$|^amq.default$")
    cluster.broker.publish("emails", TASK)
    BREAKS[name](raw)
    broker = connect(vhost.dsn.replace("guest:guest@", f"{user}:pw@")).broker
    delivery = eventually(lambda: broker.claim("emails", "w"))
    with pytest.raises(tt.WouldBeLost, match="still holds it"):
        broker.nack(delivery.id, requeue=False)
    broker.nack(delivery.id, count_attempt=False)
    assert eventually(lambda: raw.depth("emails")) == 1


def test_a_way_of_somebody_elses_is_followed_to_its_queue(
    cluster: tt.Cluster, rabbitmq: RabbitMQNode, vhost: Vhost, raw: Raw
) -> None:
    """Issue 11, row 7: a policy, a fanout behind a direct exchange, a pattern; all or nothing."""
    channel = raw.channel
    channel.exchange_declare("first", "direct", durable=True)
    channel.exchange_declare("second", "fanout", durable=True)
    channel.exchange_bind("second", "first", "failed")
    raw.declare("graveyard")
    raw.declare("emails")
    rabbitmq.request(
        "PUT",
        f"/api/policies/{vhost.name}/way",
        {
            "pattern": "^emails$",
            "definition": {"dead-letter-exchange": "first", "dead-letter-routing-key": "failed"},
            "apply-to": "queues",
        },
    )
    channel.queue_bind("graveyard", "second", "")
    eventually(lambda: stats_of(cluster, "emails").dead_lettering)  # statistics are 8 s old
    raw.put("emails", b"x")
    broker = cluster.broker
    broker.nack(eventually(lambda: broker.claim("emails", "w")).id, requeue=False)
    eventually(lambda: raw.depth("graveyard") == 1)
    channel.queue_unbind("graveyard", "second", "")
    assert stats_of(cluster, "emails").dead_lettering is False


def test_a_queue_that_loses_what_workers_reject_is_listed(
    cluster: tt.Cluster, connect: Connect, raw: Raw
) -> None:
    """Issue 11, row 13: bound to the task exchange, and nothing else shows that it is a topic."""
    cluster.broker.setup()
    for queue, key in (("plain", "plain"), ("audit", "#"), ("tasktools.mine", "tasktools.mine")):
        raw.declare(queue)
        raw.channel.queue_bind(queue, "fp.tasks", key)
    raw.declare("unrelated")
    frame = cluster.topics()
    assert frame["topic"].tolist() == ["plain"]
    assert frame["dead_lettering"].tolist() == [False]
    assert frame["queued"].tolist() == [0]
    assert "plain" in cluster.broker.known_topics()
    assert "audit" not in cluster.broker.known_topics()


def test_a_user_with_few_rights_sees_every_queue_of_the_list(
    cluster: tt.Cluster, connect: Connect, rabbitmq: RabbitMQNode, vhost: Vhost, raw: Raw
) -> None:
    """Issue 11, row 15: the tag `management` alone shows all queues and bindings of the vhost."""
    user = f"seer-{vhost.name}"
    rabbitmq.add_user(user, "pw", tags="management")
    rabbitmq.allow(user, vhost.name, configure="^tasktools", write="^tasktools", read="^tasktools")
    cluster.broker.ensure_topic("emails")
    raw.declare("plain")
    raw.channel.queue_bind("plain", "fp.tasks", "plain")
    seer: Any = connect(vhost.dsn.replace("guest:guest@", f"{user}:pw@"))
    frame = seer.topics()
    assert frame["topic"].tolist() == ["emails", "plain"]
    assert frame["dead_lettering"].tolist() == [True, False]


def test_in_a_large_vhost_a_broken_way_is_told_soon_and_a_mended_one_at_once(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 7: to list all bindings at each look made `topics()` twice as slow."""

    def is_kept(topic: str) -> bool | None:
        return stats_of(cluster, topic).dead_lettering

    for number in range(EXACT_UP_TO // 2 + 1):
        cluster.broker.ensure_topic(f"many.{number}")
    assert is_kept("many.1") is True
    raw.channel.queue_unbind("many.1.dead", "fp.dlx", "dlx.many.1")
    eventually(lambda: is_kept("many.1") is False)
    cluster.broker.ensure_topic("many.1")
    assert is_kept("many.1") is True
