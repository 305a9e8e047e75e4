"""Runners killed with -9, and the broker restarted, in the midst of 5,000 tasks: none is lost.

Not named test_*: run by `make chaos`, and a few kills of it by `make test`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasktools as tt
from tasktools.core.models import QueueType
from tasktools.testing import RabbitMQNode, eventually
from tests.rabbitmq.runners import Runners, check_executions, fill, wait_for_all
from tests.vhosts import Vhost

KILLS = int(os.environ.get("TASKTOOLS_CHAOS_KILLS", "3"))
A_ROUND = 5
TASKS = 5_000
CAPACITY = 8


@pytest.fixture
def runners(vhost: Vhost, tmp_path: Path) -> Iterator[Runners]:
    runners = Runners(vhost.dsn, tmp_path)
    yield runners
    runners.kill_all()


@pytest.mark.parametrize("seed", range(-(-KILLS // A_ROUND)))
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_every_task_runs_and_only_what_was_in_flight_runs_again(
    kind: QueueType, seed: int, cluster: tt.Cluster, runners: Runners
) -> None:
    dice = random.Random(seed)
    kills = min(A_ROUND, KILLS - seed * A_ROUND)
    cluster.create_topic("work", queue_type=kind)
    fill(cluster, "work", TASKS, seconds=0.005)
    for _ in range(2):
        runners.start("work", capacity=CAPACITY)
    for _ in range(kills):
        before = len(runners.finished())
        goal = min(before + dice.randrange(100, TASKS // (kills + 1)), TASKS - 50)
        wait_for_all_of(runners, goal)
        runners.kill(dice.choice(runners.running))
        runners.start("work", capacity=CAPACITY)
    wait_for_all(runners, TASKS)
    runners.stop()
    check_executions(runners, TASKS, in_flight=CAPACITY)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_the_broker_is_restarted_in_between(
    kind: QueueType, cluster: tt.Cluster, runners: Runners, rabbitmq: RabbitMQNode
) -> None:
    cluster.create_topic("work", queue_type=kind)
    fill(cluster, "work", TASKS, seconds=0.005)
    for _ in range(2):
        runners.start("work", capacity=CAPACITY)
    wait_for_all_of(runners, 1_000)
    rabbitmq.restart()
    wait_for_all(runners, TASKS)
    runners.stop()
    check_executions(runners, TASKS, in_flight=CAPACITY, restarts=1)


def wait_for_all_of(runners: Runners, count: int) -> None:
    """Return when *count* tasks were executed."""
    eventually(lambda: len(runners.finished()) >= count, timeout=60)
