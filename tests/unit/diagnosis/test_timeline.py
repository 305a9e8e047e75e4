"""Timelines: what happened in a recording or was heard live, and never calm where nothing was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.frames.diagnosis_schemas import TIMELINE
from tasktools.core.frames.schema import DTYPES
from tasktools.core.layout import FP
from tasktools.history.broker import HistoryBroker
from tasktools.history.store import File
from tasktools.testing.factories import lock_event, worker_event
from tests.recorded import START, Scene
from tests.unit.diagnosis.incident import MINUTE, Incident, record

Span = tuple[float, float | None]


@pytest.fixture(scope="module")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of an incident."""
    scene = record(tmp_path_factory.mktemp("incident") / "ops.db")
    yield scene.path
    scene.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Incident]:
    scene = Incident(tmp_path / "ops.db")
    yield scene
    scene.close()


def of(path: Path, **options: Any) -> pd.DataFrame:
    """Return the timeline of a recording, by default from its first minute on."""
    broker = HistoryBroker(File(path))
    options.setdefault("since", moment(START))
    return tt.timeline(Cluster(broker, clock=broker.clock), **options)


def minutes(frame: pd.DataFrame, kind: str) -> list[tuple[str, str, float, float | None]]:
    """Return subject, event, begin and end (min) of the rows of a kind."""
    rows = frame[frame["kind"] == kind].to_dict("records")
    return [
        (row["subject"], row["event"], _minute(row["at"]), _minute(row["until"])) for row in rows
    ]


def _minute(at: Any) -> Any:
    return None if pd.isna(at) else round((at.timestamp() - START) / MINUTE, 1)


def sentences(frame: pd.DataFrame, kind: str) -> list[str]:
    return frame.loc[frame["kind"] == kind, "sentence"].tolist()


# --- an incident -------------------------------------------------------------------------


def test_an_incident_is_told_in_the_order_of_time(incident: Path) -> None:
    frame = of(incident)
    assert dict(frame.dtypes.astype(str)) == {c.name: DTYPES[c.kind] for c in TIMELINE.columns}
    assert frame["at"].is_monotonic_increasing
    assert minutes(frame, "worker") == [
        ("worker-1", "came", 0, None),
        ("worker-2", "came", 0, None),
        ("worker-2", "gone", 12, None),
        ("worker-3", "came", 20, None),
        ("worker-3", "gone", 33, None),
        ("worker-1", "stopped", 38, None),
    ]
    assert minutes(frame, "mark") == [("cluster", "mark", 10, None)]
    assert minutes(frame, "lock") == [("nightly", "orphaned", 9, 20)]
    assert minutes(frame, "gap") == [("cluster", "all", 30, 33.1)]
    assert minutes(frame, "failures") == [("emails", "failing", 11, 15.9)]
    assert minutes(frame, "command") == [("worker-3", "update_prefetch", 20, None)]
    assert sentences(frame, "settings") == [
        "settings of emails: concurrency limit none → 4",
        "settings of emails: concurrency limit 4 → 8",
    ]
    (failing,) = frame[frame["kind"] == "failures"].to_dict("records")
    assert failing["details"]["count"] == 60
    assert failing["sentence"].startswith(
        "60 failures in emails from 08:11:00 to 08:15:55: Timeout"
    )
    assert "host-of-worker-3" in sentences(frame, "worker")[3]
    assert frame.attrs["window"]["since"] == moment(START)


def test_what_has_not_ended_lasts(incident: Path) -> None:
    frame = of(incident)
    lasting = frame.loc[frame["lasts"], ["kind", "subject"]]
    assert lasting.to_numpy().tolist() == [
        ["worker", "worker-2"],
        ["worker", "worker-3"],
        ["topic", "emails"],
    ]
    assert frame.loc[frame["lasts"], "until"].isna().all()


def test_a_topic_that_stopped_is_critical_from_when_nothing_began(incident: Path) -> None:
    frame = of(incident)
    topics = frame[frame["kind"] == "topic"]
    (stopped,) = topics[topics["event"] == "stopped"].to_dict("records")
    assert (_minute(stopped["at"]), stopped["severity"]) == (16, "critical")
    assert 20 <= _minute(stopped["until"]) <= 20.7
    assert "no begin and no end of a task for 4 min" in stopped["sentence"]
    ends = topics["until"].iloc[:-1].tolist()
    assert ends == topics["at"].iloc[1:].tolist()  # without holes: what is not known is a state


