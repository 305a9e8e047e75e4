"""A recorder beside a real broker: nothing heard is lost, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq.messages.published_copies import PublishedCopies
from tasktools.core import events
from tasktools.testing import RabbitMQNode, eventually
from tasktools.testing.factories import peer_heartbeat, task_event
from tests.conftest import Connect
from tests.support import Proxy, Raw
from tests.vhosts import Vhost

SPEAKER = Path(__file__).parents[2] / "benchmarks" / "programs" / "many_workers.py"


@pytest.fixture
def record(vhost: Vhost, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `tasktools record` in a process of its own; killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = ["record", str(tmp_path / "ops.db"), "--every", "0.5", *options]
        child = subprocess.Popen(
            [sys.executable, "-m", "tasktools.cli", *command],
            env={**os.environ, "BROKER_DSN": vhost.dsn, "BROKER_MANAGEMENT_URL": "off"},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        assert child.stderr is not None
        assert "Recording" in child.stderr.readline()
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        assert child.stderr is not None
        child.stderr.close()


def history(tmp_path: Path) -> tt.Cluster:
    return tt.connect(f"sqlite:///{tmp_path / 'ops.db'}")


def say(raw: Raw, *kinds: str, task_id: str) -> None:
    for kind in kinds:
        event = task_event(kind, task_id)  # type: ignore[arg-type]
        raw.channel.basic_publish("fp.workers", "", events.encode(event))


def test_every_event_is_kept_beside_a_flood_of_heartbeats(
    record: Callable[..., subprocess.Popen[str]], vhost: Vhost, tmp_path: Path
) -> None:
    child = record()
    command = [sys.executable, str(SPEAKER), vhost.dsn, "3000", "1000", "5"]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    beats, tasks = map(int, finished.stdout.split()[:2])
    recorded = history(tmp_path)

    def heard_events() -> int:
        with recorded.broker.recording.read() as connection:  # type: ignore[attr-defined]
            return int(connection.execute("SELECT sum(heard) FROM ticks").fetchone()[0])

    assert eventually(lambda: heard_events() == beats + tasks, 60)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 0
    counts = recorded.task_events()["event"].value_counts()
    assert counts["started"] == counts["succeeded"] == tasks / 2
    assert heard_events() == beats + tasks
    assert set(recorded.gaps()["what"]) <= {"samples"}  # a busy machine may delay a tick
    assert len(recorded.workers()) == min(beats, 3000)  # a starved speaker leaves beats out
    assert recorded.throughput(every="1h")["succeeded"].sum() == tasks / 2


def test_a_recorder_that_is_killed_loses_its_last_interval_and_the_next_says_so(
    record: Callable[..., subprocess.Popen[str]], raw: Raw, tmp_path: Path
) -> None:
    child = record()
    for n in range(3):
        say(raw, "task_started", "task_completed", task_id=f"t{n}")
    assert eventually(lambda: len(history(tmp_path).task_events()) == 6)
    child.kill()
    child.wait()
    assert len(history(tmp_path).task_events()) == 6
    time.sleep(2)
    record()
    say(raw, "task_started", task_id="later")
    assert eventually(lambda: "later" in history(tmp_path).task_events()["task_id"].tolist())
    (gap,) = history(tmp_path).gaps().to_dict("records")
    assert (gap["what"], gap["why"]) == ("all", "no recorder was running")
    assert (gap["until"] - gap["since"]).total_seconds() > 1.5


def test_messages_that_there_is_no_room_for_are_told(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PublishedCopies, "max_copies", 100)
    cluster, bodies, missed = connect(), list[bytes](), threading.Event()
    cluster.create_topic("emails")

    def receive(_topic: str, _properties: bytes, body: bytes) -> None:
        time.sleep(0.005)  # slower than they are published
        bodies.append(body)

    cluster.broker.overhear(receive, missed.set)
    task = {"topic": "emails", "task_name": "shop:send", "kwargs": {"x": "x" * 50_000}}
    assert cluster.publish_many(pd.DataFrame([task] * 2_000))["outcome"].eq("confirmed").all()
    assert missed.wait(30)
    cluster.broker.publish("emails", {"task_name": "shop:last"})
    assert eventually(lambda: b"shop:last" in bodies[-1])
    assert len(bodies) < 2_000


def test_messages_that_were_published_while_the_line_was_cut_are_told_as_a_gap(
    cut_cluster: tt.Cluster, proxy: Proxy, tmp_path: Path
) -> None:
    cut_cluster.create_topic("emails")
    with cut_cluster.record(tmp_path / "ops.db", every=0.3, messages=True):
        time.sleep(1)
        assert "messages" not in history(tmp_path).gaps()["what"].tolist()
        proxy.cut()
        assert eventually(lambda: "messages" in history(tmp_path).gaps()["what"].tolist())


def test_many_kills_leave_a_file_that_can_be_read(
    record: Callable[..., subprocess.Popen[str]], raw: Raw, tmp_path: Path
) -> None:
    for n in range(5):
        child = record("--bodies")
        for k in range(20):
            raw.channel.basic_publish("fp.workers", "", peer_heartbeat(f"w{k}"))
            say(raw, "task_started", task_id=f"{n}-{k}")
        time.sleep(0.3 + 0.1 * n)
        child.kill()
        child.wait()
    with history(tmp_path).broker.recording.read() as connection:  # type: ignore[attr-defined]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not history(tmp_path).workers().empty


def test_a_line_that_is_cut_is_a_gap_of_topics_and_events(
    cut_cluster: tt.Cluster, raw: Raw, proxy: Proxy, tmp_path: Path
) -> None:
    cut_cluster.broker.ensure_topic("emails")
    with cut_cluster.record(tmp_path / "ops.db", every=0.5) as recorder:
        say(raw, "task_started", task_id="before")
        assert eventually(lambda: recorder.ticks > 2)
        proxy.close()
        assert eventually(lambda: recorder.problem)
        cut_cluster.broker.close()
    recorded = history(tmp_path)
    assert "started" in recorded.task_events()["event"].tolist()
    gaps = recorded.gaps()
    assert {"topics", "events"} <= set(gaps["what"])
    assert not any("guest:guest" in why for why in gaps["why"])


def test_what_strangers_send_does_not_stop_a_recorder(
    record: Callable[..., subprocess.Popen[str]], cluster: tt.Cluster, raw: Raw, tmp_path: Path
) -> None:
    name, text = "<script>alert(1)</script>", "x" * 5 * 1024**2
    cluster.broker.ensure_topic(name)
    child = record("--bodies")
    for junk in (b"", b"\x80junk", b"[1]", b"{}", b'{"event": 1}', b"{" * 100_000):
        raw.channel.basic_publish("fp.workers", "", junk)
    raw.channel.basic_publish("fp.workers", "", peer_heartbeat(name, topics=[name]))
    raw.channel.basic_publish(cluster.broker.layout.task_exchange, name, b"\x80no task")
    large = cluster.publish(name, "shop:send", kwargs={"text": text})
    failed = task_event("task_failed", large, topic=name, worker_id=name, error=name)
    raw.channel.basic_publish("fp.workers", "", events.encode(failed))
    assert eventually(lambda: len(history(tmp_path).failures()) == 1)
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 0
    (row,) = history(tmp_path).failures(name).to_dict("records")
    assert (row["worker_id"], row["error"], row["kwargs"]) == (name, name, {"text": text})
    assert history(tmp_path).workers()["worker_id"].tolist() == [name]
    assert history(tmp_path).throughput(name)["published"].sum() == 2
    assert set(history(tmp_path).gaps()["what"]) <= {"samples"}


def test_a_broker_that_restarts_is_recorded_again_afterwards(
    connect: Connect, rabbitmq: RabbitMQNode, tmp_path: Path
) -> None:
    cluster = connect()
    with cluster.record(tmp_path / "ops.db", every=0.5, bodies=True) as recorder:
        cluster.publish("emails", "shop:send", create=True)
        assert eventually(lambda: history(tmp_path).throughput()["published"].sum() == 1)
        rabbitmq.restart()
        assert eventually(lambda: recorder.problem is None and recorder.ticks > 4, 60)

        def published_again() -> bool:
            cluster.publish("emails", "shop:send")
            return bool(history(tmp_path).throughput()["published"].sum() > 1)

        assert eventually(published_again)
    assert not history(tmp_path).gaps().empty


def test_failed_tasks_that_were_acknowledged_are_replayed(
    connect: Connect, raw: Raw, tmp_path: Path
) -> None:
    cluster = connect()
    cluster.broker.ensure_topic("emails")
    with cluster.record(tmp_path / "ops.db", every=0.5, bodies=True):
        for n in range(200):
            cluster.publish("emails", "shop:send", kwargs={"n": n, "share": 0.1})
        before = raw.read_all("emails")
        task_ids = cluster.failures()  # nothing has failed yet
        assert task_ids.empty
        for properties, body in before:
            del properties
            task_id = body.split(b'"task_id": "')[1].split(b'"')[0].decode()
            say(raw, "task_started", "task_failed", task_id=task_id)
        assert eventually(lambda: len(history(tmp_path).failures()) == 200)
    failures = history(tmp_path).failures()
    outcome = cluster.run(cluster.plan_replay(failures), reason="INC-1", progress=False)
    assert outcome["outcome"].eq("replayed").all()
    after = raw.read_all("emails")
    assert sorted(body for _, body in after) == sorted(body for _, body in before)
    names = {properties.message_id for properties, _ in before}
    assert {properties.message_id for properties, _ in after} == names
