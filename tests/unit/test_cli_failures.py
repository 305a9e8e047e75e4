"""``tasktools failures``, and ``--at`` of the commands that look."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tasktools
from tasktools.brokers.memory import MemoryBroker
from tasktools.cli import main
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tests.recorded import START, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """At 5 s one worker and a queued task; at 10 s two tasks have failed; at 15 s one of them has
    succeeded, the worker is gone, and a third task has failed."""
    scene = Scene(tmp_path / "ops.db", bodies=True)
    payload = {"task_name": "shop:send", "task_id": "t1", "kwargs": {"token": "hunter2"}}
    scene.cluster.broker.publish("emails", payload)
    scene.beat()
    scene.task("task_started", "long")
    scene.tick()
    scene.task("task_failed", "t1", error_type="Timeout", error="no <b>answer\x1b[31m")
    scene.task("task_failed", "t2", topic="images", error_type="KeyError", error="'width'")
    scene.tick()
    scene.task("task_completed", "t1")
    scene.task("task_failed", "t3", error_type="Timeout", error="no <b>answer")
    scene.cluster.broker.purge("emails")
    scene.tick()
    yield scene
    scene.close()


def run(scene: Scene, *args: str) -> Result:
    command = [*args, "--dsn", f"sqlite:///{scene.path}"]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert "\x1b" not in result.output
    assert "hunter2" not in result.output
    return result


def test_failures_are_grouped_and_listed_the_latest_first(scene: Scene) -> None:
    result = run(scene, "failures", "--by", "error_type")
    assert result.exit_code == 0
    first, _, tables = result.stdout.partition("\n")
    assert first == (
        "recorded from memory://, 2027-01-15 08:00:05 UTC to 2027-01-15 08:00:15 UTC, without gaps"
    )
    groups, _, rows = tables.partition("\n\n")
    assert [line.split()[0] for line in groups.splitlines()] == ["count", "2", "1"]
    assert [line.split()[-1] for line in rows.splitlines()] == ["key", "-", "-", "recorded-1"]
    assert "recorded from" not in result.stderr


def test_failures_are_chosen_by_topic_and_time(scene: Scene) -> None:
    def task_ids(*args: str) -> list[str]:
        document = json.loads(run(scene, "failures", *args, "--json").stdout)
        return [row["task_id"] for row in document["rows"]]

    assert task_ids() == ["t3", "t2", "t1"]
    assert task_ids("images") == ["t2"]
    assert task_ids("--since", "3s") == []
    assert task_ids("--since", moment(START + 8).isoformat()) == ["t3"]
    assert task_ids("--until", "8s") == ["t2", "t1"]


def test_own_names_are_masked_in_recorded_failures(scene: Scene) -> None:
    payload = {"task_name": "shop:send", "task_id": "t4", "kwargs": {"city": "Ulm"}}
    scene.cluster.broker.publish("emails", payload)
    scene.task("task_failed", "t4", error_type="Timeout", error="no answer from city=Ulm")
    scene.tick()
    assert run(scene, "failures", "--csv").stdout.count("Ulm") == 3  # with the fingerprint
    assert "Ulm" not in run(scene, "failures", "--csv", "--mask", "city").stdout
    assert "Ulm" not in run(scene, "failures", "--mask", "city").stdout


def test_failures_are_written_as_csv(scene: Scene) -> None:
    rows = list(csv.DictReader(io.StringIO(run(scene, "failures", "emails", "--csv").stdout)))
    assert [row["task_id"] for row in rows] == ["t3", "t1"]
    assert [row["recovered"] for row in rows] == ["False", "True"]
    assert json.loads(rows[1]["kwargs"]) == {"token": "•••"}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--since", "soon"), "is no moment"),
        (("--since", "2027-01-15T09:00Z", "--until", "1h"), "is not before until"),
        (("--csv", "--json"), "Give --csv or --json"),
    ],
)
def test_a_question_that_makes_no_sense_is_wrong_usage(
    args: tuple[str, ...], why: str, scene: Scene
) -> None:
    result = run(scene, "failures", *args)
    assert result.exit_code == 2
    assert why in result.stderr


def test_a_live_cluster_does_not_know_what_failed_before() -> None:
    result = CliRunner().invoke(main, ["failures", "--dsn", "demo://"])
    assert result.exit_code == 1
    assert "tasktools record FILE" in result.stderr


# --- replaying them ----------------------------------------------------------------------


@pytest.fixture
def live(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The scene, which every command reaches that is told no recording; the worker has taken
    all tasks, of which t4, t5 and t6 fail, t6 succeeds later, and t7 was never published."""
    whole = tasktools.connect

    def connect(dsn: str | None, **options: Any) -> Any:
        return whole(dsn, **options) if dsn else Cluster(MemoryBroker(scene.server))

    monkeypatch.setattr(tasktools, "connect", connect)
    for n in range(4, 7):
        payload = {"task_name": "shop:send", "task_id": f"t{n}", "kwargs": {"n": n}}
        scene.cluster.broker.publish("emails", payload)
    scene.cluster.broker.purge("emails")
    for n in range(4, 8):
        scene.task("task_failed", f"t{n}", error_type="Timeout", error=f"no answer from host{n}")
    scene.task("task_completed", "t6")
    scene.tick()
    return scene


