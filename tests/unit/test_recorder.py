"""The recorder: what it keeps, what it does when it cannot, and who may read it."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.core.events import Command, SettingsUpdate
from tasktools.core.models import Outgoing, Properties, TopicSettings
from tasktools.history.recorder import Recorder, until_next
from tasktools.history.sessions import Session
from tasktools.history.store import File, Memory
from tasktools.history.writer import Writer
from tasktools.testing import eventually
from tasktools.testing.factories import lock_event, worker_event
from tests.recorded import START, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "state" / "ops.db")
    yield scene
    scene.close()


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


# --- the file ---------------------------------------------------------------------------


def test_the_file_and_all_beside_it_are_readable_by_the_owner_alone(scene: Scene) -> None:
    before = os.umask(0)
    try:
        recorder = scene.new_recorder(scene.path.parent / "other.db")
        recorder.tick()
        files = list(scene.path.parent.iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        recorder.close()
    finally:
        os.umask(before)


def test_only_one_recorder_writes_into_a_file(scene: Scene) -> None:
    with pytest.raises(tt.RecordingError, match="Another recorder writes into"):
        scene.new_recorder()
    record = (
        "import sys; from tasktools.history.store import File\nwith File(sys.argv[1]).write(): pass"
    )
    command = [sys.executable, "-c", record, str(scene.path)]
    other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Another recorder writes into" in other.stderr  # the refused one took no lock away
    scene.recorder.close()
    scene.new_recorder().close()


def test_a_file_that_is_no_recording_is_left_as_it_is(scene: Scene, tmp_path: Path) -> None:
    database, text = tmp_path / "a.db", tmp_path / "a.txt"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    text.write_text("this is no database, but it is long enough to be taken for one" * 100)
    for file in (database, text, tmp_path):
        before = file.read_bytes() if file.is_file() else b""
        with pytest.raises(tt.RecordingError, match="nothing was changed"):
            scene.new_recorder(file)
        assert (file.read_bytes() if file.is_file() else b"") == before


def test_a_recording_of_a_newer_format_is_refused(scene: Scene) -> None:
    scene.recorder.close()
    with sqlite3.connect(scene.path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(tt.RecordingError, match="Update tasktools"):
        scene.new_recorder()


def test_the_file_is_read_while_it_is_written(scene: Scene) -> None:
    scene.tick()
    history = scene.history()
    with File(scene.path).read() as connection:
        (before,) = connection.execute("SELECT count(*) FROM ticks").fetchone()
        scene.tick()
        (during,) = connection.execute("SELECT count(*) FROM ticks").fetchone()
    assert before == during == 1
    assert len(history.utilisation(by="cluster")) == 2


def test_many_read_it_while_it_is_written(tmp_path: Path) -> None:
    with (
        tt.connect("demo://") as cluster,
        cluster.record(tmp_path / "a.db", every=0.05) as recorder,
    ):
        dsn, seen = f"sqlite:///{tmp_path / 'a.db'}", list[list[int]]()

        def read() -> None:
            counts = []
            for _ in range(20):
                with tt.connect(dsn) as history:
                    counts.append(len(history.utilisation(by="cluster")))
                    assert not history.topics().empty
            seen.append(counts)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert recorder.problem is None
    assert len(seen) == 4
    for counts in seen:
        assert counts == sorted(counts)
        assert counts[-1] > counts[0]


# --- what is kept -----------------------------------------------------------------------


def test_a_tick_has_topics_workers_and_how_much_was_heard(scene: Scene) -> None:
    scene.cluster.broker.publish("emails", {"task_name": "shop:send"})
    scene.beat("worker-1", capacity=4)
    scene.beat("worker-1", capacity=4)
    scene.tick()
    assert query(scene.path, "SELECT at, heard, workers, capacity FROM ticks") == [
        ((START + 5) * 1000, 5, 1, 4)  # our own questions, and the news of a topic, included
    ]
    assert query(scene.path, "SELECT queued, subscribers, is_there FROM topic_samples") == [
        (1, 1, 1)
    ]
    assert query(scene.path, "SELECT count(*) FROM worker_samples") == [(1,)]


def test_of_a_topic_that_is_gone_one_sample_says_so_and_its_past_stays(scene: Scene) -> None:
    scene.cluster.broker.publish("emails", {"task_name": "shop:send"})
    scene.say(SettingsUpdate(sender_id="n", topic="emails", settings=TopicSettings()))
    scene.tick()
    scene.cluster.broker.delete_topic("emails", force=True)
    for _ in range(3):
        scene.tick()
    samples = query(scene.path, "SELECT queued, is_there FROM topic_samples ORDER BY at")
    assert samples == [(1, 1), (None, 0)]
    history = scene.history()
    assert history.topics().empty
    assert history.topics(at="15s")["queued"].tolist() == [1]
    assert history.queue_depth("emails")["queued"].tolist()[:1] == [1]


def test_all_events_but_heartbeats_are_kept_as_they_came(scene: Scene) -> None:
    scene.say(
        worker_event("register", "worker-1"),
        lock_event("lock_acquired"),
        SettingsUpdate(sender_id="n", topic="emails", settings=TopicSettings(concurrency_limit=3)),
        Command(kind="worker_command", sender_id="n", target="worker-1", action="drain"),
        worker_event("unregister", "worker-1"),
    )
    scene.beat()
    scene.tick()
    rows = query(scene.path, "SELECT event FROM events ORDER BY n")
    assert [event for (event,) in rows] == [
        "register",
        "lock_acquired",
        "config_update",
        "worker_command",
        "unregister",
    ]


def test_of_ten_thousand_workers_500_are_sampled_at_a_tick_and_those_that_changed(
    scene: Scene,
) -> None:
    workers = [f"worker-{n:05}" for n in range(2_000)]
    scene.say(*(worker_event("heartbeat", worker_id) for worker_id in workers))
    scene.tick(1)
    scene.say(worker_event("heartbeat", "worker-00007", capacity=9))
    scene.tick(1)
    counts = query(scene.path, "SELECT count(*) FROM worker_samples GROUP BY at")
    assert counts == [(2_000,), (501,)]
    for _ in range(3):
        scene.tick(1)
    later = f"SELECT count(DISTINCT worker) FROM worker_samples WHERE at > {(START + 1) * 1000:.0f}"
    seen = query(scene.path, later)
    assert seen == [(2_000,)]
    assert len(scene.history().workers()) == 2_000


def test_more_tasks_between_two_ticks_than_events_are_kept_are_all_recorded(
    scene: Scene, tmp_path: Path
) -> None:
    """Starts and ends are paired before the buffer is full."""
    path = tmp_path / "small.db"
    with Recorder(scene.cluster.broker, File(path), Session(every=60), max_events=10) as recorder:
        for number in range(50):
            scene.task("task_started", f"t{number}", topic="emails")
            scene.task("task_failed", f"t{number}", topic="emails", error_type="E")
        recorder.tick()

    assert query(path, "SELECT count(*), count(ended) FROM tries") == [(50, 50)]
    assert query(path, "SELECT why FROM gaps WHERE what = 'events'") == []


def test_a_tick_that_is_not_due_does_not_come_and_nothing_drifts() -> None:
    assert until_next(100.0, 5.0) == 5.0
    assert until_next(103.0, 5.0) == 2.0
    assert until_next(104.9, 5.0) == pytest.approx(5.1)  # it came a bit early
    assert until_next(107.5, 5.0) == 2.5  # one was held up, and is missing


def test_the_thread_ticks_until_it_is_closed(tmp_path: Path) -> None:
    with (
        tt.connect("memory://") as cluster,
        cluster.record(tmp_path / "a.db", every=0.1) as recorder,
    ):
        assert eventually(lambda: recorder.ticks > 5)
    assert not any(thread.name == "tasktools-recorder" for thread in threading.enumerate())
    assert query(tmp_path / "a.db", "SELECT ended IS NOT NULL FROM sessions") == [(1,)]


def test_a_file_that_was_there_empty_is_yours_alone_from_then_on(
    scene: Scene, tmp_path: Path
) -> None:
    file = tmp_path / "touched.db"
    file.touch(0o644)
    scene.new_recorder(file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


# --- when it cannot ---------------------------------------------------------------------


@pytest.fixture
def full_disk() -> Iterator[Any]:
    """Let no file grow, until the function returned is called."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def mend() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def fill() -> Callable[[], None]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        return mend

    yield fill
    mend()


