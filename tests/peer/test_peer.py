"""Against real peer workers: what they do is what we show, and they do what we publish."""

from __future__ import annotations

import signal
import time
from typing import Any

import pandas as pd
import pytest

from tasktools.testing import eventually
from tests.timing import contention, within

BUSY = [("held", {"to": f"p{n}@b"}) for n in range(8)]


@pytest.fixture
def busy(peer: Any, connect: Any) -> Any:
    """Both workers up, their eight threads busy for as long as the test lasts; returns the peer."""
    watching = connect()
    eventually(lambda: len(watching.workers()) == 2)
    eventually(lambda: watching.topics()["consumers"].eq(2).sum() == 2)
    peer.submit(*BUSY)
    eventually(lambda: watching.workers()["running"].sum() == 8)
    watching.close()
    return peer


def test_the_whole_cluster_is_seen_within_four_seconds(busy: Any, connect: Any) -> None:
    time.sleep(3)  # what came before is not seen by the one who connects now
    with within(4, "the whole cluster"):
        cluster = connect()
        workers = cluster.workers()
        topics = cluster.topics().set_index("topic")
        tasks = cluster.active_tasks("emails")
    assert workers["state"].tolist() == ["alive", "alive"]
    assert workers["running"].tolist() == [4, 4]
    assert workers["capacity"].tolist() == [4, 4]
    assert workers["utilisation"].tolist() == [1.0, 1.0]
    assert [sorted(t) for t in workers["topics"]] == [["emails", "reports"]] * 2
    assert {int(pid) for pid in workers["pid"]} == {w.pid for w in busy.workers}
    assert not workers["uncertain"].any()
    assert topics.loc["emails", ["running", "consumers", "subscribers"]].tolist() == [8, 2, 2]
    assert bool(topics.loc["emails", "dead_lettering"])
    running = tasks[tasks["state"] == "running"]
    assert len(running) == 8
    assert set(running["task_name"]) == {"held"}
    assert set(running["worker_id"]) == set(workers["worker_id"])


def test_queued_tasks_show_their_arguments(busy: Any, connect: Any) -> None:
    cluster = connect()
    # A peer fetches 32 messages a topic ahead, so that only what is beyond these is queued.
    busy.submit(*[("send_email", {"to": f"q{n}@b", "password": "hush"}) for n in range(70)])
    tasks = cluster.active_tasks("emails")
    queued = tasks[tasks["state"] == "queued"]
    assert 6 <= len(queued) <= 70
    assert all(kwargs["to"].startswith("q") for kwargs in queued["kwargs"])
    assert "hush" not in tasks.to_string()
    assert queued["attempts"].eq(0).all()
    assert queued["age"].lt(pd.Timedelta(seconds=30)).all()
    assert tasks.attrs["looks"][0]["cost"] == "reorders"


@pytest.mark.usefixtures("peer")
def test_a_task_of_ours_is_executed_by_the_peer(connect: Any) -> None:
    cluster = connect()
    eventually(lambda: len(cluster.workers()) == 2)
    task_id = cluster.publish("emails", "peer_tasks:send_email", kwargs={"to": "a@b", "delay": 1.5})

    def running() -> dict[str, Any]:
        tasks = cluster.active_tasks("emails").set_index("task_id")
        tasks = tasks[tasks["state"] == "running"]
        return dict(tasks.loc[task_id]) if task_id in tasks.index else {}

    # It was seen when it was published, so its arguments are known.
    assert eventually(running)["kwargs"] == {"to": "a@b", "delay": 1.5}
    eventually(lambda: cluster.workers()["succeeded"].sum() == 1)
    assert cluster.workers()["failed"].sum() == 0
    # The bare name is enough, now that it has been seen.
    cluster.publish("emails", "send_email", kwargs={"to": "c@d"})
    eventually(lambda: cluster.workers()["succeeded"].sum() == 2)


