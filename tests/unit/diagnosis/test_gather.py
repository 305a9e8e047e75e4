"""Facts of a live cluster and of its recording, from what happened in a scene."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.errors import Closed
from tasktools.core.events import TaskOnWorker
from tasktools.core.models import TopicSettings
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.gather import gather
from tasktools.testing.factories import lock_event, peer_heartbeat, worker_event
from tests.recorded import START, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db")
    scene.cluster.broker.ensure_topic("emails")
    yield scene
    scene.close()


def live(scene: Scene) -> Facts:
    return gather(scene.cluster, settle=0)


def recorded(scene: Scene, before: float = 0.0) -> Facts:
    history = scene.history()
    return gather(history.at(moment(scene.clock.time() - before)))


def both(scene: Scene) -> tuple[Facts, Facts]:
    return live(scene), recorded(scene)


def listen(scene: Scene) -> None:
    """Begin to listen, and let a worker run."""
    live(scene)
    scene.beat()


def test_topics_have_their_numbers_and_their_series(scene: Scene) -> None:
    listen(scene)
    for _ in range(3):
        scene.cluster.publish("emails", "shop:send")
        scene.tick()
        scene.beat()
        live(scene)
    for facts in both(scene):
        topic = facts.topics["emails"]
        assert (topic.queued, topic.exists, topic.is_topic) == (3, True, True)
        assert topic.had_consumer
        assert topic.ready is not None
        assert topic.ready.values[-3:] == (1.0, 2.0, 3.0)
        assert topic.ready.times[-1] <= facts.at
        assert topic.had_consumer


def test_begins_and_ends_are_those_that_were_heard(scene: Scene) -> None:
    listen(scene)
    for number in range(3):
        scene.task("task_started", f"t{number}")
        scene.tick(2)
        is_failed = number == 2
        error = {"error": "card C-17 password=hunter2", "error_type": "Declined"}
        kind = "task_failed" if is_failed else "task_completed"
        scene.task(kind, f"t{number}", duration=2.0, **(error if is_failed else {}))
        scene.tick(3)
        live(scene)
    scene.beat()
    for facts in both(scene):
        assert [end.succeeded for end in facts.ends] == [True, True, False]
        assert [begin.task_id for begin in facts.begins] == ["t0", "t1", "t2"]
        assert {end.duration for end in facts.ends} == {2.0}
        assert facts.ends[-1].error_type == "Declined"
        assert "hunter2" not in repr(msgspec.to_builtins(facts.ends))
        topic = facts.topics["emails"]
        assert topic.ended is not None
        assert topic.ended.last in (2.0, 3.0)  # counted from the first sample on


def test_a_worker_that_was_killed_leaves_orphans(scene: Scene) -> None:
    listen(scene)
    scene.beat(tasks=["t1"])
    scene.tick()
    (orphan,) = live(scene).orphans
    assert (orphan.task.task_id, orphan.silent_since) == ("t1", START)
    for _ in range(8):
        scene.tick()
        live(scene)
    for facts in both(scene):
        (orphan,) = facts.orphans
        assert (orphan.task.task_id, orphan.task.worker_id) == ("t1", "worker-1")
        assert orphan.silent_since == pytest.approx(START, abs=0.01)
        (presence,) = facts.presence
        assert (presence.first_beat, presence.last_beat) == (START, START)
        assert presence.stopped_at is None


def test_a_goodbye_is_known_from_one_that_another_says(scene: Scene) -> None:
    live(scene)
    for name in ("worker-1", "worker-2"):
        scene.say(worker_event("register", name))
        scene.beat(name)
    scene.tick()
    scene.say(worker_event("unregister", "worker-1"))
    other = msgspec.structs.replace(worker_event("unregister", "worker-2"), sender_id="standby")
    scene.say(other)
    scene.tick()
    for facts in both(scene):
        stopped = {each.worker_id: each.stopped_at for each in facts.presence}
        assert stopped == {"worker-1": START + 5, "worker-2": None}


def test_each_process_of_a_name_was_there(scene: Scene) -> None:
    live(scene)
    for pid in (1, 2, 3):
        scene.say(worker_event("register", "w0@shop", pid=pid))
        scene.tick()
    begins = [each.first_beat for each in live(scene).presence]
    assert begins == [START, START + 5, START + 10]


def heartbeat_of(count: int) -> bytes:
    """Return a peer's heartbeat after *count* tasks of 0.1 s."""
    histogram = {"count": count, "sum": 0.1 * count, "buckets": [[0.5, count]]}
    telemetry = {
        "running_tasks": [],
        "completed_per_topic": {"emails": count},
        "duration_histograms": {"send:success": histogram},
    }
    return peer_heartbeat(meta={"hb": {"telemetry": telemetry}})


