"""A task that ends the process of each worker that begins it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import tasktools as tt
from tasktools.core.models import QueueType
from tasktools.testing import RabbitMQNode, eventually
from tests.rabbitmq import replays
from tests.rabbitmq.runners import Runners, fill
from tests.support import Raw
from tests.vhosts import Vhost

LIMIT: Final = 2
POISON: Final = 1000  # the number of the task
SLOW: Final = 2000


@pytest.fixture
def runners(vhost: Vhost, tmp_path: Path) -> Iterator[Runners]:
    runners = Runners(vhost.dsn, tmp_path)
    yield runners
    runners.kill_all()


def start(runners: Runners, capacity: int = 1) -> subprocess.Popen[bytes]:
    limit = ("--poison-limit", str(LIMIT))
    return runners.start(replays.TOPIC, *limit, capacity=capacity)


def begins(runners: Runners, n: int = POISON) -> int:
    return sum(run.n == n for run in runners.executions())


def dies(runners: Runners, runner: subprocess.Popen[bytes]) -> bool:
    """Wait until *runner* has died."""
    assert runner.wait(60) == 1
    runners.running.remove(runner)
    return True


@pytest.mark.parametrize("kind", replays.KINDS)
def test_a_task_that_ends_its_process_is_dead_lettered_as_poison(
    cluster: tt.Cluster,
    raw: Raw,
    runners: Runners,
    kind: QueueType,
    rabbitmq: RabbitMQNode,
    vhost: Vhost,
) -> None:
    """Issue 11, row 23: it ran at every start of every worker, and was never dead-lettered."""
    cluster.create_topic(replays.TOPIC, queue_type=kind)
    task_id = cluster.publish(replays.TOPIC, "logged_tasks:die", kwargs={"n": POISON})
    fill(cluster, replays.TOPIC, 5)
    for _ in range(1 + LIMIT):  # the first begin is not counted: a look redelivers as well
        dies(runners, start(runners))
    start(runners)
    eventually(lambda: raw.depth(replays.DEAD) == 1, timeout=60)
    eventually(lambda: runners.finished() == set(range(5)), timeout=60)
    runners.stop()
    assert begins(runners) == 1 + LIMIT
    (dead,) = cluster.dead_letters(replays.TOPIC).to_dict("records")
    assert (dead["task_id"], dead["reason"]) == (task_id, "poison")
    assert f"begun {LIMIT} times" in dead["error"]
    assert queues_of_marks(rabbitmq, vhost) == []


def test_what_is_given_back_in_good_order_is_no_poison(
    cluster: tt.Cluster, raw: Raw, runners: Runners, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 11, row 23: a worker that is stopped gives its tasks back, which does not count, and
    neither does a look."""
    cluster.create_topic(replays.TOPIC)
    compose = cluster.broker.composer.compose
    slow = {"task_name": "logged_tasks:work", "kwargs": {"n": SLOW, "seconds": 600.0}}
    cluster.broker.publish_many([compose(replays.TOPIC, slow)])
    for life in range(1, LIMIT + 3):
        cluster.active_tasks(replays.TOPIC)
        runner = runners.start(
            replays.TOPIC, "--poison-limit", str(LIMIT), "--grace", "0", capacity=1
        )
        # It sleeps, and writes only when it ends: so it is seen running.
        eventually(lambda: runs(cluster), timeout=60)
        runner.terminate()
        assert runner.wait(60) == 1, "a task was given back"
        runners.running.remove(runner)
        eventually(lambda: raw.depth(replays.TOPIC) == 1)
        assert raw.depth(replays.DEAD) == 0, f"after {life} lives"
    assert queues_of_marks(rabbitmq, vhost) == []


def runs(cluster: tt.Cluster) -> bool:
    return len(cluster.active_tasks(replays.TOPIC, queued=False)) == 1


def queues_of_marks(rabbitmq: RabbitMQNode, vhost: Vhost) -> list[str]:
    """Return the queues in which begins are still counted."""
    names = [queue["name"] for queue in rabbitmq.request("GET", f"/api/queues/{vhost.name}")]
    return [name for name in names if name.startswith("tasktools.begun.")]
