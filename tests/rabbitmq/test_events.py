"""Worker events over a real fanout exchange: liars, floods, restarts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import tasktools as tt
from tasktools.core import events
from tasktools.core.events import SettingsUpdate
from tasktools.core.models import TopicSettings
from tasktools.testing import eventually
from tasktools.testing.factories import worker_event
from tests.conftest import Connect
from tests.support import Raw
from tests.timing import contention


def beat(worker_id: str, **fields: Any) -> bytes:
    """Return a heartbeat as the peer sends it."""
    telemetry = {"running": 1, "running_tasks": [{"task_id": f"task of {worker_id}"}]}
    worker = {
        "worker_id": worker_id,
        "capacity": 4,
        "running": 0,
        "running_hint": 1,
        "topics": ["emails"],
        "meta": {"hb": {"telemetry": telemetry}},
        **fields,
    }
    return json.dumps({"event": "heartbeat", "sender_id": "peer", "worker": worker}).encode()


@pytest.fixture
def say(raw: Any, cluster: Any) -> Any:
    """Send raw bytes to the fanout exchange, after the cluster has subscribed."""
    cluster.broker.cluster_state()
    return lambda body: raw.channel.basic_publish("fp.workers", "", body)


def test_an_event_is_seen_by_the_very_next_call(cluster: Any, say: Any) -> None:
    for n in range(20):
        say(beat(f"w{n}"))
        assert f"w{n}" in set(cluster.workers()["worker_id"])
    assert cluster.workers().attrs["sources"]["events"]["ok"]


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b'{"event": 7}',
        b'{"event": "heartbeat", "worker": "me"}',
        b'{"event": "heartbeat", "worker": {"worker_id": ["x"]}}',
        b'{"event": "worker_list", "workers": {"a": 1}}',
        b'{"event": "task_started", "task_info": [1]}',
        b'{"event": "counter_delta", "topic": "t", "counter": "completed", "delta": "many"}',
        b'{"event": "config_reply", "configs": {"t": 7}}',
        b"[" * 100_000,
        beat("liar", capacity="many", pid=-1, topics=7, started_at=12, last_heartbeat="soon"),
        beat("liar", capacity=1e999, running_hint=10**30, host={"a": 1}, role=None),
    ],
)
def test_an_event_that_lies_does_no_harm(lie: bytes, cluster: Any, say: Any) -> None:
    say(lie)
    say(beat("honest"))
    workers = cluster.workers().set_index("worker_id")
    assert workers.loc["honest", "running"] == 1
    assert workers.loc["honest", "capacity"] == 4
    assert cluster.active_tasks(queued=False)["task_id"].tolist().count("task of honest") == 1


def test_ten_thousand_unknown_events_a_second_leave_answers_fresh_or_honest(
    cluster: Any, vhost: Any, say: Any
) -> None:
    say(beat("w"))
    flood = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("flood.py"), vhost.dsn, "10000", "40000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    slowest = 0.0
    try:
        while flood.poll() is None:
            began = time.monotonic()
            frame = cluster.workers()
            slowest = max(slowest, time.monotonic() - began)
            source = frame.attrs["sources"]["events"]
            assert frame["worker_id"].tolist() == ["w"]
            assert source["ok"] or "behind" in source["note"]
    finally:
        sent, _ = flood.communicate(timeout=60)
    assert int(sent) == 40_000
    assert slowest < 5 * contention()
    # And when it is over, all is well again.
    eventually(lambda: cluster.workers().attrs["sources"]["events"]["ok"])


def test_a_broker_restart_and_the_next_call_works(cluster: Any, rabbitmq: Any, raw: Any) -> None:
    cluster.publish("emails", "shop:send", create=True)
    raw.channel.basic_publish("fp.workers", "", beat("w"))
    assert cluster.workers()["state"].tolist() == ["alive"]
    rabbitmq.restart()
    assert cluster.topics()["queued"].tolist() == [1]
    cluster.publish("emails", "shop:send")
    frame = cluster.workers()
    # We were deaf meanwhile, so nobody's silence counts against them.
    assert frame["state"].tolist() == ["alive"]
    eventually(lambda: cluster.workers().attrs["sources"]["events"]["ok"])


def test_while_the_broker_is_down_the_answer_says_so(cluster: Any, rabbitmq: Any, raw: Any) -> None:
    cluster.broker.cluster_state()
    raw.channel.basic_publish("fp.workers", "", beat("w"))
    assert len(cluster.workers()) == 1
    rabbitmq.stop()
    try:
        eventually(lambda: not cluster.workers().attrs["sources"]["events"]["ok"])
        frame = cluster.workers()
        assert frame["worker_id"].tolist() == ["w"]
        assert "no events" in frame.attrs["sources"]["events"]["note"]
    finally:
        rabbitmq.start()


def test_the_queue_for_events_is_ours_bounded_and_gone_with_us(connect: Any, raw: Any) -> None:
    cluster = connect()
    cluster.workers()
    event_queues = [
        name for name in cluster.broker._inspector._management.queues() if "events" in name
    ]
    assert len(event_queues) == 1
    assert event_queues[0].startswith("tasktools.events.")
    with pytest.raises(Exception, match="RESOURCE_LOCKED"):
        raw.channel.queue_declare(event_queues[0], passive=True)
    cluster.close()
    watching = connect(read_only=True)
    eventually(lambda: not any("events" in name for name in watching.topics()["topic"]))


def test_two_clusters_hear_each_other(connect: Any) -> None:
    first, other = connect(), connect()
    first.create_topic("emails")
    first.broker.cluster_state()
    update = SettingsUpdate(
        sender_id="a", topic="emails", settings=TopicSettings(concurrency_limit=3)
    )
    other.broker.broadcast(update)
    eventually(lambda: first.topics()["concurrency_limit"].tolist() == [3])


def test_a_worker_can_do_without_the_task_events_of_others_and_an_observer_gets_them(
    cluster: tt.Cluster, connect: Connect, raw: Raw
) -> None:
    broker, observer = cluster.broker, connect()
    received: list[object] = []
    broker.listen(received.append, tasks=False)
    observer.broker.cluster_state()
    started = events.TaskEvent(
        kind="task_started", sender_id="x", task_id="t1", worker_id="w1", topic="emails"
    )
    observer.broker.broadcast(started, worker_event())
    eventually(lambda: any(isinstance(event, events.WorkerEvent) for event in received))
    assert started not in received
    assert [task.task_id for task in observer.broker.cluster_state().running] == ["t1"]
    raw.channel.basic_publish("fp.workers", "", events.encode(started))  # as a peer says it
    eventually(lambda: started in received)
    broker.cluster_state()  # it is an observer as well now
    observer.broker.broadcast(replace(started, task_id="t2"))
    eventually(lambda: {task.task_id for task in broker.cluster_state().running} == {"t1", "t2"})
