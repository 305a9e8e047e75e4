"""A message that RabbitMQ refuses with an error: it ends itself, and nothing else."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq import RabbitMQBroker
from tasktools.core.errors import PublishRefused
from tasktools.core.models import Outgoing
from tasktools.testing import RabbitMQNode, eventually, outgoing, task_body, task_payload
from tasktools.testing.factories import failure
from tests.conftest import Connect
from tests.support import Raw
from tests.vhosts import Vhost

LIMIT = 20_000  # bytes that a message may have on this node
LARGE = "x" * LIMIT
WORDS = "is larger than configured max size"


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQNode]:
    """A node whose limit of the size of a message is changed here."""
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with RabbitMQNode(root=Path(root) if root else None) as node:
        yield node


@pytest.fixture
def limited(rabbitmq: RabbitMQNode) -> Iterator[Callable[[], None]]:
    """Limit messages to `LIMIT` bytes, for channels that open from now on."""

    def limit(size: int = LIMIT) -> None:
        rabbitmq.ctl(
            "eval",
            f"application:set_env(rabbit, max_message_size, {size}), "
            f"persistent_term:put(max_message_size, {size}).",
        )

    yield limit
    limit(16 * 1024 * 1024)


def dead_task(n: int, text: str = "") -> bytes:
    """Return the body of a task with *text* among its arguments."""
    payload = task_payload(task_id=f"t{n}", topic="work", kwargs={"n": n, "text": text})
    return task_body(message_id=f"m{n}", topic="work", payload=payload)


def numbers(raw: Raw, queue: str) -> list[int]:
    """Take every ready message of *queue*; return the numbers of the tasks, sorted."""
    bodies = [json.loads(body) for _, body in raw.read_all(queue)]
    return sorted(body["payload"]["kwargs"]["n"] for body in bodies)


def tasks(count: int, large: int) -> pd.DataFrame:
    """Return tasks of growing size, of which one is too large."""
    kwargs = [{"n": n, "text": LARGE if n == large else "x" * n} for n in range(count)]
    return pd.DataFrame({"topic": "work", "task_name": "m:f", "kwargs": kwargs})


def test_of_nine_dead_letters_with_one_too_large_eight_are_replayed(
    cluster: tt.Cluster, raw: Raw, limited: Callable[[], None]
) -> None:
    """Issue 11, row 2: a channel error belongs to its message, and no pass begins again without
    a bound."""
    cluster.create_topic("work")
    for n in range(9):
        raw.put("work.dead", dead_task(n, LARGE if n == 4 else "x" * n))
    plan = cluster.plan_replay(cluster.dead_letters("work"))
    limited()

    outcome = cluster.run(plan, reason="row 2", progress=False)

    assert outcome["outcome"].value_counts().to_dict() == {"replayed": 8, "refused": 1}
    assert not outcome["possible_duplicate"].any()
    refused = outcome[outcome["outcome"] == "refused"].iloc[0]
    assert refused["task_id"] == "t4"
    assert WORDS in refused["why"]
    assert numbers(raw, "work") == [0, 1, 2, 3, 5, 6, 7, 8]
    assert numbers(raw, "work.dead") == [4]


def test_an_edit_that_makes_every_third_message_too_large_refuses_those_alone(
    cluster: tt.Cluster, raw: Raw, limited: Callable[[], None]
) -> None:
    """Issue 11, row 2: many errors, as many messages, in a bounded run."""
    limited()
    cluster.create_topic("work")
    for n in range(60):
        raw.put("work.dead", dead_task(n))

    def edits(row: Any) -> dict[str, Any]:
        return {"kwargs.text": LARGE if row.kwargs["n"] % 3 == 0 else "short"}

    plan = cluster.plan_replay(cluster.dead_letters("work"), edits=edits)
    outcome = cluster.run(plan, reason="row 2", progress=False)

    assert outcome["outcome"].value_counts().to_dict() == {"replayed": 40, "refused": 20}
    assert not outcome["possible_duplicate"].any()
    assert numbers(raw, "work") == [n for n in range(60) if n % 3]
    assert numbers(raw, "work.dead") == list(range(0, 60, 3))


def test_of_200_published_with_one_too_large_199_are_confirmed(
    cluster: tt.Cluster, raw: Raw, limited: Callable[[], None]
) -> None:
    """Issue 11, row 2: `publish_many` tells of the one that was refused, and why."""
    limited()
    cluster.create_topic("work")

    published = cluster.publish_many(tasks(200, large=77))

    assert published["outcome"].value_counts().to_dict() == {"confirmed": 199, "refused": 1}
    assert published["outcome"].iloc[77] == "refused"
    assert WORDS in published["why"].iloc[77]
    assert published["why"].drop(77).isna().all()
    assert numbers(raw, "work") == [n for n in range(200) if n != 77]
    with pytest.raises(PublishRefused, match=WORDS):
        cluster.publish("work", "m:f", kwargs={"text": LARGE})
    with pytest.raises(PublishRefused, match=WORDS):
        cluster.publish("work", "m:f", kwargs={"text": LARGE}, delay=60)


def test_batches_of_several_threads_do_not_suffer_from_each_others_errors(
    cluster: tt.Cluster, raw: Raw, limited: Callable[[], None]
) -> None:
    """Issue 11, row 2: publishers of one connection share a channel."""
    limited()
    cluster.create_topic("work")
    published: list[pd.DataFrame] = []

    def publish() -> None:
        published.append(cluster.publish_many(tasks(100, large=50)))

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    outcomes = pd.concat(published)["outcome"].value_counts().to_dict()
    assert outcomes == {"confirmed": 396, "refused": 4}
    assert raw.depth("work") == 396


def test_an_archive_with_a_message_too_large_is_restored_but_for_that_one(
    cluster: tt.Cluster, raw: Raw, limited: Callable[[], None], tmp_path: Path
) -> None:
    """Issue 11, row 2: a restoration."""
    cluster.create_topic("work")
    for n in range(9):
        raw.put("work.dead", dead_task(n, LARGE if n == 4 else "x" * n))
    archive = tmp_path / "archive.jsonl"
    plan = cluster.plan_discard(cluster.dead_letters("work"), archive=archive)
    cluster.run(plan, reason="row 2", progress=False)
    limited()

    outcome = cluster.run(cluster.plan_restore(archive), reason="row 2", progress=False)

    assert outcome["outcome"].value_counts().to_dict() == {"restored": 8, "refused": 1}
    assert numbers(raw, "work.dead") == [0, 1, 2, 3, 5, 6, 7, 8]


BAD_PROPERTIES: dict[str, dict[str, Any]] = {
    "an expiration that is none": {"expiration": "soon"},
    "an expiration of 300 years": {"expiration": str(10**13)},
    "the name of another user": {"user_id": "somebody"},
    "headers that do not fit into a frame": {"headers": {"x": "y" * 140_000}},
    "a CC that is no list": {"headers": {"CC": "other"}},
}


@pytest.mark.parametrize("what", BAD_PROPERTIES)
def test_a_message_with_properties_that_rabbitmq_refuses_is_refused_alone(
    what: str, cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 2: any error that one message causes, 406 or one that would close the
    connection."""
    cluster.create_topic("work")
    messages = [outgoing("work", dead_task(n)) for n in range(50)]
    messages[25] = outgoing("work", dead_task(25), **BAD_PROPERTIES[what])

    results = cluster.broker.publish_many(messages)

    assert results == ["confirmed"] * 25 + ["refused"] + ["confirmed"] * 24
    assert numbers(raw, "work") == [n for n in range(50) if n != 25]


