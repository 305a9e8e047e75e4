"""Numbers over time against what is known to have happened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasktools.history.attempt_messages import AttemptOfTask, MessageOfTask, paired
from tasktools.testing.factories import worker_event
from tests.recorded import Scene

SUCCEEDED, FAILED, LOST = 0, 1, 2


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db", messages=True)
    yield scene
    scene.close()


def publish(scene: Scene, task_id: str | None, attempts: int = 0) -> None:
    broker = scene.cluster.broker
    (sent,) = [broker.composer.compose("emails", {"task_name": "shop:send", "task_id": task_id})]
    body = sent.body.replace(b'"attempts": 0', b'"attempts": %d' % attempts)
    assert attempts == 0 or body != sent.body
    broker.ensure_topic("emails")
    broker.publish_many([type(sent)(**{**_fields(sent), "body": body})])


def _fields(sent: Any) -> dict[str, Any]:
    return {name: getattr(sent, name) for name in sent.__struct_fields__}


# --- which message a try is made of -----------------------------------------------------


def pairs(tries: list[tuple[int, int, int]], messages: list[int]) -> list[int | None]:
    """Pair tries (start, end, outcome) with messages heard at some time; returns their places."""
    pairs = paired(
        [AttemptOfTask("t", n, *values) for n, values in enumerate(tries)],
        [MessageOfTask("t", n, at) for n, at in enumerate(messages)],
    )
    return [pairs.get(n) for n in range(len(tries))]


@pytest.mark.parametrize(
    ("tries", "messages", "right"),
    [
        # A retry within a second, and within some milliseconds.
        ([(100, 200, FAILED), (300, 400, SUCCEEDED)], [0, 250], [0, 1]),
        ([(1, 2, FAILED), (4, 5, FAILED), (7, 8, FAILED)], [0, 3, 6], [0, 1, 2]),
        # Messages are heard later than the events.
        ([(100, 200, FAILED), (300, 400, FAILED)], [150, 350], [0, 1]),
        ([(100, 120, FAILED), (130, 150, FAILED)], [90, 180], [0, 1]),
        # Events are heard later than the messages: the next one came before the start.
        ([(61, 62, FAILED)], [0, 60], [0]),
        ([(5_061, 5_062, FAILED)], [0, 5_060], [0]),
        ([(61, 62, FAILED), (120, 121, FAILED), (300, 301, FAILED)], [0, 60, 110], [0, 1, 2]),
        ([(400, 401, FAILED), (402, 403, FAILED), (404, 405, FAILED)], [0, 60, 110], [0, 1, 2]),
        # One message twice: its worker died, and it was redelivered.
        ([(100, 200, LOST), (300, 400, FAILED)], [0], [0, 0]),
        ([(100, 200, LOST), (300, 400, FAILED), (600, 700, FAILED)], [0, 500], [0, 0, 1]),
        # The recorder began in between: the first message, or the first try, was not heard.
        ([(100, 200, FAILED), (5_000, 5_100, FAILED)], [4_900], [None, 0]),
        ([(300, 400, FAILED)], [0, 250], [1]),
        ([], [0], []),
    ],
)
def test_each_try_is_paired_with_the_message_that_it_was_made_of(
    tries: list[tuple[int, int, int]], messages: list[int], right: list[int | None]
) -> None:
    """Issue 11, misleading: attempts were one too high where the retry came within a second."""
    assert pairs(tries, messages) == right


def test_where_the_first_message_heard_was_a_retry_the_first_try_has_none() -> None:
    tries = [AttemptOfTask("t", n, 100 * n, 100 * n + 10, FAILED) for n in range(4)]
    messages = [MessageOfTask("t", n, 100 * n - 40, n) for n in range(1, 4)]
    assert paired(tries, messages) == {1: 1, 2: 2, 3: 3}


def test_a_storm_of_retries_is_paired_in_time() -> None:
    tries = [AttemptOfTask("t", n, n + 30, n + 31, FAILED) for n in range(5_000)]
    began = time.process_time()
    pairs = paired(tries, [MessageOfTask("t", n, n) for n in range(5_000)])
    assert time.process_time() - began < 15
    assert all(number == message for number, message in pairs.items())
    assert len(pairs) == len(tries)


def test_a_retry_within_a_second_does_not_change_what_is_told_of_the_try_before(
    scene: Scene,
) -> None:
    """Issue 11, misleading: `failures().attempts`, and `waiting_time()` of quick retries."""
    for attempt in range(3):
        publish(scene, "t1", attempt)
        scene.clock.advance(0.2)
        scene.task("task_started", "t1")
        scene.clock.advance(0.1)
        scene.task("task_failed", "t1", duration=0.1)
    scene.tick()
    assert scene.history().failures()["attempts"].tolist() == [2, 1, 0]
    (row,) = scene.history().waiting_time(every="1h").dropna(subset="count").to_dict("records")
    assert row["count"] == 3
    assert row["longest"].total_seconds() == pytest.approx(0.2, abs=0.01)
    assert row["mean"].total_seconds() == pytest.approx(0.2, abs=0.01)


# --- what was published -----------------------------------------------------------------


def test_published_messages_have_their_task_ids_without_their_bodies(scene: Scene) -> None:
    """Issue 11, misleading: `published()` had no task_id unless bodies were kept."""
    publish(scene, "t1")
    publish(scene, "t2")
    scene.tick()
    assert scene.history().published()["task_id"].tolist() == ["t1", "t2"]
    assert scene.history().published()["key"].isna().all()


def test_a_task_that_is_tried_again_is_published_once(scene: Scene) -> None:
    """Issue 11, misleading: `throughput().published` counted retries as new tasks."""
    publish(scene, "t1")
    publish(scene, "t1", 1)  # in the same tick, in a later one, and put back without counting
    scene.tick()
    publish(scene, "t1", 2)
    publish(scene, "t1", 0)
    publish(scene, "t2")
    scene.tick()
    assert scene.history().throughput(every="1h")["published"].sum() == 2
    assert len(scene.history().published()) == 5


# --- rates ------------------------------------------------------------------------------


def test_rates_are_of_the_time_that_was_recorded(scene: Scene) -> None:
    """Issue 11, misleading: `throughput().rate` divided by the whole interval."""
    for n in range(12):  # 10 tasks in 5 s, for a minute
        for k in range(10):
            scene.task("task_completed", f"{n}-{k}", topic="emails")
        scene.tick(5)
    scene.recorder.close()
    scene.clock.advance(1_800)
    scene.recorder = scene.new_recorder()
    scene.tick(1)
    for n in range(12):
        scene.task("task_completed", f"later-{n}", topic="emails")
        scene.tick(5)
    rates = scene.history().throughput(since="1h", every="2h")["rate"].dropna().tolist()
    assert rates == [pytest.approx(132 / 121, rel=0.01)]
    by_minute = scene.history().throughput(since="1h", every="1min")["rate"].dropna()
    assert by_minute.max() == pytest.approx(2.0, rel=0.01)
    assert by_minute.min() == pytest.approx(0.2, rel=0.01)
    # An interval that is shorter than the time between two samples.
    short = scene.history().throughput(since="1min", every="1s")["rate"].dropna()
    assert short.max() == pytest.approx(0.2, rel=0.01)


def test_a_time_in_which_events_were_not_heard_is_in_no_rate(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 11, misleading: a gap of events made rates too low."""
    scene.task("task_completed", "t1", topic="emails")
    scene.tick(10)
    with monkeypatch.context() as patched:
        patched.setattr("tasktools.brokers.memory.MemoryBroker.cluster_state", _fail)
        scene.tick(10)
        scene.tick(10)
    scene.task("task_completed", "t2", topic="emails")
    scene.tick(10)
    assert scene.history().throughput(every="1h")["rate"].dropna().tolist() == [
        pytest.approx(2 / 20)
    ]


