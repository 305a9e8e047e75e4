"""Replays killed with -9, cut off, and sent where there is no room: every message is accounted for.

Not named test_*: run by `make chaos`, and a few kills of it by `make test`.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.mover import WINDOW
from tasktools.core.models import QueueType
from tasktools.core.plans import Plan
from tasktools.testing import RabbitMQNode
from tests.rabbitmq import replays
from tests.rabbitmq.replays import DEAD, KINDS, TOPIC, Replayer, put_tasks, tasks
from tests.support import Proxy, Raw
from tests.vhosts import Vhost

KILLS = int(os.environ.get("TASKTOOLS_CHAOS_KILLS", "3"))
A_ROUND = 5
MESSAGES = 10_000 if KILLS > A_ROUND else 1_000


def planned_of(sent: Sequence[bytes]) -> list[bytes]:
    """Return what is replayed of *sent*: nine of ten, and what is left lies all over the queue."""
    return [body for n, body in enumerate(sent) if n % 10]


def plan_of(cluster: tt.Cluster, rate: float | None = None) -> Plan:
    """Plan to replay nine of ten dead letters."""
    frame = cluster.dead_letters(TOPIC)
    return cluster.plan_replay(frame[frame["position"] % 10 != 0], rate=rate)


Order = Callable[[Sequence[bytes]], list[bytes]]


@pytest.fixture
def order(kind: str) -> Order:
    """What the messages that are left are compared by: in their order, but in a quorum queue.

    What a lost connection held comes to its head again, unless the next one consumes before the
    broker has noticed; since 4.0 it is not kept either way.
    """
    return list if kind == "classic" else sorted


def check_account(outcome: pd.DataFrame, sent: Sequence[bytes], raw: Raw, order: Order) -> int:
    """Everything is at the target or in the source; what is at the target twice is told. Returns
    how many are there more than once."""
    outcomes, count = outcome["outcome"], len(planned_of(sent))
    assert len(outcome) == count
    ended = {f"task-{n}": n for n in range(len(sent))}
    numbers = [ended[task_id] for task_id in outcome["task_id"]]
    done = {sent[n] for n, result in zip(numbers, outcomes, strict=True) if result == "replayed"}
    twice = {
        sent[n] for n, result in zip(numbers, outcome["possible_duplicate"], strict=True) if result
    }
    arrived = Counter(replays.bodies(raw, TOPIC))
    assert set(arrived) == done
    doubled = {body for body, copies in arrived.items() if copies > 1}
    assert doubled <= twice
    left, expected = replays.bodies(raw, DEAD), [body for body in sent if body not in done]
    assert order(left) == order(expected)
    return len(doubled)


@pytest.mark.parametrize("seed", range(-(-KILLS // A_ROUND)))
def test_a_replay_that_is_killed_again_and_again_accounts_for_every_message(
    seed: int,
    topic: str,
    order: Order,
    cluster: tt.Cluster,
    raw: Raw,
    vhost: Vhost,
    tmp_path: Path,
) -> None:
    dice = random.Random(seed)
    kills, sent = min(A_ROUND, KILLS - seed * A_ROUND), tasks(MESSAGES)
    put_tasks(vhost, sent)
    rate = None if seed % 2 else MESSAGES / 2  # at full speed a kill leaves many in doubt
    plan_of(cluster, rate).save(tmp_path / "plan")
    replayer = Replayer(vhost, tmp_path / "plan", dice)
    left, killed = len(planned_of(sent)), 0
    for n in range(kills):
        ended = replayer.run(dice.randrange(max(left, 1)) // (kills - n + 1) // (1 + seed % 2))
        if ended is None:
            break
        left, killed = left - ended, killed + 1
    if killed == kills:
        assert replayer.run(None) is None
    ((run, ended_as),) = tt.ledger()[["run", "ended"]].itertuples(index=False)
    assert ended_as == "finished"
    outcome = tt.ledger(run)
    assert set(outcome["outcome"]) == {"replayed"}
    doubled = check_account(outcome, sent, raw, order)
    assert doubled <= killed * WINDOW
    print(
        f"\n{killed} kills, {doubled} duplicates, {replayer.seconds / (killed + 1):.2f} s a start"
    )


# --- faults ------------------------------------------------------------------------------------


class Trouble:
    """Makes trouble, once a run has got that far; used as its `progress`. What is not sent by then
    is sent after *act* has set *begun*."""

    def __init__(self, goal: int, act: Callable[[], object], begun: threading.Event) -> None:
        self._left, self._begun = goal, begun
        self._thread = threading.Thread(target=act, name="trouble")

    def __call__(self, ended: int) -> None:
        begins = self._left > 0
        self._left -= ended
        if begins and self._left <= 0:
            self._thread.start()
            assert self._begun.wait(100)

    def join(self) -> None:
        """Return once it is made."""
        self._thread.join()


def test_a_line_that_is_cut_again_and_again_loses_nothing(
    topic: str, order: Order, cut_cluster: tt.Cluster, proxy: Proxy, raw: Raw, vhost: Vhost
) -> None:
    dice = random.Random(7)
    sent = tasks(MESSAGES)
    put_tasks(vhost, sent)
    plan = plan_of(cut_cluster, rate=MESSAGES / 3)
    begun, ended = threading.Event(), threading.Event()

    def cut() -> None:
        begun.set()
        while not ended.wait(dice.uniform(0.2, 1.0)):
            proxy.cut()

    trouble = Trouble(1, cut, begun)
    outcome = cut_cluster.run(plan, reason="chaos", progress=trouble)
    ended.set()
    trouble.join()
    assert set(outcome["outcome"]) == {"replayed"}
    check_account(outcome, sent, raw, order)


@pytest.mark.parametrize("kind", KINDS if KILLS > A_ROUND else KINDS[:1])
def test_a_broker_that_is_restarted_meanwhile_loses_nothing(
    topic: str, order: Order, cluster: tt.Cluster, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    sent = tasks(MESSAGES)
    put_tasks(vhost, sent)
    is_down = threading.Event()

    def restart() -> None:
        rabbitmq.stop()
        is_down.set()
        rabbitmq.start()

    trouble = Trouble(MESSAGES // 30, restart, is_down)
    outcome = cluster.run(plan_of(cluster, MESSAGES / 6), reason="chaos", progress=trouble)
    trouble.join()
    assert is_down.is_set()  # and so it was in the midst of the run
    assert set(outcome["outcome"]) == {"replayed"}
    raw = Raw(vhost.dsn)
    check_account(outcome, sent, raw, order)
    raw.connection.close()


def test_what_comes_after_the_target_was_deleted_is_returned(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    sent = tasks(MESSAGES)
    put_tasks(vhost, sent)
    held, is_deleted = list[int](), threading.Event()

    def delete() -> None:
        other = Raw(vhost.dsn)
        held.append(other.channel.queue_delete(TOPIC).method.message_count)
        is_deleted.set()
        other.connection.close()

    trouble = Trouble(MESSAGES // 30, delete, is_deleted)
    outcome = cluster.run(plan_of(cluster, MESSAGES / 6), reason="chaos", progress=trouble)
    trouble.join()
    replayed = outcome["outcome"] == "replayed"
    counts = Counter(outcome["outcome"])
    assert set(counts) <= {"replayed", "returned", "refused"}  # a nack for what was on its way
    assert counts["returned"] > 0
    assert held[0] <= replayed.sum() < len(planned_of(sent))
    gone = set(outcome["task_id"][replayed])
    assert replays.bodies(raw, DEAD) == [s for n, s in enumerate(sent) if f"task-{n}" not in gone]


def test_what_a_full_target_refuses_stays(
    kind: QueueType, topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    sent, room = tasks(1_000), 100
    put_tasks(vhost, sent)
    raw.declare("full", x_queue_type=kind, x_max_length=room, x_overflow="reject-publish")
    frame = cluster.dead_letters(TOPIC)
    plan = cluster.plan_replay(frame[frame["position"] % 10 != 0], to="full")
    outcome = cluster.run(plan, reason="chaos")
    counts = outcome["outcome"].value_counts()
    assert set(counts.index) == {"replayed", "refused"}
    assert counts.sum() == len(planned_of(sent))
    arrived = replays.bodies(raw, "full")
    assert len(arrived) == len(set(arrived)) == counts["replayed"] >= room
    assert replays.bodies(raw, DEAD) == [body for body in sent if body not in set(arrived)]


def test_a_target_that_is_not_there_leaves_the_source_as_it_was(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    sent = tasks(1_000)
    put_tasks(vhost, sent)
    plan = plan_of(cluster)
    raw.channel.queue_delete(TOPIC)
    outcome = cluster.run(plan, reason="chaos")
    assert outcome["outcome"].tolist() == ["returned"] * 900
    assert not outcome["possible_duplicate"].any()
    assert replays.bodies(raw, DEAD) == sent
