"""Following tasks: what the events tell of them, in which order they may come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import ManualClock, moment
from tasktools.core.errors import ConnectionLost
from tasktools.core.events import TaskEvent
from tasktools.core.frames.schemas import FOLLOWED
from tasktools.core.models import RunningTask
from tasktools.monitor.follow import TaskTracker, TrackedTask, checked, continued
from tasktools.testing import eventually, outgoing, task_event, worker_event

T = 1_800_000_000.0
QUEUED = TrackedTask(topic="emails", state="queued")


def tracked(*events: tuple[float, TaskEvent], story: TrackedTask = QUEUED) -> TrackedTask:
    for second, event in events:
        story = continued(story, event, T + second)
    return story


def event(kind: Any, worker: str | None = "w1", **values: Any) -> TaskEvent:
    return TaskEvent(kind=kind, sender_id="s", task_id="t", worker_id=worker, **values)


STARTED = event("task_started")
COMPLETED = event("task_completed", duration=None)
FAILED = event("task_failed", error="no route", error_type="OSError")


# --- one story -----------------------------------------------------------------------


def test_a_task_runs_and_succeeds_and_its_time_is_ours_where_none_is_told() -> None:
    story = tracked((1, STARTED), (3.5, COMPLETED))
    assert (story.state, story.worker_id, story.started_at) == ("succeeded", "w1", T + 1)
    assert (story.duration, story.tries) == (2.5, 1)
    assert tracked((1, STARTED), (9, event("task_completed", duration=2.0))).duration == 2.0


def test_a_failure_is_told_with_its_error_even_without_a_start() -> None:
    story = tracked((1, FAILED))
    assert (story.state, story.error_type, story.error) == ("failed", "OSError", "no route")
    assert (story.duration, story.tries) == (None, 1)


def test_a_task_that_is_tried_again_runs_again_and_keeps_its_last_error_until_it_succeeds() -> None:
    again = tracked((1, STARTED), (2, FAILED), (5, STARTED))
    assert (again.state, again.tries, again.error, again.duration) == (
        "running",
        2,
        "no route",
        None,
    )
    done = tracked((6, COMPLETED), story=again)
    assert (done.state, done.error, done.error_type) == ("succeeded", None, None)


def test_the_end_of_an_earlier_try_may_be_heard_after_the_next_began() -> None:
    elsewhere = event("task_started", "w2")
    story = tracked((1, STARTED), (2, elsewhere), (2.1, FAILED))
    assert (story.state, story.worker_id, story.error) == ("running", "w2", "no route")
    assert tracked((1, STARTED), (2, elsewhere), (2.1, COMPLETED)).state == "running"


def test_an_end_that_names_no_worker_is_the_end() -> None:
    assert tracked((1, STARTED), (2, event("task_completed", None))).state == "succeeded"
    assert tracked((1, event("task_started", None)), (2, COMPLETED)).state == "succeeded"


def test_the_topic_is_learned_from_events() -> None:
    assert tracked((1, event("task_started", topic="x")), story=TrackedTask()).topic == "x"
    assert tracked((1, event("task_started", topic="x"))).topic == "emails"


# --- beside what the workers say ------------------------------------------------------

RUNS = RunningTask(task_id="t", worker_id="w9", topic="emails", started_at=moment(T))


def test_a_task_whose_start_was_missed_is_running_all_the_same() -> None:
    story = checked(TrackedTask(), RUNS, T, events_ok=True)
    assert (story.state, story.worker_id, story.topic, story.started_at) == (
        "running",
        "w9",
        "emails",
        T,
    )


@pytest.mark.parametrize(("events_ok", "state"), [(True, "unknown"), (False, "running")])
def test_a_task_that_no_worker_runs_any_more_is_unknown(events_ok: bool, state: str) -> None:  # noqa: FBT001
    assert checked(tracked((1, STARTED)), None, T, events_ok=events_ok).state == state


def test_a_task_that_is_past_its_time_to_live_is_unknown_until_it_is_heard_of() -> None:
    expiring = TrackedTask(state="queued", expires_at=T + 10)
    assert checked(expiring, None, T + 9, events_ok=True).state == "queued"
    assert checked(expiring, None, T + 11, events_ok=True).state == "unknown"
    assert (
        checked(tracked((12, STARTED), story=expiring), RUNS, T + 13, events_ok=True).state
        == "running"
    )


# --- the log -------------------------------------------------------------------------


def test_a_log_keeps_only_tasks_that_were_asked_for_and_forgets_the_oldest() -> None:
    log = TaskTracker(ManualClock(), max_tasks=3)
    log.add(["a", "b", "c"])
    log.handle_event(task_event("task_started", "a"))
    log.handle_event(task_event("task_started", "stranger"))
    log.add(["a", "d"])
    assert [s.state for s in log.tasks(["a", "b", "c", "d", "stranger"])] == [
        "running",
        "unknown",
        "unknown",
        "unknown",
        "unknown",
    ]
    assert list(log._tasks) == ["c", "a", "d"]


def test_only_what_arrived_is_queued() -> None:
    log = TaskTracker(ManualClock())
    messages = [replace(outgoing(), task_id=name) for name in ("a", "b", "c", "d")]
    log.add(["a", "b", "c", "d"])
    log.handle_event(task_event("task_started", "d"))  # quicker than the confirm
    log.settle(messages, ["confirmed", "in doubt", "unroutable", "confirmed"])
    states = [story.state for story in log.tasks("abcd")]
    assert states == ["queued", "unknown", "unknown", "running"]
    assert list(log._tasks) == ["a", "b", "d"]


# --- from the facade -----------------------------------------------------------------


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cluster(clock: ManualClock) -> Iterator[Cluster]:
    broker = MemoryBroker(clock=clock)
    broker.ensure_topic("emails")
    with Cluster(broker, clock=clock) as cluster:
        yield cluster


def say(cluster: Cluster, kind: Any, task_id: str, **values: Any) -> None:
    cluster.broker.broadcast(task_event(kind, task_id, **values))


def test_a_published_task_is_followed_from_its_beginning(
    cluster: Cluster, clock: ManualClock
) -> None:
    task_id = cluster.publish("emails", "send")
    say(cluster, "task_started", task_id)
    clock.advance(2)
    say(cluster, "task_completed", task_id)

    frame = cluster.follow(task_id).frame()

    assert frame.columns.tolist() == list(FOLLOWED.names)
    row = frame.iloc[0]
    assert (row["state"], row["topic"], row["duration"]) == (
        "succeeded",
        "emails",
        pd.Timedelta("2s"),
    )
    assert frame.attrs["sources"]["events"]["ok"]


def test_a_batch_is_followed_in_the_order_given(cluster: Cluster) -> None:
    published = cluster.publish_many(pd.DataFrame({"topic": ["emails"] * 3, "task_name": "send"}))
    follower = cluster.follow(published["task_id"].iloc[::-1])
    say(cluster, "task_started", published["task_id"][0])
    assert follower.frame()["task_id"].tolist() == published["task_id"].tolist()[::-1]
    assert follower.frame()["state"].tolist() == ["queued", "queued", "running"]


def test_of_a_task_of_others_what_comes_from_now_on_is_known(cluster: Cluster) -> None:
    follower = cluster.follow(["theirs"])
    assert follower.frame()["state"].tolist() == ["unknown"]
    say(cluster, "task_failed", "theirs", error="amqp://u:geheim@h failed")
    (row,) = follower.frame().to_dict("records")
    assert row["state"] == "failed"
    assert "geheim" not in row["error"]


def test_a_task_that_runs_already_is_found_on_its_worker(cluster: Cluster) -> None:
    cluster.workers()  # so that the heartbeat is heard
    cluster.broker.broadcast(worker_event("heartbeat", running=["theirs"]))
    assert cluster.follow("theirs").frame()["state"].tolist() == ["running"]


def test_nothing_followed_is_an_empty_frame(cluster: Cluster) -> None:
    assert cluster.follow().frame().empty
    assert cluster.follow().wait(0).empty


def test_wait_returns_when_the_last_task_has_ended(cluster: Cluster) -> None:
    ids = [cluster.publish("emails", "send") for _ in range(2)]
    follower = cluster.follow(ids)
    assert follower.wait(0.01)["state"].tolist() == ["queued", "queued"]
    say(cluster, "task_completed", ids[0])
    timer = threading.Timer(0.05, lambda: say(cluster, "task_failed", ids[1]))
    timer.start()
    assert follower.wait(30)["state"].tolist() == ["succeeded", "failed"]
    timer.join()


def test_a_task_that_our_own_worker_tries_again_is_followed_to_its_success() -> None:
    registry, tries = tt.TaskRegistry(), list[int]()

    @registry.task(topic="emails", max_retries=1, retry_delay=0.2)
    def flaky(number: int) -> None:
        tries.append(number)
        if len(tries) == 1:
            raise OSError("no route")

    with tt.connect("memory://") as cluster:
        with tt.TaskRunner(broker=cluster.broker, topics=["emails"], registry=registry):
            (task,) = registry
            follower = cluster.follow(cluster.publish("emails", task.func_name, args=[7]))
            eventually(lambda: "no route" in set(follower.frame()["error"].dropna()))
            eventually(lambda: follower.frame()["state"].tolist() == ["succeeded"])
        row = follower.frame().iloc[0]
    assert (row["tries"], tries) == (2, [7, 7])
    assert pd.isna(row["error"])


def test_an_expired_task_is_unknown(cluster: Cluster, clock: ManualClock) -> None:
    follower = cluster.follow(cluster.publish("emails", "send", ttl=5))
    assert follower.frame()["state"].tolist() == ["queued"]
    clock.advance(6)
    assert follower.frame()["state"].tolist() == ["unknown"]


def test_events_that_cannot_be_had_keep_nobody_from_publishing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_broker: object, _callback: object) -> None:
        raise ConnectionLost("the line is cut")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryBroker, "listen", refuse)
        task_id = cluster.publish("emails", "send")
        source = cluster.follow(task_id).frame().attrs["sources"]["events"]
    assert (source["ok"], source["note"]) == (False, "tasks cannot be followed: the line is cut")
    say(cluster, "task_completed", task_id)

    follower = cluster.follow(task_id)  # tries again
    assert follower.frame().attrs["sources"]["events"]["ok"]


def test_names_of_tasks_are_those_that_were_seen(cluster: Cluster) -> None:
    cluster.publish("emails", "send")
    assert cluster.task_names() == ["send"]
    with tt.connect("demo://") as demo:
        assert "shop.emails:send_email" in demo.task_names()
