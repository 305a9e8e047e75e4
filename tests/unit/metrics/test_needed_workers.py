"""The thread that computes the needed workers: what ends an attempt does not end it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.errors import RecordingError
from tasktools.demo import write_week
from tasktools.metrics.exporter import Exporter, served
from tasktools.metrics.needed_workers import Needs
from tasktools.testing import eventually
from tests.unit.metrics.scrape import scrape, value, values


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tt.Cluster]:
    file: Path = tmp_path_factory.mktemp("needs") / "week.db"
    write_week(file)
    with tt.connect(f"sqlite:///{file}") as cluster:
        yield cluster


@pytest.mark.parametrize(
    ("error", "logged"),
    [(ZeroDivisionError("no hours"), 1), (RecordingError("It is locked."), 0)],
)
def test_an_attempt_that_fails_is_told_and_the_next_one_comes(
    history: tt.Cluster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    logged: int,
) -> None:
    attempts = []

    def fail(**_options: Any) -> Any:
        attempts.append(1)
        raise error

    monkeypatch.setattr(history, "demand", fail)
    with Needs(history, wait_below=30.0, retry=0.05) as needs:
        eventually(lambda: len(attempts) > 3)
        assert needs.samples() == {"tasktools_source_up": [(("recording",), 0.0)]}
        assert needs.problem is not None
        assert str(error) in needs.problem
        monkeypatch.undo()
        eventually(lambda: "tasktools_topic_needed_workers" in needs.samples())
        assert needs.samples()["tasktools_source_up"] == [(("recording",), 1.0)]
        eventually(lambda: needs.problem is None)
    lines = [each for each in caplog.records if each.name == "tasktools.metrics"]
    assert len(lines) == logged
    assert all(line.levelno == logging.ERROR and line.exc_info for line in lines)


def test_what_is_needed_stands_beside_what_the_cluster_tells(history: tt.Cluster) -> None:
    with (
        tt.connect("demo://") as cluster,
        Needs(history, wait_below=30.0) as needs,
        Exporter(cluster, every=0.1, timeout=30.0, version="1", needs=needs) as exporter,
        served(exporter, "127.0.0.1", 0) as port,
    ):

        def sources() -> list[float | None]:
            scraped = values(scrape(port))
            names = ("events", "broker", "recording")
            return [value(scraped, "tasktools_source_up", source=name) for name in names]

        eventually(lambda: sources() == [1.0, 1.0, 1.0])
