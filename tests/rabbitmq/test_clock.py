"""A clock of our machine that is set while we watch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq import RabbitMQBroker
from tasktools.core.clock import SystemClock
from tasktools.testing import eventually, task_event, worker_event
from tests.conftest import Connect
from tests.vhosts import Vhost

HOUR = 3600.0


class SettableClock(SystemClock):
    """The clock of this machine, as if an administrator had set it."""

    def __init__(self) -> None:
        self.set_by = 0.0

    def time(self) -> float:
        return super().time() + self.set_by


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def watching(vhost: Vhost, clock: SettableClock, connect: Connect) -> Iterator[tt.Cluster]:
    """A cluster that has heard of a worker, and of a task that it runs."""
    broker = RabbitMQBroker(vhost.dsn, management_url=vhost.management_url, clock=clock)
    with tt.Cluster(broker, clock=clock) as cluster:
        cluster.broker.cluster_state()
        speaker = connect().broker
        speaker.broadcast(worker_event(running=[]), task_event("task_started"))
        eventually(lambda: len(cluster.broker.cluster_state().running) == 1)
        yield cluster


@pytest.mark.parametrize(("step", "words"), [(HOUR, "forward"), (-HOUR, "back")])
def test_a_clock_that_is_set_makes_nobody_silent_and_no_task_old(
    watching: tt.Cluster, clock: SettableClock, step: float, words: str
) -> None:
    """Issue 11, misleading: after an hour that did not pass, workers were gone, and their tasks
    were not running; now it is said that the clock was set."""
    clock.set_by += step
    workers = watching.workers()
    (worker,) = workers.to_dict("records")
    assert (worker["state"], worker["running"]) == ("alive", 1)
    assert worker["silence"] < pd.Timedelta(seconds=60)
    (task,) = watching.active_tasks(queued=False).to_dict("records")
    assert pd.Timedelta(0) <= task["age"] < pd.Timedelta(seconds=60)
    assert any(f"set {words} by 3,600 s" in note for note in workers.attrs["notes"])


@pytest.mark.parametrize(("step", "words"), [(HOUR, "forward"), (-HOUR, "back")])
def test_a_recording_says_that_the_clock_was_set(
    watching: tt.Cluster, clock: SettableClock, tmp_path: Path, step: float, words: str
) -> None:
    """Issue 11, misleading: a clock that was set was told as a recorder that was held up."""
    path = tmp_path / "ops.db"
    with watching.record(path, every=60) as recorder:  # by itself it would come too late for us
        recorder.tick()
        clock.set_by += step
        recorder.tick()
    with tt.connect(f"sqlite:///{path}") as recorded:
        now = pd.Timestamp(max(clock.time(), clock.time() - step) + 60, unit="s", tz="UTC")
        gaps = recorded.gaps(since=now - pd.Timedelta("1D"), until=now)
    why = gaps.loc[gaps["what"] == "samples", "why"].tolist()
    assert why == [f"the clock of this machine was set {words} by 3,600 s"]


def test_a_workers_clock_that_is_wrong_is_told_as_that(
    watching: tt.Cluster, clock: SettableClock, connect: Connect
) -> None:
    """Issue 11, misleading: a worker whose clock was set is alive, and its clock is named."""
    report = worker_event(worker_id="dreamer", last_heartbeat=clock.time() + HOUR)
    connect().broker.broadcast(worker_event(running=[]), report)  # neither is late
    eventually(lambda: len(watching.broker.cluster_state().workers) == 2)
    workers = watching.workers()
    assert workers["state"].tolist() == ["alive", "alive"]
    assert any("dreamer by 1 h (ahead)" in note for note in workers.attrs["notes"])


def test_a_task_that_was_published_in_the_future_has_no_age(
    watching: tt.Cluster, clock: SettableClock
) -> None:
    """Issue 11, misleading: a publisher's clock that is ahead made ages negative."""
    watching.publish("later", "shop:send", create=True)
    clock.set_by -= HOUR
    (task,) = watching.active_tasks("later").to_dict("records")
    assert (task["state"], pd.isna(task["age"])) == ("queued", True)
