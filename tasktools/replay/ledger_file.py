"""The file of the ledger: its tables, and checks that only tasktools wrote them.

`TASKTOOLS_LEDGER` may name a file that somebody else has made.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from pathlib import Path
from typing import Final

from tasktools.core.errors import LedgerError
from tasktools.core.escaping import cut
from tasktools.history import file_checks

FORMAT: Final = 1
SCHEMA: Final = """
CREATE TABLE runs (
  run INTEGER PRIMARY KEY, plan_hash TEXT NOT NULL, verb TEXT NOT NULL, cluster TEXT NOT NULL,
  source TEXT NOT NULL, target TEXT, reason TEXT NOT NULL, who TEXT NOT NULL,
  started_at REAL NOT NULL, ended_at REAL, ended TEXT, note TEXT);
CREATE TABLE plans (run INTEGER PRIMARY KEY, plan BLOB NOT NULL);
CREATE TABLE messages (
  run INTEGER NOT NULL, n INTEGER NOT NULL, state TEXT NOT NULL, sends INTEGER NOT NULL, why TEXT,
  at REAL, PRIMARY KEY (run, n)) WITHOUT ROWID;
CREATE INDEX unfinished ON runs (source, ended);
"""
FORECASTS: Final = """
CREATE TABLE IF NOT EXISTS forecasts (
  forecast INTEGER PRIMARY KEY, cluster TEXT NOT NULL, topic TEXT NOT NULL, level REAL NOT NULL,
  horizon REAL NOT NULL, made_at REAL NOT NULL, earliest REAL, expected REAL, latest REAL,
  times BLOB, seen_until REAL NOT NULL, ended REAL, scored_at REAL, rank REAL, pinball REAL);
CREATE INDEX IF NOT EXISTS forecasts_by_time ON forecasts (cluster, made_at);
"""
"""The table of forecasts, created when a forecast is first stored. NULL in the columns *earliest*,
*expected*, *latest* and *ended* is beyond the horizon."""
_ODD_RUNS: Final = """
SELECT run FROM runs WHERE NOT (
  typeof(started_at) IN ('real', 'integer') AND started_at BETWEEN 0 AND 253402300799
  AND (ended_at IS NULL OR (
    typeof(ended_at) IN ('real', 'integer') AND ended_at BETWEEN 0 AND 253402300799))
  AND verb IN ('replay', 'discard', 'restore') AND typeof(plan_hash) = 'text'
  AND typeof(cluster) = 'text' AND typeof(source) = 'text' AND typeof(reason) = 'text'
  AND typeof(who) = 'text' AND typeof(target) IN ('text', 'null')
  AND typeof(ended) IN ('text', 'null') AND typeof(note) IN ('text', 'null')) LIMIT 1
"""
_ODD_MESSAGES: Final = """
SELECT 1 WHERE (SELECT count(*) FROM messages WHERE run = :run) != :count
UNION ALL SELECT 1 FROM messages WHERE run = :run AND NOT (
  typeof(n) = 'integer' AND n BETWEEN 0 AND :count - 1 AND typeof(state) = 'text'
  AND typeof(sends) = 'integer' AND sends >= 0 AND typeof(why) IN ('text', 'null')
  AND typeof(at) IN ('real', 'integer', 'null')) LIMIT 1
"""


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `LedgerError` for tables or runs that tasktools did not write."""
    file_checks.check_schema(connection, path, _expected_schema())
    odd = connection.execute(_ODD_RUNS).fetchone()
    if odd is not None:
        raise damaged(odd[0])


def check_messages(connection: sqlite3.Connection, run: int, count: int) -> None:
    """Raise `LedgerError` unless there are *count* messages of a run, as tasktools writes them."""
    if connection.execute(_ODD_MESSAGES, {"run": run, "count": count}).fetchone() is not None:
        raise damaged(run)


def damaged(run: object) -> LedgerError:
    """Return the error for a run whose rows tasktools cannot have written."""
    return LedgerError(
        f"The ledger holds something that no run of tasktools writes (run {cut(str(run), 20)}); "
        "nothing was done. Move it away, or set TASKTOOLS_LEDGER to another file."
    )


@functools.cache
def _expected_schema() -> dict[tuple[str, str], str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA + FORECASTS)
        return file_checks.schema_of(connection)
