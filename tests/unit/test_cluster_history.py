"""The history of a cluster over time: from a recording, and live."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.core.clock import moment
from tasktools.core.frames import history_schemas
from tasktools.core.frames.schema import DTYPES, Schema
from tasktools.core.redaction import MASKED
from tasktools.history.recorder import Recorder
from tasktools.testing.factories import worker_event
from tests.recorded import START, Scene

QUESTIONS: dict[str, tuple[Callable[..., pd.DataFrame], Schema]] = {
    "queue_depth": (tt.Cluster.queue_depth, history_schemas.QUEUE_DEPTH),
    "utilisation": (tt.Cluster.utilisation, history_schemas.UTILISATION),
    "throughput": (tt.Cluster.throughput, history_schemas.THROUGHPUT),
    "waiting_time": (tt.Cluster.waiting_time, history_schemas.WAITING_TIME),
    "service_time": (tt.Cluster.service_time, history_schemas.SERVICE_TIME),
    "task_events": (tt.Cluster.task_events, history_schemas.TASK_EVENTS),
    "tasks": (tt.Cluster.tasks, history_schemas.TASKS),
    "cluster_events": (tt.Cluster.cluster_events, history_schemas.CLUSTER_EVENTS),
    "failures": (tt.Cluster.failures, history_schemas.FAILURES),
    "gaps": (tt.Cluster.gaps, history_schemas.GAPS),
    "marks": (tt.Cluster.marks, history_schemas.MARKS),
}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db", bodies=True)
    yield scene
    scene.close()


def publish(scene: Scene, task_id: str, topic: str = "emails", **kwargs: Any) -> None:
    scene.cluster.broker.publish(
        topic, {"task_name": "shop:send", "task_id": task_id, "kwargs": kwargs}
    )


def run(scene: Scene, task_id: str, seconds: float, *, fails: bool = False, **fields: Any) -> None:
    scene.task("task_started", task_id, **fields)
    scene.clock.advance(seconds)
    if fails:
        fields |= {"error_type": "Timeout", "error": "no answer from amqp://ops:hunter2@10.0.0.7"}
    scene.task("task_failed" if fails else "task_completed", task_id, **fields)


def times(frame: pd.DataFrame) -> list[float]:
    return [at.timestamp() - START for at in frame["at"]]


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("state", ["empty", "full"])
def test_every_answer_has_its_schema(name: str, state: str, scene: Scene) -> None:
    if state == "full":
        publish(scene, "t1")
        scene.beat()
        scene.say(worker_event("register", "worker-2"))
        run(scene, "t1", 1, fails=True)
        scene.cluster.mark("deploy 1.4")
        scene.tick()
        scene.tick(99)
    scene.tick()
    question, schema = QUESTIONS[name]
    for cluster in (scene.history(), scene.cluster):
        frame = question(cluster)
        dtypes = {c.name: DTYPES[c.kind] for c in schema.columns}
        assert dict(frame.dtypes.astype(str)) == dtypes
    assert (len(question(scene.history())) > 0) == (state == "full")


# --- series -----------------------------------------------------------------------------


def test_the_depth_of_a_queue_is_each_sample_or_the_mean_of_intervals(scene: Scene) -> None:
    for n in range(6):
        publish(scene, f"t{n}")
        scene.tick()
    history = scene.history()
    depth = history.queue_depth("emails")
    assert depth["queued"].tolist() == [1, 2, 3, 4, 5, 6]
    assert times(depth) == [5, 10, 15, 20, 25, 30]
    means = history.queue_depth("emails", since="30s", every="10s")
    assert times(means) == [0, 10, 20, 30]
    assert means["queued"].tolist() == [1, 2.5, 4.5, 6]
    assert means["most_queued"].tolist() == [1, 3, 5, 6]


def test_intervals_of_which_nothing_is_known_are_missing_not_zero(scene: Scene) -> None:
    publish(scene, "t1")
    scene.tick()
    scene.tick(30)
    depth = scene.history().queue_depth(since="40s", every="10s")
    assert depth["queued"].isna().tolist() == [True, False, True, True, False]
    assert depth["queued"].dropna().tolist() == [1, 1]
    throughput = scene.history().throughput(since="40s", every="10s")
    assert throughput["started"].isna().tolist() == [True, False, True, True, False]


def test_topics_come_in_the_order_of_their_names(scene: Scene) -> None:
    for topic in ("reports", "emails", "images"):
        publish(scene, f"of {topic}", topic)
        scene.tick()
    for frame in (scene.history().queue_depth(), scene.history().queue_depth(every="1min")):
        assert frame["topic"].is_monotonic_increasing
        assert all(rows["at"].is_monotonic_increasing for _, rows in frame.groupby("topic"))
    assert scene.history().queue_depth()["topic"].nunique() == 3


def test_a_topic_that_is_not_there_has_no_rows(scene: Scene) -> None:
    publish(scene, "t1")
    scene.tick()
    for question in ("queue_depth", "throughput", "waiting_time", "service_time", "failures"):
        assert getattr(scene.history(), question)("nobody").empty


def test_utilisation_is_of_workers_topics_or_the_cluster(scene: Scene) -> None:
    publish(scene, "t1")
    scene.task("task_started", "t1", worker_id="w1")
    scene.beat("w1", ["t1"], capacity=2, topics=("emails",))
    scene.beat("w2", capacity=2, topics=("emails", "images"))
    scene.tick()
    scene.tick()
    history = scene.history()
    workers = history.utilisation(every="1min").dropna().set_index("name")["utilisation"]
    assert workers.to_dict() == {"w1": 0.5, "w2": 0.0}
    assert history.utilisation("w1")["running"].tolist() == [1, 1]
    topics = history.utilisation("emails", by="topic", every="1min").dropna().iloc[0]
    assert topics[["running", "capacity", "utilisation"]].tolist() == [1, 4, 0.25]
    cluster = history.utilisation(by="cluster", every="1min").dropna().iloc[0]
    assert cluster[["name", "running", "capacity"]].tolist() == ["cluster", 1, 4]


def test_throughput_counts_what_was_published_and_what_became_of_it(scene: Scene) -> None:
    for n in range(4):
        publish(scene, f"t{n}")
    run(scene, "t0", 1)
    run(scene, "t1", 1, fails=True)
    scene.task("task_started", "t2")
    scene.tick()
    (row,) = scene.history().throughput(since="7s", every="20s").to_dict("records")
    counts = {name: row[name] for name in ("published", "started", "succeeded", "failed", "rate")}
    assert counts == {"published": 4, "started": 3, "succeeded": 1, "failed": 1, "rate": 2 / 7}


def test_service_times_are_told_by_their_quantiles(scene: Scene) -> None:
    for n in range(2, 6):
        run(scene, f"t{n}", n, fails=n == 5)
    scene.tick()
    (row,) = scene.history().service_time(every="1h").to_dict("records")
    seconds = {name: row[name].total_seconds() for name in ("mean", "p50", "p95", "longest")}
    assert row["count"] == 4
    assert seconds == {"mean": 3.5, "p50": 3.5, "p95": 4.85, "longest": 5}


def test_service_times_are_missing_where_some_cannot_be_told(scene: Scene) -> None:
    """Issue 11, row 14: two events that arrive within 2 s do not tell how long a task took, and a
    mean of the longer ones alone would be wrong."""
    run(scene, "short", 1)
    run(scene, "long", 10)
    scene.tick()
    (row,) = scene.history().service_time(every="1h").to_dict("records")
    assert row["count"] == 2
    assert all(pd.isna(row[name]) for name in ("mean", "p50", "p95", "longest", "p95_at_most"))
    events = scene.history().task_events().set_index("task_id")["duration"].dropna()
    assert events.to_dict() == {"long": pd.Timedelta("10s")}


def test_waiting_times_are_measured_from_the_messages_and_estimated_from_the_queue(
    scene: Scene,
) -> None:
    publish(scene, "t1")
    publish(scene, "t2")
    scene.clock.advance(3)
    scene.task("task_started", "t1")
    scene.clock.advance(4)
    scene.task("task_started", "t2")
    scene.task("task_started", "of a message that was not recorded")
    scene.tick()
    (row,) = scene.history().waiting_time(every="1min").dropna().to_dict("records")
    assert (row["count"], row["mean"].total_seconds(), row["longest"].total_seconds()) == (2, 5, 7)
    assert row["estimate"].total_seconds() == 2 / (3 / 12)  # 12 of the 60 s were recorded


def test_of_short_waits_for_peers_whose_events_may_be_late_nothing_is_said(scene: Scene) -> None:
    """Issue 11, row 14, of waits: an idle peer sends its events every half second."""
    publish(scene, "quick")
    publish(scene, "slow")
    publish(scene, "of another worker")
    scene.clock.advance(0.4)
    scene.task("task_started", "quick", topic="emails", worker_id="peer")
    scene.task("task_started", "of another worker", topic="emails", worker_id="ours")
    scene.clock.advance(3.6)
    scene.task("task_started", "slow", topic="emails", worker_id="peer")
    scene.task("task_completed", "of another worker", worker_id="ours", duration=3.6)
    scene.tick()
    publish(scene, "later")
    scene.clock.advance(0.3)
    scene.task("task_started", "later", topic="emails", worker_id="ours")
    scene.tick()
    first, second = (
        scene.history().waiting_time(every="9s").dropna(subset="count").to_dict("records")
    )
    assert first["count"] == 3
    assert pd.isna(first["mean"])  # 1.6 s
    assert pd.isna(first["p50"])  # 0.4 s
    assert first["longest"] == pd.Timedelta("4s")
    assert second["mean"] == second["longest"] == pd.Timedelta("0.3s")


# --- one by one -------------------------------------------------------------------------


def test_events_of_tasks_come_in_order_and_are_chosen_by_what_they_are_of(scene: Scene) -> None:
    run(scene, "t1", 2)
    run(scene, "t2", 2, topic="images", worker_id="w2", fails=True)
    scene.tick()
    history = scene.history()
    events = history.task_events()
    assert events["event"].tolist() == ["started", "succeeded", "started", "failed"]
    assert times(events) == [0, 2, 2, 4]
    assert history.task_events("images")["task_id"].unique().tolist() == ["t2"]
    assert history.task_events(worker_id="w2")["task_id"].unique().tolist() == ["t2"]
    assert history.task_events(task_id="t1")["event"].tolist() == ["started", "succeeded"]
    later = history.task_events(since=moment(START + 3).isoformat())
    assert later["event"].tolist() == ["failed"]


def test_other_events_have_all_that_they_said(scene: Scene) -> None:
    scene.say(worker_event("register", "worker-1", host="mail-1"))
    scene.tick()
    (event,) = scene.history().cluster_events().to_dict("records")
    assert (event["event"], event["worker_id"]) == ("register", "worker-1")
    assert event["detail"]["worker"]["host"] == "mail-1"


def test_failures_have_their_messages_and_hide_their_secrets(scene: Scene) -> None:
    publish(scene, "t1", password="hunter2", to="a@b")
    run(scene, "t1", 1, fails=True)
    run(scene, "unseen", 1, fails=True)
    scene.tick()
    unseen, seen = scene.history().failures().to_dict("records")
    assert (seen["task_id"], seen["task_name"], seen["topic"]) == ("t1", "send", "emails")
    assert seen["kwargs"] == {"password": MASKED, "to": "a@b"}
    assert "hunter2" not in seen["error"]
    assert seen["key"] == "recorded-1"
    assert pd.isna(unseen["key"])
    assert unseen["kwargs"] is None
    assert seen["fingerprint"] == unseen["fingerprint"]
    (shown, _) = scene.history(reveal=True).failures("emails")["error"]
    assert "hunter2" in shown


def test_a_failure_whose_task_succeeded_later_has_recovered(scene: Scene) -> None:
    run(scene, "t1", 1, fails=True)
    run(scene, "t1", 1)
    run(scene, "t2", 1)
    run(scene, "t2", 1, fails=True)
    scene.tick()
    recovered = scene.history().failures().set_index("task_id")["recovered"]
    assert recovered.to_dict() == {"t1": True, "t2": False}


def test_failures_are_grouped_as_dead_letters_are(scene: Scene) -> None:
    for n in range(3):
        run(scene, f"t{n}", 1, fails=True)
    scene.tick()
    (group,) = tt.failure_groups(scene.history().failures()).to_dict("records")
    assert group["count"] == 3
    assert (group["last"] - group["first"]).total_seconds() == 2


# --- live -------------------------------------------------------------------------------


def test_a_live_cluster_tells_what_it_heard_since_it_was_looked_at(scene: Scene) -> None:
    run(scene, "before", 1)
    scene.cluster.stats()
    run(scene, "t1", 1, fails=True)
    publish(scene, "t2")
    assert scene.cluster.failures()["task_id"].tolist() == ["t1"]
    assert "before" not in scene.cluster.task_events()["task_id"].tolist()
    scene.clock.advance(5)
    assert scene.cluster.queue_depth("emails")["queued"].tolist() == [1, 1]
    assert scene.cluster.failures().attrs["recording"] == "the events that this process received"


# --- questions that cannot be answered --------------------------------------------------


def test_two_threads_that_ask_a_live_cluster_at_once_begin_one_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The board and what judges the cluster: the loser read a recording without a sample."""
    both = threading.Barrier(2)
    with tt.connect("memory://") as cluster:
        opened, begin = [], Recorder.open

        def begin_slowly(recorder: Recorder) -> None:
            opened.append(recorder)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.2)
            begin(recorder)

        monkeypatch.setattr(Recorder, "open", begin_slowly)
        with ThreadPoolExecutor(2) as pool:
            depths = list(pool.map(lambda _n: cluster.queue_depth(), range(2)))
    assert len(depths) == 2
    assert len(set(opened)) == 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"since": "2027-01-15T09:00Z", "until": "2027-01-15T08:00Z"}, "is not before"),
        ({"since": "2027-01-15T08:00:00"}, "has no time zone"),
        ({"every": 0}, "no span of time"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    fields: dict[str, Any], why: str, scene: Scene
) -> None:
    scene.tick()
    with pytest.raises(ValueError, match=why):
        scene.history().queue_depth(**fields)
