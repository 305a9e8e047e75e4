"""Replaying dead letters, with the ledger: against RabbitMQ's shovel, and one by one."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import pika

import tasktools as tt
from benchmarks.measure import Result, at_least
from tasktools.testing import RabbitMQNode

_TOPIC: Final = "bench.replay"
_DEAD: Final = f"{_TOPIC}.dead"
_BODY: Final = 650
_DEATH: Final = {
    "count": 1,
    "reason": "rejected",
    "queue": _TOPIC,
    "time": datetime(2026, 11, 24, 3, 0),  # noqa: DTZ001 - as pika has times
    "exchange": "fp.tasks",
    "routing-keys": [_TOPIC],
}
_GLANCE: Final = 0.02


def replaying(
    node: RabbitMQNode, *, messages: int, one_by_one: int, rounds: int, share: float = 1.0
) -> Iterator[Result]:
    """Run a plan of all dead letters, and have a shovel move just the same ones, in turns.

    The node has the plugin rabbitmq_shovel. The bounds hold for many messages; of few, where the
    beginning and the end count more, only a *share* of them is asked.
    """
    own, shovel = [], []
    with _ledger(), tt.connect(node.dsn, management_url=node.management_url) as cluster:
        cluster.create_topic(_TOPIC)
        for _ in range(rounds):
            fill(node.dsn, _DEAD, messages)
            plan = cluster.plan_replay(cluster.dead_letters(_TOPIC))
            began = time.perf_counter()
            outcome = cluster.run(plan, reason="bench", progress=False)
            own.append(time.perf_counter() - began)
            assert (outcome["outcome"] == "replayed").all()
            assert len(outcome) == messages
            cluster.broker.purge(_TOPIC)
            fill(node.dsn, _DEAD, messages)
            shovel.append(_shovelled(node, _DEAD, _TOPIC, messages))
            cluster.broker.purge(_TOPIC)
        fill(node.dsn, _DEAD, one_by_one)
        loop = _one_by_one(node.dsn, one_by_one)
        cluster.broker.purge(_TOPIC)
    rate, theirs = messages / median(own), messages / median(shovel)
    yield at_least(
        f"replay of {messages:,} messages with its ledger, against a dynamic shovel",
        rate / theirs,
        0.9 * share,
        f"{rate:,.0f} against {theirs:,.0f} a second",
    )
    yield at_least(
        "the same against get, confirmed publish, ack, one by one",
        rate * loop / one_by_one,
        7 * share,
        f"{rate:,.0f} against {one_by_one / loop:,.0f} a second",
    )


@contextlib.contextmanager
def _ledger() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TASKTOOLS_LEDGER"] = str(Path(folder, "ledger.db"))
        yield
    del os.environ["TASKTOOLS_LEDGER"]


def fill(dsn: str, queue: str, count: int) -> None:
    """Put dead letters of 650 bytes into *queue*, each with its own id and a death."""
    connection = pika.BlockingConnection(pika.URLParameters(dsn))
    channel = connection.channel()
    headers = {
        "x-death": [_DEATH],
        "x-first-death-queue": _TOPIC,
        "x-first-death-reason": "rejected",
        "x-first-death-exchange": "fp.tasks",
    }
    for n in range(count):
        properties = pika.BasicProperties(
            delivery_mode=2, message_id=f"bench-{n}", timestamp=1_790_000_000, headers=headers
        )
        channel.basic_publish("", queue, _body(n), properties)
    while channel.queue_declare(queue, passive=True).method.message_count < count:
        time.sleep(_GLANCE)
    connection.close()


def _body(n: int) -> bytes:
    payload: dict[str, Any] = {
        "task_id": f"task-{n}",
        "task_name": "send_email",
        "func_name": "bench_tasks:send_email",
        "args": [],
        "kwargs": {"to": f"user{n % 5000}@shop.example", "order": n, "text": ""},
        "created_at": "2026-11-24 02:49:03.395753",
    }
    row = {
        "id": f"bench-{n}",
        "topic": _TOPIC,
        "payload": payload,
        "headers": {"type": "task"},
        "attempts": 0,
        "created_at": "2026-11-24T02:49:03.408958+00:00",
    }
    payload["kwargs"]["text"] = "x" * (_BODY - len(json.dumps(row)))
    return json.dumps(row).encode()


def _shovelled(node: RabbitMQNode, source: str, target: str, count: int) -> float:
    """Return the seconds that a shovel takes to move all of *source*."""
    connection = pika.BlockingConnection(pika.URLParameters(node.dsn))
    channel = connection.channel()
    value = {
        "src-uri": "amqp://",
        "src-queue": source,
        "dest-uri": "amqp://",
        "dest-queue": target,
        "src-prefetch-count": 1000,
        "ack-mode": "on-confirm",
        "src-delete-after": "never",
    }
    began = time.perf_counter()
    node.request("PUT", "/api/parameters/shovel/%2F/bench", {"value": value})
    while channel.queue_declare(target, passive=True).method.message_count < count:
        time.sleep(_GLANCE)
    seconds = time.perf_counter() - began
    node.request("DELETE", "/api/parameters/shovel/%2F/bench")
    connection.close()
    return seconds


def _one_by_one(dsn: str, count: int) -> float:
    """Return the seconds for *count* messages."""
    connection = pika.BlockingConnection(pika.URLParameters(dsn))
    channel = connection.channel()
    channel.confirm_delivery()
    began = time.perf_counter()
    for _ in range(count):
        method, properties, body = channel.basic_get(_DEAD)
        channel.basic_publish("", _TOPIC, body, properties, mandatory=True)
        channel.basic_ack(method.delivery_tag)
    seconds = time.perf_counter() - began
    connection.close()
    return seconds