def test_histograms_are_kept_by_worker_and_task_name(scene: Scene) -> None:
    live(scene)
    for count in (10, 14):
        scene.server.broadcast(heartbeat_of(count))
        scene.tick(3)
        facts = live(scene)
    (reading,) = facts.durations["worker-1", "send"]
    assert (reading.span, reading.durations.count) == (3.0, 4)
    for facts in both(scene):
        (reading,) = facts.topics["emails"].durations
        assert reading.durations.count == 4
        assert reading.durations.sum == pytest.approx(0.4)


def test_what_changed_is_told(scene: Scene) -> None:
    listen(scene)
    scene.tick(60)
    scene.beat("worker-2", started_at=scene.clock.time() - 2, host="host-2")
    scene.cluster.configure_topic("emails", concurrency_limit=3)
    scene.cluster.mark("deploy 1.4")
    scene.cluster.broker.ensure_topic("images")
    scene.tick(20)
    live(scene)
    for facts in both(scene):
        words = {
            change.kind: change.text
            for change in facts.changes
            if change.subject in ("worker-2", "emails", "mark")
        }
        assert words["worker"] == "worker worker-2 started on host-2"
        assert "concurrency limit 3" in words["setting"]
        assert words["mark"] == "deploy 1.4"
    assert "images" in {change.subject for change in recorded(scene).changes}


def test_the_ledger_is_read_and_never_made(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.db"
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(ledger))
    assert live(scene).runs == ()
    assert not ledger.exists()
    ledger.write_bytes(b"no ledger" * 100)
    facts = live(scene)
    assert "ledger" in facts.missing


def test_a_run_of_a_plan_is_a_change(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(tmp_path / "ledger.db"))
    cluster = scene.cluster
    cluster.publish("emails", "shop:send")
    delivery = cluster.broker.claim("emails", "worker-1")
    assert delivery is not None
    cluster.broker.nack(delivery.id, requeue=False)
    cluster.run(cluster.plan_replay(cluster.dead_letters("emails")), reason="try again")
    scene.tick()
    for facts in both(scene):
        (run,) = facts.runs
        assert (run.verb, run.done, run.to) == ("replay", 1, "emails")
        assert run.ended_at is not None
        assert any(change.kind == "run" for change in facts.changes)


def test_settings_of_the_broker_win(scene: Scene) -> None:
    scene.cluster.broker.configure_topic("emails", TopicSettings(concurrency_limit=2))
    settings = live(scene).topics["emails"].settings
    assert settings is not None
    assert settings.concurrency_limit == 2


def test_a_queue_that_gets_tasks_and_is_no_topic_is_in_the_facts(scene: Scene) -> None:
    scene.server.declare_queue("bills")
    scene.server.bind("bills", "fp.tasks", "bills")
    bills = live(scene).topics["bills"]
    assert bills.queue is not None
    assert (bills.dead_lettering, bills.queued) == (False, 0)


def test_events_are_known_from_when_they_were_heard(scene: Scene) -> None:
    assert live(scene).heard_since == START
    scene.tick()
    scene.clock.advance(5)
    scene.recorder.tick()
    assert recorded(scene).heard_since == START
    scene.recorder.close()
    scene.clock.advance(100)  # nobody records
    scene.recorder = scene.new_recorder()
    for _ in range(2):
        scene.tick()
    facts = recorded(scene)
    assert facts.heard_since == START + 115
    assert any("missing" in (source.note or "") for source in facts.sources)


def test_a_gap_knows_nothing(scene: Scene) -> None:
    scene.tick()
    scene.tick(100)
    facts = recorded(scene, before=50)
    assert facts.heard_since is None
    assert re.search("nothing was sampled", facts.missing["events"])
    assert facts.state.workers == ()


def test_at_an_earlier_moment_later_samples_are_not_known(scene: Scene) -> None:
    for number in range(5):
        scene.cluster.publish("emails", "shop:send")
        scene.clock.advance(1)
        scene.task("task_completed", f"t{number}")
        scene.tick(4)
    facts = recorded(scene, before=10)
    topic = facts.topics["emails"]
    assert topic.ready is not None
    assert topic.ready.values == (1.0, 2.0, 3.0)
    assert len(facts.ends) == 3
    assert facts.is_recorded


def test_a_closed_cluster_is_told(scene: Scene) -> None:
    cluster = Cluster(scene.cluster.broker, clock=scene.clock)
    gather(cluster, settle=0)
    cluster.close()
    with pytest.raises(Closed):
        gather(cluster, settle=0)


def test_earlier_holds_of_locks_are_known(scene: Scene) -> None:
    listen(scene)
    for _ in range(2):
        scene.say(lock_event("lock_acquired", "nightly"))
        scene.tick(7)
        scene.say(lock_event("lock_released", "nightly"))
        scene.tick()
    scene.say(lock_event("lock_acquired", "nightly"))
    scene.tick()
    for facts in both(scene):
        assert facts.lock_holds == {"nightly": (7.0, 7.0)}


