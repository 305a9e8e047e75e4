"""A recording is a cluster of any moment: the same frames, read-only, with gaps that are told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.brokers.read_only import changes
from tasktools.core.clock import moment
from tasktools.core.events import TaskEvent
from tasktools.core.frames import schemas
from tasktools.core.frames.schema import DTYPES, Schema
from tasktools.core.models import TopicSettings
from tasktools.testing.factories import lock_event, worker_event
from tests.recorded import START, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db", bodies=True)
    yield scene
    scene.close()


def at(seconds: float) -> str:
    return moment(START + seconds).isoformat()


def a_busy_day(scene: Scene) -> None:
    """Tick at 5, 10, … 30 s; at 6, 11 and 16 s something happens: two workers, of which one stops;
    tasks; a lock."""
    broker = scene.cluster.broker
    for n in range(3):
        broker.publish("emails", {"task_name": "shop:send", "task_id": f"t{n}", "kwargs": {"n": n}})
    broker.configure_topic("emails", TopicSettings(concurrency_limit=7))
    scene.beat("worker-1")
    scene.beat("worker-2", topics=("emails", "images"))
    scene.tick()
    scene.clock.advance(1)
    scene.task("task_started", "t0")
    scene.say(lock_event("lock_acquired", "nightly", worker_id="worker-2", task_id="t0"))
    scene.tick(4)
    scene.clock.advance(1)
    broker.purge("emails")
    scene.beat("worker-1", ["t0"], succeeded=8)
    scene.say(worker_event("unregister", "worker-2"))
    scene.tick(4)
    scene.clock.advance(1)
    scene.task("task_completed", "t0")
    scene.say(lock_event("lock_released", "nightly"))
    scene.beat("worker-1", succeeded=9)
    scene.tick(4)
    scene.tick()
    scene.tick()


LOOKS: dict[str, tuple[Callable[[tt.Cluster], pd.DataFrame], Schema]] = {
    "workers": (tt.Cluster.workers, schemas.WORKERS),
    "topics": (tt.Cluster.topics, schemas.TOPICS),
    "locks": (tt.Cluster.locks, schemas.LOCKS),
    "stats": (tt.Cluster.stats, schemas.STATS),
    "topic_settings": (tt.Cluster.topic_settings, schemas.SETTINGS),
    "active_tasks": (lambda it: it.active_tasks(queued=False), schemas.ACTIVE_TASKS),
}
_NOT_KEPT = {"publish_rate", "ack_rate"}  # they go on falling until they are asked


@pytest.mark.parametrize("name", LOOKS)
def test_the_present_of_a_recording_is_what_the_live_cluster_shows(name: str, scene: Scene) -> None:
    a_busy_day(scene)
    scene.beat("worker-1", ["t1"])
    scene.task("task_started", "t1")
    scene.say(lock_event("lock_acquired", "nightly"))
    scene.tick()
    look, schema = LOOKS[name]
    live, recorded = look(scene.cluster), look(scene.history())
    dtypes = {c.name: DTYPES[c.kind] for c in schema.columns}
    assert dict(recorded.dtypes.astype(str)) == dtypes
    assert len(live)
    same = [c for c in live.columns if c not in _NOT_KEPT | {"args", "kwargs", "headers"}]
    if name == "active_tasks":  # its message is known from the recording
        same = ["task_id", "topic", "state", "worker_id", "started_at", "age"]
    pd.testing.assert_frame_equal(live[same], recorded[same], check_flags=False)


def test_any_moment_can_be_looked_at(scene: Scene) -> None:
    a_busy_day(scene)
    history = scene.history()
    assert history.topics(at=at(5)).iloc[0]["queued"] == 3
    assert history.topics(at=at(16)).iloc[0]["queued"] == 0
    assert history.topics(at="12s").iloc[0]["queued"] == 0
    states = history.workers(at=at(15)).set_index("worker_id")["state"].to_dict()
    assert states == {"worker-1": "alive", "worker-2": "stopped"}
    running = [len(history.active_tasks(queued=False, at=at(t))) for t in (5, 6, 10, 15.9, 16)]
    assert running == [0, 1, 1, 1, 0]
    assert [len(history.locks(at=at(t))) for t in (5, 10, 15, 20)] == [0, 1, 1, 0]
    assert [history.locks(at=at(t))["orphaned"].tolist() for t in (10, 15)] == [[False], [True]]
    assert history.stats(at=at(10)).iloc[0]["workers"] == 2
    assert history.topic_settings(at=at(3)).empty
    assert history.topic_settings(at=at(6))["concurrency_limit"].tolist() == [7]


def test_ages_are_those_of_the_moment(scene: Scene) -> None:
    a_busy_day(scene)
    (lock,) = scene.history().locks(at=at(12)).to_dict("records")
    assert lock["held_for"].total_seconds() == 6
    (task,) = scene.history().active_tasks(queued=False, at=at(12)).to_dict("records")
    assert task["age"].total_seconds() == 6


def test_a_task_that_runs_for_hours_is_found_at_any_moment(scene: Scene) -> None:
    scene.task("task_started", "long")
    for _ in range(10):
        scene.beat("worker-1", ["long"])
        scene.task("task_started", "short")
        scene.tick(4)
        scene.task("task_completed", "short")
        scene.clock.advance(600)
        scene.beat("worker-1", ["long"])
        scene.tick(4)
    history = scene.history()
    for seconds in (4, 608, 3048):
        tasks = history.active_tasks(queued=False, at=at(seconds))
        assert "long" in tasks["task_id"].tolist(), seconds


def test_running_tasks_have_the_arguments_of_their_recorded_messages(scene: Scene) -> None:
    a_busy_day(scene)
    (task,) = scene.history().active_tasks(queued=False, at=at(12)).to_dict("records")
    assert (task["task_name"], task["kwargs"]) == ("send", {"n": 0})


def test_a_gap_is_a_gap(scene: Scene) -> None:
    scene.cluster.broker.publish("emails", {"task_name": "shop:send"})
    scene.beat()
    scene.tick()
    scene.recorder.close()
    scene.clock.advance(3600)
    scene.recorder = scene.new_recorder()
    scene.beat()
    scene.recorder.tick()
    history = scene.history()
    for frame in (history.workers(at=at(60)), history.topics(at=at(60))):
        assert frame.empty
        assert any("no recorder was running" in note for note in frame.attrs["notes"])
    assert history.stats(at=at(60)).iloc[0][["workers", "running", "locks"]].isna().all()
    assert "the recording goes from" in str(history.workers(at=at(-60)).attrs["notes"])
    depth = history.queue_depth(every="10min", since="2h")
    assert depth["queued"].notna().sum() == 2
    assert len(depth) == 13


def test_nothing_can_be_changed(scene: Scene) -> None:
    scene.tick()
    history = scene.history()
    with pytest.raises(tt.ReadOnly, match="nothing was"):
        history.publish("emails", "shop:send")
    marked = changing_methods()
    assert {"publish", "mover", "overhear", "configure_topic", "acquire_lock"} <= set(marked)
    for name in marked:
        with pytest.raises(tt.ReadOnly, match="This is a recording"):
            getattr(history.broker, name)()
    with pytest.raises(tt.LookRefused, match="this is a recording"):
        history.broker.peek("emails")


def changing_methods() -> list[str]:
    """Return the names of the methods of a broker that `@changes` marks."""
    mark = changes(MemoryBroker.close).__code__
    methods = inspect.getmembers(MemoryBroker, inspect.isfunction)
    return [name for name, method in methods if method.__code__ is mark]


def test_failures_can_be_planned_but_not_run_and_queues_not_looked_into(
    scene: Scene, ledger_file: Path
) -> None:
    a_busy_day(scene)
    scene.task("task_failed", "t1", error="no answer")
    scene.tick()
    history = scene.history()
    plan = history.plan_replay(history.failures())
    assert len(plan) == 1
    with pytest.raises(tt.ReadOnly, match="nothing was"):
        history.run(plan, reason="INC-1", progress=False)
    assert not ledger_file.exists()
    with pytest.raises(tt.LookRefused, match=r"failures\(\) lists"):
        history.dead_letters("emails")


def test_a_failure_has_what_its_worker_told_besides(scene: Scene) -> None:
    """Celery tells names, tracebacks and arguments, these as text; nothing of it is evaluated."""
    trace = 'Traceback (most recent call last):\n  File "/srv/shop/mail.py", line 4, in send\nE: no'
    fields: dict[str, Any] = {"sender_id": "w1", "worker_id": "w1@shop", "topic": "mail"}
    fields |= {"task_name": "shop.send", "args": "('a@b',)", "kwargs": "{'password': 'hunter2'}"}
    error: dict[str, Any] = {"error_type": "E", "error": "no", "traceback": trace}
    as_values = {**fields, "args": None, "kwargs": {"to": "a@b"}}
    for event in (
        TaskEvent(kind="task_started", task_id="t1", **fields),
        TaskEvent(kind="task_failed", task_id="t1", **error, **fields),
        TaskEvent(kind="task_failed", task_id="t2", error="no", **as_values),
    ):
        scene.recorder.handle_event(event)
        scene.tick()

    failures = scene.history().failures().set_index("task_id")
    first = failures.loc["t1"]
    assert list(first[["task_name", "topic", "traceback"]]) == ["shop.send", "mail", trace]
    assert list(first[["args", "kwargs"]]) == ["('a@b',)", "{'password': '•••'}"]
    assert first["error_kind"] == "E in mail.py:send"
    assert failures["kwargs"]["t2"] == {"to": "a@b"}
    assert failures["traceback"].isna().to_dict() == {"t1": False, "t2": True}


def test_queued_tasks_are_not_told_and_why_is(scene: Scene) -> None:
    a_busy_day(scene)
    frame = scene.history().active_tasks("emails", at=at(5))
    assert frame.empty
    assert "this is a recording" in frame.attrs["looks"][0]["why"]


def test_frames_say_what_was_recorded_and_when(scene: Scene) -> None:
    scene.tick()
    (note, *_) = scene.history().workers().attrs["notes"]
    assert note == (
        "recorded from memory://, 2027-01-15 08:00:05 UTC to 2027-01-15 08:00:05 UTC, without "
        "gaps; this is as it was at 2027-01-15 08:00:05 UTC"
    )


def test_a_live_cluster_does_not_look_back(scene: Scene) -> None:
    with pytest.raises(tt.NotRecorded, match=r"Record it with cluster\.record"):
        scene.cluster.workers(at="1h")


def test_a_recording_is_opened_by_its_path(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.tick()
    monkeypatch.chdir(scene.path.parent)
    for dsn in (f"sqlite:///{scene.path}", "sqlite:///ops.db"):
        with tt.connect(dsn) as history:
            assert history.read_only
            assert "read_only" in repr(history)
            assert history.broker.layout.name == "fp"


@pytest.mark.parametrize("dsn", ["sqlite://", "sqlite:///", "sqlite://ops.db"])
def test_a_dsn_without_a_path_is_one_sentence(dsn: str) -> None:
    with pytest.raises(tt.MalformedDSN, match="names no recording"):
        tt.connect(dsn)


def test_what_is_no_recording_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    (tmp_path / "empty").touch()
    for name, why in {
        "none": "no recording",
        "text": "cannot be read",
        "empty": "Nothing is",
    }.items():
        with pytest.raises(tt.RecordingError, match=why):
            tt.connect(f"sqlite:///{tmp_path / name}")


def test_a_recording_in_a_folder_that_cannot_be_written_can_be_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.tick()
    scene.recorder.close()
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root
    assert len(scene.history().stats()) == 1


def test_a_cluster_that_went_out_of_sight_is_shown_as_it_was_seen_last(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_busy_day(scene)

    def refuse(*_args: object, **_given: object) -> None:
        raise tt.BrokerTimeout("no answer")

    monkeypatch.setattr(MemoryBroker, "topic_report", refuse)
    scene.tick()
    monkeypatch.setattr(MemoryBroker, "cluster_state", refuse)
    scene.tick()
    scene.tick(3600)
    history = scene.history()
    frame = history.topics()
    assert frame["topic"].tolist() == ["emails"]
    assert frame.attrs["notes"][0].endswith(
        "as it was at 2027-01-15 08:00:30 UTC; after that it could not be seen, or in part only, "
        "until 2027-01-15 09:00:40 UTC"
    )
    assert history.gaps()["until"].max() == moment(START + 3640)
    depth = history.queue_depth("emails", every="10min", since="5min")
    assert depth["queued"].isna().tolist() == [True, False] + [True] * 6


def test_a_source_that_is_never_there_does_not_hold_back_the_present(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.tick()

    def refuse(*_: object) -> None:
        raise tt.PermissionDenied("no right")

    monkeypatch.setattr(MemoryBroker, "topic_report", refuse)
    for _ in range(20):
        scene.beat()
        scene.tick()
    (worker,) = scene.history().workers().to_dict("records")
    assert worker["silence"].total_seconds() == 5


def test_what_was_asked_over_time_says_first_from_when_to_when_it_is_and_its_gaps(
    scene: Scene,
) -> None:
    """Issue 11, new user: an answer from a recording said only "as it was at" its end."""
    scene.tick()
    scene.tick(60)
    for question in ("queue_depth", "failures", "task_events", "gaps", "throughput", "published"):
        frame = getattr(scene.history(), question)(since="1h")
        assert frame.attrs["notes"][0] == frame.attrs["recorded"]
        assert frame.attrs["recorded"] == (
            "recorded from memory://, 2027-01-15 08:00:05 UTC to 2027-01-15 08:01:05 UTC, with 1 "
            "gap: 2027-01-15 08:00:05 UTC to 2027-01-15 08:01:05 UTC (samples: the recorder was "
            "held up)"
        )
    part = scene.history().failures(since="10s").attrs["recorded"]
    assert part.startswith("recorded from memory://, 2027-01-15 08:00:55 UTC to")
    before = scene.history().failures(since="3h", until="2h").attrs["recorded"]
    assert "nothing is recorded of that time: the recording is from 2027-01-15 08:00:05" in before
    look = scene.history().stats().attrs["recorded"]
    assert look.startswith("recorded from memory://, 2027-01-15 08:00:05 UTC to")
    assert "; this is as it was at 2027-01-15 08:01:05 UTC" in look
    assert "recorded" not in scene.cluster.stats().attrs
