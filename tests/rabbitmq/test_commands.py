"""The operator's commands on a real broker: what a worker on another connection does of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tasktools as tt
from tasktools.testing import eventually, worker_event
from tests.conftest import Connect


@pytest.fixture
def runner(connect: Connect) -> Iterator[tt.TaskRunner]:
    registry = tt.TaskRegistry()
    with tt.TaskRunner(
        broker=connect().broker, topics=["emails"], registry=registry, worker_id="ours"
    ) as runner:
        yield runner


def test_a_worker_obeys_over_the_wire(cluster: tt.Cluster, runner: tt.TaskRunner) -> None:
    eventually(lambda: "ours" in set(cluster.workers()["worker_id"]))
    row = cluster.drain("ours")
    assert row[["worker_id", "tasktools", "draining"]].to_numpy().tolist() == [["ours", True, True]]
    assert runner.topics == ()
    row = cluster.join_topic("ours", "reports")
    assert row["topics"].tolist() == [["reports"]]
    assert row["draining"].tolist() == [False]
    assert cluster.broker.topic_exists("reports")
    cluster.update_prefetch("ours", "reports", 2)
    assert cluster.leave_topic("ours", "reports")["topics"].tolist() == [[]]


def test_a_peer_is_not_commanded(cluster: tt.Cluster) -> None:
    cluster.workers()
    cluster.broker.broadcast(worker_event("heartbeat", "peer-1", running=["task-a"]))
    eventually(lambda: cluster.workers()["worker_id"].tolist() == ["peer-1"])
    with pytest.raises(tt.UnsafePeerCommand, match="task-a"):
        cluster.drain("peer-1")


def test_settings_outlive_every_process(connect: Connect) -> None:
    with connect() as cluster:
        cluster.create_topic("emails", max_priority=5)
        cluster.configure_topic("emails", concurrency_limit=3)
    with connect() as cluster:
        cluster.configure_topic("emails", max_retries=2)
        settings = cluster.topic_settings()
        assert settings[["topic", "concurrency_limit", "max_retries"]].to_numpy().tolist() == [
            ["emails", 3, 2]
        ]
        topics = cluster.topics().set_index("topic")
        assert topics["concurrency_limit"]["emails"] == 3
        with pytest.raises(tt.TopicConflict, match="priority"):
            cluster.create_topic("emails")


def test_a_lock_of_another_process_is_taken_away(cluster: tt.Cluster, connect: Connect) -> None:
    cluster.workers()
    lock = connect().broker.acquire_lock("nightly", "task-1", "w-1")
    assert lock
    row = eventually(lambda: cluster.locks().to_dict("records"))[0]
    assert (row["lock"], row["task_id"], row["worker_id"]) == ("nightly", "task-1", "w-1")
    assert cluster.force_release_lock("nightly")
    eventually(lambda: not lock.is_held)
    assert cluster.broker.acquire_lock("nightly")


def test_locks_that_were_taken_before_we_listened_are_said_to_be_unknown(connect: Connect) -> None:
    """Issue 11, row 10: what is not known is not nothing; a lock is announced only once."""
    holder = connect().broker
    with holder.acquire_lock("early") or pytest.fail("nobody has it"):
        locks = connect().locks()
    assert locks.empty
    assert any("not known" in note for note in locks.attrs["notes"])
