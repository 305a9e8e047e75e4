"""Runs, in memory: exactly the planned messages, the rest untouched, every one accounted for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec import structs

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster.cluster import Cluster
from tasktools.core.plans import Plan
from tasktools.replay import archive
from tasktools.replay.ledger import Ledger, State
from tasktools.replay.run_account import Account
from tasktools.replay.timing import Timing
from tasktools.testing import outgoing


@pytest.fixture(autouse=True)
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
def cluster(server: MemoryServer) -> Iterator[Cluster]:
    timing = Timing(requeued=0.01, queue_held=0.1)
    with Cluster(MemoryBroker(server), timing=timing) as cluster:
        for topic in ("emails", "elsewhere"):
            cluster.create_topic(topic)
        yield cluster


def bury(cluster: Cluster, *numbers: int) -> None:
    """Put tasks with these numbers among the dead letters of ``emails``."""
    for n in numbers:
        payload = {"task_name": "send", "task_id": f"t{n}", "kwargs": {"n": n}}
        cluster.broker.publish("emails", payload)
        reject(cluster)


def reject(cluster: Cluster) -> None:
    delivery = cluster.broker.claim("emails", "w")
    assert delivery is not None
    cluster.broker.nack(delivery.id, requeue=False)


@pytest.fixture
def dead(cluster: Cluster) -> pd.DataFrame:
    bury(cluster, *range(6))
    return cluster.dead_letters("emails")


def numbers(cluster: Cluster, queue: str) -> list[int]:
    return [(message.task.kwargs or {})["n"] for message in cluster.broker.peek(queue).messages]


def run(cluster: Cluster, plan: Plan, **options: Any) -> pd.DataFrame:
    """Run *plan*; whatever becomes of it, its account adds up."""
    usual: dict[str, Any] = {"reason": "INC-1", "progress": False}
    frame = cluster.run(plan, **usual | options)
    assert frame["key"].tolist() == [message.key for message in plan.messages]
    (row,) = tt.ledger(last=1).to_dict("records")
    assert sum(row["outcomes"].values()) == row["planned"] == len(plan.messages)
    return frame


def outcomes(frame: pd.DataFrame) -> dict[str, int]:
    return dict(Counter(frame["outcome"]))


# --- replaying -----------------------------------------------------------------------


def test_the_planned_messages_go_home_and_the_rest_stays_in_order(
    cluster: Cluster, dead: pd.DataFrame
) -> None:
    frame = run(cluster, cluster.plan_replay(dead[dead["position"] % 2 == 1]))
    assert outcomes(frame) == {"replayed": 3}
    assert not frame["possible_duplicate"].any()
    assert numbers(cluster, "emails") == [1, 3, 5]
    assert numbers(cluster, "emails.dead") == [0, 2, 4]
    assert frame.attrs["ended"] == "finished"


def test_what_came_later_is_not_in_the_plan_and_what_was_taken_is_gone(
    cluster: Cluster, dead: pd.DataFrame
) -> None:
    plan = cluster.plan_replay(dead)
    bury(cluster, 6, 7)
    for _ in range(2):
        delivery = cluster.broker.claim("emails.dead", "w")
        assert delivery is not None
        cluster.broker.ack(delivery.id)
    frame = run(cluster, plan)
    assert frame["outcome"].tolist() == ["gone"] * 2 + ["replayed"] * 4
    assert numbers(cluster, "emails.dead") == [6, 7]


def test_messages_go_to_another_topic_with_their_edits(
    cluster: Cluster, dead: pd.DataFrame
) -> None:
    def edits(row: Any) -> dict[str, Any]:
        return {"kwargs.n": row.kwargs["n"] * 10, "kwargs.new": [row.task_id]}

    run(cluster, cluster.plan_replay(dead.head(2), "elsewhere", edits=edits))
    (first, second) = cluster.broker.peek("elsewhere").messages
    assert first.task.kwargs == {"n": 0, "new": ["t0"]}
    assert second.task.kwargs == {"n": 10, "new": ["t1"]}
    assert second.task.task_id == "t1"
    assert (second.deaths, second.properties.headers["x-tasktools-replay"][:10]) == (
        (),
        '{"count":1',
    )


def test_an_edit_that_does_not_fit_the_message_skips_it(
    cluster: Cluster, dead: pd.DataFrame
) -> None:
    plan = cluster.plan_replay(dead[["key", "queue"]], edits={"kwargs.n.deeper.still": 1})
    frame = run(cluster, plan)
    assert outcomes(frame) == {"skipped": 6}
    assert frame["why"].notna().all()
    assert numbers(cluster, "emails.dead") == list(range(6))


def test_a_message_replayed_twice_counts_on(cluster: Cluster, dead: pd.DataFrame) -> None:
    run(cluster, cluster.plan_replay(dead.head(1)))
    reject(cluster)
    again = cluster.dead_letters("emails")
    assert again["replays"].tolist() == [0] * 5 + [1]
    assert not set(again["key"].tail(1)) & set(dead["key"])
    run(cluster, cluster.plan_replay(again.tail(1)))
    assert cluster.peek("emails")["replays"].tolist() == [2]


def to_nowhere(plan: Plan) -> Plan:
    """Return *plan* as it is when the queue that it goes to is deleted afterwards."""
    messages = tuple(structs.replace(message, to="nowhere") for message in plan.messages)
    changed = structs.replace(plan, messages=messages)
    return structs.replace(changed, hash=changed.computed_hash())


def test_a_message_without_a_queue_to_go_to_is_returned(
    cluster: Cluster, dead: pd.DataFrame
) -> None:
    frame = run(cluster, to_nowhere(cluster.plan_replay(dead)))
    assert outcomes(frame) == {"returned": 6}
    assert frame["why"].eq("there is no queue 'nowhere'").all()
    assert numbers(cluster, "emails.dead") == list(range(6))


def test_a_full_queue_refuses_and_the_rest_stays_in_order(
    cluster: Cluster, server: MemoryServer, dead: pd.DataFrame
) -> None:
    server.declare_queue("small", max_length=2)
    frame = run(cluster, cluster.plan_replay(dead, "small"))
    assert frame["outcome"].tolist() == ["replayed"] * 2 + ["refused"] * 4
    assert numbers(cluster, "emails.dead") == [2, 3, 4, 5]


def test_a_rate_is_kept(cluster: Cluster, dead: pd.DataFrame) -> None:
    began = time.monotonic()
    run(cluster, cluster.plan_replay(dead, rate=25))
    assert time.monotonic() - began > 0.19


def test_progress_tells_each_message_once(cluster: Cluster, dead: pd.DataFrame) -> None:
    counts: list[int] = []
    run(cluster, cluster.plan_replay(dead), progress=counts.append)
    assert sum(counts) == 6


# --- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_reason_is_asked_for(cluster: Cluster, dead: pd.DataFrame, reason: str) -> None:
    with pytest.raises(tt.InvalidPlan, match=r"reason= is required.*nothing was done"):
        cluster.run(cluster.plan_replay(dead), reason=reason, progress=False)


def test_a_changed_plan_is_refused_before_anything_is_done(
    cluster: Cluster, dead: pd.DataFrame, ledger: Ledger
) -> None:
    plan = cluster.plan_replay(dead, edits={"kwargs.n": 1})
    plan.messages[0].edits["set"]["kwargs.n"] = 2
    with pytest.raises(tt.InvalidPlan, match="was changed"):
        cluster.run(plan, reason="x", progress=False)
    assert numbers(cluster, "emails.dead") == list(range(6))
    assert ledger.runs().empty


def test_read_only_refuses(server: MemoryServer, cluster: Cluster, dead: pd.DataFrame) -> None:
    del dead
    with Cluster(MemoryBroker(server, read_only=True)) as looking:
        plan = looking.plan_replay(looking.dead_letters("emails"))
        with pytest.raises(tt.ReadOnly):
            looking.run(plan, reason="x", progress=False)
    assert numbers(cluster, "emails.dead") == list(range(6))


def test_a_queue_that_another_run_works_on_is_refused(
    server: MemoryServer, cluster: Cluster, dead: pd.DataFrame
) -> None:
    plan = cluster.plan_replay(dead)
    with MemoryBroker(server) as other:
        with other.mover("emails.dead"), pytest.raises(tt.QueueInUse):
            cluster.run(plan, reason="x", progress=False)
        assert outcomes(run(cluster, plan)) == {"replayed": 6}


def test_a_ledger_that_cannot_be_written_is_nothing_done(
    cluster: Cluster, dead: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(tmp_path))
    with pytest.raises(tt.LedgerError, match="nothing was done"):
        cluster.run(cluster.plan_replay(dead), reason="x", progress=False)
    assert numbers(cluster, "emails.dead") == list(range(6))


# --- discarding and restoring --------------------------------------------------------


def raw(cluster: Cluster, queue: str) -> list[tuple[Any, bytes]]:
    messages: list[tuple[Any, bytes]] = []
    cluster.broker.peek(queue, receive=lambda m, body: messages.append((m.properties, body)))
    return messages


def test_what_was_discarded_is_restored_as_it_was(cluster: Cluster, tmp_path: Path) -> None:
    for n in range(3):
        cluster.broker.publish_many([outgoing("emails", b"\xff no task %d" % n, headers={"n": n})])
        reject(cluster)
    before, file = raw(cluster, "emails.dead"), tmp_path / "kept"
    dead = cluster.dead_letters("emails")
    gone = run(cluster, cluster.plan_discard(dead, archive=file))
    assert outcomes(gone) == {"discarded": 3}
    assert raw(cluster, "emails.dead") == []
    back = run(cluster, cluster.plan_restore(file))
    assert outcomes(back) == {"restored": 3}
    assert raw(cluster, "emails.dead") == before
    assert cluster.dead_letters("emails")["key"].tolist() == dead["key"].tolist()


def test_what_is_discarded_without_an_archive_is_gone_and_only_that(
    cluster: Cluster, dead: pd.DataFrame
) -> None:
    run(cluster, cluster.plan_discard(dead.iloc[[0, 2]], archive=None))
    assert numbers(cluster, "emails.dead") == [1, 3, 4, 5]


def test_a_queue_that_is_gone_takes_nothing_back(cluster: Cluster, tmp_path: Path) -> None:
    file = str(tmp_path / "kept")
    with archive.ArchiveWriter(file, archive.Head(queue="gone.dead", plan="p")):
        pass
    with pytest.raises(tt.UnknownTopic, match=r"gone\.dead"):
        cluster.plan_restore(file)


def test_what_is_missing_in_the_archive_is_gone(
    cluster: Cluster, dead: pd.DataFrame, tmp_path: Path
) -> None:
    file = tmp_path / "kept"
    run(cluster, cluster.plan_discard(dead, archive=file))
    plan = cluster.plan_restore(file)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-2]))
    counts: list[int] = []
    frame = run(cluster, plan, progress=counts.append)
    assert frame["outcome"].tolist() == ["restored"] * 4 + ["gone"] * 2
    assert sum(counts) == 6


# --- runs that were interrupted ------------------------------------------------------


def interrupted_after(n: int, event: threading.Event | None = None) -> Any:
    """Return a progress that sets *event*, or raises, when *n* have ended."""
    ended = 0

    def progress(more: int) -> None:
        nonlocal ended
        ended += more
        if ended >= n:
            if event is None:
                raise RuntimeError("killed")
            event.set()

    return progress


@pytest.fixture
def many(cluster: Cluster) -> pd.DataFrame:
    """More than are sent at once."""
    bury(cluster, *range(1200))
    return cluster.dead_letters("emails")


def test_a_cancelled_run_accounts_for_what_was_sent_and_can_go_on(
    cluster: Cluster, many: pd.DataFrame
) -> None:
    plan, cancelled = cluster.plan_replay(many), threading.Event()
    frame = run(cluster, plan, progress=interrupted_after(1, cancelled), cancelled=cancelled)
    sent = outcomes(frame)["replayed"]
    assert outcomes(frame) == {"replayed": sent, "not sent": 1200 - sent}
    assert frame.attrs["ended"] == "cancelled"
    assert numbers(cluster, "emails") == list(range(sent))
    assert numbers(cluster, "emails.dead") == list(range(sent, 1200))
    again = run(cluster, plan)
    assert outcomes(again) == {"replayed": 1200}
    assert not again["possible_duplicate"].any()
    assert numbers(cluster, "emails") == list(range(1200))
    assert len(tt.ledger()) == 1


def test_a_run_that_raises_in_the_middle_goes_on_where_it_was(
    cluster: Cluster, many: pd.DataFrame
) -> None:
    plan = cluster.plan_replay(many)
    with pytest.raises(RuntimeError, match="killed"):
        run(cluster, plan, progress=interrupted_after(1))
    (row,) = tt.ledger().to_dict("records")
    assert (row["ended"], sum(row["outcomes"].values())) == ("failed", 1200)
    frame = run(cluster, plan)
    assert outcomes(frame) == {"replayed": 1200}
    twice = int(frame["possible_duplicate"].sum())
    arrived = numbers(cluster, "emails")
    assert set(arrived) == set(range(1200))
    assert len(arrived) - 1200 <= twice
    assert numbers(cluster, "emails.dead") == []


def begun(server: MemoryServer, plan: Plan, states: list[State], ledger: Ledger) -> None:
    """Leave the ledger as a process does that was killed when these were its messages' states."""
    with ledger.open() as connection:
        account = Account.begin(connection, plan, reason="killed", now=0.0)
        account.note(
            ((state, int(state != "planned"), None, n) for n, state in enumerate(states)), 0.0
        )
    broker = MemoryBroker(server)  # it had them in hand when it died
    while broker.claim("emails.dead", "w") is not None:
        pass
    broker.close()


