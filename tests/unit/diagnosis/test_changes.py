"""Changes of a cluster, from known workers, topics and runs."""

from __future__ import annotations

import time
from typing import Any

import tasktools as tt
from tasktools.core.models import Worker
from tasktools.core.series import Series
from tasktools.diagnosis import changes
from tasktools.diagnosis.facts import OwnRun
from tasktools.history.recent import TopicHistory
from tests.unit.diagnosis.facts_factory import NOW, moment, worker


def started(name: str, seconds_ago: float, **fields: Any) -> Worker:
    return worker(name, started_at=moment(seconds_ago), **fields)


def texts(*workers: Worker) -> list[str]:
    return [change.text for change in changes.of_workers(workers, NOW)]


def test_workers_that_run_for_long_are_no_change() -> None:
    assert texts(started("a", 1801), started("b", 90_000)) == []


def test_the_workers_of_a_deploy_are_one_change() -> None:
    deploy = [started(f"w{n}", 300 - 20 * n, host=f"host-{n}") for n in range(5)]
    (text,) = texts(*deploy)
    assert text == "5 workers started on host-0, host-1, host-2, … (w0, w1, w2, …)"


def test_workers_that_start_minutes_apart_are_two() -> None:
    assert texts(started("a", 300), started("b", 200)) == [
        "worker a started on host-1",
        "worker b started on host-1",
    ]


def test_a_start_is_told_by_our_clock() -> None:
    ahead = started("a", 60 - 7200, clock_offset=7200.0)
    (change,) = changes.of_workers([ahead], NOW)
    assert change.at == NOW - 60


def test_goodbyes_and_silence_are_changes() -> None:
    stopped = worker("a", state="stopped", stopped_at=moment(100))
    gone = worker("b", silence=200)
    assert texts(stopped, gone) == ["worker a stopped on host-1", "worker b fell silent on host-1"]


def test_another_version_on_a_host_is_a_change() -> None:
    old, new = started("a", 9000, version="0.1.0"), started("b", 60, version="0.2.0")
    elsewhere = started("c", 50, version="0.1.0", host="host-2")
    (change,) = changes.of_versions([new, elsewhere, old], NOW)
    assert (change.kind, change.subject, change.at) == ("version", "host-1", NOW - 60)
    assert change.text == "workers on host-1 run tasktools 0.2.0, and ran 0.1.0 before"
    assert list(changes.of_versions([started("d", 60), old], NOW)) == []  # a peer tells none


def test_a_queue_that_appears_later_than_the_others_is_new() -> None:
    old, new = (
        TopicHistory(began=Series((begin, NOW), (0.0, 0.0))) for begin in (NOW - 600, NOW - 60)
    )
    (change,) = changes.of_topics({"emails": old, "images": new})
    assert (change.subject, change.at) == ("images", NOW - 60)
    assert list(changes.of_topics({"emails": old, "orders": old})) == []


def test_of_a_run_it_is_known_what_it_took_out_of_its_queue_and_when() -> None:
    with tt.connect("memory://") as cluster:
        cluster.create_topic("emails")
        for _ in range(3):
            cluster.broker.nack(claimed(cluster), requeue=False)
        plan = cluster.plan_discard(cluster.dead_letters("emails").head(2), archive=None)
        cluster.run(plan, reason="INC-42", progress=False)
        (run,), why = changes.runs(cluster, cluster.broker.address, time.time() + 1)
        assert why is None
        assert (run.source, run.done, run.taken.last) == ("emails.dead", 2, 2)
        assert 0 <= run.taken.times[-1] - run.started_at < 60
        assert changes.runs(cluster, "memory://another", time.time() + 1) == ((), None)


def claimed(cluster: tt.Cluster) -> str:
    """Return the delivery of a task that was published and claimed."""
    cluster.publish("emails", "send")
    delivery = cluster.broker.claim("emails", "worker-1")
    assert delivery is not None
    return delivery.id


def test_a_run_is_a_change() -> None:
    run = OwnRun(run=3, started_at=NOW - 5, ended_at=None, verb="replay", to="emails", done=1_200)
    (change,) = changes.of_runs([run])
    assert change.text == "run 3 replayed 1,200 messages to emails"