def _fail(*_: object, **__: object) -> None:
    raise TimeoutError("no events")


# --- names ------------------------------------------------------------------------------


def test_names_that_only_heartbeats_told_are_not_to_be_judged_by(tmp_path: Path) -> None:
    """Issue 11, misleading: `task_name` of short tasks is known for those that took longest."""
    scene = Scene(tmp_path / "ops.db")
    for n in range(20):
        scene.task("task_started", f"t{n}")
        if n == 7:
            scene.say(worker_event("heartbeat", "worker-1", running=["t7"]))
            scene.tick(1)
        scene.task("task_completed", f"t{n}")
    scene.tick()
    frame = scene.history().task_events()
    (note,) = [note for note in frame.attrs["notes"] if "name" in note]
    known = int(frame["task_name"].notna().sum())
    assert f"known for {known} of 40 rows" in note
    assert known < 40
    scene.close()


def test_names_of_all_tasks_are_told_where_their_messages_were_recorded(scene: Scene) -> None:
    """Issue 11, misleading: names were taken from heartbeats though the file had them all."""
    for n in range(5):
        publish(scene, f"t{n}")
        scene.task("task_started", f"t{n}")
        scene.task("task_completed", f"t{n}")
    scene.tick()
    frame = scene.history().task_events()
    assert set(frame["task_name"]) == {"send"}
    assert not [note for note in frame.attrs["notes"] if "name" in note]
