"""Plans, archives and ledgers that a stranger made: an error of ours, in bounds."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tasktools as tt
from tasktools.core import plans
from tasktools.core.plans import Plan
from tasktools.replay import archive
from tasktools.replay.ledger import Ledger
from tasktools.replay.timing import Timing

DEEP = "[" * 100_000 + "]" * 100_000
WRONG: tuple[Any, ...] = (
    *(9e300, -1, 10**400, None, True, "x", "", [], {}, [[]], "x" * 100_000, "a\0b"),
    *({"set": 5}, {"set": {"kwargs.n": {"a": [1]}}}, {"remove": 7}, {"other": 1}),
    *("2026-01-01T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "\x1b[31m"),
)


@pytest.fixture
def cluster() -> Iterator[tt.Cluster]:
    with tt.connect("memory://") as cluster:
        cluster.timing = Timing(requeued=0.001)
        cluster.create_topic("emails")
        cluster.broker.publish("emails", {"task_name": "send", "kwargs": {"n": 1}})
        delivery = cluster.broker.claim("emails", "w")
        assert delivery is not None
        cluster.broker.nack(delivery.id, requeue=False)
        yield cluster


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a JSON value."""
    yield path
    inner: list[tuple[Any, Any]] = list(value.items()) if isinstance(value, dict) else []
    for name, below in list(enumerate(value)) if isinstance(value, list) else inner:
        yield from places(below, (*path, name))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(document))
    if not path:
        return value
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return copy


def sealed(document: Any) -> str:
    """Return the plan with the hash that it has, as a stranger would write it."""
    text = json.dumps(document)
    try:
        return json.dumps(document | {"hash": msgspec.json.decode(text, type=Plan).computed_hash()})
    except (msgspec.DecodeError, RecursionError, TypeError, OverflowError):
        return text


def test_a_plan_with_anything_wrong_in_it_is_refused_or_does_what_it_says(
    cluster: tt.Cluster, tmp_path: Path
) -> None:
    """Issue 11, secrets: a stranger's plan with wrong types, 9e300, deep JSON."""
    file = tmp_path / "plan"
    made = cluster.plan_replay(cluster.dead_letters("emails"), edits={"kwargs.n": 5}, rate=1e6)
    document, tried, refused = json.loads(made.to_json()), 0, 0
    for path in places(document):
        texts = [sealed(changed(document, path, value)) for value in WRONG]
        texts.append(json.dumps(changed(document, path, "@")).replace('"@"', DEEP, 1))
        for text in texts:
            file.write_text(text)
            tried += 1
            try:
                plan = tt.load_plan(file)
                assert plan._repr_html_().count("<b>") == repr(plan).count("<Plan: ")
                assert plan.frame()["key"].nunique() <= len(plan.messages)
                cluster.run(plan, reason="x", progress=False)
            except tt.TaskToolsError:
                refused += 1
    assert tried > 500
    assert refused > tried / 2
    assert not tt.ledger().empty


def test_a_plan_with_too_many_items_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 11, secrets: a huge plan ends in a clear error, and so does saving one."""
    monkeypatch.setattr(plans, "_MAX_PLAN_ITEMS", 1_000)
    file = tmp_path / "plan"
    file.write_text('{"messages":[' + ",".join(['{"key":""}'] * 1_100) + "]}")
    with pytest.raises(tt.InvalidPlan, match="too large for a file"):
        tt.load_plan(file)
    messages = tuple(plans.Planned(key=str(n)) for n in range(1_100))
    made = Plan.make(
        verb="replay", cluster="c", source="q", messages=messages, made_at=datetime.now(UTC)
    )
    with pytest.raises(tt.InvalidPlan, match=r"too large for a file.*nothing was done"):
        made.save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_archive_with_anything_wrong_in_it_is_refused_or_restored_without_it(
    cluster: tt.Cluster, tmp_path: Path
) -> None:
    """Issue 11, secrets: a stranger's archive likewise."""
    file = tmp_path / "kept"
    dead = cluster.dead_letters("emails")
    cluster.run(cluster.plan_discard(dead, archive=file), reason="x", progress=False)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    tried = refused = 0
    for number, line in enumerate(lines):
        for path in places(line):
            texts = [json.dumps(changed(line, path, value)) for value in WRONG]
            texts.append(json.dumps(changed(line, path, "@")).replace('"@"', DEEP, 1))
            for text in texts:
                others = [json.dumps(other) for other in lines]
                file.write_text("\n".join([*others[:number], text, *others[number + 1 :]]) + "\n")
                tried += 1
                try:
                    plan = cluster.plan_restore(file)
                    assert "warning" in repr(plan) or plan.messages
                except tt.TaskToolsError:
                    refused += 1
    assert tried > 200
    assert refused > tried / 3


