"""The messages that a replay sends, byte for byte."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.core.amqp import properties
from tasktools.core.amqp import replay_header as stories
from tasktools.testing import eventually, task_body, task_payload
from tests.rabbitmq import replays
from tests.rabbitmq.random_messages import random_messages
from tests.rabbitmq.replays import DEAD, TOPIC, Replayer, put, put_tasks, tasks, uncounted
from tests.support import Raw
from tests.vhosts import Vhost

QUIET: Any = {"reason": "INC-42", "progress": False}
SECRET = "hunter2-äöü"


def reject_all(raw: Raw, queue: str) -> None:
    """Have every message of *queue* die."""
    count, channel = raw.depth(queue), raw.connection.channel()
    for method, _, _ in channel.consume(queue):
        if method.delivery_tag == count:
            channel.basic_nack(0, multiple=True, requeue=False)
            break
    channel.cancel()
    channel.close()
    eventually(lambda: raw.depth(f"{queue}.dead") == count)


def test_a_replayed_message_differs_in_nothing_but_what_is_documented(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    raw.declare("copies")
    sent = list(random_messages(Random(42), 1_000, large=3, copies_to="copies", priorities=True))
    put(vhost, TOPIC, ((message.properties, message.body) for message in sent))
    copies = raw.depth("copies")
    assert copies == sum(bool(message.copies) for message in sent)
    reject_all(raw, TOPIC)
    raw.channel.queue_purge("copies")
    plan = cluster.plan_replay(cluster.dead_letters(topic), undecodable=True)
    outcome = cluster.run(plan, **QUIET)
    assert Counter(outcome["outcome"]) == {"replayed": len(sent)}
    assert raw.depth("copies") == raw.depth(DEAD) == 0
    arrived = {copy.body: copy.properties for copy in replays.drain(raw, TOPIC)}
    for message in {message.body: message for message in sent}.values():
        header = properties.decode(arrived[message.body]).headers[stories.HEADER]
        assert arrived[message.body] == message.with_header(stories.HEADER, header)
        check_story(header)


def check_story(header: str) -> None:
    """It has been replayed once, and how it had died before is not forgotten."""
    story = stories.story({stories.HEADER: header})
    assert story.count == 1
    assert story.run is not None
    assert story.first_death is not None
    assert (story.first_death["queue"], story.first_death["reason"]) == (TOPIC, "rejected")


# --- edits beside secrets -----------------------------------------------------------------------


@pytest.fixture
def secrets(cluster: tt.Cluster, vhost: Vhost) -> list[bytes]:
    """Dead letters with secrets in them."""
    cluster.create_topic(TOPIC)
    bodies = [secret_body(n) for n in range(20)]
    put_tasks(vhost, bodies)
    return bodies


def secret_body(n: int) -> bytes:
    kwargs = {"password": f"{SECRET}-{n}", "to": "a@b", "url": f"amqp://u:{SECRET}@h/"}
    headers = {"type": "task", "authorization": f"Bearer {SECRET}"}
    payload = task_payload(task_id=f"task-{n}", topic=TOPIC, args=[n], kwargs=kwargs)
    return task_body(message_id=f"m{n}", topic=TOPIC, payload=payload, headers=headers)


def test_an_edit_beside_secrets_changes_nothing_but_what_it_names(
    secrets: list[bytes], cluster: tt.Cluster, raw: Raw
) -> None:
    dead = cluster.dead_letters(TOPIC)
    by_key = {key: {"kwargs.to": f"new-{n}@b"} for n, key in enumerate(dead["key"])}
    plan = cluster.plan_replay(dead, edits=by_key)
    assert SECRET not in repr(plan) + plan.frame().to_csv()
    cluster.run(plan, **QUIET)
    expected = [body.replace(b'"a@b"', b'"new-%d@b"' % n) for n, body in enumerate(secrets)]
    assert replays.bodies(raw, TOPIC) == expected


def test_a_function_that_edits_sees_no_secret_and_writes_none_back(
    secrets: list[bytes], cluster: tt.Cluster, raw: Raw, tmp_path: Path
) -> None:
    dead, seen = cluster.dead_letters(TOPIC), []

    def edit(row: Any) -> dict[str, Any]:
        seen.append(repr(row))
        return {"kwargs.to": row.kwargs["to"].upper(), "kwargs.cc": [row.task_id]}

    plan = cluster.plan_replay(dead, edits=edit)
    plan.save(tmp_path / "plan")
    cluster.run(plan, **QUIET)
    for n, body in enumerate(replays.bodies(raw, TOPIC)):
        added = b', "cc": ["task-%d"]' % n
        assert added in body
        assert body.replace(added, b"") == secrets[n].replace(b'"a@b"', b'"A@B"')
    stored = b"".join(
        path.read_bytes() for path in (*tmp_path.glob("ledger.db*"), tmp_path / "plan")
    )
    assert "hunter2" not in "".join(seen)
    assert b"hunter2" not in stored


@pytest.mark.parametrize("name", ["all of them", "password", "url"])
def test_a_masked_value_cannot_be_planned(
    name: str, secrets: list[bytes], cluster: tt.Cluster, raw: Raw
) -> None:
    dead = cluster.dead_letters(TOPIC)
    kwargs: pd.Series[Any] = dead["kwargs"]
    masked = kwargs[0] if name == "all of them" else kwargs[0][name]
    path = "kwargs" if name == "all of them" else "kwargs.to"
    with pytest.raises(tt.InvalidPlan, match="stands for a secret"):
        cluster.plan_replay(dead, edits={path: masked})
    assert replays.bodies(raw, DEAD) == secrets


# --- out, and in again ----------------------------------------------------------------------------


def test_what_was_discarded_is_restored_byte_for_byte(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost, tmp_path: Path
) -> None:
    raw.declare("copies")
    sent = list(random_messages(Random(43), 500, large=1, copies_to="copies"))
    put(vhost, DEAD, ((message.properties, message.body) for message in sent))
    raw.channel.queue_purge("copies")
    archive = tmp_path / "archive"
    cluster.run(cluster.plan_discard(cluster.dead_letters(topic), archive=archive), **QUIET)
    assert raw.depth(DEAD) == 0
    outcome = cluster.run(cluster.plan_restore(archive), **QUIET)
    assert Counter(outcome["outcome"]) == {"restored": len(sent)}
    assert raw.depth("copies") == 0
    drained = replays.drain(raw, DEAD)
    assert [drained_message.body for drained_message in drained] == [
        message.body for message in sent
    ]
    expected = [uncounted(message.without_copies()) for message in sent]
    assert [uncounted(drained_message.properties) for drained_message in drained] == expected


def test_a_discard_and_a_restoration_that_are_killed_lose_nothing(
    kind: str,
    topic: str,
    cluster: tt.Cluster,
    raw: Raw,
    vhost: Vhost,
    tmp_path: Path,
    version: tuple[int, int],
) -> None:
    sent, archive = tasks(5_000), tmp_path / "archive"
    put_tasks(vhost, sent)
    dead = cluster.dead_letters(topic)
    discard = cluster.plan_discard(dead[dead["position"] % 2 == 0], archive=archive)
    killed = run_with_a_kill(discard, vhost, tmp_path / "discard")
    outcome = tt.ledger(1)
    assert Counter(outcome["outcome"]) == {"discarded": 2_500}
    left = replays.bodies(raw, DEAD)
    assert sorted(left) == sorted(sent[1::2])
    if kind == "classic" or version < (4, 0):  # else a kill changes the order, as RabbitMQ does it
        assert left == sent[1::2]
    killed += run_with_a_kill(cluster.plan_restore(archive), vhost, tmp_path / "restore")
    outcome = tt.ledger(2)
    assert Counter(outcome["outcome"]) == {"restored": 2_500}
    arrived = Counter(replays.bodies(raw, DEAD))
    assert set(arrived) == set(sent[::2])
    twice = outcome["task_id"][outcome["possible_duplicate"]]
    assert {b for b, n in arrived.items() if n > 1} <= {sent[number(body)] for body in twice}
    assert killed == 2


def number(task_id: str) -> int:
    return int(task_id.removeprefix("task-"))


def run_with_a_kill(plan: Any, vhost: Vhost, path: Path) -> int:
    """Run *plan* in a process that is killed, and again to its end; returns whether it was."""
    plan.save(path)
    replayer = Replayer(vhost, path, Random(1))
    killed = replayer.run(1, within=0.0) is not None
    assert replayer.run(None) is None
    return killed