def test_a_full_disk_costs_samples_and_nothing_that_was_heard(scene: Scene, full_disk: Any) -> None:
    scene.tick()
    mend = full_disk()
    for n in range(50):
        scene.task("task_started", f"t{n}")
    scene.tick()
    scene.task("task_completed", "t0")
    scene.tick()
    mend()
    assert scene.recorder.problem is not None
    assert "Nothing can be written into sqlite:" in scene.recorder.problem
    scene.tick()
    assert scene.recorder.problem is None
    history = scene.history()
    assert history.task_events()["event"].value_counts().to_dict() == {
        "started": 50,
        "succeeded": 1,
    }
    assert history.throughput(every="1min")["started"].sum() == 50
    (gap,) = history.gaps().to_dict("records")
    assert (gap["what"], gap["until"] - gap["since"]) == ("samples", timedelta(seconds=15))
    assert "Nothing can be written" in gap["why"]


def test_what_a_tick_could_not_write_is_not_taken_for_written(scene: Scene, full_disk: Any) -> None:
    scene.cluster.broker.configure_topic("emails", TopicSettings(concurrency_limit=7))
    mend = full_disk()
    scene.tick(60)
    mend()
    scene.tick()
    assert scene.history().topic_settings()["concurrency_limit"].tolist() == [7]
    assert scene.history().topics()["topic"].tolist() == ["emails"]


