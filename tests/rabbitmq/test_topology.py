"""The argument probe names what a queue has, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.topology import QueueArguments

DLX = {"x-dead-letter-exchange": "fp.dlx", "x-dead-letter-routing-key": "dlx.q"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ("classic", None, None, None)),
        ({"x-max-priority": 5, "x-message-ttl": 60_000}, ("classic", None, None, None)),
        (DLX, ("classic", "fp.dlx", "dlx.q", None)),
        ({"x-queue-type": "quorum"}, ("quorum", None, None, None)),
        (
            {"x-queue-type": "quorum", "x-delivery-limit": 3, **DLX},
            ("quorum", "fp.dlx", "dlx.q", 3),
        ),
        ({"x-queue-type": "stream"}, ("stream", None, None, None)),
    ],
)
def test_the_probe_names_the_arguments(
    arguments: dict[str, Any], expected: tuple[Any, ...], cluster: Any, raw: Any
) -> None:
    raw.channel.queue_declare("q", durable=True, arguments=arguments)
    found = cluster.broker._main.run(lambda session: topology.probe(session, "q"))
    queue_type, exchange, key, limit = expected
    assert found == QueueArguments(
        queue_type=queue_type,
        dead_letter_exchange=exchange,
        dead_letter_key=key,
        delivery_limit=limit,
    )
    # the queue is still the same one
    raw.channel.queue_declare("q", durable=True, arguments=arguments)


def test_probing_a_queue_that_does_not_exist_makes_none(cluster: Any, raw: Any) -> None:
    assert cluster.broker._main.run(lambda session: topology.probe(session, "q")) is None
    with pytest.raises(Exception, match="no queue"):
        raw.channel.queue_declare("q", passive=True)


def test_what_exists_with_other_arguments_is_used_as_it_is(cluster: Any, raw: Any) -> None:
    raw.declare("emails", x_queue_type="quorum")
    raw.declare("emails.dead", x_max_length=10)
    cluster.broker.ensure_topic("emails")
    cluster.publish("emails", "shop:send")
    topics = cluster.topics().set_index("topic")
    assert topics.loc["emails", "queue_type"] == "quorum"
    assert topics.loc["emails", "queued"] == 1