def test_after_a_kill_what_was_confirmed_is_not_sent_again_and_what_is_in_doubt_is_said(
    server: MemoryServer, cluster: Cluster, dead: pd.DataFrame, ledger: Ledger
) -> None:
    plan = cluster.plan_replay(dead)
    states: list[State] = ["settled", "confirmed", "confirmed", "intent", "intent", "planned"]
    begun(server, plan, states, ledger)
    for _ in range(2):  # the first is settled, and the acknowledgement of the second arrived
        delivery = cluster.broker.claim("emails.dead", "w")
        assert delivery is not None
        cluster.broker.ack(delivery.id)
    frame = run(cluster, plan)
    assert outcomes(frame) == {"replayed": 6}
    assert frame["possible_duplicate"].tolist() == [False, False, False, True, True, False]
    assert numbers(cluster, "emails") == [3, 4, 5]
    assert numbers(cluster, "emails.dead") == []
    assert tt.ledger()["ended"].tolist() == ["finished"]


def test_what_was_being_sent_and_is_not_there_any_more_is_in_doubt(
    server: MemoryServer, cluster: Cluster, dead: pd.DataFrame, ledger: Ledger
) -> None:
    plan = cluster.plan_replay(dead.head(2))
    begun(server, plan, ["intent", "planned"], ledger)
    for _ in range(2):
        delivery = cluster.broker.claim("emails.dead", "w")
        assert delivery is not None
        cluster.broker.ack(delivery.id)
    frame = run(cluster, plan)
    assert frame["outcome"].tolist() == ["in doubt", "gone"]


