"""Queues of other workers than fastpluggy's: whose they are, and where their dead letters lie."""

from __future__ import annotations

import json
from typing import Any

import pytest

import tasktools as tt
from tasktools.testing import celery_message, eventually
from tasktools.testing.node import RabbitMQNode
from tests.conftest import Connect
from tests.support import Raw
from tests.vhosts import Vhost

ORDER = json.dumps({"order": 7, "customer": {"id": "c-1"}}).encode()


def declare_celery(raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost) -> None:
    """Declare what workers of Celery declare: `mail` dead-letters by argument, `calls` by a policy,
    and a policy and an argument lead both to one queue."""
    channel = raw.channel
    channel.exchange_declare("celeryev", "topic", durable=True)
    channel.exchange_declare("celery.pidbox", "fanout")
    channel.exchange_declare("failed", "direct", durable=True)
    raw.declare("celery.dlq")
    channel.queue_bind("celery.dlq", "failed", "celery.dlq")
    to_failed = {"x_dead_letter_exchange": "failed", "x_dead_letter_routing_key": "celery.dlq"}
    for queue, arguments in (("mail", to_failed), ("calls", {})):
        channel.exchange_declare(queue, "direct", durable=True)
        raw.declare(queue, **arguments)
        channel.queue_bind(queue, queue, queue)
    channel.queue_declare("w1@host.celery.pidbox")
    channel.queue_bind("w1@host.celery.pidbox", "celery.pidbox")
    definition = {"dead-letter-exchange": "failed", "dead-letter-routing-key": "celery.dlq"}
    policy = {"pattern": "^calls$", "definition": definition, "apply-to": "queues"}
    rabbitmq.request("PUT", f"/api/policies/{vhost.name}/way", policy)


def declare_dramatiq(raw: Raw) -> None:
    """Declare what workers of Dramatiq declare for the queue `images`."""
    to_dead = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": "images.XQ"}
    for queue in ("images", "images.DQ"):
        raw.declare(queue, **to_dead)
    raw.declare("images.XQ", x_message_ttl=604_800_000)


def reject(raw: Raw, queue: str) -> None:
    """Reject the next message of *queue*."""
    method = eventually(lambda: raw.channel.basic_get(queue)[0])
    raw.channel.basic_reject(method.delivery_tag, requeue=False)


def columns(cluster: tt.Cluster, *names: str) -> list[tuple[Any, ...]]:
    """Return these columns of all topics."""
    frame = cluster.topics()
    return list(frame[["topic", *names]].astype(object).itertuples(index=False, name=None))


def leads_on(row: tuple[Any, ...]) -> bool:
    """Whether the dead letters of a topic have a queue, by its `columns`."""
    return isinstance(row[-1], str)


def test_topics_and_their_dead_letters_are_those_of_their_workers(
    raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost, connect: Connect
) -> None:
    """Issue 16: by argument, by policy, by convention; a queue for oneself is no topic."""
    declare_celery(raw, rabbitmq, vhost)
    declare_dramatiq(raw)
    raw.declare("orders", x_dead_letter_exchange="", x_dead_letter_routing_key="orders_error")
    raw.declare("orders_error")
    raw.declare("audit")
    cluster = connect()

    ways = [
        ("calls", "celery", "celery.dlq"),
        ("images", "dramatiq", "images.XQ"),
        ("mail", "celery", "celery.dlq"),
        ("orders", "plain", "orders_error"),
    ]
    # The policy is known with the first statistics of its queue.
    eventually(lambda: [*filter(leads_on, columns(cluster, "dialect", "dead_queue"))] == ways)
    assert cluster.topics()["topic"].tolist() == ["audit", "calls", "images", "mail", "orders"]
    assert "Celery" in repr(cluster)
    assert "layout" not in repr(cluster)

    named = connect(dialect="celery", dead="{topic}_error")
    assert columns(named, "dialect", "dead_queue") == [
        ("calls", "celery", "calls_error"),
        ("mail", "celery", "mail_error"),
    ]