def test_a_gap_is_never_calm(incident: Path) -> None:
    """Issue 13: gaps are drawn as gaps."""
    frame = of(incident)
    begin, end = (moment(START + minute * MINUTE) for minute in (30.1, 33.0))
    until = frame["until"].fillna(frame.attrs["window"]["until"])
    within = frame[(frame["kind"] == "topic") & (frame["at"] < end) & (until > begin)]
    assert within["event"].tolist() == ["cannot tell"]


def test_a_topic_without_trouble_is_left_out(scene: Incident) -> None:
    scene.come("worker-1")
    scene.go(5 * MINUTE)
    scene.recorder.close()
    frame = of(scene.path)
    assert minutes(frame, "topic") == []
    assert minutes(frame, "worker") == [("worker-1", "came", 0, None)]


def test_of_more_than_200_topics_those_with_the_longest_queues_are_read(scene: Incident) -> None:
    broker = scene.cluster.broker
    for n in range(205):
        broker.ensure_topic(f"t{n:03}")
        for _ in range(1 + (n > 100)):
            broker.publish(f"t{n:03}", {"task_name": "shop:send"})
    scene.go(10, published=0, taken=0)
    topics = scene.cluster.changes(since="1min").topics
    assert len(topics) == 200
    assert {f"t{n:03}" for n in range(101, 205)} <= set(topics)
    assert topics["t204"].queued.last == 2
    assert "emails" not in topics  # which was always empty


# --- since and until ---------------------------------------------------------------------


def test_of_a_part_what_began_before_says_so(incident: Path) -> None:
    since, until = moment(START + 13 * MINUTE), moment(START + 19 * MINUTE)
    frame = of(incident, since=since, until=until)
    (failing,) = frame[frame["kind"] == "failures"].to_dict("records")
    assert failing["at"] == since
    assert failing["details"]["began_before"] is True
    assert "from before 08:13:00 to 08:15:55, and may continue" in failing["sentence"]
    assert minutes(frame, "worker") == []  # it was gone before
    assert minutes(frame, "lock") == [("nightly", "orphaned", 9, 20)]
    assert minutes(frame, "mark") == minutes(frame, "settings") == minutes(frame, "gap") == []
    assert minutes(frame, "topic")[-1][1] == "stopped"
    assert frame.attrs["window"] == {"since": since, "until": until}


def test_a_span_counts_back_from_the_end_of_the_recording(incident: Path) -> None:
    frame = of(incident, since="5min")
    assert minutes(frame, "worker") == [("worker-1", "stopped", 38, None)]
    with pytest.raises(ValueError, match="is not before until"):
        of(incident, since=moment(START + 60), until=moment(START))


def test_the_time_before_and_after_a_recording_is_a_gap(incident: Path) -> None:
    frame = of(incident, since=moment(START - 600), until=moment(START + 50 * MINUTE))
    assert minutes(frame, "gap") == [
        ("cluster", "all", -10, 0),
        ("cluster", "all", 30, 33.1),
        ("cluster", "all", 40, 50),
    ]
    nowhere = of(incident, since=moment(START - 600), until=moment(START - 300))
    assert minutes(nowhere, "gap") == [("cluster", "all", -10, -5)]
    assert len(nowhere) == 1
    within = of(incident, since=moment(START + 31 * MINUTE), until=moment(START + 32 * MINUTE))
    assert minutes(within, "gap") == [("cluster", "all", 30, 33.1)]
    later = of(incident, since=moment(START + 50 * MINUTE), until=moment(START + 51 * MINUTE))
    assert minutes(later, "gap") == [("cluster", "all", 50, 51)]


# --- live --------------------------------------------------------------------------------


def test_a_live_cluster_tells_what_this_process_heard_and_since_when(scene: Incident) -> None:
    scene.cluster.workers()
    scene.come("worker-1")
    scene.go(2 * MINUTE)
    scene.cluster.mark("deploy 1.4")
    del scene.alive["worker-1"]
    scene.go(1 * MINUTE)
    frame = tt.timeline(scene.cluster, since="10min")
    assert minutes(frame, "worker") == [
        ("worker-1", "came", 0, None),
        ("worker-1", "gone", 2, None),
    ]
    assert minutes(frame, "gap")[0] == ("cluster", "all", -7, 0)
    assert sentences(frame, "mark") == ["deploy 1.4"]
    assert any("has listened since 08:00:00" in note for note in frame.attrs["notes"])


