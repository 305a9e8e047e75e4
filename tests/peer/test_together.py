"""Our runner, locks and settings beside the real peer's: each respects the other."""

from __future__ import annotations

import time
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.models import TopicSettings
from tasktools.testing import eventually


@pytest.fixture
def own_cluster(quiet_peer: Any, connect: Any) -> tt.Cluster:
    """A runner of ours, up; the peer's node may come."""
    quiet_peer.start_ours()
    cluster: tt.Cluster = connect()
    eventually(lambda: cluster.workers()["tasktools"].eq(other=True).sum() == 1)
    return cluster


def workers(cluster: tt.Cluster) -> Any:
    return cluster.workers().iloc[0]


def test_our_runner_executes_what_the_peer_submits(
    own_cluster: tt.Cluster, quiet_peer: Any
) -> None:
    quiet_peer.submit(
        ("send_email", {"to": "a@b"}), ("report", {"n": 3}), ("fail", {"text": "no <b>"})
    )
    eventually(
        lambda: workers(own_cluster)["succeeded"] == 2 and workers(own_cluster)["failed"] == 1
    )
    dead = own_cluster.broker.peek("emails.dead", 10).messages
    assert [message.task.task_name for message in dead] == ["fail"]
    headers = dead[0].properties.headers
    assert headers["x-tasktools-error-type"] == "ValueError"
    assert headers["x-tasktools-error"] == "no <b>"
    assert "peer_tasks.py" in headers["x-tasktools-traceback"]
    topics = own_cluster.topics().set_index("topic")
    assert topics.loc[["emails", "reports"], "queued"].tolist() == [0, 0]


def test_the_peer_sees_our_worker_and_what_it_runs(
    own_cluster: tt.Cluster, quiet_peer: Any
) -> None:
    shell = quiet_peer.shell()
    own_cluster.publish("emails", "peer_tasks:held", kwargs={"to": "x"})
    (seen,) = eventually(lambda: [w for w in shell("get_workers") if not w["stale"]])
    assert seen["worker_id"] == workers(own_cluster)["worker_id"]
    assert (seen["capacity"], sorted(seen["topics"])) == (4, ["emails", "reports"])
    (running,) = eventually(lambda: shell("get_cluster_running_tasks"))
    assert running["worker_id"] == seen["worker_id"]
    quiet_peer.let_go()
    eventually(lambda: not shell("get_cluster_running_tasks"))
    quiet_peer.ours[0].terminate()
    eventually(lambda: not shell("get_workers"))


def test_a_lock_of_ours_is_not_given_to_the_peer_not_even_past_its_limit(
    connect: Any, quiet_peer: Any
) -> None:
    shell = quiet_peer.shell()
    shell("=", "_lock_ttl", 1.0)
    broker = connect().broker
    lock = broker.acquire_lock("nightly", "task-1", "worker-1")
    assert lock
    eventually(lambda: [x["task_name"] for x in shell("get_locks")] == ["nightly"])
    ends = time.monotonic() + 6
    while time.monotonic() < ends:  # it puts new tokens in, thinking the holder dead
        assert shell("acquire_lock", "nightly", "task-2", "peer") is False
    assert lock.is_held
    lock.release()
    eventually(lambda: shell("acquire_lock", "nightly", "task-2", "peer"))


def test_a_lock_of_the_peer_is_not_given_to_us_and_is_seen(connect: Any, quiet_peer: Any) -> None:
    shell = quiet_peer.shell()
    cluster = connect()
    eventually(lambda: cluster.workers() is not None)
    assert shell("acquire_lock", "nightly", "task-2", "peer") is True
    assert cluster.broker.acquire_lock("nightly", "task-1", "w") is None
    eventually(lambda: cluster.locks()["lock"].tolist() == ["nightly"])
    assert shell("release_lock", "task-2", "peer") is True
    lock = eventually(lambda: cluster.broker.acquire_lock("nightly", "task-1", "w"))
    lock.release()


