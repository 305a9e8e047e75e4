"""Published messages, shown again from a tap or a recording, and replayed from either."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.core import taps
from tasktools.core.clock import moment
from tasktools.core.frames import history_schemas as schemas
from tasktools.core.frames.messages import is_at_the_edge
from tasktools.core.frames.schema import DTYPES
from tasktools.core.models import Outgoing, Properties
from tasktools.testing.factories import task_body, task_event
from tests.recorded import START, Scene

QUIET: Any = {"reason": "INC-1", "progress": False}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(tmp_path / "ledger.db"))
    scene = Scene(tmp_path / "ops.db", bodies=True)
    yield scene
    scene.close()


@pytest.fixture
def cluster(scene: Scene) -> tt.Cluster:
    scene.cluster.tap(max_age="1h", max_bytes=10_000_000)
    return scene.cluster


def send(cluster: tt.Cluster, number: int, topic: str = "emails", **kwargs: Any) -> None:
    payload = {"task_name": "shop:send", "task_id": f"t{number}", "kwargs": {"n": number, **kwargs}}
    cluster.broker.publish(topic, payload)


def put(cluster: tt.Cluster, body: bytes, **properties: Any) -> None:
    """Publish raw bytes, as another program would."""
    cluster.broker.ensure_topic("emails")
    sent = Properties(**properties)
    message = Outgoing(topic="emails", message_id="m", body=body, properties=sent)
    assert cluster.broker.publish_many([message]) == ["confirmed"]


def bodies(cluster: tt.Cluster, topic: str = "emails") -> list[bytes]:
    bodies: list[bytes] = []
    cluster.broker.peek(topic, receive=lambda _, body: bodies.append(body))
    return bodies


def published(cluster: tt.Cluster, scene: Scene, source: str) -> pd.DataFrame:
    """Return what the tap, or the recording, shows."""
    if source == "tap":
        return cluster.published()
    scene.recorder.tick()
    return scene.history().published()


# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["tap", "recording"])
def test_both_show_what_was_published_in_the_same_way(
    source: str, cluster: tt.Cluster, scene: Scene
) -> None:
    assert published(cluster, scene, source).empty
    send(cluster, 1, password="hunter2")
    cluster.broker.publish("images", {"task_name": "shop:draw", "args": [7]}, priority=5)
    put(cluster, b"\xff <script>")
    frame = published(cluster, scene, source)
    expected = {c.name: DTYPES[c.kind] for c in schemas.PUBLISHED_MESSAGES.columns}
    assert dict(frame.dtypes.astype(str)) == expected
    assert frame["topic"].tolist() == ["emails", "images", "emails"]
    assert frame["task_name"].tolist()[:2] == ["send", "draw"]
    assert frame["kwargs"].iloc[0]["n"] == 1
    assert "hunter2" not in str(frame["kwargs"].tolist())
    assert frame["args"].iloc[1] == [7]
    assert frame["priority"].tolist() == [pd.NA, 5, pd.NA]
    assert frame["published_at"].iloc[0] == moment(START)
    assert frame["problem"].tolist() == [pd.NA, pd.NA, "the body is not JSON"]
    assert frame["size"].iloc[2] == len(b"\xff <script>")
    assert frame["key"].is_unique
    assert frame["position"].is_monotonic_increasing
    assert len(set(frame["queue"])) == 1


def test_secrets_are_shown_where_that_was_asked_for(scene: Scene) -> None:
    revealing = tt.Cluster(scene.cluster.broker, reveal=True, clock=scene.clock)
    revealing.tap()
    send(revealing, 1, password="hunter2")
    assert revealing.published()["kwargs"].iloc[0]["password"] == "hunter2"


@pytest.mark.parametrize("source", ["tap", "recording"])
def test_a_topic_a_time_and_a_number_can_be_chosen(
    source: str, cluster: tt.Cluster, scene: Scene
) -> None:
    for number in range(6):
        send(cluster, number, "emails" if number % 2 else "images")
        scene.clock.advance(60)
    scene.recorder.tick()
    asked = cluster if source == "tap" else scene.history()
    assert asked.published("emails")["task_id"].tolist() == ["t1", "t3", "t5"]
    assert asked.published("nobody").empty
    late = asked.published(since=moment(START + 180))
    assert late["task_id"].tolist() == ["t3", "t4", "t5"]
    early = asked.published(since="6min", until=moment(START + 120))
    assert early["task_id"].tolist() == ["t0", "t1"]
    two = asked.published(limit=2)
    assert two["task_id"].tolist() == ["t0", "t1"]
    assert any("these are the first 2" in note for note in two.attrs["notes"])
    six = asked.published(limit=6)
    assert len(six) == 6
    assert not any("there is more" in note for note in six.attrs["notes"])
    with pytest.raises(ValueError, match="limit is 0"):
        asked.published(limit=0)
    with pytest.raises(ValueError, match="not before"):
        asked.published(since=moment(START + 60), until=moment(START))


def test_a_recording_that_kept_no_bodies_tells_what_it_knows(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "ops.db", messages=True)
    send(scene.cluster, 1, password="x")
    scene.recorder.tick()
    frame = scene.history().published()
    assert frame["task_name"].tolist() == ["send"]
    assert frame["key"].isna().all()
    assert frame["kwargs"].isna().all()
    with pytest.raises(tt.InvalidPlan, match="were not kept"):
        scene.cluster.plan_replay(frame)
    scene.close()


def test_what_was_read_tells_the_arguments_of_running_tasks(
    cluster: tt.Cluster, scene: Scene
) -> None:
    send(cluster, 1)
    scene.say(task_event("task_started", "t1"))
    (before,) = cluster.active_tasks(queued=False).to_dict("records")
    assert before["kwargs"] is None
    cluster.published()
    (after,) = cluster.active_tasks(queued=False).to_dict("records")
    assert after["kwargs"] == {"n": 1}


def test_a_task_that_is_tried_again_later_is_shown_again(cluster: tt.Cluster, scene: Scene) -> None:
    send(cluster, 1)
    delivery = cluster.broker.claim("emails", "worker-1")
    assert delivery is not None
    scene.clock.advance(600)
    cluster.broker.nack(delivery.id, delay=60)
    scene.clock.advance(60)
    assert cluster.published(since="5min")["attempts"].tolist() == [1]
    assert cluster.published()["attempts"].tolist() == [0, 1]


# --- what is kept, and for how long --------------------------------------------------------------


def test_what_is_too_old_is_dropped(cluster: tt.Cluster, scene: Scene) -> None:
    send(cluster, 1)
    scene.clock.advance(3599)
    send(cluster, 2)
    assert len(cluster.published(since="1D")) == 2
    scene.clock.advance(2)
    assert cluster.published(since="1D")["task_id"].tolist() == ["t2"]


def test_of_too_much_the_oldest_are_dropped(cluster: tt.Cluster) -> None:
    for number in range(12):
        send(cluster, number, filling="x" * 1_000_000)
    assert cluster.published()["task_id"].tolist() == [f"t{number}" for number in range(3, 12)]


def test_a_tap_says_what_it_keeps_and_what_it_costs(scene: Scene) -> None:
    tap = scene.cluster.tap(max_age=timedelta(hours=36), max_bytes=20_000_000)
    assert tap.title == "tasktools.tap keeps what is published for 36h, at most 20,000,000 bytes"
    for word in ("stored once more", "no longer get an error", "table or a list"):
        assert word in repr(tap)
    assert scene.cluster.tap(max_age="36h", max_bytes=20_000_000) == tap


def test_a_tap_without_messages_says_from_when_on_it_has_none(cluster: tt.Cluster) -> None:
    """Issue 11: a fresh tap said only that there are no messages."""
    (note,) = (n for n in cluster.published().attrs["notes"] if n.startswith("tasktools.tap has"))
    assert note.endswith("it keeps only messages published after it was made")
    send(cluster, 1)
    assert not [n for n in cluster.published().attrs["notes"] if n.startswith("tasktools.tap has")]


def test_without_a_tap_one_is_told_how_to_make_one(scene: Scene) -> None:
    with pytest.raises(tt.UnknownTap, match=r"Make one with cluster\.tap\(\)"):
        scene.cluster.published()
    assert not scene.cluster.untap()


def test_a_recording_can_be_neither_tapped_nor_untapped(cluster: tt.Cluster, scene: Scene) -> None:
    send(cluster, 1)
    scene.recorder.tick()
    for change in (tt.Cluster.tap, tt.Cluster.untap):
        with pytest.raises(tt.ReadOnly):
            change(scene.history())


@pytest.mark.parametrize(
    ("age", "text"), [(604_800, "7D"), (7_200, "2h"), (90, "90s"), (120, "2m"), (90_000, "25h")]
)
def test_an_age_is_written_as_rabbitmq_does(age: int, text: str) -> None:
    assert taps.arguments(taps.NAME, age, 10**9)["x-max-age"] == text


def test_what_is_dropped_at_once_is_a_tenth_but_no_more_than_a_segment() -> None:
    sizes = [
        taps.arguments(taps.NAME, 60, size)["x-stream-max-segment-size-bytes"]
        for size in (10_000_000, 2_000_000_000, 100_000_000_000)
    ]
    assert sizes == [1_000_000, 200_000_000, 500_000_000]


@pytest.mark.parametrize(
    ("published_at", "outside"),
    [
        (99.9, True),
        (100.0, False),
        (100.5, False),
        (199.9, False),
        (200.0, True),
        (204.9, True),
        (94.0, False),  # published again: it says when it was at first
        (206.0, False),
        (None, False),
    ],
)
def test_what_the_tap_brings_along_at_the_edges_is_no_part_of_it(
    published_at: float | None,
    outside: bool,  # noqa: FBT001 - a parameter
) -> None:
    at = None if published_at is None else moment(published_at)
    assert is_at_the_edge(at, 100.0, 200.0) == outside


def test_a_time_in_whole_seconds_may_have_been_anywhere_in_its_second() -> None:
    assert not is_at_the_edge(moment(100.0), 100.7, 200.0)
    assert is_at_the_edge(moment(99.0), 100.7, 200.0)


# --- replaying it --------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["tap", "recording"])
def test_what_was_published_is_sent_again_as_it_was(
    source: str, cluster: tt.Cluster, scene: Scene
) -> None:
    for number in range(3):
        send(cluster, number, "emails" if number else "images", password="hunter2")
    sent = bodies(cluster)
    frame = published(cluster, scene, source)
    cluster.broker.purge("emails")
    plan = cluster.plan_replay(frame[frame["topic"] == "emails"])
    assert dict(plan.targets) == {"emails": 2}
    assert ("the tap has not kept" in repr(plan)) == (source == "tap")
    outcome = cluster.run(plan, **QUIET)
    assert outcome["outcome"].tolist() == ["replayed"] * 2
    assert bodies(cluster) == sent
    assert len(bodies(cluster, "images")) == 1
    assert len(cluster.published()) == 3  # a replay does not pass the exchange


def test_edits_are_applied_to_the_message_in_the_tap(cluster: tt.Cluster) -> None:
    send(cluster, 1, password="hunter2")
    cluster.broker.purge("emails")
    plan = cluster.plan_replay(cluster.published(), edits={"kwargs.n": 7})
    cluster.run(plan, **QUIET)
    (body,) = bodies(cluster)
    assert json.loads(body)["payload"]["kwargs"] == {"n": 7, "password": "hunter2"}


def test_messages_that_the_tap_has_dropped_meanwhile_are_gone(
    cluster: tt.Cluster, scene: Scene
) -> None:
    send(cluster, 1)
    scene.clock.advance(1800)
    send(cluster, 2)
    plan = cluster.plan_replay(cluster.published())
    scene.clock.advance(1801)
    outcome = cluster.run(plan, **QUIET)
    assert outcome["outcome"].tolist() == ["gone", "replayed"]


def test_another_message_at_the_same_place_is_not_sent(cluster: tt.Cluster) -> None:
    send(cluster, 1)
    plan = cluster.plan_replay(cluster.published())
    cluster.untap(delete=True)
    cluster.tap()
    send(cluster, 2)
    outcome = cluster.run(plan, **QUIET)
    assert outcome["outcome"].tolist() == ["gone"]
    assert len(bodies(cluster)) == 2


def test_what_is_no_task_is_sent_only_if_that_is_said(cluster: tt.Cluster) -> None:
    put(cluster, b"junk")
    assert len(cluster.plan_replay(cluster.published())) == 0
    plan = cluster.plan_replay(cluster.published(), undecodable=True)
    cluster.run(plan, **QUIET)
    assert bodies(cluster) == [b"junk"] * 2


def test_nothing_can_be_discarded_from_a_tap(cluster: tt.Cluster) -> None:
    put(cluster, task_body())
    with pytest.raises(tt.InvalidPlan, match="lie in no queue"):
        cluster.plan_discard(cluster.published(), archive=None)