def test_a_tick_that_fails_unforeseen_leaves_no_wrong_names_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.task("task_started", "t1", topic="emails", worker_id="w1")
    with monkeypatch.context() as patched:
        patched.setattr(Writer, "_write_gaps", lambda *_, **__: 1 / 0)
        scene.tick()
    assert scene.recorder.problem == "A tick failed: ZeroDivisionError('division by zero')"
    scene.task("task_started", "t2", topic="images", worker_id="w2")
    scene.tick()
    events = scene.history().task_events()
    rows = events[["task_id", "topic", "worker_id"]].to_numpy().tolist()
    assert rows == [["t1", "emails", "w1"], ["t2", "images", "w2"]]


@pytest.mark.parametrize("instead", [None, b"", b"another file"])
def test_a_file_that_is_moved_away_ends_its_recorder(
    instead: bytes | None, scene: Scene, tmp_path: Path
) -> None:
    scene.tick()
    scene.path.rename(tmp_path / "moved.db")
    if instead is not None:
        scene.path.write_bytes(instead)
    scene.tick()
    assert scene.recorder.is_stopped
    assert "was moved or deleted while it was written" in str(scene.recorder.problem)
    assert (scene.path.read_bytes() if scene.path.exists() else None) == instead
    scene.recorder.close()
    scene.recorder = scene.new_recorder(tmp_path / "other.db")  # it has let go of everything


