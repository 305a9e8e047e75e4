"""Facts of a real server, with all rights and with fewer: what may not be seen is never empty."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import tasktools as tt
from tasktools.brokers.base import Broker
from tasktools.core.layout import permit_queue
from tasktools.core.models import TopicSettings
from tasktools.core.series import Series
from tasktools.core.server_facts import ServerFacts, ServerNode, ServerPart, ServerQueue
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.support import Raw
from tests.vhosts import Vhost

User = Callable[..., Broker]

NEEDS_MONITORING: set[ServerPart] = {"consumers", "connections", "nodes", "unroutable"}


@pytest.fixture
def broker(cluster: tt.Cluster) -> Broker:
    return cluster.broker


@pytest.fixture
def user(rabbitmq: RabbitMQNode, vhost: Vhost, connect: Connect) -> User:
    """Connect as a user with these tags and all rights in the vhost."""

    def user(tags: str) -> Broker:
        name = f"user-{tags or 'plain'}"
        rabbitmq.add_user(name, "pw", tags=tags)
        rabbitmq.allow(name, vhost.name)
        return connect(vhost.dsn.replace("guest:guest@", f"{name}:pw@"), read_only=True).broker

    return user


def queue(facts: ServerFacts, name: str) -> ServerQueue:
    """Return one queue of *facts*."""
    assert facts.queues is not None
    return facts.queues[name]


def grown(series: Series | None) -> float:
    """Return by how much a quantity changed within its samples."""
    return 0.0 if series is None else series.change(60, at_least=0) or 0.0


def test_a_minute_is_known_at_the_first_look(broker: Broker, raw: Raw, connect: Connect) -> None:
    broker.ensure_topic("emails")
    raw.fill("emails", 5)
    raw.channel.basic_qos(prefetch_count=7)
    raw.channel.basic_consume("emails", lambda *_: None)
    raw.connection.process_data_events(0)

    fresh = connect(read_only=True).broker
    seen = eventually(lambda: grown(queue(fresh.server_facts(), "emails").published) == 5)
    assert seen
    facts = eventually(lambda: all_seen(fresh.server_facts()))
    emails = queue(facts, "emails")
    assert emails.published is not None
    assert emails.published.span == 60  # before it was made it counted nothing
    assert emails.published.times == tuple(sorted(emails.published.times))
    (consumer,) = [each for each in facts.consumers or () if each.queue == "emails"]
    assert (consumer.prefetch, consumer.held) == (7, 5)
    names = {each.name for each in facts.connections or ()}
    assert consumer.connection in names
    assert consumer.channel is not None
    assert consumer.channel.startswith(consumer.connection or "?")


def all_seen(facts: ServerFacts) -> ServerFacts | None:
    """Return *facts* once the statistics of the consumer of `emails` have come."""
    held = [each.held for each in facts.consumers or () if each.queue == "emails"]
    return facts if held == [5] else None


def test_connections_of_this_process_are_named(broker: Broker, raw: Raw) -> None:
    def connections() -> dict[str | None, str] | None:
        each = broker.server_facts().connections or ()
        return {each.client: each.name for each in each} if len(each) >= 3 else None

    by_client = eventually(connections)
    own = broker.server_facts().own_connections
    assert own == {name for client, name in by_client.items() if client is not None}
    assert by_client[None] not in own  # plain pika has no name
    assert raw.connection.is_open


def test_unroutable_messages_are_told_by_connection(broker: Broker, raw: Raw) -> None:
    broker.ensure_topic("emails")
    plain = raw.connection.channel()  # dropped, whereas `raw.channel` has them returned
    for _ in range(6):
        plain.basic_publish(broker.layout.task_exchange, "nowhere", b"{}")

    def facts() -> ServerFacts | None:
        facts = broker.server_facts()
        return facts if grown(facts.unroutable) >= 6 else None

    seen = eventually(facts)
    by_connection = {
        each.name: grown(each.unroutable)
        for each in seen.connections or ()
        if each.name not in seen.own_connections
    }
    assert list(by_connection.values()) == [6]

    def published() -> float:
        return grown((broker.server_facts().published_to or {}).get(broker.layout.task_exchange))

    assert eventually(lambda: published() == 6)


def test_every_queue_that_gets_tasks_is_there_with_its_own_dead_letters(
    broker: Broker, raw: Raw
) -> None:
    exchange = broker.layout.task_exchange
    broker.ensure_topic("emails")
    for name, arguments in {"bills": {}, "mails": {"x_dead_letter_exchange": ""}}.items():
        raw.declare(name, **arguments)
    raw.declare("orders", x_dead_letter_exchange="", x_dead_letter_routing_key="graveyard")
    raw.declare("graveyard")
    raw.declare("apart")
    raw.channel.exchange_declare("copies", "fanout", durable=True)
    raw.channel.exchange_bind("copies", exchange, "#")
    raw.channel.queue_bind("bills", exchange, "bills")
    raw.channel.queue_bind("mails", "copies", "")
    raw.channel.queue_bind("orders", exchange, "*.orders")
    facts = broker.server_facts()
    assert facts.queues is not None
    assert facts.queues.keys() == {
        "emails", "emails.dead", "bills", "mails", "orders", "graveyard"
    }  # fmt: skip
    assert queue(facts, "bills").facts.dead_letter_exchange is None
    assert "copies" in (facts.exchanges or ())


def test_a_policy_and_the_delivery_limit_are_known(
    broker: Broker, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    raw.declare("emails", x_queue_type="quorum")
    policy = {"pattern": "emails", "definition": {"max-length": 5}, "apply-to": "queues"}
    rabbitmq.request("PUT", f"/api/policies/{vhost.name}/short", policy)

    def policies() -> Any:
        return queue(broker.server_facts(["emails"]), "emails").facts.policy

    assert eventually(policies) == {"max-length": 5}
    facts = queue(broker.server_facts(["emails"]), "emails").facts
    assert facts.queue_type == "quorum"


def test_the_limit_of_a_channel_is_that_of_its_consumers(broker: Broker, raw: Raw) -> None:
    """Celery limits its channel as a whole."""
    raw.declare("mail")
    raw.channel.basic_qos(prefetch_count=8, global_qos=True)
    raw.channel.basic_consume("mail", lambda *_: None)
    raw.connection.process_data_events(0)

    def limits() -> list[int | None]:
        consumers = broker.server_facts(["mail"]).consumers or ()
        return [each.prefetch for each in consumers if each.queue == "mail"]

    assert eventually(lambda: limits() == [8])


def test_a_dead_letter_queue_is_found_by_a_policy_without_a_key(
    broker: Broker, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    raw.declare("mail")
    raw.declare("mail.failed")
    raw.channel.exchange_declare("dead", "direct")
    raw.channel.queue_bind("mail.failed", "dead", "mail")
    policy = {"pattern": "^mail$", "definition": {"dead-letter-exchange": "dead"}}
    rabbitmq.request("PUT", f"/api/policies/{vhost.name}/dead", policy)
    assert eventually(lambda: "mail.failed" in (broker.server_facts(["mail"]).queues or {}))


def test_the_owners_of_permits_are_told_for_topics_with_a_limit(broker: Broker) -> None:
    broker.ensure_topic("emails")
    broker.configure_topic("emails", TopicSettings(concurrency_limit=2))
    received: list[Any] = []
    consumer = broker.consume("emails", received.append, prefetch=2, limit=2)
    name = permit_queue("emails", 0)

    def owners(*limits: str) -> dict[str, str | None]:
        queues = broker.server_facts(limits=limits).queues or {}
        return {name: each.owner for name, each in queues.items() if "permit" in name}

    assert eventually(lambda: None not in owners("emails").values() and owners("emails"))
    assert set(owners("emails").values()) <= broker.server_facts().own_connections
    assert set(owners().values()) == {None}
    assert name.removesuffix("0") in next(iter(owners()))
    consumer.cancel()


# --- alarms -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_node() -> Iterator[RabbitMQNode]:
    """A node of its own: an alarm blocks whoever uses it."""
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with RabbitMQNode(root=Path(root) if root else None) as node:
        yield node


@contextlib.contextmanager
def memory_alarm(node: RabbitMQNode) -> Iterator[None]:
    """Have a memory alarm."""
    node.ctl("set_vm_memory_high_watermark", "0")
    try:
        yield
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.6")


def test_an_alarm_is_told_with_its_node(own_node: RabbitMQNode) -> None:
    with (
        tt.connect(own_node.dsn, management_url=own_node.management_url) as cluster,
        memory_alarm(own_node),
    ):
        facts = eventually(lambda: in_alarm(cluster.broker.server_facts()))
        (alarm,) = facts.alarms or ()
        assert (alarm.resource, alarm.node) == ("memory", own_node.name)

        def node() -> ServerNode | None:
            (node,) = cluster.broker.server_facts().nodes or ()
            return node if node.memory_alarm else None

        figures = eventually(node)
        assert figures.running
        assert figures.memory_used is not None
        assert figures.memory_used > 0
        assert figures.partitions == ()


def test_a_node_has_a_sample_a_minute_of_the_last_hour(user: User) -> None:
    asking = user("monitoring")

    def sampled() -> ServerNode | None:
        (node,) = asking.server_facts().nodes or ()
        return node if node.connections_opened else None

    node = eventually(sampled)
    for counter in (node.connections_opened, node.connections_closed):
        assert counter is not None
        assert (counter.span, len(counter)) == (3600, 61)
    # None in the first minute of the node: what was before it started is not a full disk.
    assert node.disk_free_series is None or min(node.disk_free_series.values) > 0


def test_over_amqp_alone_an_alarm_is_told_without_its_node(own_node: RabbitMQNode) -> None:
    with tt.connect(own_node.dsn, management_url=False, read_only=True) as cluster:
        assert cluster.broker.server_facts().alarms == ()
        with memory_alarm(own_node):
            facts = eventually(lambda: in_alarm(cluster.broker.server_facts()))
            (alarm,) = facts.alarms or ()
            assert (alarm.resource, alarm.node) == ("memory", None)
        assert eventually(lambda: cluster.broker.server_facts().alarms == ())


def in_alarm(facts: ServerFacts) -> ServerFacts | None:
    """Return *facts* if they hold an alarm."""
    return facts if facts.alarms else None


# --- rights -------------------------------------------------------------------------------


def test_with_the_tag_management_what_is_only_its_own_is_missing(
    user: User, broker: Broker, raw: Raw
) -> None:
    broker.ensure_topic("emails")
    raw.channel.basic_consume("emails", lambda *_: None)
    asking = user("management")

    def facts() -> ServerFacts | None:
        facts = asking.server_facts(["emails"])
        sampled = "samples" not in facts.missing
        return facts if sampled and queue(facts, "emails").consumers else None

    seen = eventually(facts)
    assert seen.missing.keys() == NEEDS_MONITORING
    assert all("monitoring" in why for why in seen.missing.values())
    assert (seen.consumers, seen.connections, seen.nodes, seen.unroutable) == (None,) * 4
    assert queue(seen, "emails").published is not None
    assert seen.routes is not None
    assert seen.alarms == ()
    assert eventually(lambda: asking.server_facts().own_connections)


def test_with_the_tag_monitoring_nothing_is_missing(user: User, broker: Broker, raw: Raw) -> None:
    broker.ensure_topic("emails")
    raw.channel.basic_consume("emails", lambda *_: None)
    asking = user("monitoring")

    def facts() -> ServerFacts | None:
        facts = asking.server_facts()
        return facts if facts.consumers and "samples" not in facts.missing else None

    assert eventually(facts).missing == {}


@pytest.mark.parametrize("way", ["no tag", "switched off", "nothing there"])
def test_without_the_management_api_only_alarms_are_known(
    user: User, connect: Connect, way: str
) -> None:
    if way == "no tag":
        facts = user("").server_facts(["emails"])
    else:
        url = False if way == "switched off" else "http://127.0.0.1:9"
        facts = connect(management_url=url).broker.server_facts(["emails"])
    assert facts.missing.keys() == set(get_args(ServerPart)) - {"alarms"}
    assert "management API" in facts.missing["queues"]
    assert "the tag management" in facts.missing["queues"]
    assert "the tag monitoring" in facts.missing["consumers"]
    assert (facts.queues, facts.consumers, facts.routes, facts.exchanges) == (None,) * 4
    assert facts.alarms == ()
    assert "pw" not in str(facts.missing)


def test_a_broker_that_is_gone_is_an_error(own_node: RabbitMQNode) -> None:
    with tt.connect(own_node.dsn, management_url=own_node.management_url, timeout=1) as cluster:
        cluster.broker.server_facts()
        own_node.stop()
        try:
            with pytest.raises(tt.BrokerError):
                cluster.broker.server_facts()
        finally:
            own_node.start()


# --- large vhosts -------------------------------------------------------------------------


def test_of_more_than_200_queues_only_the_busy_ones_are_asked_for_samples(
    broker: Broker, raw: Raw
) -> None:
    broker.ensure_topic("emails")
    exchange = broker.layout.task_exchange
    for number in range(210):
        raw.declare(f"quiet-{number}.dead")
    raw.channel.queue_bind("quiet-7.dead", exchange, "quiet")
    raw.fill("emails.dead", 4)

    def facts() -> ServerFacts | None:
        facts = broker.server_facts(["emails"])
        sampled = "samples" not in facts.missing and queue(facts, "emails").published
        return facts if sampled and grown(queue(facts, "emails.dead").published) == 4 else None

    seen = eventually(facts)
    assert seen.queues is not None
    assert seen.queues.keys() == {"emails", "emails.dead", "quiet-7.dead"}
    assert queue(seen, "emails").published  # nobody consumes it
    assert queue(seen, "quiet-7.dead").published is None
    assert queue(seen, "quiet-7.dead").ready == 0
    assert seen.missing == {}