def test_another_plan_settles_first_what_a_killed_run_had_begun(
    server: MemoryServer, cluster: Cluster, dead: pd.DataFrame, ledger: Ledger
) -> None:
    killed = cluster.plan_replay(dead.head(3), "elsewhere")
    begun(server, killed, ["confirmed", "intent", "planned"], ledger)
    frame = run(cluster, cluster.plan_replay(dead.tail(3)))
    assert outcomes(frame) == {"replayed": 3}
    assert numbers(cluster, "elsewhere") == [1]
    assert numbers(cluster, "emails") == [3, 4, 5]
    assert numbers(cluster, "emails.dead") == [2]
    settled = ledger.messages(1)
    assert settled["outcome"].tolist() == ["replayed", "replayed", "not sent"]
    assert settled["possible_duplicate"].tolist() == [False, True, False]
    assert ledger.runs()["ended"].tolist() == ["finished", "failed"]


def test_a_discard_that_was_killed_keeps_each_message_once(
    server: MemoryServer, cluster: Cluster, dead: pd.DataFrame, tmp_path: Path, ledger: Ledger
) -> None:
    file = tmp_path / "kept"
    plan = cluster.plan_discard(dead.head(3), archive=file)
    begun(server, plan, ["intent", "intent", "planned"], ledger)
    frame = run(cluster, plan)
    assert outcomes(frame) == {"discarded": 3}
    assert not frame["possible_duplicate"].any()
    assert [message.n for message in archive.read(str(file))] == [0, 1, 2]
    assert numbers(cluster, "emails.dead") == [3, 4, 5]


