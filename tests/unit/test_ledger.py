"""The ledger: every message of every run, on disk, readable by its owner alone."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import ManualClock, moment
from tasktools.core.frames.schema import DTYPES, Schema
from tasktools.core.frames.schemas import OUTCOME, RUNS
from tasktools.core.plans import Plan, Planned
from tasktools.demo import DemoBroker
from tasktools.replay.ledger import Ledger, default_path
from tasktools.replay.run_account import Account

T = 1_800_000_000.0


def plan(n: int = 3, **fields: Any) -> Plan:
    messages = tuple(Planned(key=f"k{i}", task_id=f"t{i}", to="emails") for i in range(n))
    usual: dict[str, Any] = {
        "verb": "replay",
        "cluster": "memory://",
        "source": "emails.dead",
        "made_at": datetime(2026, 11, 24, tzinfo=UTC),
        "messages": messages,
    }
    return Plan.make(**usual | fields)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "ledger.db")


def begin(ledger: Ledger, made: Plan | None = None, reason: str = "INC-1") -> int:
    made = plan() if made is None else made
    with ledger.open() as connection:
        return Account.begin(connection, made, reason=reason, now=T).run


def note(ledger: Ledger, run: int, *changes: Any) -> None:
    with ledger.open() as connection:
        Account(connection, run).note(changes, T + 1)


def end(ledger: Ledger, run: int, ended: Any = "finished", why: str | None = None) -> None:
    with ledger.open() as connection:
        Account(connection, run).end(ended, why, T + 2)


def assert_dtypes(frame: pd.DataFrame, schema: Schema) -> None:
    assert dict(frame.dtypes.astype(str)) == {c.name: DTYPES[c.kind] for c in schema.columns}


# --- the file ------------------------------------------------------------------------


def test_the_ledger_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKTOOLS_LEDGER", "/somewhere/mine.db")
    assert default_path() == Path("/somewhere/mine.db")
    monkeypatch.delenv("TASKTOOLS_LEDGER")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_path() == Path("/state/tasktools/ledger.db")


def test_the_file_and_all_beside_it_are_readable_by_the_owner_alone(ledger: Ledger) -> None:
    before = os.umask(0)
    try:
        with ledger.open() as connection:
            Account.begin(connection, plan(), reason="x", now=T)
            modes = {stat.S_IMODE(file.stat().st_mode) for file in ledger.path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700


def test_a_ledger_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("this is no database, but it is long enough to be taken for one" * 100)
    for path in (folder, file, file / "below"):
        with pytest.raises(tt.LedgerError, match=r"cannot be used .* nothing was done\."):
            Ledger(path).runs()


def test_a_ledger_of_another_version_is_left_alone(ledger: Ledger) -> None:
    begin(ledger)
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(tt.LedgerError, match=r"^The ledger \S+ is of another version"):
        ledger.runs()


def test_ledgers_have_different_names(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.name == Ledger(ledger.path).name
    assert ledger.name != Ledger(tmp_path / "other.db").name


# --- runs ----------------------------------------------------------------------------


def test_a_run_says_who_when_why_what_and_how_it_ended(ledger: Ledger) -> None:
    run = begin(ledger)
    note(ledger, run, ("settled", 1, None, 0), ("settled", 2, None, 1), ("gone", 0, None, 2))
    end(ledger, run, why="all well")
    (row,) = ledger.runs().to_dict("records")
    assert re.fullmatch(r".+@.+ pid \d+", row["who"])
    assert row["who"].endswith(f"pid {os.getpid()}")
    assert (row["started_at"], row["ended_at"]) == (moment(T), moment(T + 2))
    fields = {
        name: row[name] for name in ("run", "ended", "reason", "verb", "source", "to", "note")
    }
    assert fields == {
        "run": 1,
        "ended": "finished",
        "reason": "INC-1",
        "verb": "replay",
        "source": "emails.dead",
        "to": "emails",
        "note": "all well",
    }
    assert (row["planned"], row["done"], row["possible_duplicates"]) == (3, 2, 1)
    assert row["outcomes"] == {"replayed": 2, "gone": 1}
    assert row["plan"] == plan().hash


def test_a_run_that_goes_on_has_no_end(ledger: Ledger) -> None:
    begin(ledger)
    runs = ledger.runs()
    assert runs[["ended_at", "ended", "note"]].isna().all(axis=None)
    assert runs["outcomes"].tolist() == [{"not sent": 3}]


def test_the_latest_runs_are_first(ledger: Ledger) -> None:
    for n in range(5):
        begin(ledger, reason=f"r{n}")
    assert ledger.runs(2)["reason"].tolist() == ["r4", "r3"]
    assert ledger.runs()["run"].tolist() == [5, 4, 3, 2, 1]


STATES = [
    ("planned", "not sent"),
    ("intent", "in doubt"),
    ("confirmed", "replayed"),
    ("settled", "replayed"),
    ("returned", "returned"),
    ("refused", "refused"),
    ("gone", "gone"),
    ("skipped", "skipped"),
    ("in doubt", "in doubt"),
]


def test_every_state_has_a_name_for_people_and_they_add_up(ledger: Ledger) -> None:
    run = begin(ledger, plan(len(STATES)))
    note(ledger, run, *((state, 1, None, n) for n, (state, _) in enumerate(STATES)))
    assert ledger.messages(run)["outcome"].tolist() == [outcome for _, outcome in STATES]
    (row,) = ledger.runs().to_dict("records")
    assert sum(row["outcomes"].values()) == row["planned"] == len(STATES)
    assert row["outcomes"]["in doubt"] == 2


@pytest.mark.parametrize(
    ("verb", "done"), [("replay", "replayed"), ("discard", "discarded"), ("restore", "restored")]
)
def test_what_is_done_is_named_after_the_verb(ledger: Ledger, verb: str, done: str) -> None:
    run = begin(ledger, plan(1, verb=verb))
    note(ledger, run, ("settled", 2, None, 0))
    frame = ledger.messages(run)
    assert frame["outcome"].tolist() == [done]
    assert frame["possible_duplicate"].tolist() == [verb != "discard"]
    (row,) = ledger.runs().to_dict("records")
    assert (row["done"], row["possible_duplicates"]) == (1, int(verb != "discard"))


# --- messages ------------------------------------------------------------------------


def test_messages_come_in_the_order_of_the_plan_with_their_why(ledger: Ledger) -> None:
    skipped = Planned(key="s", to="emails", skipped="it is no task")
    made = plan(messages=(*plan().messages, skipped))
    run = begin(ledger, made)
    note(ledger, run, ("returned", 1, "there is no queue 'emails'", 2))
    frame = ledger.messages(run)
    assert_dtypes(frame, OUTCOME)
    assert frame["key"].tolist() == ["k0", "k1", "k2", "s"]
    assert frame["outcome"].tolist() == ["not sent", "not sent", "returned", "skipped"]
    assert frame["why"].fillna("").tolist() == [
        "",
        "",
        "there is no queue 'emails'",
        "it is no task",
    ]
    assert frame.attrs["outcomes"] == {"not sent": 2, "returned": 1, "skipped": 1}
    assert (frame.attrs["run"], frame.attrs["reason"]) == (run, "INC-1")


def test_a_run_that_is_not_there_is_one_sentence(ledger: Ledger) -> None:
    with pytest.raises(tt.LedgerError, match=r"There is no run 7 in .*; nothing was done\."):
        ledger.messages(7)


def test_an_empty_ledger_has_its_schema(ledger: Ledger) -> None:
    assert_dtypes(ledger.runs(), RUNS)
    assert ledger.runs().empty
    assert ledger.messages(begin(ledger, plan(0))).empty
    assert_dtypes(ledger.messages(1), OUTCOME)


def test_the_ledger_is_read_and_exported_as_a_frame(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(ledger.path))
    run = begin(ledger)
    pd.testing.assert_frame_equal(tt.ledger(), ledger.runs())
    tt.ledger(run).to_csv(tmp_path / "run.csv")
    assert len(pd.read_csv(tmp_path / "run.csv")) == 3
    assert len(tt.ledger(last=1)) == 1


def test_what_is_done_on_a_demo_is_in_no_ledger_but_its_own() -> None:
    demo, other = (
        Cluster(DemoBroker(clock=ManualClock(), incident="bad_deploy")) for _ in range(2)
    )
    chosen = demo.dead_letters("orders", limit=2)
    outcome = demo.run(demo.plan_discard(chosen, archive=None), reason="INC-42", progress=False)
    assert len(tt.drain_forecast(demo, "reports")) == 1
    assert demo.ledger()["reason"].tolist() == ["INC-42"]
    assert demo.ledger(outcome.attrs["run"])["key"].tolist() == chosen["key"].tolist()
    assert (tt.timeline(demo, since="1h")["kind"] == "run").sum() == 1
    assert other.ledger().empty
    assert not (tt.timeline(other, since="1h")["kind"] == "run").any()
    assert not default_path().exists()
    path = demo.ledger_file.path
    for cluster in (demo, other):
        cluster.close()
    del demo, other, cluster
    gc.collect()
    assert not path.parent.exists()


def test_the_ledger_of_a_cluster_has_no_run_on_another() -> None:
    ledger = Ledger()
    begin(ledger, reason="here")
    begin(ledger, plan(cluster="amqp://elsewhere"), reason="elsewhere")
    with tt.connect("memory://") as cluster:
        assert cluster.ledger()["reason"].tolist() == ["here"]
    assert tt.ledger()["reason"].tolist() == ["elsewhere", "here"]


# --- runs that did not end -----------------------------------------------------------


def unfinished(ledger: Ledger, made: Plan) -> list[tuple[int, str]]:
    with ledger.open() as connection:
        return [(a.run, p.hash) for a, p in Account.unfinished(connection, made)]


def test_a_run_of_the_same_plan_goes_on_until_it_is_finished(ledger: Ledger) -> None:
    made = plan()
    run = begin(ledger, made)
    assert unfinished(ledger, made) == [(run, made.hash)]
    end(ledger, run, "cancelled")
    assert unfinished(ledger, made) == [(run, made.hash)]
    end(ledger, run, "finished")
    assert unfinished(ledger, made) == []


def test_another_run_on_the_queue_is_settled_only_if_it_has_begun_to_send(ledger: Ledger) -> None:
    other, made = plan(2), plan(3)
    run = begin(ledger, other)
    assert unfinished(ledger, made) == []
    for state in ("intent", "confirmed"):
        note(ledger, run, (state, 1, None, 0))
        assert unfinished(ledger, made) == [(run, other.hash)]
    note(ledger, run, ("settled", 1, None, 0))
    assert unfinished(ledger, made) == []


def test_runs_on_other_queues_are_of_no_concern(ledger: Ledger) -> None:
    run = begin(ledger, plan(source="other.dead"))
    note(ledger, run, ("intent", 1, None, 0))
    assert unfinished(ledger, plan()) == []


def test_a_run_that_goes_on_has_no_end_any_more(ledger: Ledger) -> None:
    run = begin(ledger)
    end(ledger, run, "failed", "the broker went away")
    with ledger.open() as connection:
        Account(connection, run).resume()
    assert ledger.runs()[["ended_at", "ended", "note"]].isna().all(axis=None)


# --- several processes ---------------------------------------------------------------


def test_what_is_noted_is_seen_by_others_at_once(ledger: Ledger) -> None:
    with ledger.open() as connection:
        account = Account.begin(connection, plan(), reason="x", now=T)
        account.note([("intent", 1, None, 0)], T)
        with sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True) as other:
            (state,) = other.execute("SELECT state FROM messages WHERE n = 0").fetchone()
        assert state == "intent"
        assert account.begun() == [(0, "intent", 1)]


def _write(path: Path, name: str) -> None:
    ledger = Ledger(path)
    for n in range(20):
        run = begin(ledger, plan(5), reason=f"{name}{n}")
        note(ledger, run, *(("settled", 1, None, n) for n in range(5)))
        end(ledger, run)


def test_many_open_a_ledger_that_is_not_there_yet(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for n in range(20):
            ledger = Ledger(tmp_path / f"{n}.db")
            for runs in pool.map(lambda each: each.runs(), [ledger] * 8):
                assert runs.empty


def test_a_second_connection_of_this_process_leaves_the_locks_of_the_first(ledger: Ledger) -> None:
    """Issue 14: several threads and processes with one ledger got "disk I/O error", and damage."""
    use = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM runs').close()"
    with ledger.open() as connection:
        run = Account.begin(connection, plan(), reason="INC-1", now=T).run
        with ledger.open():
            pass
        subprocess.run([sys.executable, "-c", use, str(ledger.path)], check=True)
        assert Path(f"{ledger.path}-wal").exists()  # who is last deletes it
        Account(connection, run).end("finished", None, T + 2)
    assert ledger.runs()["ended"].tolist() == ["finished"]


def test_two_processes_write_into_one_ledger(ledger: Ledger) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_write, args=(ledger.path, name)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    runs = ledger.runs()
    assert sorted(runs["reason"]) == sorted(f"{name}{n}" for name in "ab" for n in range(20))
    assert runs["done"].eq(5).all()
    assert runs["run"].is_unique
