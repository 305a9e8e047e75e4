"""Dead letters by the thousand, and what became of them, by plain pika."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pika
import pytest

import tasktools as tt
from tasktools.core.models import QueueType
from tasktools.testing import RabbitMQNode, eventually, task_body, task_payload
from tests.conftest import Vhost
from tests.support import Raw

TOPIC, DEAD = "work", "work.dead"
KINDS = ["classic", "quorum"]


def make_topic(
    cluster: tt.Cluster, raw: Raw, kind: QueueType, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Create the topic with a dead-letter queue of the same *kind*, which may be looked at."""
    raw.declare(DEAD, x_queue_type=kind)
    cluster.create_topic(TOPIC, queue_type=kind)
    if kind == "quorum" and (cluster.broker.server_version or "") >= "4":
        policy = {"pattern": ".*", "definition": {"delivery-limit": -1}, "apply-to": "queues"}
        rabbitmq.request("PUT", f"/api/policies/{vhost.name}/unlimited", policy)
        eventually(lambda: cluster.broker.look_verdict(DEAD, 1).drop_at is None)


def tasks(count: int) -> list[bytes]:
    """Return bodies of tasks, numbered from 0; `number` finds it in them."""
    return [
        task_body(
            message_id=f"m{n}",
            topic=TOPIC,
            payload=task_payload(task_id=f"task-{n}", topic=TOPIC, kwargs={"n": n}),
        )
        for n in range(count)
    ]


def put_all(raw: Raw, queue: str, messages: Iterable[tuple[Any, bytes]]) -> None:
    """Put *messages* into *queue*, quickly; they are there when this returns."""
    channel = raw.connection.channel()
    expected = raw.depth(queue)
    for properties, body in messages:
        channel.basic_publish("", queue, body, properties)
        expected += 1
    channel.close()
    eventually(lambda: raw.depth(queue) == expected, timeout=60)


def put_tasks(raw: Raw, bodies: Sequence[bytes]) -> None:
    """Put tasks into the dead-letter queue."""
    properties = pika.BasicProperties(delivery_mode=2)
    put_all(raw, DEAD, ((properties, body) for body in bodies))


def drain(raw: Raw, queue: str) -> list[tuple[bytes, bytes]]:
    """Take every ready message of *queue*, in order: properties and body, as bytes."""
    count, found = raw.depth(queue), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pika.spec.BasicProperties, "decode", _keep)
        channel = raw.connection.channel()
        if count:
            for _, properties, body in channel.consume(queue, auto_ack=True):
                found.append((properties.raw, body))
                if len(found) == count:
                    break
        channel.cancel()
        channel.close()
    return found


def _keep(properties: Any, encoded: bytes, offset: int = 0) -> Any:
    properties.raw = encoded[offset:]
    return properties


def bodies(raw: Raw, queue: str) -> list[bytes]:
    """Take every ready message of *queue*, in order, and return the bodies."""
    return [body for _, body in drain(raw, queue)]