@pytest.mark.usefixtures("peer")
def test_no_message_of_ours_is_published_again_by_the_peer(connect: Any, raw: Any) -> None:
    """Everything our API lets through, with a tap on the exchange: each is seen exactly once."""
    cluster = connect()
    eventually(lambda: len(cluster.workers()) == 2)
    raw.declare("tap")
    raw.channel.queue_bind("tap", "fp.tasks", "#")
    odd: list[dict[str, Any]] = [
        {"task": "peer_tasks:send_email", "kwargs": {"to": "x"}},
        {"task": "peer_tasks:send_email", "kwargs": {"wrong": 1}},
        {"task": "peer_tasks:send_email", "args": ["a", 0, "one too many"]},
        {"task": "peer_tasks:fail", "kwargs": {"text": "<script>alert(1)</script>"}},
        {"task": "no_such_module:f"},
        {"task": "peer_tasks:no_such_function"},
        {"task": "peer_tasks:send_email", "kwargs": {"to": {"deep": [1, {"er": None}]}}},
        {"task": "peer_tasks:send_email", "headers": {"worker_id": 7, "type": []}},
        {"task": "peer_tasks:report", "priority": 9},
    ]
    for call in odd:
        cluster.publish("emails", call.pop("task"), **call)
    payload = {"task_name": "peer_tasks:send_email", "kwargs": {"to": "x"}}
    for extra in (
        {"max_retries": 3, "retry_delay": 1},
        {"notifier_config": [{"odd": 1}]},
        {"parent_task_id": "p", "task_type": "x", "task_origin": "y"},
        {"created_at": "no time at all"},
        {"extra_context": {"any": "thing"}, "topic": "elsewhere"},
    ):
        cluster.broker.publish("emails", payload | extra)
    sent = len(odd) + 5
    eventually(
        lambda: cluster.topics().set_index("topic")["unacked"].eq(0).fillna(False)["emails"],
    )
    time.sleep(2)  # a requeue loop makes 45 copies a second
    assert raw.depth("tap") == sent
    assert cluster.topics().set_index("topic").loc["emails", "queued"] == 0


def test_a_killed_worker_is_late_then_gone_and_its_tasks_no_longer_run(
    busy: Any, connect: Any
) -> None:
    cluster = connect()
    assert cluster.workers()["running"].sum() == 8
    victim = busy.workers[0]
    victim.send_signal(signal.SIGKILL)
    killed = time.monotonic()

    def state() -> str:
        workers = cluster.workers().set_index("pid")
        return str(workers.loc[victim.pid, "state"])

    eventually(lambda: state() == "late")
    assert time.monotonic() - killed > 6
    eventually(lambda: state() == "gone", timeout=60)
    assert 26 < time.monotonic() - killed < 36 * contention()
    workers = cluster.workers().set_index("pid")
    assert workers.loc[victim.pid, "running"] == 0
    tasks = cluster.active_tasks("emails", queued=False)
    dead = workers.loc[victim.pid, "worker_id"]
    assert dead not in set(tasks["worker_id"])
    assert cluster.topics().set_index("topic").loc["emails", "running"] == 4
    assert cluster.topics().set_index("topic").loc["emails", "subscribers"] == 1
    assert cluster.stats()[["workers", "gone"]].iloc[0].tolist() == [1, 1]


def test_one_who_connects_after_the_kill_is_told_of_the_dead_by_hearsay(
    busy: Any, connect: Any
) -> None:
    busy.workers[0].kill()
    workers = connect().workers().set_index("pid")
    assert bool(workers.loc[busy.workers[0].pid, "uncertain"])
    assert not bool(workers.loc[busy.workers[1].pid, "uncertain"])
    assert workers.loc[busy.workers[1].pid, "running"] == 4


def test_without_the_management_tag_the_picture_is_the_same(
    busy: Any, connect: Any, rabbitmq: Any, vhost: Any
) -> None:
    rabbitmq.add_user("plain", "pw")
    rabbitmq.allow("plain", vhost.name)
    cluster = connect(vhost.dsn.replace("guest:guest@", "plain:pw@"))
    assert cluster.workers()["running"].tolist() == [4, 4]
    topics = cluster.topics().set_index("topic")
    assert topics.loc["emails", ["running", "consumers", "queued"]].tolist() == [8, 2, 0]
    assert topics["unacked"].isna().all()
    assert "no management tag" in cluster.topics().attrs["sources"]["management"]["note"]
    assert len(cluster.active_tasks("emails")) == 8
