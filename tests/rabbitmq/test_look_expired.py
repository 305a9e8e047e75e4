"""Messages that expire when a look brings them to the head of their queue."""

from __future__ import annotations

from typing import Any

import pytest

import tasktools as tt
from tasktools.testing import eventually
from tests.support import Raw

KINDS = ["classic", "quorum"]


def expiring(raw: Raw, queue: str, count: int) -> None:
    """Put a message without a TTL into *queue*, and behind it *count* that expire at once."""
    raw.put(queue, b"stays")
    for n in range(count):
        raw.put(queue, b"%d" % n, expiration="1")


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_expired_in_a_look_is_told_and_where_it_went(
    kind: str, limit: int | None, cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 11: foreseen in the verdict, and told afterwards."""
    raw.declare("gone")
    target: dict[str, Any] = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": "gone"}
    raw.declare("q", x_queue_type=kind, **target)
    expiring(raw, "q", 20)
    assert "RabbitMQ moves them to 'gone'" in cluster.broker.look_verdict("q").why
    look = cluster.broker.peek("q", limit)
    assert (len(look.messages), look.ready_before, look.ready_after) == (1, 21, 1)
    assert str(look.note).startswith("20 had expired; RabbitMQ moved them to 'gone'")
    assert "somebody else" not in str(look.note)
    eventually(lambda: raw.depth("gone") == 20)


def test_what_expired_in_the_queue_of_a_topic_is_in_its_dead_letter_queue(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 11: the same for a look at queued tasks, which `notes` tell of."""
    cluster.broker.ensure_topic("emails")
    expiring(raw, "emails", 20)
    frame = cluster.active_tasks("emails")
    assert "20 had expired; RabbitMQ moved them" in " ".join(frame.attrs["notes"])
    assert cluster.topics().set_index("topic").loc["emails", "dead_letter"] == 20


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_dead_letter_exchange_nobody_can_tell_who_took_them(
    kind: str, cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 11: what is not known is said to be so."""
    raw.declare("q", x_queue_type=kind)
    expiring(raw, "q", 20)
    look = cluster.broker.peek("q")
    assert (look.ready_before, look.ready_after) == (21, 1)
    assert "20 had expired, and RabbitMQ drop" in str(look.note)
    assert "or somebody else took them meanwhile" in str(look.note)
