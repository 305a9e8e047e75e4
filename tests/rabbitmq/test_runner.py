"""The runner on a real broker: what depends on it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import tasktools as tt
from tasktools.core.amqp import failure_headers
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.support import Raw

REGISTRY = tt.TaskRegistry()
DONE: list[str] = []


@REGISTRY.task
def note(text: str) -> None:
    DONE.append(text)


@REGISTRY.task(max_retries=2, retry_delay=0.1)
def fail() -> None:
    DONE.append(f"attempt {tt.current_task().attempts}")
    raise RuntimeError("no <b>luck</b>")


@REGISTRY.task(lock="the-lock")
def locked() -> None:
    DONE.append(f"fence {tt.current_task().fence}")
    time.sleep(0.2)
    DONE.append("end")


@pytest.fixture(autouse=True)
def nothing_is_done() -> Iterator[None]:
    DONE.clear()
    yield
    DONE.clear()


def task(name: str) -> str:
    return f"{__name__}:{name}"


def runner(cluster: tt.Cluster, *topics: str) -> tt.TaskRunner:
    return tt.TaskRunner(broker=cluster.broker, topics=topics, capacity=4, registry=REGISTRY)


def test_the_wildcard_finds_new_topics_over_amqp_alone(connect: Connect) -> None:
    consumer, other = connect(management_url=False), connect(management_url=False)
    with runner(consumer, "*") as everything:
        assert list(everything.topics) == ["default"]
        for topic in ("brand-new", "default", "another"):
            other.publish(topic, task("note"), kwargs={"text": topic}, create=True)
        eventually(lambda: sorted(DONE) == ["another", "brand-new", "default"])
        assert list(everything.topics) == ["another", "brand-new", "default"]
        topics = ["another", "brand-new", "default"]
        eventually(lambda: sorted(other.workers().iloc[0]["topics"]) == topics)


def test_the_wildcard_finds_a_backlog_that_lies_there(connect: Connect) -> None:
    cluster = connect()
    cluster.publish("old", task("note"), kwargs={"text": "old"}, create=True)
    with runner(connect(), "*"):
        eventually(lambda: DONE == ["old"])


def test_retries_come_back_later_and_end_in_the_dead_letter_queue(
    cluster: tt.Cluster, raw: Raw
) -> None:
    with runner(cluster, "emails"):
        cluster.publish("emails", task("fail"))
        eventually(lambda: raw.depth("emails.dead") == 1)
    assert DONE == ["attempt 1", "attempt 2", "attempt 3"]
    ((properties, _),) = raw.read_all("emails.dead")
    failure = failure_headers.from_headers(properties.headers)
    assert failure
    assert (failure.error_type, failure.error) == ("RuntimeError", "no <b>luck</b>")
    assert failure.attempts == 3
    assert "x-death" not in properties.headers


def test_poison_is_put_aside_on_its_first_try(cluster: tt.Cluster, raw: Raw) -> None:
    cluster.create_topic("emails", queue_type="quorum")
    raw.put("emails", b"\xff no JSON")
    raw.put("emails", b"x" * 5_000_000)
    raw.put("emails", b'{"id": 1, "topic": "t", "payload": {}, "created_at": "2026-01-01"}')
    cluster.publish("emails", "no_such_module:f")
    with runner(cluster, "emails"):
        cluster.publish("emails", task("note"), kwargs={"text": "after it"})
        eventually(lambda: DONE and raw.depth("emails.dead") == 4)
    events = [
        properties.headers[failure_headers.REASON] for properties, _ in raw.read_all("emails.dead")
    ]
    assert sorted(events) == ["invalid", "invalid", "unknown task", "unknown task"]


def test_two_runners_are_never_both_in_a_lock(connect: Connect) -> None:
    first, other = connect(), connect()
    with runner(first, "emails"), runner(other, "emails"):
        for _ in range(4):
            first.publish("emails", task("locked"))
        eventually(lambda: DONE.count("end") == 4)
    assert DONE[1::2] == ["end"] * 4
    fences = [int(text.split()[1]) for text in DONE[::2]]
    assert fences == sorted(set(fences))


def test_a_runner_outlives_its_broker(
    rabbitmq: RabbitMQNode, cluster: tt.Cluster, connect: Connect
) -> None:
    with runner(connect(), "emails"):
        rabbitmq.restart()
        cluster.publish("emails", task("note"), kwargs={"text": "after"})
        eventually(lambda: DONE == ["after"], timeout=60)
        eventually(lambda: len(cluster.workers()) == 1)