def queued(scene: Scene) -> list[str | None]:
    messages = scene.cluster.broker.peek("emails").messages
    return [message.task.task_id for message in messages]


def replay(scene: Scene, *args: str) -> Result:
    command = ["replay", "emails", "--recorded", str(scene.path), *args]
    return CliRunner().invoke(main, command, catch_exceptions=False)


def test_recorded_failures_are_replayed_but_those_that_succeeded_later(live: Scene) -> None:
    shown = replay(live)
    assert shown.exit_code == 0
    assert queued(live) == []
    assert "4 left out: they succeeded later, or their messages were not kept" in shown.stderr
    done = replay(live, "--yes", "--reason", "INC-1")
    assert done.exit_code == 0
    assert queued(live) == ["t4", "t5"]


def test_recorded_failures_are_chosen_as_dead_letters_are(live: Scene) -> None:
    replay(live, "--where", "error~host5", "--yes", "--reason", "INC-1")
    assert queued(live) == ["t5"]
    nothing = replay(live, "--since", "2027-01-15T12:00Z")
    assert nothing.exit_code == 2
    assert "is not before until" in nothing.stderr
    none = replay(live, "--where", "error_type=None")
    assert none.exit_code == 1
    assert "nothing was done" in none.stderr


def test_since_is_for_a_recording(live: Scene) -> None:
    result = CliRunner().invoke(main, ["replay", "emails", "--since", "1h"])
    assert result.exit_code == 2
    assert "--since is for --recorded" in result.stderr
    assert queued(live) == []


# --- any moment --------------------------------------------------------------------------


def test_every_look_can_be_at_another_moment(scene: Scene) -> None:
    def rows(*args: str) -> list[dict[str, object]]:
        return list(json.loads(run(scene, *args, "--json").stdout)["rows"])

    assert [rows("topics", "emails", "--at", t)[0]["queued"] for t in ("10s", "5s")] == [1, 1]
    assert rows("topics", "emails")[0]["queued"] == 0
    assert rows("tasks", "--no-queued", "--at", "10s")[0]["task_id"] == "long"
    assert rows("workers", "--at", "10s")[0]["silence"] == 5
    assert rows("status", "--at", "10s")[0]["workers"] == 1
    assert rows("locks", "--at", moment(START + 5).isoformat()) == []
    assert rows("workers", "--at", "1h") == []


def test_a_live_cluster_cannot_be_looked_at_in_the_past() -> None:
    result = CliRunner().invoke(main, ["workers", "--dsn", "demo://", "--at", "1h"])
    assert result.exit_code == 1
    assert "shows only the present" in result.stderr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--watch", "2h"), "keeps an hour at most"),
        (("--watch", "5s", "--since", "1h"), "give it without --since"),
        (("--watch", "5s"), "Leave out --watch"),
    ],
)
def test_what_cannot_be_watched_is_refused(args: tuple[str, ...], why: str, scene: Scene) -> None:
    """Issue 11, new user: `--watch` listens to a live cluster from now on."""
    result = run(scene, "failures", *args)
    assert result.exit_code in (1, 2)
    assert why in result.stderr