# --- workers -----------------------------------------------------------------------------


def test_a_worker_that_was_silent_for_a_while_came_back(scene: Incident) -> None:
    scene.come("worker-1")
    scene.go(MINUTE)
    started = scene.alive.pop("worker-1")
    scene.go(20)
    scene.alive["worker-1"] = started
    scene.go(MINUTE)
    scene.recorder.close()
    frame = of(scene.path)
    assert minutes(frame, "worker")[1:] == [("worker-1", "silent", 1, 1.4)]
    assert frame["severity"].tolist()[-1] == "suspect"
    assert "was silent for 25 s" in frame["sentence"].iloc[-1]


def test_a_goodbye_that_another_node_says_is_none(scene: Incident) -> None:
    """Issue 13: a standby of fastpluggy unregisters the dead, which is no proof of a goodbye."""
    scene.come("worker-1")
    scene.go(MINUTE)
    facts = scene.alive.pop("worker-1")
    event = worker_event("unregister", "worker-1", started_at=facts)
    scene.say(type(event)(kind="unregister", sender_id="another", worker=event.worker))
    scene.go(MINUTE)
    scene.recorder.close()
    frame = of(scene.path)
    assert minutes(frame, "worker")[1:] == [("worker-1", "gone", 1, None)]
    assert "another node unregistered it" in frame["sentence"].iloc[-1]


def test_workers_that_were_there_when_recording_began_did_not_come(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "before.db")
    scene.beat("worker-1")
    for _ in range(4):
        scene.tick()
        scene.beat("worker-1")
    scene.beat("worker-2")
    scene.tick()
    scene.close()
    assert minutes(of(scene.path), "worker") == [("worker-2", "came", 0.4, None)]


def test_a_worker_that_went_in_a_gap_is_lost_sight_of(scene: Incident) -> None:
    scene.come("worker-1")
    scene.come("worker-2")
    scene.go(MINUTE)
    scene.recorder.close()
    del scene.alive["worker-2"]
    scene.clock.advance(3_600)
    broker = MemoryBroker(scene.server, layout=FP, clock=scene.clock)
    with Cluster(broker, clock=scene.clock) as another:  # which never heard of it
        scene.recorder = another.record(scene.path, every=5.0)
        scene.recorder.open()
        scene.go(MINUTE)
        scene.recorder.close()
    frame = of(scene.path)
    assert minutes(frame, "worker")[2:] == [("worker-2", "lost sight of", 1, None)]
    assert "the time of its end was not recorded" in frame["sentence"].iloc[-2]


# --- failures, locks, settings -----------------------------------------------------------


def test_failures_begin_anew_after_five_quiet_minutes(scene: Incident) -> None:
    scene.come("worker-1")
    scene.go(MINUTE, failing=1)
    scene.go(6 * MINUTE)
    scene.go(MINUTE, failing=1)
    scene.recorder.close()
    frame = of(scene.path)
    assert [row[2:] for row in minutes(frame, "failures")] == [(0, 0.9), (7, None)]
    assert frame.loc[frame["kind"] == "failures", "severity"].tolist() == ["warning"] * 2
    assert frame.loc[frame["kind"] == "failures", "lasts"].tolist() == [False, True]


def test_of_many_kinds_of_failures_those_with_the_most_are_listed(scene: Incident) -> None:
    words = [f"{a}{b}" for a in "abcdefghijklmnop" for b in "abcdefghijklmnop"]
    for word in words:
        scene.task("task_failed", f"t-{word}", error=f"no such thing: {word}", error_type=word)
    scene.go(5)
    scene.recorder.close()
    frame = of(scene.path)
    assert len(minutes(frame, "failures")) == 200
    failures = frame[frame["kind"] == "failures"]
    assert set(failures["severity"]) == {"suspect"}
    assert failures["sentence"].str.startswith("1 failure in emails at 08:00:00, and may").all()
    assert any("56 kinds of failures are left out" in note for note in frame.attrs["notes"])


def test_secrets_of_errors_marks_and_reasons_are_masked(incident: Path, scene: Incident) -> None:
    frame = of(incident)
    assert "hunter2" not in f"{frame.to_dict()}{frame.attrs}"
    scene.cluster.mark("moved to amqp://ops:hunter2@10.0.0.7")
    assert "hunter2" not in str(tt.timeline(scene.cluster).to_dict())


