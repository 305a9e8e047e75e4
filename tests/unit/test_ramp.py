"""The canary: a few tasks go first, and the rest only if those do well."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster.cluster import Cluster
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.dramatiq import DRAMATIQ
from tasktools.core.models import Properties
from tasktools.replay.timing import Timing
from tasktools.testing import eventually
from tests.workplace import TOPIC, Workplace

QUICK = tt.Ramp(steps=(1, 10), patience=5.0)


@pytest.fixture
def workplace() -> Iterator[Workplace]:
    with Workplace() as workplace:
        yield workplace


@pytest.fixture
def cluster(workplace: Workplace) -> Iterator[Cluster]:
    timing = Timing(requeued=0.01, ramp_poll=0.005, ramp_look=0.02)
    with Cluster(MemoryBroker(workplace.server), timing=timing) as cluster:
        yield cluster


@pytest.fixture
def ran(workplace: Workplace) -> list[int]:
    """The tasks that ran; ``task`` fails when its number is a multiple of ``fails``."""
    ran: list[int] = []

    def task(n: int, fails: int = 0) -> None:
        ran.append(n)
        if fails and n % fails == 0:
            raise OSError(f"no route to 10.0.0.{n}")

    workplace.registry.task(name="task")(task)
    return ran


def dead_tasks(workplace: Workplace, cluster: Cluster, n: int, **kwargs: Any) -> pd.DataFrame:
    """Return *n* dead letters of tasks with these arguments."""
    for number in range(n):
        workplace.publish("task", number, **kwargs)
        delivery = workplace.broker.claim(TOPIC, "w")
        assert delivery is not None
        workplace.broker.nack(delivery.id, requeue=False)
    return cluster.dead_letters(TOPIC)


def climb(
    cluster: Cluster, dead: pd.DataFrame, ramp: tt.Ramp = QUICK, **options: Any
) -> pd.DataFrame:
    return cluster.run(cluster.plan_replay(dead), reason="x", ramp=ramp, progress=False, **options)


def sent(frame: pd.DataFrame) -> int:
    return int(frame["outcome"].eq("replayed").sum())


# --- ramps ---------------------------------------------------------------------------


def test_steps_are_how_many_have_been_sent_in_all() -> None:
    ramp = tt.Ramp(steps=(1, 10, 100))
    assert [ramp.next_step(n) for n in (0, 1, 9, 10, 99)] == [1, 10, 10, 100, 100]
    assert ramp.next_step(100) > 10**9


@pytest.mark.parametrize(
    "options",
    [
        {"steps": ()},
        {"steps": (0, 1)},
        {"steps": (2, 1)},
        {"steps": (1, 1)},
        {"limit": 1.0},
        {"limit": -0.1},
        {"limit": float("nan")},
        {"patience": 0},
    ],
    ids=str,
)
def test_a_ramp_that_is_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        tt.Ramp(**options)


class MuteShop(MemoryBroker):
    """A broker whose workers send no events."""

    def dialect_of(self, queue: str) -> Dialect:
        return DRAMATIQ


def test_where_no_worker_tells_the_end_of_a_task_a_ramp_is_refused() -> None:
    server = MemoryServer()
    message: dict[str, Any] = {
        "queue_name": "mail",
        "actor_name": "send",
        "args": [7],
        "kwargs": {},
    }
    message |= {"options": {}, "message_id": "m-1", "message_timestamp": 1_753_000_000_123}
    with Cluster(MuteShop(server)) as mute:
        mute.create_topic("mail")
        server.put("mail.dead", json.dumps(message).encode(), Properties())
        plan = mute.plan_replay(mute.dead_letters("mail"))
        with pytest.raises(tt.InvalidPlan, match=r"Dramatiq send no events.*nothing was sent"):
            mute.run(plan, reason="x", ramp=QUICK, progress=False)
        assert len(mute.dead_letters("mail")) == 1
        followed = mute.run(plan, reason="x", progress=False).follow(60)  # nobody consumes it
    assert followed.attrs["summary"] == "1 replayed, 1 not known"
    assert any("their failures are not known" in note for note in followed.attrs["notes"])
    assert set(followed["state"]) == {"unknown"}


# --- workers -------------------------------------------------------------------------


def test_with_healthy_workers_all_tasks_go(
    workplace: Workplace, cluster: Cluster, ran: list[int]
) -> None:
    dead = dead_tasks(workplace, cluster, 50)
    workplace.run(capacity=4)
    frame = climb(cluster, dead)
    assert (sent(frame), frame.attrs["ended"]) == (50, "finished")
    assert eventually(lambda: len(ran) == 50)


def test_with_workers_that_fail_everything_it_stops_after_the_first(
    workplace: Workplace, cluster: Cluster, ran: list[int]
) -> None:
    dead = dead_tasks(workplace, cluster, 50, fails=1)
    workplace.run()
    frame = climb(cluster, dead)
    assert (sent(frame), ran) == (1, [0])
    assert frame.attrs["ended"] == "stopped"
    (note,) = frame.attrs["notes"]
    assert "1 of 1 tasks failed" in note
    assert "OSError: no route to <address>" in note


def test_when_more_fail_than_the_limit_it_stops_there(
    workplace: Workplace, cluster: Cluster, ran: list[int]
) -> None:
    dead = dead_tasks(workplace, cluster, 50, fails=3).iloc[1:]
    workplace.run(capacity=4)
    frame = climb(cluster, dead)
    assert (sent(frame), frame.attrs["ended"]) == (10, "stopped")
    assert sorted(ran) == list(range(1, 11))
    assert "3 of 10 tasks failed" in frame.attrs["notes"][0]


def test_fewer_failures_than_the_limit_are_borne(
    workplace: Workplace, cluster: Cluster, ran: list[int]
) -> None:
    dead = dead_tasks(workplace, cluster, 30, fails=4).iloc[1:]
    workplace.run(capacity=4)
    frame = climb(cluster, dead, tt.Ramp(steps=(1, 10), limit=0.5, patience=5.0))
    assert (sent(frame), frame.attrs["ended"]) == (29, "finished")
    assert eventually(lambda: len(ran) == 29)


def test_where_nobody_works_it_stops_after_its_patience(
    workplace: Workplace, cluster: Cluster
) -> None:
    frame = climb(cluster, dead_tasks(workplace, cluster, 5), tt.Ramp(patience=0.1))
    assert sent(frame) == 1
    assert "no worker has ended one within 0.1 s" in frame.attrs["notes"][0]


def test_a_task_that_dies_again_without_a_word_is_seen_in_the_queue(
    workplace: Workplace, cluster: Cluster
) -> None:
    dead = dead_tasks(workplace, cluster, 5)
    killer = threading.Thread(target=_reject_the_next, args=(workplace,))
    killer.start()
    frame = climb(cluster, dead)
    killer.join()
    assert sent(frame) == 1
    assert "1 of them: rejected in work" in frame.attrs["notes"][0]


def _reject_the_next(workplace: Workplace) -> None:
    with MemoryBroker(workplace.server) as broker:
        delivery = eventually(lambda: broker.claim(TOPIC, "w"))
        assert delivery is not None
        broker.nack(delivery.id, requeue=False)


def test_a_run_that_stopped_can_go_on_and_begins_small_again(
    workplace: Workplace, cluster: Cluster, ran: list[int]
) -> None:
    dead = dead_tasks(workplace, cluster, 20)
    plan = cluster.plan_replay(dead)
    first = cluster.run(plan, reason="x", ramp=tt.Ramp(patience=0.1), progress=False)
    assert (sent(first), first.attrs["ended"]) == (1, "stopped")
    workplace.run()
    again = cluster.run(plan, reason="x", ramp=QUICK, progress=False)
    assert (sent(again), again.attrs["ended"]) == (20, "finished")
    assert len(tt.ledger()) == 1


def test_it_can_be_cancelled_while_it_waits(workplace: Workplace, cluster: Cluster) -> None:
    dead, cancelled = dead_tasks(workplace, cluster, 5), threading.Event()
    timer = threading.Timer(0.1, cancelled.set)  # from when the first one was sent
    plan = cluster.plan_replay(dead)
    frame = cluster.run(
        plan,
        reason="x",
        ramp=tt.Ramp(patience=30.0),
        cancelled=cancelled,
        progress=lambda _n: timer.start(),
    )
    timer.join()
    assert (sent(frame), frame.attrs["ended"]) == (1, "cancelled")
