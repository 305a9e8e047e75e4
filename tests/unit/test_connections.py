"""The connections of one client, none of which is opened here."""

from __future__ import annotations

import gc
import weakref

from tasktools.brokers.rabbitmq.connection.connections import Connections
from tasktools.brokers.rabbitmq.connection.dsn import DSN


def connections() -> Connections:
    """Return connections to an address at which nothing listens."""
    return Connections(DSN.parse("amqp://guest:guest@127.0.0.1:1/"), False, timeout=1.0)


def test_all_are_closed_together() -> None:
    client = connections()
    extra = client.another("tap")
    client.close()
    assert all(each.is_closed for each in (client.main, client.events, client.looks, extra))
    client.close()  # idempotent


def test_a_released_one_is_closed_and_not_kept() -> None:
    """A tap is read over a connection of its own: a long-lived client must not collect them."""
    client = connections()
    extra = client.another("tap")
    client.release(extra)
    client.release(extra)  # idempotent
    assert extra.is_closed
    assert not client.main.is_closed
    kept = weakref.ref(extra)
    del extra
    gc.collect()
    assert kept() is None
    client.close()