def test_several_workers_share_a_vhost(
    cluster: tt.Cluster, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 16: beside fastpluggy, the other queues of a vhost are nobody's topics unless asked
    for; workers of Celery that come later are seen."""
    cluster.create_topic("emails")
    raw.declare("audit")
    assert columns(cluster, "dialect") == [("emails", "fastpluggy")]
    declare_celery(raw, rabbitmq, vhost)
    declare_dramatiq(raw)
    assert columns(cluster, "dialect") == [
        ("calls", "celery"),
        ("emails", "fastpluggy"),
        ("images", "dramatiq"),
        ("mail", "celery"),
    ]


def test_what_several_topics_left_in_one_queue_goes_back_to_each(
    cluster: tt.Cluster, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 16: each to the queue in which it died, byte for byte."""
    declare_celery(raw, rabbitmq, vhost)
    body, properties = celery_message()
    for queue in ("mail", "calls", "mail"):
        raw.put(queue, body, headers=dict(properties.headers), content_type="application/json")
        eventually(lambda: len(cluster.broker.homes_of("celery.dlq")) == 2)
        reject(raw, queue)
    eventually(lambda: raw.depth("celery.dlq") == 3)

    dead = cluster.dead_letters("mail")
    assert dead["topic"].tolist() == ["mail", "calls", "mail"]
    assert dead["dialect"].tolist() == ["celery"] * 3
    assert dead["unreadable"].isna().all()
    outcome = cluster.run(cluster.plan_replay(dead), reason="INC-1", progress=False)

    assert outcome["outcome"].tolist() == ["replayed"] * 3
    assert (raw.bodies("mail"), raw.bodies("calls")) == ([body, body], [body])
    with pytest.raises(tt.InvalidPlan, match="already; nothing was done"):
        cluster.plan_replay(dead, to="celery.dlq")


def test_only_what_the_workers_of_a_queue_can_read_is_put_into_it(
    cluster: tt.Cluster, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 16: "a peer would take it for ever" holds only where such a peer consumes."""
    declare_celery(raw, rabbitmq, vhost)
    declare_dramatiq(raw)
    raw.declare("orders")
    raw.put("celery.dlq", ORDER)
    stray = cluster.peek("celery.dlq")

    for to, fate in (
        ("mail", "a worker of Celery would reject it, or acknowledge it unrun: it names no task"),
        ("images", "a worker of Dramatiq would reject it: "),
    ):
        (message,) = cluster.plan_replay(stray, to=to).messages
        assert (message.skipped or "").startswith(fate)
    (message,) = cluster.plan_replay(stray, to="orders").messages
    assert message.skipped is None
    # Celery 5.7 acknowledges this one unrun.
    utf16, headers = "[[], {}, {}]".encode("utf-16"), {"task": "shop.send", "id": "c-1"}
    raw.put("celery.dlq", utf16, headers=headers, content_type="application/json")
    (message,) = cluster.plan_replay(cluster.peek("celery.dlq").tail(1), to="mail").messages
    assert (message.skipped or "").endswith("unrun: its body is not UTF-8")


def test_an_order_of_a_plain_queue_is_shown_with_its_error_and_goes_home(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 16: JSON is shown as it is; the error is what Spring wrote into the headers."""
    raw.declare("orders", x_dead_letter_exchange="", x_dead_letter_routing_key="orders.dlq")
    raw.declare("orders.dlq")
    stack = "com.shop.OutOfStock: no. 7\n\tat com.shop.Orders.place(Orders.java:12)\n"
    headers = {"x-exception-message": "no. 7", "x-exception-stacktrace": stack}
    raw.put("orders", ORDER, message_id="m-1", headers=headers)
    raw.put("orders", b"\xff\x00 no JSON")
    for _ in range(2):
        reject(raw, "orders")
    eventually(lambda: raw.depth("orders.dlq") == 2)

    dead = cluster.dead_letters("orders")
    first = dead.iloc[0]
    assert (first["task_id"], first["kwargs"]) == ("m-1", json.loads(ORDER))
    assert (first["error_type"], first["error"]) == ("com.shop.OutOfStock", "no. 7")
    assert dead["problem"].isna().all()
    outcome = cluster.run(cluster.plan_replay(dead), reason="INC-1", progress=False)
    assert outcome["outcome"].tolist() == ["replayed"] * 2
    assert raw.bodies("orders") == [ORDER, b"\xff\x00 no JSON"]


def test_over_amqp_alone_named_topics_are_told_by_their_arguments(
    connect: Connect, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 16: without the management API, and without the right to ask for arguments."""
    declare_celery(raw, rabbitmq, vhost)
    declare_dramatiq(raw)
    topics = ("mail", "images")
    cluster = connect(management_url=False, topics=topics)
    assert columns(cluster, "dialect") == [("images", "dramatiq"), ("mail", "celery")]
    assert cluster.broker.dead_queue("images") == "images.XQ"
    with pytest.raises(tt.QueueNotFound, match=r"connect\(dead=.*nothing was changed|nothing was"):
        cluster.dead_letters("mail")
    named = connect(management_url=False, topics=topics, dead="celery.dlq.{topic}")
    assert named.broker.dead_queue("mail") == "celery.dlq.mail"


@pytest.mark.parametrize("dead", ["celery.dlq", "{topic}", "{queue}.dlq"])
def test_a_name_that_is_the_same_for_all_topics_is_refused(vhost: Vhost, dead: str) -> None:
    with pytest.raises(tt.MalformedDSN, match=r"nothing was contacted.*\{topic\}\.dlq"):
        tt.connect(vhost.dsn, dead=dead)


def test_over_amqp_alone_dead_letters_belong_to_the_topic_whose_arguments_lead_them_there(
    connect: Connect, raw: Raw
) -> None:
    """It was "no dead-letter queue": only the one topic that was asked for is known there."""
    raw.channel.exchange_declare("celeryev", "topic", durable=True)
    raw.declare("mail", x_dead_letter_exchange="", x_dead_letter_routing_key="mail.dlq")
    raw.declare("mail.dlq")
    body, properties = celery_message()
    raw.put("mail", body, headers=dict(properties.headers), content_type="application/json")
    reject(raw, "mail")
    cluster = connect(management_url=False)
    eventually(lambda: len(cluster.dead_letters("mail")))
    plan = cluster.plan_replay(cluster.dead_letters("mail"))
    assert list(plan.frame()["to"]) == ["mail"]


def test_a_queue_of_dramatiq_is_known_by_the_name_of_its_dead_letter_queue(
    connect: Connect, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Who may not configure a queue cannot read its arguments: Celery claimed all such queues."""
    raw.channel.exchange_declare("celeryev", "topic", durable=True)
    declare_dramatiq(raw)
    rabbitmq.add_user("onlooker", "pw")
    rabbitmq.allow("onlooker", vhost.name, configure="^$", write="^$")
    dsn = vhost.dsn.replace("//guest:guest@", "//onlooker:pw@")
    cluster = connect(dsn, management_url=False, topics=["images"])
    assert columns(cluster, "dialect", "dead_queue") == [("images", "dramatiq", "images.XQ")]


def test_a_dead_letter_queue_that_is_named_as_a_topic_leads_to_the_topic(
    connect: Connect, raw: Raw
) -> None:
    declare_dramatiq(raw)
    with pytest.raises(tt.QueueNotFound, match=r"dead letters of images; .* topic, 'images'"):
        connect().dead_letters("images.XQ")


def test_who_receives_no_events_may_replay_to_celery_where_no_fastpluggy_worker_can_be(
    connect: Connect, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """All was skipped: "a worker of the peers would take it again for ever"."""
    declare_celery(raw, rabbitmq, vhost)
    body, properties = celery_message()
    raw.put("mail", body, headers=dict(properties.headers), content_type="application/json")
    reject(raw, "mail")
    rabbitmq.add_user("narrow", "pw", tags="management")
    allowed = {"configure": "^tasktools", "write": "^(tasktools|amq.default|mail)"}
    rabbitmq.allow("narrow", vhost.name, **allowed, read="^(tasktools|celery.dlq)")
    cluster = connect(vhost.dsn.replace("//guest:guest@", "//narrow:pw@"))
    eventually(lambda: len(cluster.dead_letters("mail")))
    plan = cluster.plan_replay(cluster.dead_letters("mail"))
    assert list(cluster.run(plan, reason="test")["outcome"]) == ["replayed"]
    assert raw.bodies("mail") == [body]