# --- ledgers -----------------------------------------------------------------------------


@pytest.fixture
def plan(cluster: tt.Cluster) -> Plan:
    return cluster.plan_replay(cluster.dead_letters("emails"))


@pytest.fixture
def ledger(cluster: tt.Cluster, plan: Plan) -> Ledger:
    """A ledger with one run."""
    cluster.run(plan, reason="x", progress=False)
    return Ledger()


def execute(ledger: Ledger, *statements: str) -> None:
    with sqlite3.connect(ledger.path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("table", ["runs", "plans", "messages"])
def test_a_ledger_whose_tables_are_endless_views_is_refused(ledger: Ledger, table: str) -> None:
    """Issue 11, secrets: `TASKTOOLS_LEDGER` may name a file that somebody else has made."""
    execute(
        ledger,
        f"ALTER TABLE {table} RENAME TO old",
        f"CREATE VIEW {table} AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
        "SELECT n FROM c",
    )
    with pytest.raises(tt.LedgerError, match="no ledger that tasktools made; nothing was done"):
        tt.ledger()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs SET started_at = 9e300",
        "UPDATE runs SET started_at = x'00'",
        "UPDATE runs SET ended_at = 'soon'",
        "UPDATE runs SET verb = 'dance'",
        "UPDATE runs SET reason = x'ff'",
        "UPDATE runs SET note = x'ff'",
        "UPDATE plans SET plan = 'no plan'",
        "UPDATE plans SET plan = 9e300",
        "DELETE FROM plans",
        "UPDATE messages SET n = 7",
        "UPDATE messages SET sends = x'00'",
        "UPDATE messages SET state = x'00'",
        "UPDATE messages SET at = 'soon'",
        "DELETE FROM messages",
    ],
)
def test_a_ledger_with_wrong_values_is_refused(
    cluster: tt.Cluster, ledger: Ledger, plan: Plan, change: str
) -> None:
    """Issue 11, secrets: blobs and 9e300 in columns."""
    execute(ledger, change, "UPDATE runs SET ended = NULL")
    with pytest.raises(tt.LedgerError, match="nothing was done"):
        tt.ledger(1)
    with pytest.raises(tt.LedgerError, match="nothing was done"):
        cluster.run(plan, reason="x", progress=False)


def test_a_ledger_that_is_a_pipe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 11, secrets: opening a pipe may block for ever."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(tmp_path / "pipe"))
    with pytest.raises(tt.LedgerError, match="nothing was done"):
        tt.ledger()


def test_an_archive_that_has_no_end_of_line_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 11, secrets: gigabytes in one line."""
    monkeypatch.setattr(archive, "_MAX_LINE_BYTES", 1_000)
    file = tmp_path / "kept"
    head = archive.Head(queue="emails.dead", plan="p")
    with archive.ArchiveWriter(str(file), head):
        pass
    with file.open("ab") as more:
        more.write(b'{"n":0,"body":"' + b"x" * 5_000)
    with pytest.raises(tt.FileError, match=r"line 2 is longer than any message"):
        archive.check(str(file))
