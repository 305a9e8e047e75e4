"""Dead letters by the thousand, and what became of them, by plain pika."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pika
import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.brokers.rabbitmq.connection.publisher import Outcome
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.models import QueueType
from tasktools.testing import RabbitMQNode, eventually, task_body, task_payload
from tests.support import Raw
from tests.vhosts import Vhost

TOPIC, DEAD = "work", "work.dead"
KINDS = ["classic", "quorum"]
_PROGRAM: Final = Path(__file__).with_name("programs") / "run_plan.py"
NO_PROPERTIES: Final = b"\x00\x00"
PERSISTENT: Final = b"\x10\x00\x02"  # delivery mode 2, nothing else


def make_topic(
    cluster: tt.Cluster, raw: Raw, kind: QueueType, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Create the topic with a dead-letter queue of the same *kind*, which may be looked at."""
    is_limited = kind == "quorum" and (cluster.broker.server_version or "") >= "4"
    if is_limited:
        policy = {"pattern": ".*", "definition": {"delivery-limit": -1}, "apply-to": "queues"}
        rabbitmq.request("PUT", f"/api/policies/{vhost.name}/unlimited", policy)
    raw.declare(DEAD, x_queue_type=kind)
    cluster.create_topic(TOPIC, queue_type=kind)
    if is_limited:
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


def publish(vhost: Vhost, messages: Iterable[tuple[str, bytes, bytes]]) -> list[Outcome]:
    """Publish messages, each queue, properties and body, all on their way at once; returns what
    became of each."""
    outcomes: dict[int, Outcome] = {}

    def note(n: int, outcome: Outcome) -> None:
        outcomes[n] = outcome

    async def work(session: Session) -> int:
        publisher, count = await session.publisher(), 0
        for count, (queue, raw, body) in enumerate(messages, 1):
            await publisher.room()
            noted = functools.partial(note, count)
            publisher.send("", queue, body, RawProperties(raw), noted)
        while len(outcomes) < count:
            await publisher.publish("", "no such queue", b"waiting", RawProperties(NO_PROPERTIES))
        return count

    connection = Connection(DSN.parse(vhost.dsn), purpose="test", timeout=120)
    try:
        count = connection.run(work, again=False)
    finally:
        connection.close()
    return [outcomes[n] for n in range(1, count + 1)]


def put(vhost: Vhost, queue: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
    """Put messages, each properties and body, into *queue*."""
    outcomes = publish(vhost, ((queue, raw, body) for raw, body in messages))
    assert set(outcomes) == {"confirmed"}


def put_tasks(vhost: Vhost, bodies: Iterable[bytes]) -> None:
    """Put tasks into the dead-letter queue."""
    put(vhost, DEAD, ((PERSISTENT, body) for body in bodies))


class Found(NamedTuple):
    """A message as it lay in a queue; *properties* are bytes."""

    properties: bytes
    body: bytes
    redelivered: bool


def drain(raw: Raw, queue: str) -> list[Found]:
    """Take every ready message of *queue*, in order."""
    count, messages = raw.depth(queue), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pika.spec.BasicProperties, "decode", _keep)
        channel = raw.connection.channel()
        if count:
            for method, properties, body in channel.consume(queue, auto_ack=True):
                messages.append(Found(properties.raw, body, method.redelivered))
                if len(messages) == count:
                    break
        channel.close()
    assert raw.depth(queue) == 0
    return messages


def _keep(properties: Any, encoded: bytes, offset: int = 0) -> Any:
    properties.raw = encoded[offset:]
    return properties


def uncounted(properties: bytes) -> bytes:
    """Return *properties* without the counters of a quorum queue, and without an empty table."""
    counters = ("x-delivery-count", "x-acquired-count")
    is_alone = set(amqp_properties.decode(properties).headers) <= set(counters)
    drop = ("headers",) if is_alone else ()
    return amqp_properties.edited(properties, without=counters.__contains__, drop=drop)


def bodies(raw: Raw, queue: str) -> list[bytes]:
    """Take every ready message of *queue*, in order, and return the bodies."""
    return [message.body for message in drain(raw, queue)]


def count(rabbitmq: RabbitMQNode, vhost: Vhost, queue: str, column: str) -> int:
    """Return a number that the broker itself has of *queue* now, as ``messages_unacknowledged``:
    the management plugin tells of up to some seconds ago."""
    listed = rabbitmq.ctl("list_queues", "-p", vhost.name, "--silent", "name", column)
    return int(dict(map(str.split, listed.splitlines()))[queue])


def wait_until_given_back(rabbitmq: RabbitMQNode, vhost: Vhost, queue: str) -> None:
    """Wait until the broker has put back what a process that was killed held of *queue*."""
    eventually(lambda: count(rabbitmq, vhost, queue, "messages_unacknowledged") == 0)


class Replayer:
    """Starts a process that runs a plan, and kills it when it has got far enough."""

    def __init__(self, vhost: Vhost, plan: Path, dice: random.Random) -> None:
        self._command = [sys.executable, str(_PROGRAM), vhost.dsn, str(plan)]
        self._environment = os.environ | {"BROKER_MANAGEMENT_URL": vhost.management_url}
        self._dice = dice
        self.seconds = 0.0

    def run(self, goal: int | None, *, within: float = 0.1) -> int | None:
        """Run it until *goal* messages have ended, and up to *within* seconds longer; returns how
        many had been told, or `None` when it came to its end by itself."""
        began, ended = time.monotonic(), 0
        with subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                ended += int(line)
                if goal is not None and ended >= goal:
                    time.sleep(self._dice.uniform(0, within))
                    child.kill()
                    break
        self.seconds += time.monotonic() - began
        assert child.returncode in (0, -9)
        return ended if child.returncode else None
