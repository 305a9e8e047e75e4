"""Messages of Celery that died in a queue of Celery, sent back there: who reads it decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.dialects.celery import CELERY
from tasktools.core.dialects.dialect import message_of
from tasktools.testing import celery_message, eventually, worker_event
from tasktools.testing.factories import document_body
from tests.support import Raw

MAIL, OTHER, DEAD = "mail", "calls", "celery.dlq"
PROTOCOL_1 = json.dumps({"id": "c1", "task": "shop.send", "args": [1], "kwargs": {}}).encode()


@pytest.fixture(autouse=True)
def queues(cluster: tt.Cluster, raw: Raw) -> None:
    """Two queues of Celery, of whose workers nothing is known, with one queue for what died in
    them, on a vhost where workers of fastpluggy are."""
    cluster.broker.setup()
    raw.declare(DEAD)
    for queue in (MAIL, OTHER):
        raw.declare(queue, x_dead_letter_exchange="", x_dead_letter_routing_key=DEAD)


def put_tasks(raw: Raw, queue: str) -> list[bytes]:
    """Put a task of each protocol of Celery into *queue*."""
    body, properties = celery_message()
    raw.put(queue, body, headers=dict(properties.headers), content_type="application/json")
    raw.put(queue, PROTOCOL_1, content_type="application/json")
    return [body, PROTOCOL_1]


def reject_all(raw: Raw, queue: str) -> None:
    """Reject what is in *queue*, as a worker of Celery does."""
    while (method := raw.channel.basic_get(queue)[0]) is not None:
        raw.channel.basic_reject(method.delivery_tag, requeue=False)
    eventually(lambda: raw.depth(queue) == 0)


def bury(raw: Raw, queue: str) -> list[bytes]:
    """Let a task of each protocol of Celery die in *queue*."""
    before = raw.depth(DEAD)
    bodies = put_tasks(raw, queue)
    reject_all(raw, queue)
    eventually(lambda: raw.depth(DEAD) == before + len(bodies))
    return bodies


class Consumer:
    """A plain consumer of a queue, which stands for a worker of Celery."""

    def __init__(self, raw: Raw, queue: str) -> None:
        self._connection = raw.connection
        self._bodies: list[bytes] = []
        raw.channel.basic_consume(queue, self._receive, auto_ack=True)

    def _receive(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        self._bodies.append(body)

    def gets(self, bodies: list[bytes]) -> None:
        """Wait until it has got *bodies*, and nothing else."""

        def arrived() -> bool:
            self._connection.process_data_events(0.01)
            return self._bodies == bodies

        eventually(arrived)


def replayed(cluster: tt.Cluster, plan: Any) -> list[str]:
    return list(cluster.run(plan, reason="Celery", progress=False)["outcome"])


def hear_of_a_peer(cluster: tt.Cluster, topic: str) -> None:
    """Let a worker of fastpluggy say that it takes *topic*."""
    cluster.broker.broadcast(worker_event(worker_id="peer", topics=(topic,)))
    eventually(lambda: cluster.workers()["worker_id"].tolist() == ["peer"])


def test_a_message_of_celery_goes_to_consumers_that_are_no_workers_of_fastpluggy(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 3: of a queue that a plain consumer reads; what is no message of Celery is
    skipped there, and with a live peer beside the consumer all is."""
    bodies = bury(raw, MAIL)
    raw.put(DEAD, document_body())
    consumer = Consumer(raw, MAIL)

    dead = cluster.peek(DEAD)
    plan = cluster.plan_replay(dead, to=MAIL)

    sent = [message.skipped is None for message in plan.messages]
    assert sent[:2] == [True, True]
    assert f"messages of Celery are sent to '{MAIL}' as they are: it has consumers" in repr(plan)
    assert replayed(cluster, plan) == ["replayed", "replayed", "skipped"]
    consumer.gets(bodies)

    put_tasks(raw, DEAD)
    hear_of_a_peer(cluster, MAIL)
    careful = cluster.plan_replay(cluster.peek(DEAD).tail(2), to=MAIL)
    assert list(careful.skipped) == [
        f"a worker of the peers would take it again for ever: {message_of(CELERY)}"
    ]
    assert len(careful) == 0


