"""The facts of a queue, with the management API, without it, and with few rights."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.core.queue_facts import QueueFacts
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.support import Raw
from tests.vhosts import Vhost

ARGUMENTS = {
    "x-expires": 60_000,
    "x-max-length": 10,
    "x-max-length-bytes": 1_000,
    "x-message-ttl": 5_000,
    "x-single-active-consumer": True,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "dead",
}


def set_policies(node: RabbitMQNode, vhost: Vhost, **policies: dict[str, Any]) -> None:
    """Set policies for queues whose names begin with `q`; by kind, `_` for `-`."""
    for kind, definition in policies.items():
        path = f"/api/{kind.replace('_', '-')}/{vhost.name}/facts"
        body = {"pattern": "^q", "definition": definition, "apply-to": "queues"}
        node.request("PUT", path, body)


@pytest.mark.parametrize("management_url", [None, False])
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_what_a_queue_was_declared_with_is_known_with_and_without_management(
    kind: str, management_url: Any, connect: Connect, raw: Raw, vhost: Vhost
) -> None:
    """Issue 11, row 1: everything about a queue that can make a look lose something is known."""
    raw.channel.queue_declare("q", durable=True, arguments={"x-queue-type": kind, **ARGUMENTS})
    raw.put("q", b"1")
    url = vhost.management_url if management_url is None else management_url
    facts = connect(management_url=url).broker.queue_facts("q")
    assert (facts.queue_type, facts.auto_delete, facts.ready) == (kind, False, 1)
    assert (facts.expires, facts.message_ttl) == (60.0, 5.0)
    assert (facts.max_length, facts.max_length_bytes, facts.drops_head) == (10, 1_000, True)
    assert facts.single_active_consumer
    assert (facts.dead_letter_exchange, facts.dead_letter_key) == ("", "dead")
    assert facts.unknown == (() if management_url is None else ("its policy",))


@pytest.mark.parametrize("management_url", [None, False])
def test_a_queue_that_goes_with_its_last_consumer_is_known_to(
    management_url: Any, connect: Connect, raw: Raw, vhost: Vhost
) -> None:
    """Issue 11, row 1: auto-delete, by the management API and by the argument probe."""
    raw.channel.queue_declare("q", durable=True, auto_delete=True)
    url = vhost.management_url if management_url is None else management_url
    assert connect(management_url=url).broker.queue_facts("q").auto_delete is True
    assert raw.depth("q") == 0


def test_policies_and_operator_policies_count_from_the_first_moment_on(
    connect: Connect, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 11, row 1: by argument, by policy and by operator policy; the lowest counts. A new
    queue has no policy in its entry yet, which does not mean that there is none."""
    set_policies(
        rabbitmq,
        vhost,
        policies={"max-length": 7, "message-ttl": 9_000, "overflow": "reject-publish"},
        operator_policies={"max-length": 5, "expires": 50_000},
    )
    raw.declare("q", x_max_length=6)
    raw.declare("other")
    broker = connect().broker

    def is_told() -> bool:
        facts = broker.queue_facts("q")
        assert facts.policy is None or facts.max_length == 5
        return facts.policy is not None

    eventually(is_told)
    facts = broker.queue_facts("q")
    assert (facts.max_length, facts.message_ttl, facts.expires) == (5, 9.0, 50.0)
    assert (facts.overflow, facts.drops_head) == ("reject-publish", False)
    assert broker.queue_facts("other").policy == {}


def test_what_few_rights_hide_is_missing_and_named(
    connect: Connect, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 11, row 1: what cannot be found out is missing, never fine."""
    raw.declare("q")
    rabbitmq.request("PUT", "/api/users/reader", {"password": "pw", "tags": ""})
    rabbitmq.allow("reader", vhost.name, configure="^$", write="^tasktools", read=".*")
    broker = connect(vhost.dsn.replace("guest:guest@", "reader:pw@")).broker
    facts: QueueFacts = broker.queue_facts("q")
    assert facts.unknown == ("its type and arguments", "its policy")
    assert facts.auto_delete is None
