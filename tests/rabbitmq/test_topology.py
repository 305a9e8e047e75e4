"""The argument probe names what a queue has, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.brokers.rabbitmq.queues import topology
from tasktools.brokers.rabbitmq.queues.topology import QueueArguments

DLX = {"x-dead-letter-exchange": "fp.dlx", "x-dead-letter-routing-key": "dlx.q"}


@pytest.mark.parametrize(
    ("arguments", "flags", "queue_type"),
    [
        ({}, {}, "classic"),
        ({"x-max-priority": 5, "x-message-ttl": 60_000}, {}, "classic"),
        (DLX, {}, "classic"),
        ({"x-dead-letter-exchange": "true", "x-dead-letter-routing-key": "17"}, {}, "classic"),
        ({"x-expires": 60_000}, {"auto_delete": True}, "classic"),
        (
            {
                "x-expires": 60_000,
                "x-max-length": 10,
                "x-max-length-bytes": 1_000,
                "x-message-ttl": 5_000,
                "x-overflow": "reject-publish",
                "x-queue-mode": "lazy",
                "x-single-active-consumer": True,
                **DLX,
            },
            {},
            "classic",
        ),
        ({"x-queue-type": "quorum"}, {}, "quorum"),
        (
            {
                "x-queue-type": "quorum",
                "x-delivery-limit": 3,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
                **DLX,
            },
            {},
            "quorum",
        ),
        ({"x-queue-type": "stream", "x-max-age": "1h"}, {}, "stream"),
    ],
)
def test_the_probe_names_the_arguments(
    arguments: dict[str, Any], flags: dict[str, Any], queue_type: Any, cluster: Any, raw: Any
) -> None:
    raw.channel.queue_declare("q", durable=True, arguments=arguments, **flags)
    probed = cluster.broker._main.run(lambda session: topology.probe(session, "q"))
    assert probed == QueueArguments(
        queue_type=queue_type,
        values={name: value for name, value in arguments.items() if name != "x-queue-type"},
        auto_delete=flags.get("auto_delete", False),
    )
    # the queue is still the same one
    raw.channel.queue_declare("q", durable=True, arguments=arguments, **flags)


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
