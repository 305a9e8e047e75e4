"""The format of recordings on disk, as releases before have written it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tasktools.history import tables
from tasktools.history.store import File

FORMAT_2 = """
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE sessions (
  session INTEGER PRIMARY KEY, started INTEGER NOT NULL, last INTEGER NOT NULL, ended INTEGER,
  every REAL NOT NULL, cluster TEXT NOT NULL, layout TEXT NOT NULL, server TEXT, demo INTEGER NOT
  NULL, who TEXT NOT NULL, messages INTEGER NOT NULL, bodies INTEGER NOT NULL);
CREATE TABLE gaps (
  since INTEGER NOT NULL, until INTEGER NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL);
CREATE INDEX gaps_by_end ON gaps (until);
CREATE TABLE ticks (
  at INTEGER PRIMARY KEY, span INTEGER NOT NULL, n INTEGER NOT NULL, turn INTEGER NOT NULL,
  heard INTEGER NOT NULL, workers REAL, running REAL, capacity REAL,
  events_ok INTEGER NOT NULL, events_age REAL, events_note TEXT,
  topics_ok INTEGER NOT NULL, topics_note TEXT);
CREATE TABLE topic_samples (
  topic INTEGER NOT NULL, at INTEGER NOT NULL, span INTEGER NOT NULL, n INTEGER NOT NULL,
  queued REAL, queued_max INTEGER, unacked REAL, running REAL, dead_letter INTEGER,
  consumers INTEGER, subscribers INTEGER, capacity REAL, publish_rate REAL, ack_rate REAL,
  concurrency_limit INTEGER, succeeded INTEGER, failed INTEGER, requeued INTEGER,
  dead_lettered INTEGER, queue_type INTEGER, dead_lettering INTEGER, is_there INTEGER,
  began INTEGER NOT NULL, done INTEGER NOT NULL, errors INTEGER NOT NULL,
  published INTEGER, PRIMARY KEY (topic, at)) WITHOUT ROWID;
CREATE TABLE worker_facts (
  fact INTEGER PRIMARY KEY, worker INTEGER NOT NULL, facts TEXT NOT NULL, UNIQUE (worker, facts));
CREATE TABLE worker_samples (
  at INTEGER NOT NULL, worker INTEGER NOT NULL, span INTEGER NOT NULL, n INTEGER NOT NULL,
  fact INTEGER NOT NULL, state INTEGER NOT NULL, uncertain INTEGER NOT NULL, running REAL,
  capacity INTEGER, last_seen INTEGER, silence INTEGER, clock_offset INTEGER, succeeded INTEGER,
  failed INTEGER, PRIMARY KEY (at, worker)) WITHOUT ROWID;
CREATE TABLE tries (
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, task TEXT NOT NULL, topic INTEGER, worker INTEGER,
  name INTEGER, started INTEGER, ended INTEGER, outcome INTEGER, duration REAL,
  error_type TEXT, error TEXT);
CREATE INDEX tries_by_time ON tries (at);
CREATE INDEX tries_by_end ON tries (ended);
CREATE INDEX long_tries ON tries (ended, at)
  WHERE ended IS NULL OR ended - at > 60000;
CREATE INDEX failed_tries ON tries (ended) WHERE outcome = 1;
CREATE TABLE durations (
  topic INTEGER NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL, sum REAL NOT NULL,
  buckets TEXT NOT NULL, PRIMARY KEY (topic, at)) WITHOUT ROWID;
CREATE TABLE locks (
  n INTEGER PRIMARY KEY, lock INTEGER NOT NULL, task TEXT, worker INTEGER, acquired INTEGER NOT
  NULL, released INTEGER);
CREATE INDEX locks_by_end ON locks (released, acquired);
CREATE TABLE events (
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, sender TEXT NOT NULL,
  topic INTEGER, worker INTEGER, task TEXT, detail TEXT);
CREATE INDEX events_by_time ON events (at);
CREATE TABLE settings (
  at INTEGER NOT NULL, kept TEXT NOT NULL);
CREATE TABLE messages (
  n INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, topic INTEGER NOT NULL, task TEXT,
  name INTEGER, published INTEGER, attempts INTEGER, size INTEGER NOT NULL, properties BLOB,
  body BLOB);
CREATE INDEX messages_by_task ON messages (task);
CREATE INDEX messages_by_time ON messages (at);
CREATE TABLE thinned (name TEXT NOT NULL, span INTEGER NOT NULL,
  until INTEGER NOT NULL, PRIMARY KEY (name, span));
"""


def test_a_recording_of_format_2_opens_and_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FORMAT_2)
        connection.execute("PRAGMA application_id=0x7461736B")
        connection.execute("PRAGMA user_version=2")
    with File(path).read() as connection:
        assert connection.execute("SELECT count(*) FROM ticks").fetchone() == (0,)
    with File(path).write() as connection:
        connection.execute(tables.SETTINGS.insert(), {"at": 1, "kept": "{}"})


def test_a_new_recording_has_the_statements_of_format_2(tmp_path: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(FORMAT_2)
        before = statements(connection)
    with File(tmp_path / "ops.db").write() as connection:
        # A table that older versions do not have is no other format: they do not read it.
        added = statements(connection) - before
        assert before <= statements(connection)
        assert {words.split()[2] for words in added} == {
            *("marks", "server_facts", "try_details", "topic_dialects"),
            "try_details_by_time",
        }


def statements(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {" ".join(sql.split()) for (sql,) in rows}
