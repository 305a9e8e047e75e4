"""One row a task: from a recording, and live; and what `tt.explain` makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.core.clock import moment
from tasktools.core.redaction import MASKED
from tasktools.testing.factories import task_event
from tests.recorded import START, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db", bodies=True)
    yield scene
    scene.close()


def publish(scene: Scene, task_id: str, topic: str = "emails", **kwargs: Any) -> None:
    payload = {"task_name": "shop:send", "task_id": task_id, "kwargs": kwargs}
    scene.cluster.broker.publish(topic, payload)


def attempt(scene: Scene, task_id: str, *, fails: bool = False, **fields: Any) -> None:
    scene.task("task_started", task_id, **fields)
    scene.clock.advance(1)
    if fails:
        fields |= {"error_type": "Timeout", "error": "no answer from amqp://ops:hunter2@10.0.0.7"}
    scene.task("task_failed" if fails else "task_completed", task_id, duration=0.9, **fields)


def only(frame: pd.DataFrame) -> dict[str, Any]:
    (row,) = frame.to_dict("records")
    return {str(name): value for name, value in row.items()}


def test_a_task_that_is_tried_three_times_is_one_row(scene: Scene) -> None:
    scene.beat("worker-1", host="h1", tasktools="0.1.0")
    for number in range(3):
        publish(scene, "t1", to="ann", password="hunter2")
        scene.tick(after=10 if number == 0 else 1)
        attempt(scene, "t1", fails=number < 2, topic="emails", worker_id="worker-1")
        scene.tick(after=1)
    row = only(scene.history().tasks())
    assert (row["task_id"], row["task_name"], row["topic"]) == ("t1", "send", "emails")
    assert (row["outcome"], row["tries"]) == ("succeeded", 3)
    assert row["first_wait"] == pd.Timedelta("10s")
    assert row["duration"] == pd.Timedelta("900ms")
    assert row["durations"] == [0.9, 0.9, 0.9]
    assert (row["worker_id"], row["host"], row["version"]) == ("worker-1", "h1", "0.1.0")
    assert row["published_at"] == moment(START)
    assert row["started_at"] == moment(START + 16)
    assert row["ended_at"] == moment(START + 17)
    assert row["kwargs"] == {"to": "ann", "password": MASKED}
    assert pd.isna(row["error_type"])
    assert row["size"] > 0


def test_a_task_that_failed_last_says_why(scene: Scene) -> None:
    publish(scene, "t1")
    attempt(scene, "t1", fails=True)
    scene.tick()
    row = only(scene.history().tasks())
    assert (row["outcome"], row["error_type"]) == ("failed", "Timeout")
    assert "hunter2" not in row["error"]
    assert row["fingerprint"].startswith("Timeout: no answer")
    assert row["fingerprint"] == only(scene.history().failures())["fingerprint"]


def test_at_an_earlier_end_a_task_is_what_it_was_then(scene: Scene) -> None:
    publish(scene, "t1")
    attempt(scene, "t1", fails=True)
    scene.tick(after=9)
    scene.task("task_started", "t1")
    scene.clock.advance(10)
    scene.task("task_completed", "t1")
    scene.tick()
    history = scene.history()
    assert only(history.tasks())["outcome"] == "succeeded"
    running = only(history.tasks(since="1h", until=moment(START + 15)))
    assert (running["outcome"], running["tries"]) == ("running", 2)
    assert pd.isna(running["ended_at"])
    assert pd.isna(running["duration"])
    assert running["durations"] == [0.9, None]
    failed = only(history.tasks(since="1h", until=moment(START + 5)))
    assert (failed["outcome"], failed["tries"], failed["durations"]) == ("failed", 1, [0.9])
    assert history.tasks(since=moment(START + 22)).empty


def test_each_try_has_the_arguments_of_its_own_message(scene: Scene) -> None:
    """A replay may have edited them."""
    publish(scene, "t1", to="wrong")
    scene.tick(after=1)
    attempt(scene, "t1", fails=True)
    scene.tick(after=60)
    publish(scene, "t1", to="right")
    scene.tick(after=1)
    attempt(scene, "t1")
    scene.tick(after=1)
    history = scene.history()
    assert only(history.tasks())["kwargs"] == {"to": "right"}
    assert only(history.tasks(until=moment(START + 30)))["kwargs"] == {"to": "wrong"}


def test_without_messages_what_they_hold_is_missing_and_a_note_says_so(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "ops.db")
    publish(scene, "t1")
    scene.beat(tasks=["t1"])
    attempt(scene, "t1")
    scene.tick()
    frame = scene.history().tasks()
    row = only(frame)
    for name in ("task_name", "first_wait", "published_at", "args", "kwargs", "size"):
        assert pd.isna(row[name])
    assert "messages=True" in frame.attrs["notes"][-1]
    scene.close()


def test_without_bodies_only_arguments_are_missing(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "ops.db", messages=True)
    publish(scene, "t1", to="ann")
    attempt(scene, "t1")
    scene.tick()
    frame = scene.history().tasks()
    row = only(frame)
    assert (row["task_name"], row["first_wait"]) == ("send", pd.Timedelta(0))
    assert row["kwargs"] is None
    assert "bodies=True" in frame.attrs["notes"][-1]
    scene.close()


def test_short_waits_of_workers_that_tell_late_are_missing(scene: Scene) -> None:
    for task_id, wait in (("short", 1), ("long", 5)):
        publish(scene, task_id)
        scene.clock.advance(wait)
        scene.task("task_started", task_id)
        scene.clock.advance(1)
        scene.task("task_completed", task_id)
    scene.tick()
    waits = scene.history().tasks().set_index("task_id")["first_wait"]
    assert waits.isna().to_dict() == {"short": True, "long": False}


def test_tasks_of_a_topic_and_the_latest_of_all(scene: Scene) -> None:
    for number in range(6):
        topic = "emails" if number % 2 else "orders"
        attempt(scene, f"t{number}", topic=topic)
    scene.tick()
    history = scene.history()
    assert history.tasks("emails")["task_id"].tolist() == ["t5", "t3", "t1"]
    assert history.tasks("nobody").empty
    latest = history.tasks(limit=4)
    assert latest["task_id"].tolist() == ["t5", "t4", "t3", "t2"]
    assert any("the latest 4 tasks" in note for note in latest.attrs["notes"])
    assert latest.attrs["recording"] == history.tasks().attrs["recording"]


def test_a_cluster_that_was_closed_says_so(scene: Scene) -> None:
    """It said that nothing is recorded yet, and nothing was changed."""
    scene.cluster.close()
    for question in (scene.cluster.tasks, scene.cluster.marks, scene.cluster.throughput):
        with pytest.raises(tt.Closed, match="was closed"):
            question()


def test_a_name_that_is_no_text_is_the_name_of_no_topic(scene: Scene) -> None:
    """Of a recording it was said that it is damaged, a live cluster raised an error of Python."""
    scene.tick()
    assert scene.cluster.tasks("emails\udcff").empty
    assert scene.history().throughput("emails\udcff").empty


def test_a_live_cluster_knows_what_it_has_heard(scene: Scene) -> None:
    scene.cluster.tasks()
    scene.beat(host="h1")
    attempt(scene, "t1", fails=True)
    row = only(scene.cluster.tasks(since="1h"))
    assert (row["outcome"], row["host"]) == ("failed", "h1")


def test_failures_of_a_recording_are_explained(scene: Scene) -> None:
    for number in range(60):
        country = "us" if number % 3 == 0 else "de"
        publish(scene, f"t{number}", country=country, amount=number % 7)
        attempt(scene, f"t{number}", fails=country == "us")
        scene.tick(after=1)
    tasks = scene.history().tasks()
    succeeded = tasks[tasks["outcome"] == "succeeded"]
    for failed in (tasks[tasks["outcome"] == "failed"], scene.history().failures()):
        rows = tt.explain(failed, succeeded)
        assert rows[["field", "value", "failed"]].iloc[0].tolist() == ["kwargs.country", "us", 20]


# --- arguments that workers of Celery tell ----------------------------------------------------


def run_as_celery_tells(scene: Scene) -> None:
    """Let the recorders hear of 60 tasks, of which those of one customer fail."""
    for number in range(60):
        customer = number % 6
        told = {"args": "(<Card 7>,)", "kwargs": f"{{'to': {customer}, 'token': 'x'}}"}
        kind: Any = "task_failed" if customer == 3 else "task_completed"
        for event in (
            task_event("task_started", f"t{number}", topic="emails", **told),
            task_event(kind, f"t{number}", topic="emails", **(told if customer == 3 else {})),
        ):
            scene.recorder.handle_event(event)
            scene.cluster._history.handle_event(event)  # as what marks say is heard
        scene.clock.advance(1)
    scene.tick()


def test_what_failed_tasks_have_in_common_may_be_an_argument_that_is_a_repr(scene: Scene) -> None:
    run_as_celery_tells(scene)
    for cluster in (scene.cluster, scene.history()):
        tasks = cluster.tasks()
        assert tasks["args"].eq("(<Card 7>,)").all()
        assert not tasks["kwargs"].str.contains("'x'").any(), "the token is masked"
        failed = tasks["outcome"] == "failed"
        first = tt.explain(tasks[failed], tasks[~failed]).iloc[0]
        assert (first["field"], first["value"]) == ("kwargs.to", "3")
        groups = tt.failure_groups(cluster.failures(), by="kwargs.to")
        assert groups["group"].tolist() == ["3"]


def test_arguments_of_tasks_that_succeeded_are_recorded_only_if_bodies_are(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "ops.db")
    run_as_celery_tells(scene)
    tasks = scene.history().tasks().groupby("outcome")["args"].count()
    assert tasks.to_dict() == {"failed": 10, "succeeded": 0}
    scene.close()
