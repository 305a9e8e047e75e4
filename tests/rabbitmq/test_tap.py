"""Taps on RabbitMQ: a stream beside the queues, which changes nothing for them."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

import tasktools as tt
from tasktools.brokers.rabbitmq import RabbitMQBroker
from tasktools.brokers.rabbitmq.connection import pika_border
from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.brokers.rabbitmq.messages.stream_tap import refusal
from tasktools.brokers.taps import Tapped
from tasktools.core import taps
from tasktools.core.clock import moment
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.support import Proxy, Raw
from tests.timing import within
from tests.vhosts import Vhost

LEAST = 10_000_000
MANY = 20_000
QUIET: Any = {"reason": "INC-42", "progress": False}


@pytest.fixture
def tapped(cluster: tt.Cluster) -> tt.Cluster:
    """A cluster with a topic, whose published messages are kept."""
    cluster.create_topic("emails")
    cluster.tap()
    return cluster


def fill(cluster: tt.Cluster, count: int, first: int = 0) -> None:
    """Publish tasks, numbered from *first*."""
    compose = cluster.broker.composer.compose
    messages = [
        compose("emails", {"task_name": "shop:send", "kwargs": {"n": n}})
        for n in range(first, first + count)
    ]
    assert set(cluster.broker.publish_many(messages)) == {"confirmed"}


def numbers(frame: Any) -> list[int]:
    return [kwargs["n"] for kwargs in frame["kwargs"]]


def publish(raw: Raw, body: bytes, topic: str = "emails", **properties: Any) -> None:
    """Publish raw bytes to the task exchange, as another program would."""
    message_properties = pika.BasicProperties(**properties)
    raw.channel.basic_publish("fp.tasks", topic, body, message_properties, mandatory=True)


# --- what it is ----------------------------------------------------------------------------------


def test_the_stream_has_the_limits_that_were_asked_for_and_takes_everything(
    cluster: tt.Cluster, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    cluster.tap(max_age="36h", max_bytes=50_000_000)
    queue = rabbitmq.request("GET", f"/api/queues/{vhost.name}/{taps.NAME}")
    assert queue["arguments"] == {
        "x-queue-type": "stream",
        "x-max-age": "36h",
        "x-max-length-bytes": 50_000_000,
        "x-stream-max-segment-size-bytes": 5_000_000,
    }
    assert queue["durable"]
    bound = rabbitmq.request("GET", f"/api/queues/{vhost.name}/{taps.NAME}/bindings")
    assert [
        (binding["source"], binding["routing_key"]) for binding in bound if binding["source"]
    ] == [("fp.tasks", "#")]
    cluster.untap()
    bound = rabbitmq.request("GET", f"/api/queues/{vhost.name}/{taps.NAME}/bindings")
    assert [binding for binding in bound if binding["source"]] == []


def test_it_is_trimmed_to_its_limits(cluster: tt.Cluster, raw: Raw) -> None:
    cluster.create_topic("emails")
    cluster.tap(max_bytes=LEAST)
    for n in range(100):
        publish(raw, b"%03d" % n + b"x" * 300_000)
    numbers_kept: list[int] = []
    cluster.broker.read_tap(taps.NAME, lambda message: numbers_kept.append(int(message.body[:3])))
    assert numbers_kept == list(range(numbers_kept[0], 100))
    assert 25 <= len(numbers_kept) <= 45  # 10 MB, to a segment of 1 MB or two


def test_what_is_no_stream_is_neither_read_nor_deleted(cluster: tt.Cluster, raw: Raw) -> None:
    raw.declare(taps.NAME)
    raw.put(taps.NAME, b"precious")
    with pytest.raises(tt.TapConflict, match="instead of"):
        cluster.tap()
    with pytest.raises(tt.UnknownTap, match="another queue"):
        cluster.published()
    with pytest.raises(tt.TapConflict, match="not known to be a stream"):
        cluster.untap(delete=True)
    assert eventually(lambda: raw.depth(taps.NAME) == 1)


def test_who_may_only_read_it_reads_it_and_is_told_of_all_else(
    rabbitmq: RabbitMQNode, vhost: Vhost, connect: Connect, tapped: tt.Cluster
) -> None:
    rabbitmq.add_user("reader", "x")
    rabbitmq.allow("reader", vhost.name, configure="^$", write="^$", read="^tasktools.tap$")
    reader = connect(vhost.dsn.replace("guest:guest", "reader:x"), management_url=False)
    fill(tapped, 3)
    assert numbers(reader.published()) == [0, 1, 2]
    with pytest.raises(tt.PermissionDenied):
        reader.tap()
    with pytest.raises(tt.PermissionDenied):
        reader.untap()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            541,
            "INTERNAL_ERROR - Cannot declare a queue: the corresponding feature flag is disabled",
        ),
        (406, "PRECONDITION_FAILED - invalid arg 'x-queue-type': unsupported queue type 'stream'"),
    ],
)
def test_a_server_without_streams_is_told_from_a_lost_line(code: int, text: str) -> None:
    dsn = DSN.parse("amqp://guest:guest@localhost/")
    closed = ConnectionClosedByBroker if code == 541 else ChannelClosedByBroker
    refused = pika_border.channel_error(closed(code, text), dsn)
    assert isinstance(refused, pika_border.Refused)
    error = refusal(refused, "3.10.8", taps.NAME, {})
    assert isinstance(error, tt.NoStreams)
    assert "RabbitMQ 3.10.8 has no streams" in str(error)
    lost = pika_border.channel_error(ConnectionClosedByBroker(541, "INTERNAL_ERROR"), dsn)
    assert isinstance(lost, tt.ConnectionLost)


def test_what_is_refused_for_another_reason_says_it() -> None:
    refused = pika_border.Refused(406, "PRECONDITION_FAILED - queue limit in vhost is reached")
    assert refusal(refused, "4.3.6", taps.NAME, {}) is refused


# --- what it shows -------------------------------------------------------------------------------


def test_of_many_messages_all_are_shown_in_order_and_any_part_of_them(tapped: tt.Cluster) -> None:
    fill(tapped, MANY)
    frame = tapped.published()
    assert numbers(frame) == list(range(MANY))
    time.sleep(2.1)
    since = moment(time.time())
    fill(tapped, 50, MANY)
    time.sleep(2.1)
    until = moment(time.time())
    fill(tapped, 10, MANY + 50)
    assert numbers(tapped.published(since=since, until=until)) == list(range(MANY, MANY + 50))
    assert numbers(tapped.published(since=until)) == list(range(MANY + 50, MANY + 60))
    assert numbers(tapped.published(until=since)) == list(range(MANY))
    first = tapped.published(since=since, limit=5)
    assert numbers(first) == list(range(MANY, MANY + 5))
    assert tapped.published(since=moment(time.time() + 5), until=moment(time.time() + 9)).empty


def test_an_empty_tap_and_a_time_after_all_are_soon_answered(tapped: tt.Cluster) -> None:
    with within(20, "three answers"):  # and not as long as a read may take
        assert tapped.published().empty
        fill(tapped, 3)
        time.sleep(1.1)
        assert tapped.published(since=moment(time.time())).empty


def test_junk_and_markup_and_large_bodies_are_shown(tapped: tt.Cluster, raw: Raw) -> None:
    large = json.dumps({"x": "y" * 5_000_000}).encode()
    tapped.publish("emails", "shop:send", kwargs={"a": "<script>", "password": "hunter2"})
    publish(raw, b"\xff\x00 junk", headers={"bytes": b"\xff", "n": 1})
    publish(raw, b"")
    publish(raw, large)
    frame = tapped.published()
    assert frame["size"].tolist()[1:] == [7, 0, len(large)]
    assert frame["problem"].isna().tolist() == [True, False, False, False]
    assert frame["kwargs"].iloc[0]["a"] == "<script>"
    assert "hunter2" not in str(frame["kwargs"].iloc[0])
    plan = tapped.plan_replay(frame.tail(3), undecodable=True)
    tapped.broker.purge("emails")
    assert tapped.run(plan, **QUIET)["outcome"].tolist() == ["replayed"] * 3
    copies = raw.read_all("emails")
    assert [body for _, body in copies] == [b"\xff\x00 junk", b"", large]
    assert copies[0][0].headers["n"] == 1


def test_table_headers_are_dropped_and_that_is_said(tapped: tt.Cluster, raw: Raw) -> None:
    headers = {"table": {"a": 1}, "list": [1], "text": "x"}
    publish(raw, b"{}", headers=headers, message_id="m1")
    raw.channel.queue_purge("emails")
    plan = tapped.plan_replay(tapped.published(), undecodable=True)
    assert "without headers that were tables or lists" in repr(plan)
    tapped.run(plan, **QUIET)
    ((properties, _),) = raw.read_all("emails")
    assert properties.message_id == "m1"
    names = {name for name in properties.headers if not name.startswith("x-tasktools")}
    assert names == {"text"}


def test_what_was_delayed_is_kept_since_rabbitmq_4(
    tapped: tt.Cluster, raw: Raw, version: tuple[int, int]
) -> None:
    tapped.publish("emails", "shop:send", delay=0.3)
    assert eventually(lambda: raw.depth("emails") == 1)
    time.sleep(0.2)
    assert len(tapped.published()) == (version >= (4, 0))


def test_a_read_only_cluster_without_management_shows_it(
    tapped: tt.Cluster, connect: Connect
) -> None:
    fill(tapped, 3)
    looking = connect(read_only=True, management_url=False)
    assert numbers(looking.published()) == [0, 1, 2]
    with pytest.raises(tt.ReadOnly):
        looking.tap()
    with pytest.raises(tt.ReadOnly):
        looking.untap(delete=True)


# --- what goes on meanwhile ----------------------------------------------------------------------


def test_what_is_published_while_it_is_read_does_not_keep_it_from_ending(
    tapped: tt.Cluster, connect: Connect
) -> None:
    fill(tapped, 5_000)
    done = threading.Event()
    other = connect()

    def go_on() -> None:
        first = 5_000
        while not done.is_set():
            fill(other, 500, first)
            first += 500

    publishing = threading.Thread(target=go_on)
    publishing.start()
    try:
        counts = []
        for _ in range(5):
            tapped_numbers = numbers(tapped.published())
            assert tapped_numbers == list(range(len(tapped_numbers)))  # no gap, none twice
            counts.append(len(tapped_numbers))
    finally:
        done.set()
        publishing.join()
    assert counts == sorted(counts)
    assert counts[0] >= 5_000


def test_what_was_confirmed_is_always_there_to_be_read(tapped: tt.Cluster) -> None:
    for n in range(100):
        fill(tapped, 1, n)
        assert len(tapped.published()) == n + 1


def test_two_read_at_once_and_both_get_all(tapped: tt.Cluster, connect: Connect) -> None:
    fill(tapped, MANY)
    other, rows = connect(), {}

    def read(name: str, cluster: tt.Cluster) -> None:
        rows[name] = numbers(cluster.published())

    readers = [
        threading.Thread(target=read, args=thread_args)
        for thread_args in (("one", tapped), ("same", tapped), ("other", other))
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert rows == {name: list(range(MANY)) for name in ("one", "same", "other")}


def test_a_killed_reader_leaves_everything_as_it_was(
    tapped: tt.Cluster, process: Callable[[str], subprocess.Popen[str]]
) -> None:
    fill(tapped, MANY)
    reader = process(
        "threading.Thread(target=broker.read_tap, args=('tasktools.tap', lambda m: "
        "threading.Event().wait(0.001))).start()"
    )
    time.sleep(0.5)
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    assert numbers(tapped.published()) == list(range(MANY))


def test_it_outlives_a_restart_of_the_broker(tapped: tt.Cluster, rabbitmq: RabbitMQNode) -> None:
    fill(tapped, 100)
    rabbitmq.restart()
    assert numbers(tapped.published()) == list(range(100))  # waits until the stream is there
    fill(tapped, 100, 100)
    assert numbers(tapped.published()) == list(range(200))
    rabbitmq.kill()
    rabbitmq.start()
    assert numbers(tapped.published()) == list(range(200))


def test_a_line_that_is_cut_while_it_is_read_is_told(
    tapped: tt.Cluster, cut_cluster: tt.Cluster, proxy: Proxy
) -> None:
    fill(tapped, MANY)
    seen: list[Tapped] = []

    def receive(message: Tapped) -> None:
        seen.append(message)
        if len(seen) == 1_000:
            proxy.cut()

    with pytest.raises(tt.BrokerError, match="lost"):
        cut_cluster.broker.read_tap(taps.NAME, receive)
    assert 1_000 <= len(seen) < MANY
    assert numbers(cut_cluster.published()) == list(range(MANY))


def test_a_tap_that_is_deleted_while_it_is_read_ends_the_reading(tapped: tt.Cluster) -> None:
    fill(tapped, MANY)
    seen: list[Tapped] = []

    def receive(message: Tapped) -> None:
        seen.append(message)
        if len(seen) == 1:
            tapped.untap(delete=True)

    with pytest.raises(tt.UnknownTap):
        tapped.broker.read_tap(taps.NAME, receive)


def test_a_reader_ends_when_its_broker_is_closed(tapped: tt.Cluster, vhost: Vhost) -> None:
    fill(tapped, MANY)
    broker = RabbitMQBroker(vhost.dsn, management_url=False)
    begun = threading.Event()

    def receive(_message: Tapped) -> None:
        begun.set()
        time.sleep(0.001)

    def close() -> None:
        begun.wait(10)
        broker.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(tt.Closed):
        broker.read_tap(taps.NAME, receive)
    closing.join()


# --- what it must not break ----------------------------------------------------------------------


def test_it_is_no_topic_for_anybody(tapped: tt.Cluster, connect: Connect) -> None:
    fill(tapped, 1)
    for cluster in (tapped, connect(management_url=False)):
        cluster.published()
        assert taps.NAME not in cluster.topics()["topic"].tolist()
        assert taps.NAME not in cluster.broker.known_topics()
    assert len(tapped.active_tasks()) == 1


def test_a_look_into_the_stream_itself_is_refused(tapped: tt.Cluster) -> None:
    fill(tapped, 1)
    with pytest.raises(tt.LookRefused, match=r"cluster\.published\(\)"):
        tapped.peek(taps.NAME)
    assert len(tapped.published()) == 1


@pytest.mark.parametrize("management", [True, False])
def test_dead_letters_go_their_way(
    management: bool,  # noqa: FBT001 - a parameter
    tapped: tt.Cluster,
    connect: Connect,
    raw: Raw,
) -> None:
    cluster = tapped if management else connect(management_url=False)
    fill(tapped, 3)
    for _ in range(3):
        method, _, _ = raw.channel.basic_get("emails")
        raw.channel.basic_nack(method.delivery_tag, requeue=False)
    assert eventually(lambda: raw.depth("emails.dead") == 3)
    outcome = cluster.run(cluster.plan_replay(cluster.dead_letters("emails")), **QUIET)
    assert outcome["outcome"].tolist() == ["replayed"] * 3
    assert len(tapped.published()) == 3
