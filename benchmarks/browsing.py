"""Looking at dead letters: into a frame, against a consumer that does nothing, and the API."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
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
_AT_ONCE: Final = 1_000  # messages; more in one answer cost the API disproportionately
_GLANCE: Final = 0.01


def browsing(
    node: RabbitMQNode, *, messages: int, by_the_api: int, rounds: int
) -> Iterator[Result]:
    """Look at all dead letters: take them, show them, give them back."""
    with tt.connect(node.dsn, management_url=node.management_url) as cluster:
        cluster.create_topic(_TOPIC)
        fill(node.dsn, _DEAD, messages)

        def ours() -> None:
            frame = cluster.dead_letters(_TOPIC)
            assert len(frame) == messages
            assert frame.attrs["looks"][0]["note"] is None

        mine, theirs = in_turns(ours, lambda: _consume(node.dsn, messages), rounds)
        api = _get(node, by_the_api)
        above = _memory(node, messages)
        cluster.broker.purge(_DEAD)
    rate = messages / mine
    yield at_least(
        f"dead_letters() of {messages:,} into a frame, against a pika consumer that does nothing",
        theirs / mine,
        0.8,
        f"{rate:,.0f} against {messages / theirs:,.0f} a second, both until all are ready again",
    )
    yield at_least(
        f"the same against the management API's get of {by_the_api:,}, {_AT_ONCE:,} at a time",
        rate * api / by_the_api,
        5,
        f"{rate:,.0f} against {by_the_api / api:,.0f} a second",
    )
    yield at_most(
        f"memory for dead_letters() of {messages:,} into a frame, in MB above the start",
        above,
        300,
        f"{above:,.0f} MB at the peak",
    )


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


def _get(node: RabbitMQNode, messages: int) -> float:
    """Return the seconds that the management API needs for as many messages."""
    seconds = []
    for _ in range(messages // _AT_ONCE):
        began = time.perf_counter()
        answer = requests.post(
            f"{node.management_url}/api/queues/%2F/{_DEAD}/get",
            json={"count": _AT_ONCE, "ackmode": "ack_requeue_true", "encoding": "auto"},
            auth=("guest", "guest"),
            timeout=60,
        )
        seconds.append(time.perf_counter() - began)
        assert len(answer.json()) == _AT_ONCE
    return median(seconds) * messages / _AT_ONCE


def _memory(node: RabbitMQNode, messages: int) -> float:
    """Return by how many MB a process of its own grows."""
    command = [sys.executable, str(_PROGRAM), node.dsn, node.management_url, _TOPIC]
    rows, above = subprocess.check_output(command, text=True).split()
    assert int(rows) == messages
    return float(above)
