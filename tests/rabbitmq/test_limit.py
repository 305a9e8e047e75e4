"""A concurrency limit holds for the whole cluster, whatever happens to its runners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tasktools as tt
from tasktools.testing import eventually
from tests.rabbitmq.runners import Runners, fill, most_at_once, wait_for_all
from tests.vhosts import Vhost

TASKS = 2_000


@pytest.fixture
def runners(vhost: Vhost, tmp_path: Path) -> Iterator[Runners]:
    runners = Runners(vhost.dsn, tmp_path)
    yield runners
    runners.kill_all()


def test_six_runners_of_which_one_is_killed_never_run_more_than_three_at_once(
    cluster: tt.Cluster, runners: Runners
) -> None:
    cluster.create_topic("work")
    cluster.configure_topic("work", concurrency_limit=3)
    for _ in range(6):
        runners.start("work", capacity=4)
    eventually(lambda: len(cluster.workers()) == 6, timeout=60)
    fill(cluster, "work", TASKS, seconds=0.005)
    eventually(lambda: len(runners.finished()) >= TASKS // 4, timeout=60)
    busy = {run.pid for run in runners.executions()}
    runners.kill(next(runner for runner in runners.running if runner.pid in busy))
    wait_for_all(runners, TASKS)
    runners.stop()
    assert most_at_once(runners) == 3