def test_a_plan_that_has_ended_finds_its_messages_gone(
    cluster: Cluster, dead: pd.DataFrame
) -> None:
    plan = cluster.plan_replay(dead)
    run(cluster, plan)
    assert outcomes(run(cluster, plan)) == {"gone": 6}
    assert len(tt.ledger()) == 2


# --- identical twins -----------------------------------------------------------------


@pytest.fixture
def triplets(cluster: Cluster) -> pd.DataFrame:
    """Three messages that nothing tells apart, between two others."""
    bury(cluster, 0)
    for _ in range(3):
        cluster.broker.publish_many([outgoing("emails", b'{"kwargs": {"n": 1}}', message_id="m")])
        reject(cluster)
    bury(cluster, 2)
    dead = cluster.dead_letters("emails")
    (base,) = set(dead["key"].iloc[1:4].str.partition("#")[0])
    assert dead["key"].iloc[1:4].tolist() == [base, f"{base}#2", f"{base}#3"]
    return dead.iloc[1:4]


def depths(cluster: Cluster, *queues: str) -> list[int]:
    return [cluster.broker.peek(queue).ready_before for queue in queues]


def test_an_archive_is_not_restored_twice_unless_that_is_forced(
    cluster: Cluster, dead: pd.DataFrame, tmp_path: Path
) -> None:
    file = tmp_path / "kept"
    run(cluster, cluster.plan_discard(dead, archive=file))
    run(cluster, cluster.plan_restore(file))
    with pytest.raises(tt.InvalidPlan, match="restored this archive already; nothing was done"):
        run(cluster, cluster.plan_restore(file))
    assert depths(cluster, "emails.dead") == [len(dead)]
    run(cluster, cluster.plan_restore(file), force=True)
    assert depths(cluster, "emails.dead") == [2 * len(dead)]