def test_without_consumers_a_message_of_celery_goes_back_only_into_the_queue_it_died_in(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, row 3: others stay, and all do where a peer takes that queue."""
    bodies = bury(raw, MAIL)
    bury(raw, OTHER)
    put_tasks(raw, DEAD)  # these never died

    plan = cluster.plan_replay(cluster.peek(DEAD), to=MAIL)

    assert f"messages of Celery go back into '{MAIL}' if they died there" in repr(plan)
    assert sum(plan.skipped.values()) == 2
    assert sorted(replayed(cluster, plan)) == ["replayed"] * 2 + ["skipped"] * 4
    assert raw.bodies(MAIL) == bodies
    assert raw.depth(DEAD) == 4

    hear_of_a_peer(cluster, OTHER)
    assert len(cluster.plan_replay(cluster.peek(DEAD), to=OTHER)) == 0
    cluster.broker.broadcast(worker_event("unregister", worker_id="peer", topics=(OTHER,)))
    eventually(lambda: cluster.workers()["state"].tolist() == ["stopped"])
    assert len(cluster.plan_replay(cluster.peek(DEAD), to=OTHER)) == 0  # it may come back
    forced = cluster.plan_replay(cluster.peek(DEAD), to=OTHER, undecodable=True)
    assert len(forced) == 4


def test_a_plan_is_checked_again_when_it_is_run(cluster: tt.Cluster, raw: Raw) -> None:
    """Issue 11, row 3: a peer that came since the plan was made gets nothing of Celery."""
    bury(raw, MAIL)
    plan = cluster.plan_replay(cluster.peek(DEAD), to=MAIL)
    assert len(plan) == 2
    hear_of_a_peer(cluster, MAIL)
    assert replayed(cluster, plan) == ["skipped", "skipped"]
    assert raw.depth(DEAD) == 2


def test_a_restored_message_of_celery_is_judged_by_who_reads_its_queue(
    cluster: tt.Cluster, raw: Raw, tmp_path: Path
) -> None:
    """Issue 11, row 3: of an archive, too, what goes where a plain consumer reads is not held."""
    bodies = put_tasks(raw, MAIL)
    archive = tmp_path / "mail.jsonl"
    discarded = cluster.plan_discard(cluster.peek(MAIL), archive=archive)
    assert replayed(cluster, discarded) == ["discarded"] * 2
    plan = cluster.plan_restore(archive)
    assert len(plan) == 0  # nobody reads it, and they did not die there
    unknown = "so it is not known whether a later consumer can read the message"
    assert f"nobody consumes {MAIL!r}, {unknown}" in repr(plan)
    assert "2 of 2 messages are not sent" in repr(plan)
    assert "on the command line --undecodable" in repr(plan)
    forced = cluster.plan_restore(archive, undecodable=True)
    assert len(forced) == 2
    assert "--undecodable" not in repr(forced)
    consumer = Consumer(raw, MAIL)
    plan = cluster.plan_restore(archive)
    assert f"messages of Celery are sent to '{MAIL}' as they are" in repr(plan)
    assert replayed(cluster, plan) == ["restored"] * 2
    consumer.gets(bodies)


def test_tasks_that_differ_in_their_headers_alone_are_not_taken_for_each_other(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, "lost": of tasks without arguments the first was moved, whichever was chosen."""
    nothing = b"[[], {}, {}]"
    for name in ("shop.send", "shop.refund", "shop.close"):
        headers = {"task": name, "id": name, "nested": {"a": [1, None, 2]}}
        raw.put(MAIL, nothing, headers=headers, content_type="application/json")
    reject_all(raw, MAIL)
    eventually(lambda: raw.depth(DEAD) == 3)

    dead = cluster.peek(DEAD)
    plan = cluster.plan_replay(dead[dead["task_name"].eq("shop.refund")], to=MAIL)
    assert replayed(cluster, plan) == ["replayed"]
    (sent,) = raw.read_all(MAIL)
    assert (sent[0].headers["task"], sent[1]) == ("shop.refund", nothing)
    left = [properties.headers["task"] for properties, _ in raw.read_all(DEAD)]
    assert left == ["shop.send", "shop.close"]
