"""The seeded scene, and what tests of others are given."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import tasktools as tt
from tasktools import testing
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.layout import FP, TASKWORKER, Layout
from tasktools.core.models import Properties
from tasktools.core.tasks import codec
from tasktools.testing import Seeded, eventually, seed
from tasktools.testing.seed import DEAD, POISON, QUEUED, RUNNING


@pytest.fixture(params=[FP, TASKWORKER], ids=lambda layout: layout.name)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    layout: Layout = request.param
    with Cluster(MemoryBroker(layout=layout)) as cluster:
        yield cluster


@pytest.fixture
def seeded(cluster: Cluster) -> Iterator[Seeded]:
    with seed(cluster, beat=0.02) as handle:
        yield handle


@pytest.mark.usefixtures("seeded")
def test_the_scene_is_what_it_says(cluster: Cluster) -> None:
    topics = cluster.topics().set_index("topic")
    assert topics["dead_letter"].to_dict() == {topic: DEAD.get(topic, 0) for topic in QUEUED}
    assert topics["queued"].to_dict() == QUEUED | {"images": QUEUED["images"] + 1}
    assert topics["running"].to_dict() == {"emails": 1, "reports": 1, "images": 1}


@pytest.mark.usefixtures("seeded")
def test_one_message_is_no_task(cluster: Cluster) -> None:
    *tasks, poison = cluster.broker.peek("images", 10).messages
    assert [message.task.problem for message in tasks] == [None] * QUEUED["images"]
    assert poison.task.problem
    assert poison.size == len(POISON)


@pytest.mark.usefixtures("seeded")
def test_tasks_have_ids_that_are_always_the_same(cluster: Cluster) -> None:
    seen = cluster.broker.peek("reports", 10).messages
    assert [message.task.task_id for message in seen] == [f"seed-reports-{n}" for n in range(5)]


@pytest.mark.usefixtures("seeded")
def test_the_workers_are_alive_with_their_tasks(cluster: Cluster) -> None:
    workers = cluster.broker.cluster_state().workers
    assert {w.worker_id: w.running for w in workers} == {w: len(t) for w, t in RUNNING.items()}
    assert {w.state for w in workers} == {"alive"}


@pytest.mark.usefixtures("seeded")
def test_the_workers_keep_beating(cluster: Cluster) -> None:
    before = cluster.broker.cluster_state().workers[0].last_seen
    eventually(lambda: cluster.broker.cluster_state().workers[0].last_seen != before)


def test_a_closed_scene_has_no_thread_and_no_worker(cluster: Cluster, seeded: Seeded) -> None:
    seeded.close()
    seeded.close()
    assert "tasktools-seed" not in {thread.name for thread in threading.enumerate()}
    assert {w.state for w in cluster.broker.cluster_state().workers} == {"stopped"}


def test_a_scene_whose_cluster_was_closed_ends_by_itself(cluster: Cluster, seeded: Seeded) -> None:
    cluster.close()
    eventually(lambda: "tasktools-seed" not in {t.name for t in threading.enumerate()})
    seeded.close()
    assert seeded.error is None


def test_a_read_only_cluster_is_not_seeded() -> None:
    with Cluster(MemoryBroker(read_only=True)) as cluster, pytest.raises(tt.ReadOnly):
        seed(cluster)


def test_eventually_returns_the_first_true_answer() -> None:
    answers = iter([0, None, "", 5])
    assert eventually(lambda: next(answers)) == 5


def test_eventually_fails_with_the_last_answer() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 s; the last answer was \[\]"):
        eventually(list, timeout=0)


def test_everything_that_is_promised_is_there() -> None:
    assert [name for name in testing.__all__ if not hasattr(testing, name)] == []


def test_nothing_else_is_promised() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = testing.no_such_thing


def test_the_messages_of_the_factories_are_tasks() -> None:
    celery, celery_properties = testing.celery_message()
    native = codec.decode(testing.task_body(), Properties())
    document = codec.decode(testing.document_body(), Properties())
    read = [
        (t.dialect, t.problem) for t in (native, document, codec.decode(celery, celery_properties))
    ]
    assert read == [("fastpluggy", None), ("taskworker", None), ("celery", None)]