def test_a_restoration_that_was_killed_goes_on_although_it_is_planned_anew(
    server: MemoryServer, cluster: Cluster, dead: pd.DataFrame, tmp_path: Path, ledger: Ledger
) -> None:
    file = tmp_path / "kept"
    run(cluster, cluster.plan_discard(dead, archive=file))
    states: list[State] = ["confirmed", "confirmed", "planned", "planned", "planned", "planned"]
    begun(server, cluster.plan_restore(file), states, ledger)
    assert outcomes(run(cluster, cluster.plan_restore(file))) == {"restored": len(dead)}
    assert depths(cluster, "emails.dead") == [len(dead) - 2]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_of_three_identical_messages_one_is_replayed(
    cluster: Cluster, triplets: pd.DataFrame, which: int
) -> None:
    frame = run(cluster, cluster.plan_replay(triplets.iloc[[which]], undecodable=True))
    assert outcomes(frame) == {"replayed": 1}
    assert depths(cluster, "emails", "emails.dead") == [1, 4]


def test_of_three_identical_messages_one_is_returned(
    cluster: Cluster, triplets: pd.DataFrame
) -> None:
    plan = to_nowhere(cluster.plan_replay(triplets.iloc[[1]], undecodable=True))
    assert outcomes(run(cluster, plan)) == {"returned": 1}
    assert depths(cluster, "emails.dead") == [5]


