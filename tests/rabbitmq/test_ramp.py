"""A ramp with real workers: it stops when what was replayed fails again, and only then."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.testing import eventually, task_body, task_payload
from tests.conftest import Connect
from tests.rabbitmq.replays import DEAD, TOPIC, put_tasks
from tests.support import Raw
from tests.vhosts import Vhost

HEALTHY = int(os.environ.get("TASKTOOLS_HEALTHY", "500"))
REGISTRY = tt.TaskRegistry()
DONE: list[int] = []


@REGISTRY.task
def work(n: int, failing: int) -> None:
    """Fail for *failing* of ten."""
    DONE.append(n)
    if n % 10 >= 10 - failing:
        raise ConnectionError(f"no answer from 10.0.0.{n}")


@pytest.fixture(autouse=True)
def worker(connect: Connect, cluster: tt.Cluster) -> Iterator[None]:
    """A worker of the topic."""
    DONE.clear()
    cluster.create_topic(TOPIC)
    with tt.TaskRunner(broker=connect().broker, topics=[TOPIC], capacity=8, registry=REGISTRY):
        yield


def climb(cluster: tt.Cluster, vhost: Vhost, count: int, failing: int) -> pd.DataFrame:
    """Replay *count* dead letters with a ramp."""
    put_tasks(vhost, (body(n, failing) for n in range(count)))
    plan = cluster.plan_replay(cluster.dead_letters(TOPIC))
    return cluster.run(plan, reason="INC-42", ramp=tt.Ramp(patience=30.0), progress=False)


def body(n: int, failing: int) -> bytes:
    kwargs: dict[str, Any] = {"n": n, "failing": failing}
    payload = task_payload(
        task_id=f"task-{n}", func_name=f"{__name__}:work", topic=TOPIC, kwargs=kwargs
    )
    return task_body(message_id=f"m{n}", topic=TOPIC, payload=payload)


def test_where_everything_fails_at_most_ten_are_sent(
    cluster: tt.Cluster, vhost: Vhost, raw: Raw
) -> None:
    outcome = climb(cluster, vhost, 300, failing=10)
    counts = Counter(outcome["outcome"])
    assert set(counts) == {"replayed", "not sent"}
    assert counts["replayed"] <= 10
    assert outcome.attrs["ended"] == "stopped"
    assert "ConnectionError" in " ".join(outcome.attrs["notes"])
    eventually(lambda: raw.depth(DEAD) == 300)  # those that were sent have died again
    assert len(DONE) == counts["replayed"]


def test_where_three_of_ten_fail_it_stops_at_the_limit(cluster: tt.Cluster, vhost: Vhost) -> None:
    outcome = climb(cluster, vhost, 300, failing=3)
    assert Counter(outcome["outcome"]) == {"replayed": 10, "not sent": 290}
    assert outcome.attrs["ended"] == "stopped"
    assert sorted(DONE) == list(range(10))


def test_where_all_is_well_all_are_sent(cluster: tt.Cluster, vhost: Vhost) -> None:
    outcome = climb(cluster, vhost, HEALTHY, failing=0)
    assert Counter(outcome["outcome"]) == {"replayed": HEALTHY}
    assert outcome.attrs["ended"] == "finished"
    eventually(lambda: sorted(DONE) == list(range(HEALTHY)), timeout=60)