def test_a_broker_that_cannot_be_asked_is_a_gap_of_topics(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.cluster.broker.publish("emails", {"task_name": "shop:send"})
    scene.tick()

    def refuse(*_: object) -> None:
        raise tt.BrokerTimeout("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryBroker, "topic_report", refuse)
        scene.task("task_started")
        scene.tick()
        scene.tick()
    assert scene.recorder.problem == "no answer"
    scene.tick()
    assert scene.recorder.problem is None
    (gap,) = scene.history().gaps().to_dict("records")
    assert (gap["what"], gap["why"]) == ("topics", "no answer")
    assert (gap["until"] - gap["since"]).total_seconds() == 10
    assert scene.history().task_events()["event"].tolist() == ["started"]


def test_intervals_that_were_missed_are_a_gap(scene: Scene) -> None:
    scene.tick()
    scene.tick(60)
    (gap,) = scene.history().gaps().to_dict("records")
    assert (gap["what"], gap["why"]) == ("samples", "the recorder was held up")
    assert (gap["until"] - gap["since"]).total_seconds() == 60


def test_the_time_without_a_recorder_is_a_gap_and_what_ran_then_is_lost(scene: Scene) -> None:
    scene.task("task_started")
    scene.tick()
    scene.recorder.close()
    scene.clock.advance(3600)
    scene.recorder = scene.new_recorder()
    scene.recorder.tick()
    history = scene.history()
    (gap,) = history.gaps().to_dict("records")
    assert (gap["what"], gap["why"]) == ("all", "no recorder was running")
    assert history.task_events(since="2h")["event"].tolist() == ["started", "lost"]


def test_a_cluster_that_is_closed_ends_its_recorder(scene: Scene) -> None:
    scene.cluster.broker.close()
    scene.tick()
    assert scene.recorder.is_stopped
    assert scene.recorder.problem == "The cluster was closed; nothing more is recorded."


# --- what strangers send ----------------------------------------------------------------


def test_junk_is_counted_at_most_and_names_are_kept_as_they_are(scene: Scene) -> None:
    name = "<script>alert('x')</script>\x00\x1b[31m"
    scene.server.broadcast(b"\x80junk", b"[]", b'{"event": "task_started"}', b"{" * 100_000)
    scene.server.broadcast()
    scene.say(
        Command(
            kind="worker_command", sender_id=name, target=name, action=name, params={"n": 10**40}
        )
    )
    scene.beat(name, ["t1"], topics=(name,), succeeded=2**40, host=name)
    scene.task("task_failed", "t1", topic=name, worker_id=name, error=name, duration=1e300)
    scene.tick()
    assert scene.recorder.problem is None
    history = scene.history()
    assert history.workers()["worker_id"].tolist() == [name]
    assert history.topics()["topic"].tolist() == [name]
    assert history.failures(name)["worker_id"].tolist() == [name]
    assert history.cluster_events()["detail"].iloc[-1]["params"] == {"n": 10**40}
    assert history.failures(name)["duration"].isna().all()


def test_a_message_that_is_no_task_is_kept_and_one_of_5_mb_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "ops.db", bodies=True)
    broker = scene.cluster.broker
    text = "x" * 5 * 1024**2
    broker.publish("emails", {"task_name": "shop:send", "task_id": "t1", "kwargs": {"text": text}})
    junk = Outgoing(topic="emails", message_id="j", body=b"\x80", properties=Properties())
    broker.publish_many([junk])
    scene.task("task_failed", "t1")
    scene.tick()
    (failed,) = scene.history().failures().to_dict("records")
    assert failed["kwargs"] == {"text": text}
    assert query(scene.path, "SELECT size > 5000000 FROM messages") == [(1,), (0,)]
    scene.close()


# --- messages ---------------------------------------------------------------------------


def test_messages_are_kept_only_when_it_is_asked(scene: Scene, tmp_path: Path) -> None:
    for name, options in {"none": {}, "some": {"messages": True}, "all": {"bodies": True}}.items():
        scene.options = options
        recorder = scene.new_recorder(tmp_path / f"{name}.db")
        scene.cluster.broker.publish("emails", {"task_name": "shop:send"})
        recorder.tick()
        recorder.close()
    stored = "SELECT size > 0, body IS NOT NULL, properties IS NOT NULL FROM messages"
    assert query(tmp_path / "none.db", stored) == []
    assert query(tmp_path / "some.db", stored) == [(1, 0, 0)]
    assert query(tmp_path / "all.db", stored) == [(1, 1, 1)]


def test_a_read_only_cluster_is_not_tapped(tmp_path: Path) -> None:
    with (
        tt.connect("memory://", read_only=True) as cluster,
        cluster.record(tmp_path / "a.db"),
        pytest.raises(tt.ReadOnly),
    ):
        cluster.record(tmp_path / "b.db", bodies=True).start()


def test_a_recording_in_memory_is_not_closed_in_the_midst_of_a_read() -> None:
    """SQLite ended the process when a board read what its closing cluster let go."""
    recording = Memory()
    may_end, reads, ended = threading.Event(), threading.Event(), threading.Event()

    def record() -> None:
        with recording.write():
            reads.set()
            may_end.wait(30)
        ended.set()

    recorder = threading.Thread(target=record)
    recorder.start()
    assert reads.wait(30)
    with recording.read() as connection:
        rows = connection.execute("WITH n(i) AS (VALUES(1), (2)) SELECT i FROM n")
        assert next(rows) == (1,)
        may_end.set()
        assert not ended.wait(0.2)
        assert next(rows) == (2,)
    recorder.join(30)
    assert ended.is_set()
    with pytest.raises(tt.RecordingError), recording.read():
        pass
