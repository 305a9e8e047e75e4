"""Looks at long queues, at odd bodies, and looks that something happens to."""

from __future__ import annotations

import functools
import os
import signal
import struct
import subprocess
import sys
import threading
import time

import pika
import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq.messages.peek import MAX_HELD
from tasktools.core.models import SeenMessage
from tasktools.core.peek_verdict import Cost
from tasktools.testing import eventually
from tests.support import Raw
from tests.timing import contention
from tests.vhosts import Vhost

KINDS = ["classic", "quorum"]
MANY = MAX_HELD + 2_000


@pytest.fixture(params=KINDS)
def queue(request: pytest.FixtureRequest, raw: Raw) -> str:
    """A queue of each kind, without a delivery limit."""
    return raw.declare(request.param, x_queue_type=request.param)


def fill(vhost: Vhost, queue: str, count: int) -> None:
    """Put small messages into *queue*, numbered, and wait for all of them, not for each."""
    connection = pika.BlockingConnection(pika.URLParameters(vhost.dsn))
    channel = connection.channel()
    for n in range(count):
        channel.basic_publish("", queue, b"%d" % n)
    asked = functools.partial(channel.queue_declare, queue, passive=True)
    # A quorum queue on a slow disk takes its time; no promise of ours is waited for here.
    eventually(lambda: asked().method.message_count == count, timeout=80)
    connection.close()


def consumed(raw: Raw, queue: str, count: int) -> list[tuple[pika.BasicProperties, bytes]]:
    """Take *count* messages, in order, with a consumer of plain pika."""
    messages: list[tuple[pika.BasicProperties, bytes]] = []
    for _, properties, body in raw.channel.consume(queue, auto_ack=True):
        messages.append((properties, body))
        if len(messages) == count:
            break
    raw.channel.cancel()
    return messages