def test_a_lock_whose_peer_was_killed_is_given_by_an_operator(
    connect: Any, quiet_peer: Any
) -> None:
    shell = quiet_peer.shell()
    assert shell("acquire_lock", "nightly", "task-2", "peer") is True
    shell.kill()
    cluster = connect()
    assert cluster.broker.acquire_lock("nightly") is None
    assert cluster.force_release_lock("nightly")
    lock = cluster.broker.acquire_lock("nightly")
    assert lock
    lock.release()


def test_settings_are_told_to_the_peer_and_taken_from_it(
    own_cluster: tt.Cluster, quiet_peer: Any
) -> None:
    shell = quiet_peer.shell()
    own_cluster.configure_topic("emails", concurrency_limit=3, max_retries=2)
    eventually(lambda: shell("get_topic_config", "emails")["concurrency_limit"] == 3)
    late = quiet_peer.shell()  # it asks when it comes, and our runner answers
    eventually(lambda: late("get_topic_config", "emails")["max_retries"] == 2)
    config = {"concurrency_limit": 7, "max_retries": 1, "dead_letter_enabled": False}
    shell("set_topic_config", "reports", config)
    stored = TopicSettings(concurrency_limit=7, max_retries=1, dead_letter_enabled=False)
    eventually(lambda: own_cluster.broker.topic_settings().get("reports") == stored)
    assert own_cluster.broker.topic_settings()["emails"].concurrency_limit == 3


def test_commands_to_our_worker_make_nobody_run_anything_twice(
    peer: Any, connect: Any, raw: Any
) -> None:
    """The peer obeys every `worker_command` for a worker it has heard of, by closing its own
    consumers: so ours are commanded in another way."""
    peer.start_ours()
    cluster = connect()
    eventually(lambda: len(cluster.workers()) == 3)
    raw.declare("seen")
    for _ in range(12):
        cluster.publish("emails", "peer_tasks:held", kwargs={"to": "x"})
    eventually(lambda: cluster.workers()["running"].sum() == 12)
    raw.channel.queue_bind("seen", "fp.workers")
    table = cluster.workers().set_index("worker_id")
    (mine,) = table[table["tasktools"].eq(other=True)].index
    cluster.update_prefetch(mine, "emails", 2)
    cluster.leave_topic(mine, "reports")
    cluster.drain(mine)
    peer.let_go()
    eventually(lambda: cluster.workers()["succeeded"].sum() == 12)
    time.sleep(1)
    started = [body for body in raw.bodies("seen") if b'"task_started"' in body]
    assert not started
    peers = [name for name in table.index if name != mine]
    cluster.publish("emails", "peer_tasks:send_email", kwargs={"to": "x", "delay": 100.0})
    eventually(lambda: cluster.workers()["running"].sum() == 1)
    row = cluster.active_tasks("emails", queued=False).iloc[0]
    assert row["worker_id"] in peers
    with pytest.raises(tt.UnsafePeerCommand, match=row["task_id"]):
        cluster.drain(row["worker_id"])


def test_the_peers_own_command_drains_our_worker_without_running_anything_twice(
    own_cluster: tt.Cluster, quiet_peer: Any, raw: Any
) -> None:
    shell = quiet_peer.shell()
    raw.declare("seen")
    raw.channel.queue_bind("seen", "fp.workers")
    for _ in range(6):
        own_cluster.publish("emails", "peer_tasks:held", kwargs={"to": "x"})
    eventually(lambda: workers(own_cluster)["running"] == 4)
    shell("send_worker_command", workers(own_cluster)["worker_id"], "drain", {})
    eventually(lambda: bool(workers(own_cluster)["draining"]))
    quiet_peer.let_go()
    eventually(lambda: workers(own_cluster)["succeeded"] == 4)
    assert raw.depth("emails") == 2
    started = [body for body in raw.bodies("seen") if b'"task_started"' in body]
    assert len(started) == 4
