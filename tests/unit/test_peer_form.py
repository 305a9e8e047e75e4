"""The messages that a worker of fastpluggy can read, and that a plan may send it."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.clock import SystemClock
from tasktools.core.dialects import peer_form
from tasktools.core.dialects.fastpluggy import FASTPLUGGY
from tasktools.core.errors import InvalidTask
from tasktools.core.layout import FP
from tasktools.core.models import Properties
from tasktools.core.tasks import codec
from tasktools.core.tasks.compose import Composer, FunctionNames
from tasktools.testing import celery_message, task_body
from tasktools.testing.factories import document_body

NATIVE = json.loads(task_body())


def changed(**envelope: Any) -> bytes:
    return json.dumps(NATIVE | envelope).encode()


def with_payload(**payload: Any) -> bytes:
    return changed(payload=NATIVE["payload"] | payload)


@pytest.mark.parametrize(
    "body",
    [
        task_body(),
        changed(attempts=3, headers={}),
        with_payload(max_retries=None, topic=None, task_type=None),
        with_payload(kwargs={"ratio": float("nan"), "emoji": "\U0001f600"}),
        changed(payload={name: NATIVE["payload"][name] for name in peer_form.REQUIRED_FIELDS}),
    ],
)
def test_what_a_peer_writes_a_peer_can_read(body: bytes) -> None:
    """Issue 11, row 3: nothing is skipped without need."""
    assert peer_form.problem(body) is None


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (document_body(), "task_id, func_name"),
        (with_payload(priority="high"), "priority"),
        (b"\xef\xbb\xbf" + task_body(), "byte order mark"),
        (task_body().decode().encode("utf-16"), "UTF-8"),
        (task_body().decode().encode("utf-16-le"), "UTF-8"),
        (task_body().replace(b'"unk"', b'"\xed\xa0\x80"'), "UTF-8"),
        (with_payload(task_origin="\ud800"), "surrogate"),
        (task_body().replace(b"[]", b"9" * 5000, 1), "JSON"),
        (task_body().replace(b"[]", b"[" * 150 + b"]" * 150, 1), "levels"),
        (task_body().replace(b"[]", b"[" * 9_000 + b"]" * 9_000, 1), "JSON"),
        (changed(headers=None), "headers is null"),
        (changed(attempts="1"), "attempts is text"),
        (changed(id=["a"]), "id is an array"),
        (changed(created_at=1.5), "created_at is a number"),
        (changed(created_at="2026-11-24T02:49:03Z"), "created_at"),
        (changed(payload=[]), "payload is an array"),
        (with_payload(task_id=7), "task_id is a number"),
        (b"[]", "object"),
        (b"", "JSON"),
    ],
)
def test_what_a_peer_cannot_read_is_told_with_what_is_wrong(body: bytes, word: str) -> None:
    """Issue 11, row 3: strict UTF-8, exact keys, and what a peer does arithmetic with."""
    problem = peer_form.problem(body)
    assert problem is not None
    assert word in problem
    task = codec.decode(body, Properties())
    assert task.unreadable is not None or task.problem is not None


def test_publishing_has_the_same_check() -> None:
    """Issue 11, row 3: what a peer's recursion does not reach is not published."""
    composer = Composer(lambda _topic: FASTPLUGGY, SystemClock(), FunctionNames())
    deep: list[Any] = []
    for _ in range(120):
        deep = [deep]
    with pytest.raises(InvalidTask, match="levels"):
        composer.compose("emails", {"task_name": "m:f", "args": deep})


@pytest.fixture
def cluster() -> Any:
    with Cluster(MemoryBroker(layout=FP)) as cluster:
        cluster.create_topic("emails")
        yield cluster


def put(cluster: Cluster, queue: str, body: bytes, properties: Properties | None = None) -> None:
    raw = amqp_properties.encode(properties or Properties())
    cluster.broker.server.put(queue, body, amqp_properties.decode(raw))  # type: ignore[attr-defined]


def outcomes(cluster: Cluster, plan: tt.Plan) -> dict[str, int]:
    frame = cluster.run(plan, reason="row 3", progress=False)
    return dict(frame["outcome"].value_counts())


def test_an_edit_that_peers_cannot_read_is_skipped_by_the_run(cluster: Cluster) -> None:
    """Issue 11, row 3: also after edits."""
    put(cluster, "emails.dead", task_body())
    deep: list[Any] = []
    for _ in range(120):
        deep = [deep]
    plan = cluster.plan_replay(cluster.dead_letters("emails"), edits={"kwargs.deep": deep})
    outcome = cluster.run(plan, reason="row 3", progress=False)
    assert outcome["outcome"].tolist() == ["skipped"]
    assert "levels" in outcome["why"].iloc[0]


def test_an_archive_is_restored_to_a_topic_only_with_what_peers_can_read(
    cluster: Cluster, tmp_path: Any
) -> None:
    """Issue 11, row 3: also a restoration; into a dead-letter queue, which nobody consumes, all
    go as they were."""
    for queue, expected in (("emails", {"restored": 1, "skipped": 2}), ("emails.dead", None)):
        for body in (task_body(), document_body(message_id="d"), b"\xff"):
            put(cluster, queue, body)
        archive = tmp_path / f"{queue}.jsonl"
        frame: pd.DataFrame = cluster.peek(queue)
        cluster.run(cluster.plan_discard(frame, archive=archive), reason="r", progress=False)
        plan = cluster.plan_restore(archive)
        assert outcomes(cluster, plan) == (expected or {"restored": 3})
    forced = cluster.plan_restore(tmp_path / "emails.jsonl", undecodable=True)
    assert len(forced) == 3


def test_a_message_of_celery_is_not_sent_to_a_topic_unless_forced(cluster: Cluster) -> None:
    """Issue 11, row 3: a peer reads no Celery."""
    body, properties = celery_message()
    put(cluster, "emails.dead", body, properties)
    dead = cluster.dead_letters("emails")
    assert dead["problem"].isna().all()
    plan = cluster.plan_replay(dead)
    assert len(plan) == 0
    assert "Celery" in repr(plan)
    assert len(cluster.plan_replay(dead, undecodable=True)) == 1


def test_the_documents_own_layout_takes_the_documents_form() -> None:
    """Issue 11, row 3: there it is the form that all write."""
    with tt.connect("memory://") as cluster:
        cluster.create_topic("emails")
        put(cluster, "emails.dead", document_body())
        assert outcomes(cluster, cluster.plan_replay(cluster.dead_letters("emails"))) == {
            "replayed": 1
        }
