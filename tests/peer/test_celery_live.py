"""Real workers of Celery as they are seen live: heard on their events, asked over their pidbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.testing import RabbitMQNode, eventually
from tests.peer.celery_peer import CeleryPeer
from tests.peer.programs import kill
from tests.vhosts import Vhost

QUIET = "w1@shop"


@pytest.fixture(scope="module")
def vhost(celery: CeleryPeer) -> Vhost:
    return celery.vhost


@pytest.fixture(scope="module")
def cluster(celery: CeleryPeer) -> Iterator[tt.Cluster]:
    with tt.connect(celery.vhost.dsn, management_url=celery.vhost.management_url) as cluster:
        cluster.active_tasks("mail")  # whose thread begins before a test counts threads
        yield cluster


@pytest.fixture(scope="module", autouse=True)
def orphan(celery: CeleryPeer, cluster: tt.Cluster) -> str:
    """The id of a task whose worker was killed; its end comes while other tests run.

    It has said what it consumes: until then nobody knows how many workers other queues have.
    """
    worker = celery.start_worker("w2", queues="doomed", processes=1)
    task_id = celery.submit("shop.held", "a@b", _options={"queue": "doomed"})
    eventually(lambda: task_id in running_ids(cluster))
    eventually(lambda: row(cluster.workers(), "worker_id", "w2@shop")["topics"] == ["doomed"])
    kill(worker)
    return task_id


@pytest.fixture
def quiet(celery: CeleryPeer, cluster: tt.Cluster) -> str:
    """A worker that does not tell of its tasks: started by the first test that needs it, and again
    after a test that stopped it."""
    workers = cluster.workers()
    if QUIET not in set(workers.loc[workers["state"] == "alive", "worker_id"]):
        celery.start_worker("w1", queues="quiet", events=False, processes=1)

    def is_known() -> bool:
        workers = cluster.workers()
        quiet = workers[workers["worker_id"].eq(QUIET) & workers["state"].eq("alive")]
        return bool(quiet["capacity"].dropna().tolist() == [1])

    eventually(is_known)
    return QUIET


def running_ids(cluster: tt.Cluster) -> set[str]:
    return {run.task_id for run in cluster.broker.cluster_state().running}


def row(frame: pd.DataFrame, column: str, value: str) -> dict[str, Any]:
    """Return the row of *frame* that has *value* in *column*."""
    return dict(frame[frame[column] == value].iloc[0])


def after_a_heartbeat(cluster: tt.Cluster) -> dict[str, Any]:
    """Return the row of the worker w0 with the counts of its next heartbeat."""
    now = row(cluster.workers(), "worker_id", "w0@shop")
    eventually(
        lambda: row(cluster.workers(), "worker_id", "w0@shop")["last_seen"] > now["last_seen"]
    )
    return row(cluster.workers(), "worker_id", "w0@shop")


def notes(frame: pd.DataFrame) -> str:
    return "\n".join(frame.attrs["notes"])


def test_a_worker_is_known_at_once_with_pool_queues_and_process(
    celery: CeleryPeer, cluster: tt.Cluster
) -> None:
    worker = row(cluster.workers(), "worker_id", "w0@shop")
    assert (worker["state"], worker["capacity"], worker["host"]) == ("alive", 2, "shop")
    assert sorted(worker["topics"]) == ["mail", "reports"]
    assert worker["pid"] == celery.workers[0].pid
    assert not worker["tasktools"]
    topics = cluster.topics().set_index("topic")
    assert list(topics.loc[["mail", "reports"], "subscribers"]) == [1, 1]


def test_a_held_task_runs_and_others_wait_with_their_arguments(
    celery: CeleryPeer, cluster: tt.Cluster
) -> None:
    """The pool has two processes: two run, one is prefetched, one waits for its time."""
    celery.hold()
    for number in range(3):
        celery.submit("shop.held", "a@b", number=number, password="hunter2")
    celery.submit("shop.send_email", "later@b", _options={"countdown": 600})

    def states() -> list[str]:
        return sorted(cluster.active_tasks("mail")["state"])

    eventually(lambda: states() == ["prefetched", "running", "running", "scheduled"])
    tasks = cluster.active_tasks("mail")
    running = tasks[tasks["state"] == "running"]
    assert set(running["task_name"]) == {"shop.held"}
    assert set(running["topic"]) == {"mail"}
    assert set(running["worker_id"]) == {"w0@shop"}
    assert running["started_at"].notna().all()
    assert "hunter2" not in tasks.to_string()

    with tt.connect(celery.vhost.dsn, read_only=True, management_url=False) as newcomer:
        asked = newcomer.active_tasks("mail", queued=False)
        assert sorted(asked["state"]) == ["prefetched", "running", "running", "scheduled"]
        of_running = asked[asked["state"] != "scheduled"]
        assert all(list(args) == ["a@b"] for args in of_running["args"])
        assert sorted(kwargs["number"] for kwargs in of_running["kwargs"]) == [0, 1, 2]
        assert asked["eta"].notna().sum() == 1
        assert "hunter2" not in asked.to_string()
        assert row(newcomer.workers(), "worker_id", "w0@shop")["running"] == 2

    follower = cluster.follow(list(tasks["task_id"]))
    celery.let_go()
    eventually(lambda: states() == ["scheduled"])
    eventually(lambda: list(follower.frame()["state"].eq("succeeded")) == [True, True, True, False])


def test_failures_have_type_text_traceback_and_a_fingerprint_and_counters_agree(
    celery: CeleryPeer, cluster: tt.Cluster
) -> None:
    def requeued_and_dead() -> tuple[int, int]:
        topic = row(cluster.topics(), "topic", "mail")
        counts = (topic["requeued"], topic["dead_lettered"])
        requeued, dead = (0 if pd.isna(count) else int(count) for count in counts)
        return requeued, dead

    before, per_topic = after_a_heartbeat(cluster), requeued_and_dead()
    celery.hold()
    for number in range(2):
        celery.submit("shop.held", "a@b", number=number)
    failed = [celery.submit("shop.fail", f"no user {number}") for number in (1, 2)]
    retried = celery.submit("shop.charge", 7, 9, 0.05)
    refused = celery.submit("shop.refuse")
    late = celery.submit("shop.fail_late")

    def waiting() -> set[str]:
        prefetched = cluster.broker.cluster_state().prefetched
        return {task.task_id for task in prefetched if task.topic == "mail"}

    # The event of a producer, which names the queue, may be later than those of the worker.
    eventually(lambda: waiting() >= {*failed, retried, refused, late})
    celery.let_go()

    def tries() -> list[str]:
        failures = cluster.failures()["task_id"]
        return sorted(failures[failures.isin([*failed, retried, refused, late])])

    eventually(lambda: tries() == sorted([*failed, retried, retried, retried, refused, late]))
    failures = cluster.failures().set_index("task_id")
    first = failures.loc[failed[0]]
    assert (first["error_type"], first["error"]) == ("ValueError", "no user 1")
    assert first["traceback"].endswith("ValueError: no user 1\n")
    assert (first["task_name"], first["topic"], first["args"]) == (
        *("shop.fail", "mail"),
        "['no user 1']",
    )
    assert failures.loc[failed, "fingerprint"].eq(first["fingerprint"]).all()
    assert first["error_kind"] == "ValueError in celery_tasks.py:fail"
    assert set(failures.loc[[retried], "error_type"]) == {"ConnectionError"}
    assert (failures.loc[late, "error_type"], failures.loc[late, "topic"]) == ("ValueError", "mail")

    def counted() -> tuple[int, int]:
        now = row(cluster.workers(), "worker_id", "w0@shop")
        return now["succeeded"] - before["succeeded"], now["failed"] - before["failed"]

    # A retry is no failure of the task: Flower and Celery count the last try only.
    eventually(lambda: counted() == (2, 5))

    eventually(lambda: requeued_and_dead() == (per_topic[0] + 2, per_topic[1] + 2))
    assert len(tries()) == 7  # those that died of it are not counted twice


def test_what_failed_tasks_have_in_common_may_be_an_argument(
    celery: CeleryPeer, cluster: tt.Cluster
) -> None:
    cluster.tasks()  # listens from here on
    failing = {celery.submit("shop.charge", number, 9, 0.05) for number in range(8)}
    sound = {celery.submit("shop.charge", number, 0) for number in range(8)}

    def ended(outcome: str) -> set[str]:
        tasks = cluster.tasks()
        is_last = tasks["tries"].ge(3) | tasks["outcome"].eq("succeeded")
        return set(tasks.loc[tasks["outcome"].eq(outcome) & is_last, "task_id"])

    eventually(lambda: ended("failed") >= failing and ended("succeeded") >= sound)
    tasks = cluster.tasks()
    failed, succeeded = (tasks[tasks["task_id"].isin(ids)] for ids in (failing, sound))
    first = tt.explain(failed, succeeded, fields=["task_name", "topic", "args", "kwargs"]).iloc[0]
    assert (first["field"], first["value"]) == ("args[1]", "9")


def test_a_worker_that_tells_nothing_is_counted_by_what_it_answers(
    celery: CeleryPeer, cluster: tt.Cluster, quiet: str
) -> None:
    """Its running task comes from the pidbox, and a note names the setting."""
    celery.hold()
    for _ in range(2):
        celery.submit("shop.held", "a@b", _options={"queue": "quiet"})

    def running() -> list[str]:
        tasks = cluster.active_tasks()
        return list(tasks[tasks["worker_id"].eq(quiet) & tasks["state"].eq("running")]["topic"])

    eventually(lambda: running() == ["quiet"])
    eventually(lambda: "send no events of their tasks" in notes(cluster.workers()))
    assert "worker_send_task_events" in notes(cluster.workers())
    worker = row(cluster.workers(), "worker_id", quiet)
    assert pd.isna(worker["succeeded"])
    assert pd.isna(worker["failed"])
    celery.let_go()
    for answer in (cluster.failures(), cluster.task_events(), cluster.service_time()):
        assert f"no events of tasks arrive from {quiet} (workers() says why)" in notes(answer)
        assert answer.attrs["unheard"]


def test_a_worker_that_is_killed_is_gone_and_its_task_is_an_orphan(
    cluster: tt.Cluster, orphan: str
) -> None:
    """As those of fastpluggy: late after 10 s of silence, gone after 30 s."""
    eventually(lambda: row(cluster.workers(), "worker_id", "w2@shop")["state"] == "gone")
    state = cluster.broker.cluster_state()
    assert [each.task.task_id for each in state.orphans] == [orphan]
    assert orphan not in running_ids(cluster)


def test_commands_are_carried_out_and_what_does_not_fit_is_refused(
    celery: CeleryPeer, cluster: tt.Cluster, quiet: str
) -> None:
    """On the worker that tells nothing: it tells from now on, grows, moves, and stops."""

    def commanded() -> dict[str, Any]:
        return row(cluster.workers(), "worker_id", quiet)

    assert list(cluster.enable_task_events(quiet)["worker_id"]) == [quiet]
    failed = celery.submit("shop.fail", _options={"queue": "quiet"})
    eventually(lambda: failed in set(cluster.failures()["task_id"]))

    cluster.resize_pool(quiet, by=1)
    eventually(lambda: commanded()["capacity"] == 2)
    assert set(cluster.join_topic(quiet, "extra")["topics"][0]) == {"quiet", "extra"}
    assert list(cluster.leave_topic(quiet, "quiet")["topics"][0]) == ["extra"]
    for limited in (
        cluster.rate_limit("shop.report", "10/m", worker_id=quiet),
        cluster.time_limit("shop.report", soft=60, hard=90, worker_id=quiet),
    ):
        assert list(limited["worker_id"]) == [quiet]
    with pytest.raises(tt.CommandRefused, match=r"unknown task\. Nothing was changed"):
        cluster.rate_limit("shop.no_such_task", "10/m", worker_id=quiet)
    with pytest.raises(
        tt.CommandRefused, match="does not take the command drain; nothing was sent"
    ):
        cluster.drain(quiet)

    later = celery.submit("shop.send_email", "later@b", _options={"countdown": 2})
    assert {"w0@shop", quiet} <= set(cluster.revoke(later)["worker_id"])
    eventually(lambda: later in set(cluster.failures()["task_id"]))
    revoked = row(cluster.failures(), "task_id", later)
    assert (revoked["error_type"], revoked["error"]) == ("TaskRevokedError", "revoked")
    assert not celery.executed(later)

    with (
        tt.connect(celery.vhost.dsn, read_only=True, management_url=False) as reader,
        pytest.raises(tt.ReadOnly, match="shutdown"),
    ):
        reader.shutdown(quiet)
    cluster.shutdown(quiet)
    eventually(lambda: commanded()["state"] == "stopped")


def test_who_may_not_hear_the_workers_takes_none_for_frozen_and_no_failure_for_none(
    celery: CeleryPeer, rabbitmq: RabbitMQNode
) -> None:
    """Its workers answer all the same: what they say is up to 30 s old, but not late."""
    rabbitmq.add_user("hard-of-hearing", "pw", tags="monitoring")
    rabbitmq.allow("hard-of-hearing", celery.vhost.name, read="^(?!celeryev$).*")
    dsn = celery.vhost.dsn.replace("//guest:guest@", "//hard-of-hearing:pw@")
    url = celery.vhost.management_url
    with tt.connect(dsn, management_url=url) as cluster:
        worker = row(cluster.workers(), "worker_id", "w0@shop")
        assert (worker["state"], worker["capacity"]) == ("alive", 2)
        for number in range(20):
            celery.submit("shop.fail", f"boom {number}")
        heard = cluster.workers()["last_seen"].max()
        eventually(lambda: (cluster.workers()["last_seen"].max() - heard).total_seconds() > 12)
        assert row(cluster.workers(), "worker_id", "w0@shop")["state"] == "alive"
        findings = tt.diagnose(cluster)
        failures = cluster.failures("mail")
        board = tt.widgets.dashboard(cluster, topics=["mail"])
        try:
            eventually(lambda: board.state.tiles)
            eventually(lambda: board.state.tile("failures").note == "no events of tasks arrive")
        finally:
            board.close()
    assert findings[findings["verdict"] == "found"].empty
    unknown = findings[findings["verdict"] == "cannot tell"].set_index("check")["finding"]
    assert "this user may not receive their events" in unknown["failing"]
    assert "no events of tasks arrive from w0@shop" in notes(failures)


def test_without_rights_a_note_says_what_cannot_be_known(
    celery: CeleryPeer, rabbitmq: RabbitMQNode
) -> None:
    rabbitmq.add_user("deaf", "pw")
    rabbitmq.allow(
        "deaf", celery.vhost.name, configure="^tasktools", write="^tasktools", read="^tasktools"
    )
    dsn = celery.vhost.dsn.replace("//guest:guest@", "//deaf:pw@")
    with tt.connect(dsn, read_only=True, management_url=False) as deaf:
        shown = notes(deaf.workers())
    assert "Celery is here, but its events cannot be received" in shown
    assert "workers of Celery cannot be asked" in shown
    assert "`read` on the exchange 'reply.celery.pidbox'" in shown
    assert "pw" not in shown
    with tt.connect(dsn, management_url=False) as deaf:
        with pytest.raises(tt.CommandRefused, match=r"No live worker .*its events cannot be"):
            deaf.enable_task_events()
        with pytest.raises(tt.CommandRefused, match=r"No live worker .*its events cannot be"):
            deaf.rate_limit("shop.fail", "1/s")