def test_of_three_identical_messages_one_is_refused(
    cluster: Cluster, server: MemoryServer, triplets: pd.DataFrame
) -> None:
    server.declare_queue("small", max_length=1)
    plan = cluster.plan_replay(triplets.iloc[[0, 1]], "small", undecodable=True)
    assert run(cluster, plan)["outcome"].tolist() == ["replayed", "refused"]
    assert depths(cluster, "small", "emails.dead") == [1, 4]


def test_of_three_identical_messages_one_is_skipped(
    cluster: Cluster, triplets: pd.DataFrame
) -> None:
    plan = cluster.plan_replay(triplets.iloc[[2]], edits={"kwargs.n": 2}, undecodable=True)
    assert outcomes(run(cluster, plan)) == {"skipped": 1}
    assert depths(cluster, "emails", "emails.dead") == [0, 5]


def test_of_three_identical_messages_one_is_discarded(
    cluster: Cluster, triplets: pd.DataFrame, tmp_path: Path
) -> None:
    file = tmp_path / "kept"
    run(cluster, cluster.plan_discard(triplets.iloc[[1, 2]], archive=file))
    assert depths(cluster, "emails.dead") == [3]
    run(cluster, cluster.plan_restore(file))
    assert depths(cluster, "emails.dead") == [5]


def test_of_three_identical_messages_one_is_gone_only_when_all_are(
    cluster: Cluster, triplets: pd.DataFrame
) -> None:
    plan = cluster.plan_replay(triplets, undecodable=True)
    for _ in range(3):  # the first dead letter and two of the three
        delivery = cluster.broker.claim("emails.dead", "w")
        assert delivery is not None
        cluster.broker.ack(delivery.id)
    assert outcomes(run(cluster, plan)) == {"replayed": 1, "gone": 2}
    assert depths(cluster, "emails", "emails.dead") == [1, 1]


def test_of_identical_messages_that_are_no_tasks_none_is_taken_for_a_confirmed_one(
    server: MemoryServer, cluster: Cluster, triplets: pd.DataFrame, ledger: Ledger
) -> None:
    plan = cluster.plan_replay(triplets.iloc[[0]], undecodable=True)
    begun(server, plan, ["confirmed"], ledger)
    frame = run(cluster, plan)
    assert outcomes(frame) == {"replayed": 1}
    assert "either the original or another one" in frame["why"][0]
    assert depths(cluster, "emails", "emails.dead") == [0, 5]


def test_of_three_identical_messages_one_is_sent_again_when_that_is_in_doubt(
    server: MemoryServer, cluster: Cluster, triplets: pd.DataFrame, ledger: Ledger
) -> None:
    plan = cluster.plan_replay(triplets.iloc[[0]], undecodable=True)
    begun(server, plan, ["intent"], ledger)
    frame = run(cluster, plan)
    assert outcomes(frame) == {"replayed": 1}
    assert frame["possible_duplicate"].tolist() == [True]
    assert depths(cluster, "emails", "emails.dead") == [1, 4]


def test_a_new_twin_is_not_taken_for_one_whose_copy_was_confirmed(
    server: MemoryServer, cluster: Cluster, triplets: pd.DataFrame, ledger: Ledger
) -> None:
    plan = cluster.plan_replay(triplets, undecodable=True)
    begun(server, plan, ["confirmed"] * 3, ledger)
    while (delivery := cluster.broker.claim("emails.dead", "w")) is not None:
        cluster.broker.ack(delivery.id)  # all acknowledgements had arrived
    cluster.broker.publish_many([outgoing("emails", b'{"kwargs": {"n": 1}}', message_id="m")])
    reject(cluster)
    assert outcomes(run(cluster, plan)) == {"replayed": 3}
    assert depths(cluster, "emails", "emails.dead") == [0, 1]
