"""The retention of recordings: how long each kind of data is kept, and the size limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasktools.core.clock import moment
from tasktools.history.retention import Retention
from tests.recorded import Scene

HOUR = 3600.0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    retention = Retention(full="1h", samples="2D", events="2h", messages="1h")
    scene = Scene(tmp_path / "ops.db", every=20.0, bodies=True, retention=retention)
    yield scene
    scene.close()


def publish(scene: Scene, **kwargs: Any) -> None:
    scene.cluster.broker.publish("emails", {"task_name": "shop:send", "kwargs": kwargs})


def test_old_samples_are_thinned_out_without_changing_what_they_tell(scene: Scene) -> None:
    for n in range(180):
        publish(scene)
        scene.beat("worker-1", capacity=4)
        scene.task("task_started", f"t{n}")
        scene.tick(20)
        scene.task("task_completed", f"t{n}")
    then: dict[str, Any] = {"since": "1h", "until": moment(scene.clock.time()).isoformat()}
    then["every"] = "10min"

    def answers() -> list[pd.DataFrame]:
        history = scene.history()
        return [
            history.queue_depth(**then),
            history.throughput(**then),
            history.utilisation(**then),
            history.utilisation(by="cluster", **then),
        ]

    before = answers()
    assert len(scene.history().queue_depth("emails")) == 180
    scene.tick(2.5 * HOUR)
    history = scene.history()
    assert len(history.queue_depth("emails", since="5h")) == 62
    for frame, thinned in zip(before, answers(), strict=True):
        pd.testing.assert_frame_equal(
            frame, thinned, check_exact=False, atol=0.01, check_flags=False
        )
    assert history.topics(at="3h").iloc[0]["queued"] > 0
    assert len(history.workers(at="3h")) == 1


def test_what_is_too_old_is_deleted(scene: Scene) -> None:
    publish(scene)
    scene.task("task_started")
    scene.tick()
    scene.task("task_failed")
    scene.tick()
    scene.tick(90 * 60)
    history = scene.history()
    assert len(history.task_events(since="1D")) == 2
    assert history.failures()["key"].isna().all()  # messages are kept for an hour only
    scene.tick(HOUR)
    assert scene.history().task_events(since="1D").empty
    assert len(scene.history().queue_depth(since="3D")) >= 3
    scene.tick(49 * HOUR)
    assert len(scene.history().queue_depth(since="3D")) == 1


def test_the_file_stays_below_its_limit_and_messages_go_first(tmp_path: Path) -> None:
    limit = 2 * 1024**2
    scene = Scene(tmp_path / "a.db", bodies=True, every=60.0, retention=Retention(size=limit))
    for _ in range(40):
        for _ in range(20):
            publish(scene, text="x" * 10_000)
        scene.tick(60)
    assert scene.path.stat().st_size < limit + 500_000
    history = scene.history()
    assert len(history.queue_depth("emails", since="2h")) == 40
    with history.broker.recording.read() as connection:  # type: ignore[attr-defined]
        (count, first) = connection.execute("SELECT count(*), min(n) FROM messages").fetchone()
    assert count > 50
    assert first > 400
    scene.close()


@pytest.mark.parametrize("options", [{"full": 0}, {"samples": "soon"}, {"size": 10}])
def test_a_retention_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"span of time|megabyte"):
        Retention(**options)