def test_a_lock_is_told_if_it_was_held_for_long_and_brief_ones_are_counted(scene: Incident) -> None:
    scene.come("worker-1")
    for _ in range(3):
        scene.say(lock_event("lock_acquired", "brief"))
        scene.go(5)
        scene.say(lock_event("lock_released", "brief"))
    scene.say(lock_event("lock_acquired", "minute"))
    scene.say(lock_event("lock_acquired", "long"))
    scene.go(MINUTE)
    scene.say(lock_event("lock_released", "minute"))
    scene.go(5 * MINUTE)
    frame = of(scene.path)
    assert minutes(frame, "lock") == [("long", "held", 0.2, None)]
    assert "lock long is held by worker-1 for 6 min" in sentences(frame, "lock")[0]
    assert any("3 times a lock was held for under 10 s" in note for note in frame.attrs["notes"])


def test_settings_that_are_told_again_did_not_change(scene: Incident) -> None:
    scene.settings(concurrency_limit=4)
    scene.go(MINUTE)
    scene.settings(concurrency_limit=4)
    scene.go(MINUTE)
    scene.settings(concurrency_limit=None)
    scene.go(MINUTE)
    assert sentences(of(scene.path), "settings") == [
        "settings of emails: concurrency limit none → 4",
        "settings of emails: concurrency limit 4 → none",
    ]
    later = of(scene.path, since=moment(START + 90))
    assert sentences(later, "settings") == ["settings of emails: concurrency limit 4 → none"]


def test_settings_that_were_stored_are_told_once(scene: Incident) -> None:
    scene.go(MINUTE)
    scene.cluster.configure_topic("emails", max_retries=3)
    scene.go(3 * MINUTE)
    assert sentences(of(scene.path), "settings") == ["settings of emails: max retries none → 3"]


# --- alarms and the ledger ---------------------------------------------------------------


def test_a_gap_of_events_in_an_alarm_is_an_alarm_too(scene: Incident) -> None:
    scene.go(MINUTE)
    scene.recorder.close()
    why = "no events for 20 s: the broker blocks publishers: memory alarm on rabbit@a since 08:00"
    connection = sqlite3.connect(scene.path)
    row = (round(START * 1000), round((START + 20) * 1000), "events", why)
    connection.execute("INSERT INTO gaps VALUES (?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    frame = of(scene.path)
    (alarm,) = frame[frame["kind"] == "alarm"].to_dict("records")
    assert alarm["sentence"].startswith("the broker blocks publishers: memory alarm on rabbit@a")
    assert alarm["severity"] == "critical"
    assert minutes(frame, "gap") == [("cluster", "events", 0, 0.3)]


def test_runs_of_plans_on_this_cluster_are_told(scene: Incident, ledger_file: Path) -> None:
    broker = scene.cluster.broker
    broker.publish("emails", {"task_name": "shop:send", "task_id": "t1"})
    delivery = broker.claim("emails", "nobody")
    assert delivery is not None
    broker.nack(delivery.id, requeue=False)
    scene.go(MINUTE, published=0, taken=0)
    plan = scene.cluster.plan_replay(scene.cluster.dead_letters("emails"))
    scene.cluster.run(plan, reason="INC-42, password=hunter2", progress=False)
    scene.go(MINUTE, published=0, taken=0)
    frame = of(scene.path)
    (run,) = frame[frame["kind"] == "run"].to_dict("records")
    assert (run["subject"], run["event"], run["source"]) == ("emails.dead", "replay", "ledger")
    expected = "replay from emails.dead to emails: 1 replayed; finished (INC-42, password=•••)"
    assert run["sentence"] == expected
    assert minutes(of(scene.path, since=moment(START + 90)), "run") == []
    connection = sqlite3.connect(ledger_file)
    for change in ("who = 'ops@another pid 1'", "cluster = 'amqp://another'"):
        connection.execute(f"UPDATE runs SET {change}")
        connection.commit()
        assert minutes(of(scene.path), "run") == []
    connection.close()


def test_a_ledger_that_cannot_be_read_is_a_note(incident: Path, ledger_file: Path) -> None:
    assert not ledger_file.exists()
    of(incident)
    assert not ledger_file.exists()  # looking makes none
    ledger_file.write_text("this is no database, and long enough to be taken for one" * 99)
    frame = of(incident)
    assert len(frame) > 10
    assert any(note.startswith("runs of plans are not shown: ") for note in frame.attrs["notes"])