def numbers(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


def test_more_than_one_consumer_can_hold_are_shown_in_order_and_stay_so(
    queue: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost, version: tuple[int, int]
) -> None:
    fill(vhost, queue, MANY)
    shown: list[bytes] = []

    def look() -> None:
        shown.clear()
        look = cluster.broker.peek(queue, receive=lambda _message, body: shown.append(body))
        assert (look.ready_before, look.ready_after, look.note) == (MANY, MANY, None)

    if queue == "quorum" and version < (4, 0):
        with pytest.raises(tt.LookRefused, match=f"{MANY:,} messages"):
            look()
        assert len(cluster.broker.peek(queue, MAX_HELD, receive=lambda *_: None).messages) == 0
    else:
        for _ in range(2):
            look()
            assert shown == numbers(MANY)
    eventually(lambda: raw.depth(queue) == MANY)  # RabbitMQ takes its time for what it gets back
    assert [body for _, body in consumed(raw, queue, MANY)] == numbers(MANY)


def test_questions_are_answered_while_a_long_look_goes_on(
    cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    raw.declare("long")
    fill(vhost, "long", 20_000)
    begun = threading.Event()

    def receive(_message: SeenMessage, _body: bytes) -> None:
        begun.set()
        time.sleep(0.00005)

    look = threading.Thread(target=cluster.broker.peek, args=("long",), kwargs={"receive": receive})
    look.start()
    assert begun.wait(30)
    waits = []
    while look.is_alive():
        asked = time.monotonic()
        assert cluster.broker.topic_exists("long")
        waits.append(time.monotonic() - asked)
    assert len(waits) > 3
    assert max(waits) < 1.0 * contention()


def test_thirty_looks_do_what_their_verdicts_say(
    queue: str, cluster: tt.Cluster, raw: Raw, version: tuple[int, int]
) -> None:
    bodies = raw.fill(queue, 60)
    looks = 0
    for _ in range(30):
        verdict = cluster.broker.look_verdict(queue)
        if verdict.cost is Cost.COULD_DROP:
            with pytest.raises(tt.LookRefused):
                cluster.broker.peek(queue)
            break
        shown: list[bytes] = []
        cluster.broker.peek(queue, receive=lambda _message, body: shown.append(body))  # noqa: B023
        assert shown == bodies
        assert raw.depth(queue) == 60
        looks += 1
    is_limited = queue == "quorum" and (4, 0) <= version < (4, 3)
    assert looks == (19 if is_limited else 30)
    messages = raw.read_all(queue)
    assert [body for _, body in messages] == bodies
    counts = {(properties.headers or {}).get("x-delivery-count", 0) for properties, _ in messages}
    is_counted = queue == "quorum" and version < (4, 3)
    assert counts == {looks if is_counted else 0}


def test_a_streamed_look_beside_a_consumer_loses_nothing(
    queue: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    fill(vhost, queue, 2_000)
    raw.channel.basic_qos(prefetch_count=50)
    tag = raw.channel.basic_consume(queue, lambda *_: None)
    raw.connection.process_data_events(0.2)
    shown: list[bytes] = []
    look = cluster.broker.peek(queue, receive=lambda _message, body: shown.append(body))
    assert look.verdict.cost is not Cost.HARMLESS
    assert shown == numbers(2_000)[50:]
    raw.channel.basic_cancel(tag)
    raw.channel.basic_nack(0, multiple=True, requeue=True)
    eventually(lambda: raw.depth(queue) == 2_000)
    assert {body for _, body in consumed(raw, queue, 2_000)} == set(numbers(2_000))


def test_a_process_killed_in_a_streamed_look_leaves_everything_in_order(
    queue: str, raw: Raw, vhost: Vhost
) -> None:
    fill(vhost, queue, 20_000)
    code = (
        "import os, tasktools as tt\n"
        f"cluster = tt.connect({vhost.dsn!r}, management_url={vhost.management_url!r})\n"
        "def receive(message, body):\n"
        "    message.position == 10_000 and os.kill(os.getpid(), 9)\n"
        f"cluster.broker.peek({queue!r}, receive=receive)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    eventually(lambda: raw.depth(queue) == 20_000)
    assert [body for _, body in consumed(raw, queue, 20_000)] == numbers(20_000)


def test_a_queue_deleted_in_the_middle_of_a_look_ends_it(
    queue: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    fill(vhost, queue, 5_000)

    def receive(message: SeenMessage, _body: bytes) -> None:
        if message.position == 0:
            raw.channel.queue_delete(queue)

    look = cluster.broker.peek(queue, receive=receive)
    assert (look.ready_before, look.ready_after) == (5_000, 0)
    assert "5000 messages were ready before and 0 after" in str(look.note)


def test_an_end_to_a_look_leaves_what_was_claimed(cluster: tt.Cluster, raw: Raw) -> None:
    """Whatever a receiver does, the connection lives."""
    cluster.broker.publish("claimed", {"task_name": "shop:send"})
    delivery = cluster.broker.claim("claimed", "w")
    assert delivery is not None
    bodies = raw.fill(raw.declare("emails"), 10)

    def receive(_message: SeenMessage, _body: bytes) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cluster.broker.peek("emails", receive=receive)
    cluster.broker.peek("emails", receive=lambda *_: True)
    cluster.broker.ack(delivery.id)
    assert not raw.bodies("claimed")
    assert raw.bodies("emails") == bodies


def test_bodies_of_every_length_about_a_frame_arrive_as_they_are(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """A body's second frame may look like the beginning of a delivery."""
    frame = 131_072 - 8
    delivery = struct.pack(">HHB", 60, 60, 3) + b"abc" + struct.pack(">QB", 7, 1) + b"\0\0"
    sizes = [0, 1, frame - 1, frame, frame + 1, 2 * frame, 2 * frame + 1, 700_000]
    bodies = [os.urandom(size) for size in sizes]
    bodies += [b"x" * frame + delivery * 3, delivery, b"\xce" * frame, b"AMQP\0\0\x09\x01", b"last"]
    raw.declare("emails")
    for body in bodies:
        raw.put("emails", body)
    shown: list[bytes] = []
    cluster.broker.peek("emails", receive=lambda _message, body: shown.append(body))
    assert shown == bodies
    claimed = [cluster.broker.claim("emails", "w") for _ in bodies]
    assert [delivery and delivery.body for delivery in claimed] == bodies
