"""Making plans of frames: which rows, which edits, and what is refused before anything is done."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.redaction import MASKED
from tasktools.testing import celery_message, outgoing


def send(to: str, subject: str = "hello", *, token: str | None = None) -> None:
    """Stands for a task whose signature is known."""


def signature(name: str) -> inspect.Signature | None:
    return inspect.signature(send) if name == "shop:send" else None


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(MemoryBroker(), signature=signature) as cluster:
        for topic in ("emails", "elsewhere"):
            cluster.create_topic(topic)
        yield cluster


def bury(cluster: Cluster, *kwargs: dict[str, Any], name: str = "shop:send") -> pd.DataFrame:
    """Put tasks with these arguments among the dead letters of ``emails``; returns them all."""
    for n, arguments in enumerate(kwargs):
        payload = {"task_name": name, "task_id": f"t{n}", "args": [n], "kwargs": arguments}
        cluster.broker.publish("emails", payload)
        reject(cluster)
    return cluster.dead_letters("emails")


def reject(cluster: Cluster) -> None:
    delivery = cluster.broker.claim("emails", "w")
    assert delivery is not None
    cluster.broker.nack(delivery.id, requeue=False)


@pytest.fixture
def dead(cluster: Cluster) -> pd.DataFrame:
    return bury(cluster, *({"subject": f"s{n}", "token": "geheim"} for n in range(3)))


# --- which rows ----------------------------------------------------------------------


def test_a_plan_means_the_rows_and_goes_home(cluster: Cluster, dead: pd.DataFrame) -> None:
    plan = cluster.plan_replay(dead[dead["position"] != 1])
    assert (plan.verb, plan.source, plan.cluster) == ("replay", "emails.dead", "memory://")
    assert [m.key for m in plan.messages] == dead["key"].iloc[[0, 2]].tolist()
    assert plan.targets == {"emails": 2}
    assert plan.size == dead["size"].iloc[[0, 2]].sum()
    first = plan.messages[0]
    assert (first.task_id, first.task_name, first.fingerprint) == (
        "t0",
        "shop:send",
        "rejected in emails",
    )


def test_nothing_has_happened(cluster: Cluster, dead: pd.DataFrame) -> None:
    cluster.plan_replay(dead, edits={"kwargs.subject": "x"})
    cluster.plan_discard(dead, archive=None)
    pd.testing.assert_frame_equal(cluster.dead_letters("emails"), dead)


def test_the_order_is_that_of_the_queue(cluster: Cluster, dead: pd.DataFrame) -> None:
    shuffled = dead.sort_values("position", ascending=False)
    assert [m.task_id for m in cluster.plan_replay(shuffled).messages] == ["t0", "t1", "t2"]


def test_a_frame_with_only_keys_and_queues_is_enough(cluster: Cluster, dead: pd.DataFrame) -> None:
    plan = cluster.plan_replay(dead[["key", "queue"]], edits={"kwargs.subject": "x"})
    assert [m.key for m in plan.chosen] == dead["key"].tolist()
    assert plan.chosen[0].changes[0].before == "(not known)"


def test_a_plan_can_go_elsewhere(cluster: Cluster, dead: pd.DataFrame) -> None:
    assert cluster.plan_replay(dead, "elsewhere").targets == {"elsewhere": 3}


def test_messages_of_another_queue_must_be_told_where_to_go(
    cluster: Cluster, dead: pd.DataFrame
) -> None:
    del dead
    cluster.publish("elsewhere", "shop:send", kwargs={"to": "a"})
    waiting = cluster.peek("elsewhere")
    with pytest.raises(tt.InvalidPlan, match="Say where they go"):
        cluster.plan_replay(waiting)
    assert cluster.plan_replay(waiting, "emails").source == "elsewhere"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda dead: dead.to_dict("records"), "not of a list"),
        (lambda dead: dead.drop(columns="key"), "no column key"),
        (lambda dead: dead[["task_id"]], "no column key and queue"),
        (lambda dead: dead.iloc[:0], "no rows"),
        (lambda dead: pd.concat([dead, dead]), "not unique"),
        (lambda dead: dead.assign(key=pd.NA), "not unique"),
        (lambda dead: dead.assign(queue=["a", "a", "b"]), "2 queues \\(a, b\\)"),
        (lambda dead: dead.assign(queue=pd.NA), "0 queues"),
    ],
)
def test_a_frame_that_is_unfit_is_refused(
    cluster: Cluster, dead: pd.DataFrame, change: Any, says: str
) -> None:
    for plan in (cluster.plan_replay, lambda rows: cluster.plan_discard(rows, archive=None)):
        with pytest.raises(tt.InvalidPlan, match=f"{says}.*nothing was done"):
            plan(change(dead))


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_is_above_zero(cluster: Cluster, dead: pd.DataFrame, rate: float) -> None:
    with pytest.raises(tt.InvalidPlan, match="messages a second"):
        cluster.plan_replay(dead, rate=rate)


def test_there_must_be_a_queue_to_go_to(cluster: Cluster, dead: pd.DataFrame) -> None:
    with pytest.raises(tt.UnknownTopic, match=r"no topic 'elsewere'.*elsewhere"):
        cluster.plan_replay(dead, "elsewere")
    with pytest.raises(tt.InvalidPlan, match="already"):
        cluster.plan_replay(dead, "emails.dead")


# --- what is skipped -----------------------------------------------------------------


@pytest.fixture
def poison(cluster: Cluster) -> pd.DataFrame:
    """A dead letter that is no task, before one that is."""
    cluster.broker.publish_many([outgoing("emails", b"no JSON")])
    reject(cluster)
    return bury(cluster, {"subject": "s"})


def test_what_is_no_task_is_skipped_unless_it_is_wanted(
    cluster: Cluster, poison: pd.DataFrame
) -> None:
    (why,) = cluster.plan_replay(poison).skipped
    assert "no task" in why
    assert "not JSON" in why
    assert len(cluster.plan_replay(poison)) == 1
    assert len(cluster.plan_replay(poison, undecodable=True)) == 2


def test_what_is_no_task_can_be_discarded(cluster: Cluster, poison: pd.DataFrame) -> None:
    assert len(cluster.plan_discard(poison, archive=None)) == 2


def test_an_edit_that_has_no_place_skips_the_message(cluster: Cluster) -> None:
    dead = bury(cluster, {"address": {"city": "x"}}, {"subject": "s"}, name="other")
    plan = cluster.plan_replay(dead, edits={"kwargs.address.city": "y"})
    assert [m.task_id for m in plan.chosen] == ["t0"]
    assert plan.skipped == {"kwargs.address.city has no place in it: there is no kwargs.address": 1}


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ({"kwargs.subjekt": "x"}, "unexpected argument 'subjekt'"),
        ({"args": []}, "missing argument 'to'"),
        ({"args": ["a", "b", "c"]}, "3 positional arguments instead of 2"),
        ({"kwargs": {"to": "x"}}, "'to' given twice"),
        ({"args.0": tt.REMOVE}, "missing argument 'to'"),
        ({"args.1": "x"}, "'subject' given twice"),
    ],
)
def test_arguments_that_the_function_cannot_take_skip_the_message(
    cluster: Cluster, dead: pd.DataFrame, edits: dict[str, Any], why: str
) -> None:
    (skipped,) = cluster.plan_replay(dead, edits=edits).skipped
    assert skipped.startswith("does not suit shop:send: ")
    assert why in skipped


@pytest.mark.parametrize(
    "edits",
    [
        {"kwargs.subject": "x"},
        {"kwargs.subject": tt.REMOVE},
        {"args": ["a", "b"], "kwargs": {}},
        {"args.0": tt.REMOVE, "kwargs.to": "x"},
        {"task_name": "unknown", "kwargs.anything": 1},
    ],
    ids=str,
)
def test_arguments_that_suit_are_planned(
    cluster: Cluster, dead: pd.DataFrame, edits: dict[str, Any]
) -> None:
    assert len(cluster.plan_replay(dead, edits=edits)) == 3


# --- edits ---------------------------------------------------------------------------


def test_edits_for_all_are_shown_before_and_after(cluster: Cluster, dead: pd.DataFrame) -> None:
    frame = cluster.plan_replay(dead, edits={"kwargs.subject": "x", "args.0": "a@b"}).frame()
    assert frame["edit"].tolist() == ["kwargs.subject", "args.0"] * 3
    assert frame["before"].tolist() == ["'s0'", "0", "'s1'", "1", "'s2'", "2"]
    assert frame["after"].tolist() == ["'x'", "'a@b'"] * 3


def test_edits_by_the_key_of_a_row_leave_the_others(cluster: Cluster, dead: pd.DataFrame) -> None:
    first, _, third = dead["key"]
    plan = cluster.plan_replay(
        dead, edits={first: {"kwargs.subject": "x"}, third: {"kwargs.subject": "y"}}
    )
    assert [m.edits for m in plan.messages] == [
        {"set": {"kwargs.subject": "x"}},
        {},
        {"set": {"kwargs.subject": "y"}},
    ]


def test_edits_by_a_key_that_is_not_there_are_refused(cluster: Cluster, dead: pd.DataFrame) -> None:
    with pytest.raises(tt.InvalidPlan, match="no path of a task"):
        cluster.plan_replay(dead, edits={"k" * 20: {"kwargs.subject": "x"}})


def test_edits_by_a_function_of_the_row(cluster: Cluster, dead: pd.DataFrame) -> None:
    def edits(row: Any) -> dict[str, Any] | None:
        return {"kwargs.subject": row.kwargs["subject"].upper()} if row.position else None

    plan = cluster.plan_replay(dead, edits=edits)
    assert [m.edits.get("set") for m in plan.messages] == [
        None,
        {"kwargs.subject": "S1"},
        {"kwargs.subject": "S2"},
    ]


def test_what_a_function_raises_is_not_hidden(cluster: Cluster, dead: pd.DataFrame) -> None:
    with pytest.raises(KeyError):
        cluster.plan_replay(dead, edits=lambda row: {"kwargs.subject": row.kwargs["nothing"]})


@pytest.mark.parametrize(
    "edits",
    [
        {"kwargs.subject": MASKED},
        {"kwargs": {"token": MASKED}},
        {"kwargs.subject": "before •••"},
        lambda row: {"kwargs": row.kwargs},
        lambda row: {"kwargs.copy": row.kwargs["token"]},
    ],
)
def test_a_masked_secret_can_never_be_written_back(
    cluster: Cluster, dead: pd.DataFrame, edits: Any
) -> None:
    with pytest.raises(tt.InvalidPlan, match=r"stands for a secret.*nothing was done"):
        cluster.plan_replay(dead, edits=edits)


def test_secrets_are_shown_neither_before_nor_after(cluster: Cluster, dead: pd.DataFrame) -> None:
    plan = cluster.plan_replay(dead, edits={"kwargs.token": "topsecret"})
    shown = f"{plan!r} {plan._repr_html_()} {plan.frame().to_string()}"
    assert "geheim" not in shown
    assert "topsecret" not in shown
    assert plan.messages[0].changes[0].before == "•••"


def test_long_values_are_shown_in_part(cluster: Cluster, dead: pd.DataFrame) -> None:
    plan = cluster.plan_replay(dead, edits={"kwargs.subject": "x" * 1000})
    assert len(plan.messages[0].changes[0].after) < 100
    assert plan.messages[0].edits["set"]["kwargs.subject"] == "x" * 1000


def test_arguments_of_celery_messages_can_be_edited(cluster: Cluster) -> None:
    body, message_properties = celery_message(kwargs={"to": "a"})
    message = replace(outgoing("emails", body), properties=message_properties)
    cluster.broker.publish_many([message])
    reject(cluster)
    plan = cluster.plan_replay(cluster.dead_letters("emails"), edits={"kwargs.to": "b"})
    assert (plan.messages[0].changes[0].before, len(plan)) == ("'a'", 1)


# --- discarding and restoring --------------------------------------------------------


def test_an_archive_must_be_a_new_file_in_a_folder(
    cluster: Cluster, dead: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "old").touch()
    with pytest.raises(tt.InvalidPlan, match="is there already; nothing was done"):
        cluster.plan_discard(dead, archive=tmp_path / "old")
    with pytest.raises(tt.InvalidPlan, match="no folder"):
        cluster.plan_discard(dead, archive=tmp_path / "none" / "new")
    plan = cluster.plan_discard(dead, archive=tmp_path / "new")
    assert plan.archive == str(tmp_path / "new")
    assert plan.targets == {}
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["", "{}", "no archive", '{"queue":"q","plan":"p","format":"x"}'])
def test_only_an_archive_can_be_restored(cluster: Cluster, tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(tt.InvalidPlan, match="no archive of tasktools; nothing was done"):
        cluster.plan_restore(tmp_path / "file")


def test_a_plan_of_another_cluster_is_refused(
    cluster: Cluster, dead: pd.DataFrame, ledger_file: Path
) -> None:
    plan = cluster.plan_replay(dead)
    other = Cluster(MemoryBroker(address="memory://other"))
    with other, pytest.raises(tt.InvalidPlan, match="made on memory://, and this is memory://oth"):
        other.run(plan, reason="x")
    assert not ledger_file.exists()
