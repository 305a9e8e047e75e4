"""Tasks that failed and were acknowledged are replayed from the recording of their messages."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.replay.ramp import Ramp
from tests.recorded import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db", bodies=True)
    yield scene
    scene.close()


def fail(scene: Scene, task_id: str, topic: str = "emails", times: int = 1, **kwargs: Any) -> None:
    """Let a task be published, taken, acknowledged and failed, as peers do it."""
    broker = scene.cluster.broker
    broker.publish(topic, {"task_name": "shop:send", "task_id": task_id, "kwargs": kwargs})
    delivery = broker.claim(topic, "worker-1")
    assert delivery is not None
    broker.ack(delivery.id)
    for _ in range(times):
        scene.task("task_started", task_id, topic=topic)
        scene.task("task_failed", task_id, topic=topic, error_type="Timeout", error="no answer")
        scene.clock.advance(1)


def failures(scene: Scene) -> pd.DataFrame:
    scene.recorder.tick()
    return scene.history().failures()


def bodies(scene: Scene, topic: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    scene.cluster.broker.peek(topic, receive=lambda _, body: rows.append(json.loads(body)))
    return [message["payload"] for message in rows]


def test_failed_tasks_are_sent_again_as_they_were(scene: Scene) -> None:
    fail(scene, "t1", password="hunter2", to="a@b")
    fail(scene, "t2", "images")
    plan = scene.cluster.plan_replay(failures(scene))
    assert plan.source == f"sqlite:///{scene.path}"
    assert dict(plan.targets) == {"emails": 1, "images": 1}
    outcome = scene.cluster.run(plan, reason="INC-1", progress=False)
    assert outcome["outcome"].tolist() == ["replayed", "replayed"]
    (payload,) = bodies(scene, "emails")
    assert (payload["task_id"], payload["kwargs"]) == ("t1", {"password": "hunter2", "to": "a@b"})
    assert [message["task_id"] for message in bodies(scene, "images")] == ["t2"]
    (run,) = tt.ledger().to_dict("records")
    assert (run["source"], run["verb"], run["done"]) == (plan.source, "replay", 2)


def test_edits_are_applied_to_the_recorded_message(scene: Scene) -> None:
    fail(scene, "t1", password="hunter2", to="a@b")
    plan = scene.cluster.plan_replay(failures(scene), edits={"kwargs.to": "c@d"})
    assert plan.frame()["before"].tolist() == ["'a@b'"]
    scene.cluster.run(plan, reason="INC-1", progress=False)
    (payload,) = bodies(scene, "emails")
    assert payload["kwargs"] == {"password": "hunter2", "to": "c@d"}


def test_a_task_that_failed_twice_is_sent_once(scene: Scene) -> None:
    fail(scene, "t1", times=2)
    rows = failures(scene)
    assert len(rows) == 2
    assert len(scene.cluster.plan_replay(rows)) == 1


def test_they_go_where_one_says(scene: Scene) -> None:
    fail(scene, "t1")
    scene.cluster.broker.ensure_topic("repair")
    plan = scene.cluster.plan_replay(failures(scene), to="repair")
    scene.cluster.run(plan, reason="INC-1", progress=False)
    assert len(bodies(scene, "repair")) == 1


def test_failures_whose_messages_were_not_kept_cannot_be_planned(scene: Scene) -> None:
    scene.task("task_failed", "unseen")
    with pytest.raises(tt.InvalidPlan, match="messages of 1 of the rows were not kept"):
        scene.cluster.plan_replay(failures(scene))


def test_a_topic_that_is_gone_is_said_before_anything_is_sent(scene: Scene) -> None:
    fail(scene, "t1")
    rows = failures(scene)
    rows["topic"] = pd.Series(["nobody"], dtype="string")
    with pytest.raises(tt.UnknownTopic):
        scene.cluster.plan_replay(rows)


def test_what_the_recording_does_not_have_any_more_is_gone(scene: Scene) -> None:
    for n in range(3):
        fail(scene, f"t{n}")
    plan = scene.cluster.plan_replay(failures(scene))
    scene.recorder.close()
    connection = sqlite3.connect(scene.path)
    with connection:
        connection.execute("DELETE FROM messages WHERE n = 1")
        connection.execute("UPDATE messages SET body = x'7b7d' WHERE n = 2")  # another message
    connection.close()
    outcome = scene.cluster.run(plan, reason="INC-1", progress=False).set_index("task_id")
    assert outcome["outcome"].to_dict() == {"t0": "gone", "t1": "gone", "t2": "replayed"}


def test_a_run_that_was_cancelled_goes_on_where_it_stopped(scene: Scene) -> None:
    for n in range(3):
        fail(scene, f"t{n}")
    plan = scene.cluster.plan_replay(failures(scene))
    cancelled = threading.Event()
    cancelled.set()
    first = scene.cluster.run(plan, reason="x", progress=False, cancelled=cancelled)
    assert first["outcome"].tolist() == ["not sent"] * 3
    second = scene.cluster.run(plan, reason="x", progress=False)
    assert second["outcome"].tolist() == ["replayed"] * 3
    assert len(bodies(scene, "emails")) == 3


def test_a_read_only_cluster_does_not_send_them(scene: Scene) -> None:
    fail(scene, "t1")
    rows = failures(scene)
    history = scene.history()
    with pytest.raises(tt.ReadOnly):
        history.run(history.plan_replay(rows), reason="x", progress=False)


def test_they_can_be_ramped(scene: Scene) -> None:
    for n in range(4):
        fail(scene, f"t{n}")
    plan = scene.cluster.plan_replay(failures(scene))
    outcome = scene.cluster.run(plan, reason="x", progress=False, ramp=Ramp(steps=(4,)))
    assert outcome["outcome"].tolist() == ["replayed"] * 4


def test_a_rate_in_whole_messages_is_the_same_plan_when_it_is_read_back(scene: Scene) -> None:
    fail(scene, "t1")
    plan = scene.cluster.plan_replay(failures(scene), rate=5)
    assert type(plan).from_json(plan.to_json()) == plan
