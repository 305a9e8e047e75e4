"""Messages that no queue takes: they come back, and it is known which they were."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.rabbitmq.replays import NO_PROPERTIES, publish
from tests.vhosts import Vhost

MESSAGES = 5_000


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_confirms_that_come_late_are_not_taken_for_those_of_what_came_back(
    kind: str, vhost: Vhost, raw: Any
) -> None:
    dice = random.Random(1)
    raw.declare("here", x_queue_type=kind)
    filling = b"x" * 20_000  # written slowly, so confirms are behind
    messages = [
        (dice.choice(("here", "here", "here", "nowhere")), NO_PROPERTIES, b"%d %s" % (n, filling))
        for n in range(MESSAGES)
    ]
    outcomes = publish(vhost, messages)
    expected = ["confirmed" if queue == "here" else "unroutable" for queue, *_ in messages]
    assert outcomes == expected


def test_of_equal_messages_as_many_are_returned_as_came_back(vhost: Vhost, raw: Any) -> None:
    raw.declare("here")
    queues = ["here" if n % 2 else "nowhere" for n in range(1_000)]
    messages = [(queue, NO_PROPERTIES, b"the same") for queue in queues]
    outcomes = publish(vhost, messages)
    assert outcomes == ["confirmed" if n % 2 else "unroutable" for n in range(1_000)]
