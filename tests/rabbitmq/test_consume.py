"""Consumers on a real broker: losses, permits, and what a killed process leaves behind."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.errors import UnknownDelivery
from tasktools.core.models import Delivery
from tasktools.testing import RabbitMQNode, eventually
from tests.support import Proxy, Raw

TASK = "some_module:f"


def fill(cluster: tt.Cluster, topic: str, count: int) -> None:
    broker = cluster.broker
    broker.ensure_topic(topic)
    compose = broker.composer.compose
    messages = [compose(topic, {"task_name": TASK, "kwargs": {"n": n}}) for n in range(count)]
    assert set(broker.publish_many(messages)) == {"confirmed"}


def test_a_consumer_goes_on_after_its_line_was_cut(
    cut_cluster: tt.Cluster, cluster: tt.Cluster, proxy: Proxy
) -> None:
    broker, got = cut_cluster.broker, list[Delivery]()
    fill(cluster, "emails", 3)
    consumer = broker.consume("emails", got.append, prefetch=2)
    eventually(lambda: len(got) == 2)
    proxy.cut()
    eventually(lambda: len(got) == 4)
    assert all(delivery.redelivered for delivery in got[2:])
    for delivery in got[:2]:  # same ids: they are ours once, not twice
        broker.ack(delivery.id)
    eventually(lambda: len(got) == 5)
    broker.ack(got[4].id)
    with pytest.raises(UnknownDelivery):
        broker.ack(got[0].id)
    consumer.cancel()


def test_a_consumer_says_why_nothing_comes_and_goes_on_when_the_queue_is_back(
    cluster: tt.Cluster, raw: Raw
) -> None:
    got: list[Delivery] = []
    fill(cluster, "emails", 1)
    consumer = cluster.broker.consume("emails", got.append, prefetch=1)
    eventually(lambda: got)
    raw.channel.queue_delete("emails")
    assert "deleted" in eventually(lambda: consumer.problem)
    fill(cluster, "emails", 1)
    eventually(lambda: len(got) == 2)
    assert consumer.problem is None
    consumer.cancel()


def test_permits_of_a_killed_process_are_free_at_once(
    cluster: tt.Cluster, process: Any, raw: Raw
) -> None:
    fill(cluster, "emails", 8)
    child = process('held = broker.consume("emails", lambda _: None, prefetch=4, limit=2)')
    eventually(lambda: raw.depth("emails") == 6)
    got: list[Delivery] = []
    consumer = cluster.broker.consume("emails", got.append, prefetch=4, limit=2)
    time.sleep(1.5)
    assert not got
    child.send_signal(signal.SIGKILL)
    eventually(lambda: len(got) == 2)
    consumer.cancel()


def test_a_permit_is_kept_until_what_it_was_for_is_settled(cluster: tt.Cluster) -> None:
    fill(cluster, "emails", 4)
    first, second = list[Delivery](), list[Delivery]()
    broker = cluster.broker
    consumer = broker.consume("emails", first.append, prefetch=1, limit=1)
    eventually(lambda: first)
    consumer.cancel()
    other = broker.consume("emails", second.append, prefetch=1, limit=1)
    time.sleep(1.5)
    assert not second
    broker.ack(first[0].id)
    eventually(lambda: second)
    other.cancel()


def test_nobody_asks_for_permits_while_there_is_no_work(
    cluster: tt.Cluster, process: Any, rabbitmq: RabbitMQNode
) -> None:
    """RabbitMQ logs each refusal as an error."""
    cluster.broker.ensure_topic("emails")
    process('held = broker.consume("emails", lambda _: None, prefetch=1, limit=1)')
    consumer = cluster.broker.consume("emails", print, prefetch=1, limit=1)
    time.sleep(0.5)
    before = rabbitmq.log.count("tasktools.permit.emails.0")
    time.sleep(3)
    assert rabbitmq.log.count("tasktools.permit.emails.0") == before
    consumer.cancel()


def test_many_threads_acknowledge_at_once(cluster: tt.Cluster, raw: Raw) -> None:
    fill(cluster, "emails", 2000)
    broker = cluster.broker
    got: list[str] = []
    threads: list[threading.Thread] = []

    def receive(delivery: Delivery) -> None:
        got.append(delivery.task.task_id or "")
        thread = threading.Thread(target=broker.ack, args=(delivery.id,))
        thread.start()
        threads.append(thread)

    consumer = broker.consume("emails", receive, prefetch=50)
    eventually(lambda: len(threads) == 2000, timeout=60)
    for thread in threads:
        thread.join()
    consumer.cancel()
    eventually(lambda: raw.depth("emails") == 0)
    assert len(set(got)) == 2000


def test_a_consumer_can_be_cancelled_while_the_broker_is_down_and_after_closing(
    rabbitmq: RabbitMQNode, cluster: tt.Cluster
) -> None:
    fill(cluster, "emails", 1)
    consumer = cluster.broker.consume("emails", print, prefetch=1)
    other = cluster.broker.consume("emails", print, prefetch=1)
    rabbitmq.stop()
    try:
        consumer.cancel()
        consumer.cancel()
    finally:
        rabbitmq.start()
    cluster.close()
    other.cancel()
