"""Looking at dead letters: into a frame, against a consumer that does nothing, and the API."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pika
import requests

import tasktools as tt
from benchmarks.measure import Result, at_least, at_most, in_turns
from benchmarks.replaying import fill
from tasktools.testing import RabbitMQNode

_TOPIC: Final = "bench.browse"
_DEAD: Final = f"{_TOPIC}.dead"
_PROGRAM: Final = Path(__file__).with_name("programs") / "browse.py"
_GLANCE: Final = 0.01


def browsing(node: RabbitMQNode, *, messages: int, rounds: int, bound: float) -> Iterator[Result]:
    """Look at all dead letters: take them, show them, give them back."""
    with tt.connect(node.dsn, management_url=node.management_url) as cluster:
        cluster.create_topic(_TOPIC)
        fill(node.dsn, _DEAD, messages)
        mine, theirs = in_turns(
            lambda: _look(cluster, messages), lambda: _consume(node.dsn, messages), rounds
        )
        above = _memory(node, messages)
        cluster.broker.purge(_DEAD)
    yield at_least(
        f"dead_letters() of {messages:,} into a frame, against a pika consumer that does nothing",
        theirs / mine,
        bound,
        f"{messages / mine:,.0f} against {messages / theirs:,.0f} a second, both until all are "
        "ready again",
    )
    yield at_most(
        f"memory for dead_letters() of {messages:,}, in MB above the start",
        above,
        300,
        f"{above:,.0f} MB at the peak",
    )


def against_the_api(node: RabbitMQNode, *, messages: int, rounds: int) -> Result:
    """Look at the same dead letters with the management API's get.

    It cannot go on where another call ended, so one call must bring them all, and its time grows
    with the square of their number: 100,000 take minutes.
    """
    with tt.connect(node.dsn, management_url=node.management_url) as cluster:
        cluster.create_topic(_TOPIC)
        fill(node.dsn, _DEAD, messages)
        mine, theirs = in_turns(
            lambda: _look(cluster, messages), lambda: _get(node, messages), rounds
        )
        cluster.broker.purge(_DEAD)
    return at_least(
        f"dead_letters() of {messages:,} into a frame, against the management API's get",
        theirs / mine,
        5,
        f"{messages / mine:,.0f} against {messages / theirs:,.0f} a second",
    )


def _look(cluster: tt.Cluster, messages: int) -> None:
    frame = cluster.dead_letters(_TOPIC)
    assert len(frame) == messages
    assert frame.attrs["looks"][0]["note"] is None


def _consume(dsn: str, messages: int) -> None:
    """Consume all messages, look at none, and give them back."""
    seen = 0

    def start(connection: Any) -> None:
        connection.channel(on_open_callback=lambda channel: channel.basic_consume(_DEAD, count))

    def count(channel: Any, _method: Any, _properties: Any, _body: bytes) -> None:
        nonlocal seen
        seen += 1
        if seen == messages:
            channel.basic_nack(0, multiple=True, requeue=True)
            channel.connection.close()

    connection = pika.SelectConnection(
        pika.URLParameters(dsn),
        on_open_callback=start,
        on_close_callback=lambda connection, _why: connection.ioloop.stop(),
    )
    connection.ioloop.start()
    blocking = pika.BlockingConnection(pika.URLParameters(dsn))
    channel = blocking.channel()
    while channel.queue_declare(_DEAD, passive=True).method.message_count < messages:
        time.sleep(_GLANCE)
    blocking.close()


def _get(node: RabbitMQNode, messages: int) -> None:
    answer = requests.post(
        f"{node.management_url}/api/queues/%2F/{_DEAD}/get",
        json={"count": messages, "ackmode": "ack_requeue_true", "encoding": "auto"},
        auth=("guest", "guest"),
        timeout=120,
    )
    assert len(answer.json()) == messages


def _memory(node: RabbitMQNode, messages: int) -> float:
    """Return by how many MB a process of its own grows."""
    command = [sys.executable, str(_PROGRAM), node.dsn, node.management_url, _TOPIC]
    rows, above = subprocess.check_output(command, text=True).split()
    assert int(rows) == messages
    return float(above)
