"""Recordings of topics of several dialects."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

import tasktools as tt
from tasktools.brokers.memory.broker import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.models import ClusterState, TopicReport, Worker
from tasktools.history.recorder import Recorder
from tasktools.history.sessions import Session
from tasktools.history.store import File

DIALECTS = {"mail": ("celery", "mail.dlq"), "orders": ("dramatiq", "orders.XQ")}


class Shop(MemoryBroker):
    """A broker whose topics are of other dialects."""

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        report = super().topic_report(topics)
        topic_stats = []
        for stats in report.topics:
            dialect, dead_queue = DIALECTS.get(stats.topic, (stats.dialect, stats.dead_queue))
            topic_stats.append(replace(stats, dialect=dialect, dead_queue=dead_queue))
        return replace(report, topics=tuple(topic_stats))


def record(broker: MemoryBroker, path: Path) -> Recorder:
    recorder = Recorder(broker, File(path), Session(messages=True))
    recorder.open()
    recorder.tick()
    recorder.close()
    return recorder


def test_a_recording_knows_dialects_and_dead_letter_queues(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    with Shop() as broker:
        for topic in DIALECTS:
            broker.create_topic(topic)
        recorder = record(broker, path)
        assert "messages are not recorded: workers of Celery and workers of" in str(recorder.note)
        assert str(recorder.note) in repr(recorder)
        DIALECTS["mail"] = ("celery", "mail.failed")
        record(broker, path)
    with tt.connect(f"sqlite:///{path}") as cluster:
        topics = cluster.topics().set_index("topic")
        assert topics["dialect"].to_dict() == {"mail": "celery", "orders": "dramatiq"}
        assert topics["dead_queue"].to_dict() == {"mail": "mail.failed", "orders": "orders.XQ"}
        assert topics.loc["orders", ["running", "subscribers"]].isna().all()
        broker_of = cluster.broker
        assert [each.name for each in broker_of.dialects][1:] == ["dramatiq", "celery"]
        assert broker_of.dialect_of("mail.failed").name == "celery"
        assert broker_of.homes_of("orders.XQ") == ["orders"]
        assert broker_of.dead_queue("mail") == "mail.failed"
        assert cluster.throughput()["published"].isna().all()


def test_where_workers_send_no_events_nothing_known_is_not_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    with Shop() as broker:
        for topic in ("mail", "orders"):
            broker.create_topic(topic)
        record(broker, path)
        with Cluster(broker) as cluster:
            assert "unheard" not in cluster.active_tasks("mail", queued=False).attrs
            running = cluster.active_tasks(queued=False)
    with tt.connect(f"sqlite:///{path}") as recording:
        for frame in (running, recording.active_tasks(), recording.failures()):
            assert frame.empty
            assert frame.attrs["unheard"]
            (note,) = (note for note in frame.attrs["notes"] if "no events" in note)
            assert note.startswith("workers of Dramatiq send no heartbeats")


def test_a_recording_of_before_has_the_dialect_of_its_layout(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    with MemoryBroker() as broker:
        broker.create_topic("emails")
        assert record(broker, path).note is None
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE topic_dialects")
    connection.close()
    with tt.connect(f"sqlite:///{path}") as cluster:
        assert cluster.topics()["dialect"].tolist() == ["taskworker"]
        assert cluster.broker.dead_queue("emails") == "emails.dead"


class MuteShop(MemoryBroker):
    """A broker of whose topics one has a worker that tells nothing of its tasks."""

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        worker = Worker(
            worker_id="w0@shop",
            state="alive",
            uncertain=False,
            dialect="celery",
            topics=("mail",),
            sends_task_events=False,
        )
        return replace(super().cluster_state(settle=settle), workers=(worker,))


def test_what_a_mute_worker_ran_is_missing_in_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    with MuteShop() as broker:
        for topic in ("mail", "reports"):
            broker.create_topic(topic)
        record(broker, path)
    with tt.connect(f"sqlite:///{path}") as cluster:
        counts = (
            cluster.throughput(since="1h", every="1h").groupby("topic")["started"].sum(min_count=1)
        )
        assert counts.isna().to_dict() == {"mail": True, "reports": False}
        (worker,) = cluster.broker.cluster_state().workers
        assert (worker.dialect, worker.sends_task_events) == ("celery", False)
