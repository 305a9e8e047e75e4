"""What no queue takes comes back, and it is known which message it was."""

from __future__ import annotations

import functools
import random
from typing import Any

import pytest

from tasktools.brokers.rabbitmq.connection import Connection, Session
from tasktools.brokers.rabbitmq.dsn import DSN
from tasktools.brokers.rabbitmq.publisher import Outcome
from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.core import wire
from tasktools.core.models import Properties
from tests.conftest import Vhost

MESSAGES = 5_000
NO_PROPERTIES = RawProperties(wire.encode(Properties()))


def publish(vhost: Vhost, messages: list[tuple[str, bytes]]) -> list[Outcome]:
    """Publish bodies to queues, all on their way at once; returns what became of each."""
    outcomes: dict[int, Outcome] = {}

    def note(n: int, outcome: Outcome) -> None:
        outcomes[n] = outcome

    async def work(session: Session) -> None:
        publisher = await session.publisher()
        for n, (queue, body) in enumerate(messages):
            await publisher.room()
            publisher.send("", queue, body, NO_PROPERTIES, functools.partial(note, n))
        while len(outcomes) < len(messages):
            await publisher.publish("", "no such queue", b"waiting", NO_PROPERTIES)

    connection = Connection(DSN.parse(vhost.dsn), purpose="test", timeout=60)
    try:
        connection.run(work, again=False)
    finally:
        connection.close()
    return [outcomes[n] for n in range(len(messages))]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_confirms_that_come_late_are_not_taken_for_those_of_what_came_back(
    kind: str, vhost: Vhost, raw: Any
) -> None:
    dice = random.Random(1)
    raw.declare("here", x_queue_type=kind)
    filling = b"x" * 20_000  # written slowly, so confirms are behind
    messages = [
        (dice.choice(("here", "here", "here", "nowhere")), b"%d %s" % (n, filling))
        for n in range(MESSAGES)
    ]
    outcomes = publish(vhost, messages)
    expected = ["confirmed" if queue == "here" else "unroutable" for queue, _ in messages]
    assert outcomes == expected


def test_of_equal_messages_as_many_are_returned_as_came_back(vhost: Vhost, raw: Any) -> None:
    raw.declare("here")
    messages = [("here" if n % 2 else "nowhere", b"the same") for n in range(1_000)]
    outcomes = publish(vhost, messages)
    assert outcomes == ["confirmed" if n % 2 else "unroutable" for n in range(1_000)]
