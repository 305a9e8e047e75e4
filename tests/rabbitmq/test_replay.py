"""Replays on RabbitMQ: exactly the planned messages, and everything else as it was."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from random import Random
from typing import Any

import pytest
from msgspec import structs

import tasktools as tt
from tasktools.brokers.rabbitmq.messages.queue_pass import QueuePass
from tasktools.core.amqp import properties
from tasktools.core.amqp import replay_header as stories
from tasktools.testing import eventually
from tests.conftest import Connect
from tests.rabbitmq import replays
from tests.rabbitmq.random_messages import random_messages
from tests.rabbitmq.replays import DEAD, TOPIC, put, put_tasks, tasks, uncounted
from tests.support import Proxy, Raw
from tests.vhosts import Vhost

MANY = int(os.environ.get("TASKTOOLS_MANY", "5000"))
QUIET: Any = {"reason": "INC-42", "progress": False}


# --- exactly the planned -----------------------------------------------------------------------


def test_a_plan_of_500_stays_exactly_those_500(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    sent = tasks(650)
    put_tasks(vhost, sent[:600])
    chosen = [n for n in range(600) if n < 20 or n >= 520 or n % 5]
    plan = cluster.plan_replay(cluster.dead_letters(topic).iloc[chosen])
    assert len(plan) == 500
    put_tasks(vhost, sent[600:])
    taken = [raw.channel.basic_get(DEAD, auto_ack=True)[2] for _ in range(20)]
    assert taken == sent[:20]
    outcome = cluster.run(plan, **QUIET)
    assert Counter(outcome["outcome"]) == {"replayed": 480, "gone": 20}
    assert outcome["outcome"].tolist() == ["gone"] * 20 + ["replayed"] * 480
    assert replays.bodies(raw, TOPIC) == [sent[n] for n in chosen[20:]]
    assert replays.bodies(raw, DEAD) == [sent[n] for n in range(650) if n not in chosen]


def test_every_second_of_many_is_taken_and_the_others_are_as_they_were(
    kind: str, topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost, version: tuple[int, int]
) -> None:
    many = min(MANY, 60_000) if kind == "quorum" and version < (4, 0) else MANY  # it holds no more
    sent = [(m.properties, m.body) for m in random_messages(Random(1), many)]
    put(vhost, DEAD, sent)
    frame = cluster.dead_letters(topic)
    plan = cluster.plan_replay(frame[frame["position"] % 2 == 1], undecodable=True)
    outcome = cluster.run(plan, **QUIET)
    assert Counter(outcome["outcome"]) == {"replayed": many // 2}
    assert replays.bodies(raw, TOPIC) == [body for _, body in sent[1::2]]
    left = replays.drain(raw, DEAD)
    assert [message.body for message in left] == [body for _, body in sent[::2]]
    assert [uncounted(message.properties) for message in left] == [
        properties_sent for properties_sent, _ in sent[::2]
    ]
    assert {message.redelivered for message in left} == {True}  # as after the look before


def test_what_died_again_meanwhile_is_not_taken_for_what_was_planned(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    sent = tasks(400)
    put_tasks(vhost, sent)
    plan = cluster.plan_replay(cluster.dead_letters(topic), rate=400)
    killer = threading.Thread(target=reject_all, args=(vhost, len(sent)))
    killer.start()
    outcome = cluster.run(plan, **QUIET)
    killer.join()
    assert Counter(outcome["outcome"]) == {"replayed": len(sent)}
    eventually(lambda: raw.depth(DEAD) == len(sent))
    drained = replays.drain(raw, DEAD)
    assert sorted(message.body for message in drained) == sorted(sent)
    assert {
        stories.story(properties.decode(message.properties).headers).count for message in drained
    } == {1}


def reject_all(vhost: Vhost, count: int) -> None:
    """Reject the first *count* messages of the topic, as soon as they come."""
    raw = Raw(vhost.dsn)
    for method, _, _ in raw.channel.consume(TOPIC, inactivity_timeout=30):
        assert method is not None
        raw.channel.basic_nack(method.delivery_tag, requeue=False)
        if method.delivery_tag == count:
            break
    raw.connection.close()


def test_with_a_tap_on_the_exchange_a_replay_to_a_deleted_topic_is_returned(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    cluster.tap()
    sent = tasks(50)
    put_tasks(vhost, sent)
    plan = cluster.plan_replay(cluster.dead_letters(topic))
    raw.channel.queue_delete(TOPIC)
    outcome = cluster.run(plan, **QUIET)
    assert Counter(outcome["outcome"]) == {"returned": 50}
    assert cluster.published().empty
    assert replays.bodies(raw, DEAD) == sent


# --- what is refused ----------------------------------------------------------------------------


@pytest.fixture
def dead(cluster: tt.Cluster, vhost: Vhost, raw: Raw) -> list[bytes]:
    """A few dead letters, in classic queues."""
    cluster.create_topic(TOPIC)
    sent = tasks(300)
    put_tasks(vhost, sent)
    return sent


def test_a_second_run_on_the_same_queue_is_refused(
    dead: list[bytes], cluster: tt.Cluster, connect: Connect, raw: Raw
) -> None:
    frame, other = cluster.dead_letters(TOPIC), connect()
    begun, cancelled = threading.Event(), threading.Event()
    slow = cluster.plan_replay(frame, rate=20)
    first = threading.Thread(
        target=lambda: cluster.run(
            slow, reason="first", progress=lambda _n: begun.set(), cancelled=cancelled
        )
    )
    first.start()
    assert begun.wait(30)
    with pytest.raises(tt.QueueInUse, match=r"Another run .* nothing was changed"):
        other.run(other.plan_replay(frame), **QUIET)
    cancelled.set()
    first.join()
    assert len(tt.ledger()) == 1
    outcome = other.run(other.plan_replay(cluster.dead_letters(TOPIC)), **QUIET)
    assert set(outcome["outcome"]) == {"replayed"}
    assert sorted(replays.bodies(raw, TOPIC)) == sorted(dead)


def test_what_may_not_be_run_changes_nothing(
    dead: list[bytes], cluster: tt.Cluster, connect: Connect, raw: Raw
) -> None:
    plan = cluster.plan_replay(cluster.dead_letters(TOPIC))
    with pytest.raises(tt.ReadOnly):
        connect(read_only=True).run(plan, **QUIET)
    with pytest.raises(tt.InvalidPlan, match="changed"):
        cluster.run(structs.replace(plan, rate=1.0), **QUIET)
    with pytest.raises(tt.InvalidPlan, match="reason"):
        cluster.run(plan, reason=" ", progress=False)
    assert tt.ledger().empty
    assert raw.depth(TOPIC) == 0
    assert replays.bodies(raw, DEAD) == dead


# --- on the way ---------------------------------------------------------------------------------


def test_a_run_that_is_cancelled_goes_on_when_its_plan_is_run_again(
    dead: list[bytes], cluster: tt.Cluster, raw: Raw
) -> None:
    plan = cluster.plan_replay(cluster.dead_letters(TOPIC), rate=100)
    cancelled, ended = threading.Event(), 0

    def count(n: int) -> None:
        nonlocal ended
        ended += n
        if ended >= 50:
            cancelled.set()

    outcome = cluster.run(plan, reason="INC-42", progress=count, cancelled=cancelled)
    counts = Counter(outcome["outcome"])
    assert set(counts) == {"replayed", "not sent"}
    assert 50 <= counts["replayed"] < 100
    assert outcome.attrs["ended"] == "cancelled"
    assert raw.depth(DEAD) == counts["not sent"]
    again = cluster.run(plan, **QUIET)
    assert Counter(again["outcome"]) == {"replayed": len(dead)}
    assert not again["possible_duplicate"].any()
    assert again.attrs["run"] == outcome.attrs["run"]
    assert replays.bodies(raw, TOPIC) == dead


def test_a_broker_that_answers_no_more_is_connected_to_anew(
    topic: str,
    connect: Connect,
    proxy: Proxy,
    raw: Raw,
    vhost: Vhost,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(QueuePass, "silence_seconds", 1.0)
    # The broker gives back what a connection holds once two of its heartbeats did not come.
    cut_cluster = connect(proxy.through(vhost.dsn) + "?heartbeat=6")
    sent = tasks(300)
    put_tasks(vhost, sent)
    plan = cut_cluster.plan_replay(cut_cluster.dead_letters(topic), rate=300)
    stalled = False

    def stall(_n: int) -> None:
        nonlocal stalled
        if not stalled:
            proxy.stall()
        stalled = True

    outcome = cut_cluster.run(plan, reason="INC-42", progress=stall)
    assert Counter(outcome["outcome"]) == {"replayed": len(sent)}
    assert outcome["possible_duplicate"].any()
    assert set(replays.bodies(raw, TOPIC)) == set(sent)
    assert raw.depth(DEAD) == 0


def test_a_rate_is_kept(dead: list[bytes], cluster: tt.Cluster) -> None:
    plan = cluster.plan_replay(cluster.dead_letters(TOPIC), rate=100)
    assert plan.seconds == 3.0
    moments: list[float] = []
    began = time.monotonic()  # the first may be settled late: that makes none of the others early
    cluster.run(plan, reason="INC-42", progress=lambda n: moments.extend([time.monotonic()] * n))
    assert len(moments) == len(dead)
    assert 0.8 * plan.seconds < moments[-1] - began < 3 * plan.seconds  # on a busy machine
    assert moments[150] - began > 0.8 * plan.seconds / 2