def test_a_topic_that_a_user_may_not_write_to_refuses_its_own_messages_only(
    rabbitmq: RabbitMQNode, vhost: Vhost, connect: Connect, cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 2: 403 for a key of the topic exchange."""
    for topic in ("work", "secret"):
        cluster.create_topic(topic)
    rabbitmq.add_user("limited", "limited")
    rabbitmq.allow("limited", vhost.name)
    path = f"/api/topic-permissions/{vhost.name}/limited"
    rights = {"exchange": cluster.broker.layout.task_exchange, "write": "^work$", "read": ".*"}
    rabbitmq.request("PUT", path, rights)
    user = connect(vhost.dsn.replace("guest:guest", "limited:limited"), management_url=False)
    messages = [outgoing("secret" if n % 10 == 5 else "work", dead_task(n)) for n in range(100)]

    results = user.broker.publish_many(messages)

    expected = ["refused" if n % 10 == 5 else "confirmed" for n in range(100)]
    assert results == expected
    assert raw.depth("work") == 90
    assert raw.depth("secret") == 0


def test_an_exchange_that_is_missing_is_told_for_every_message(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 2: 404 for the exchange; nothing is in doubt, and one task repairs it."""
    cluster.create_topic("work")
    exchange = cluster.broker.layout.task_exchange
    raw.channel.exchange_delete(exchange)
    messages: list[Outgoing] = [outgoing("work", dead_task(n)) for n in range(50)]

    assert cluster.broker.publish_many(messages) == ["unroutable"] * 50

    cluster.broker.publish("work", {"task_name": "m:f"})
    assert raw.depth("work") == 1


def test_a_delivery_that_another_user_published_is_tried_again_and_dead_lettered(
    rabbitmq: RabbitMQNode, vhost: Vhost, raw: Raw, cluster: tt.Cluster
) -> None:
    """Issue 11, row 2: what a worker publishes again; the broker refuses a foreign `user_id`, and
    `CC` would make copies."""
    cluster.create_topic("work")
    raw.declare("copies")
    for n in range(2):
        raw.put("work", dead_task(n), user_id="guest", headers={"CC": ["copies"], "mine": "kept"})
    raw.read_all("copies")
    rabbitmq.add_user("worker", "worker")
    rabbitmq.allow("worker", vhost.name)
    dsn = vhost.dsn.replace("guest:guest", "worker:worker")
    with RabbitMQBroker(dsn, management_url=False) as broker:
        again, given_up = (broker.claim("work", "w") for _ in range(2))
        assert again is not None
        assert given_up is not None
        broker.nack(again.id)
        broker.dead_letter(given_up.id, failure())
        eventually(lambda: (raw.depth("work"), raw.depth("work.dead")) == (1, 1))
    assert raw.depth("copies") == 0
    ((properties, _),) = raw.read_all("work")
    assert (properties.user_id, properties.headers) == (None, {"mine": "kept"})