def test_a_cluster_without_topics_has_facts(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "empty.db")
    scene.tick()
    assert live(scene).topics == recorded(scene).topics == {}
    scene.close()


def test_a_topic_that_nobody_ever_consumed_is_known(scene: Scene) -> None:
    broker = scene.cluster.broker
    listen(scene)
    broker.ensure_topic("bills")
    scene.cluster.publish("bills", "shop:send")
    consumer = broker.consume("emails", lambda _: None, prefetch=1)
    scene.tick()
    live(scene)
    consumer.cancel()
    scene.cluster.publish("emails", "shop:send")
    scene.tick()
    live(scene)
    for facts in both(scene):
        assert facts.topics["emails"].consumers == 0
        assert facts.unconsumed_for == {"bills": 5.0}


def test_what_was_before_a_long_gap_does_not_tell_that_nobody_consumed_a_topic(
    scene: Scene,
) -> None:
    """Two samples a day apart said that for a day nobody did, whoever came in between."""
    listen(scene)
    scene.cluster.publish("emails", "shop:send")
    scene.tick()
    live(scene)
    for seconds, known in ((600, 605.0), (1300, 0.0), (60, 60.0)):
        scene.tick(seconds)
        for facts in both(scene):
            assert facts.unconsumed_for["emails"] == pytest.approx(known, abs=6)


def test_a_topic_of_which_no_consumers_could_be_counted_is_not_forgotten(scene: Scene) -> None:
    listen(scene)
    scene.cluster.publish("emails", "shop:send")
    scene.tick()
    scene.recorder.close()
    with closing(sqlite3.connect(scene.path)) as connection, connection:
        connection.execute("UPDATE topic_samples SET consumers = NULL")
    assert recorded(scene).unconsumed_for == {}


def test_of_the_hour_before_some_durations_are_known(scene: Scene) -> None:
    listen(scene)
    for minute in range(40):
        for second in range(30):
            task_id = f"t{minute}-{second}"
            scene.task("task_started", task_id)
            scene.task("task_completed", task_id, duration=float(minute))
            scene.tick(2.0)
        live(scene)
    for facts in both(scene):
        assert all(end.at >= facts.at - 901 for end in facts.ends)
        at = [end.at for end in facts.earlier_ends]
        assert at == sorted(at)
        assert at[-1] < facts.ends[0].at
        assert len(at) == pytest.approx(25 * 60 / 21 * 1.5, rel=0.1)  # 3 s of 21, one every 2 s
        assert {end.topic for end in facts.earlier_ends} == {"emails"}
        for end in facts.earlier_ends:
            assert end.duration == pytest.approx((end.at - START) / 60, abs=1.1)


def test_of_the_hour_before_some_histograms_are_known(scene: Scene) -> None:
    live(scene)
    assert recorded(scene).topics == {}
    for count in range(600):
        scene.server.broadcast(heartbeat_of(10 + 2 * count))
        scene.tick(3.0)
    topic = recorded(scene).topics["emails"]
    assert topic.durations[0].at > scene.clock.time() - 601
    at = [reading.at for reading in topic.earlier_durations]
    assert at == sorted(at)
    assert at[-1] < topic.durations[0].at
    assert len(at) == pytest.approx(20, abs=1)  # of 20 minutes before, a heartbeat in each
    assert {reading.durations.count for reading in topic.earlier_durations} == {2}


def test_what_a_topic_did_at_this_time_of_earlier_days(scene: Scene) -> None:
    """A batch of 60 in the middle of the hour, on four days; nothing of the rest of a day."""
    scene.beat()
    for day in range(4):
        for minute in range(60):
            if minute == 30:
                for _ in range(60):
                    scene.cluster.publish("emails", "shop:send")
            tasks = [
                TaskOnWorker(task_id=f"{day}-{minute}-{n}", topic="emails", task_name="shop:send")
                for n in range(2)
            ]
            for task in tasks:
                scene.task("task_started", task.task_id)
            scene.say(worker_event("heartbeat", running=tasks))  # which has their names
            scene.tick(2)
            for task in tasks:
                scene.task("task_completed", task.task_id, duration=2.0)
            scene.beat()
            scene.tick(58)
        if day < 3:
            scene.tick(86_400 - 3_600)
    facts = recorded(scene, before=1_800)
    days = facts.topics["emails"].earlier_days
    assert [(day.usual, day.busiest) for day in days] == [(20.0, 80.0)] * 3
    assert [day.duration for day in days] == [2.0] * 3
    assert [day.durations for day in days] == [{"shop:send": 2.0}] * 3
    assert live(scene).topics["emails"].earlier_days == ()
