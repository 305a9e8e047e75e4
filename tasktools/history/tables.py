"""The tables of a recording: one list of columns each, from which all statements are made.

Times are whole milliseconds since the epoch, by the recorder's clock; names are numbers into
``names``. A row of ``ticks``, ``topic_samples`` and ``worker_samples`` stands for ``span`` ms: 0
for a moment that was sampled, more for what older samples were thinned out to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

R = TypeVar("R", bound=msgspec.Struct)
Row = dict[str, Any]
"""The values of a row by column."""

_NAMES: Final = ("topic", "worker", "name", "lock", "queue_type")
_NAME_OF: Final = "(SELECT names.name FROM names WHERE names.id = t.{0})"
_MEAN: Final = (  # the weight of a row is its number of samples
    "round(sum({0} * n) / sum(CASE WHEN {0} IS NULL THEN 0 ELSE n END), 3)"
)


class Table:
    """A table; its *columns* are written as in ``CREATE TABLE``.

    *mean*, *highest*, *lowest* and *total* say how columns are combined when samples are thinned
    out; other columns keep the last value. *key* is a primary key of several columns.
    """

    def __init__(
        self,
        name: str,
        columns: str,
        *,
        key: str = "",
        mean: str = "",
        highest: str = "",
        lowest: str = "",
        total: str = "",
    ) -> None:
        self.name = name
        self.columns = tuple(column.split()[0] for column in columns.split(","))
        self.groups = tuple(set(key.split(", ")) - {"", "at"})
        primary = f", PRIMARY KEY ({key})) WITHOUT ROWID" if key else ")"
        self.create = f"CREATE TABLE IF NOT EXISTS {name} (\n  {columns}{primary};"
        self._totals = frozenset(total.split())
        self._thinned = (
            {column: _MEAN.format(column) for column in mean.split()}
            | {column: f"max({column})" for column in highest.split()}
            | {column: f"min({column})" for column in lowest.split()}
            | {column: f"sum({column})" for column in ("n", *total.split())}
        )

    def insert(self, *without: str, verb: str = "INSERT") -> str:
        """Return the statement that inserts a `Row` of all columns except *without*."""
        names = [column for column in self.columns if column not in without]
        values = ", ".join(f":{name}" for name in names)
        return f"{verb} INTO {self.name} ({', '.join(names)}) VALUES ({values})"

    def add(self) -> str:
        """Return the statement that inserts a `Row`. If the key exists, it adds the totals and
        replaces the other values."""
        changes = (
            f"{name} = {f'{name} + ' if name in self._totals else ''}excluded.{name}"
            for name in self.columns
        )
        return f"{self.insert()} ON CONFLICT DO UPDATE SET {', '.join(changes)}"

    def thin(self) -> str:
        """Return the query for one row in each ``:span`` (ms) from ``:since`` to before ``:until``,
        with all columns in order."""
        groups = "".join(f"{column}, " for column in self.groups)
        thinned = ", ".join(f"{how} AS {column}" for column, how in self._thinned.items())
        selected = {column: f"s.{column}" for column in self.columns}
        selected |= {column: f"t.{column}" for column in (*self.groups, *self._thinned)}
        selected |= {"at": "t.start", "span": ":span"}
        same_group = "".join(f" AND s.{column} = t.{column}" for column in self.groups)
        return (
            f"SELECT {', '.join(selected.values())} FROM ("
            f"SELECT {groups}at / :span * :span AS start, max(at) AS last, {thinned} "
            f"FROM {self.name} WHERE at >= :since AND at < :until "
            f"GROUP BY {groups}at / :span) AS t "
            f"JOIN {self.name} AS s ON s.at = t.last{same_group}"
        )


SESSIONS: Final = Table(
    "sessions",
    "session INTEGER PRIMARY KEY, started INTEGER NOT NULL, last INTEGER NOT NULL, ended INTEGER, "
    "every REAL NOT NULL, cluster TEXT NOT NULL, layout TEXT NOT NULL, server TEXT, "
    "demo INTEGER NOT NULL, who TEXT NOT NULL, messages INTEGER NOT NULL, bodies INTEGER NOT NULL",
)
GAPS: Final = Table(
    "gaps",
    "since INTEGER NOT NULL, until INTEGER NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL",
)
TICKS: Final = Table(
    "ticks",
    "at INTEGER PRIMARY KEY, span INTEGER NOT NULL, n INTEGER NOT NULL, turn INTEGER NOT NULL, "
    "heard INTEGER NOT NULL, workers REAL, running REAL, capacity REAL, "
    "events_ok INTEGER NOT NULL, events_age REAL, events_note TEXT, "
    "topics_ok INTEGER NOT NULL, topics_note TEXT",
    mean="workers running capacity",
    highest="turn events_age events_note topics_note",
    lowest="events_ok topics_ok",
    total="heard",
)
TOPIC_SAMPLES: Final = Table(
    "topic_samples",
    "topic INTEGER NOT NULL, at INTEGER NOT NULL, span INTEGER NOT NULL, n INTEGER NOT NULL, "
    "queued REAL, queued_max INTEGER, unacked REAL, running REAL, dead_letter INTEGER, "
    "consumers INTEGER, subscribers INTEGER, capacity REAL, publish_rate REAL, ack_rate REAL, "
    "concurrency_limit INTEGER, succeeded INTEGER, failed INTEGER, requeued INTEGER, "
    "dead_lettered INTEGER, queue_type INTEGER, dead_lettering INTEGER, is_there INTEGER, "
    "began INTEGER NOT NULL, done INTEGER NOT NULL, errors INTEGER NOT NULL, published INTEGER",
    key="topic, at",
    mean="queued unacked running capacity publish_rate ack_rate",
    highest="queued_max dead_letter",
    total="began done errors published",
)
TOPIC_DIALECTS: Final = Table(
    "topic_dialects",
    "topic INTEGER NOT NULL, at INTEGER NOT NULL, dialect TEXT, dead_queue TEXT",
    key="topic, at",
)
WORKER_SAMPLES: Final = Table(
    "worker_samples",
    "at INTEGER NOT NULL, worker INTEGER NOT NULL, span INTEGER NOT NULL, n INTEGER NOT NULL, "
    "fact INTEGER NOT NULL, state INTEGER NOT NULL, uncertain INTEGER NOT NULL, running REAL, "
    "capacity INTEGER, last_seen INTEGER, silence INTEGER, clock_offset INTEGER, "
    "succeeded INTEGER, failed INTEGER",
    key="at, worker",
    mean="running",
)
TRIES: Final = Table(
    "tries",
    "n INTEGER PRIMARY KEY, at INTEGER NOT NULL, task TEXT NOT NULL, topic INTEGER, "
    "worker INTEGER, name INTEGER, started INTEGER, ended INTEGER, outcome INTEGER, "
    "duration REAL, error_type TEXT, error TEXT",
)
TRY_DETAILS: Final = Table(
    "try_details",
    "n INTEGER PRIMARY KEY, at INTEGER NOT NULL, traceback TEXT, args TEXT, kwargs TEXT",
)
DURATIONS: Final = Table(
    "durations",
    "topic INTEGER NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL, sum REAL NOT NULL, "
    "buckets TEXT NOT NULL",
    key="topic, at",
)
LOCKS: Final = Table(
    "locks",
    "n INTEGER PRIMARY KEY, lock INTEGER NOT NULL, task TEXT, worker INTEGER, "
    "acquired INTEGER NOT NULL, released INTEGER",
)
EVENTS: Final = Table(
    "events",
    "n INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, sender TEXT NOT NULL, "
    "topic INTEGER, worker INTEGER, task TEXT, detail TEXT",
)
SETTINGS: Final = Table("settings", "at INTEGER NOT NULL, kept TEXT NOT NULL")
MARKS: Final = Table(
    "marks", "mark TEXT PRIMARY KEY, at INTEGER NOT NULL, text TEXT NOT NULL, who TEXT"
)
SERVER_FACTS: Final = Table("server_facts", "at INTEGER PRIMARY KEY, facts BLOB NOT NULL")
MESSAGES: Final = Table(
    "messages",
    "n INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, topic INTEGER NOT NULL, task TEXT, "
    "name INTEGER, published INTEGER, attempts INTEGER, size INTEGER NOT NULL, properties BLOB, "
    "body BLOB",
)
SAMPLES: Final = (TICKS, TOPIC_SAMPLES, WORKER_SAMPLES)

SCHEMA: Final = (
    "\n".join(
        table.create
        for table in (
            *(SESSIONS, GAPS, *SAMPLES, TRIES, TRY_DETAILS),
            *(DURATIONS, LOCKS, EVENTS, SETTINGS, MARKS, SERVER_FACTS, MESSAGES),
            TOPIC_DIALECTS,
        )
    )
    + """
CREATE TABLE IF NOT EXISTS names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS worker_facts (
  fact INTEGER PRIMARY KEY, worker INTEGER NOT NULL, facts TEXT NOT NULL, UNIQUE (worker, facts));
CREATE TABLE IF NOT EXISTS thinned (name TEXT NOT NULL, span INTEGER NOT NULL,
  until INTEGER NOT NULL, PRIMARY KEY (name, span));
CREATE INDEX IF NOT EXISTS gaps_by_end ON gaps (until);
CREATE INDEX IF NOT EXISTS tries_by_time ON tries (at);
CREATE INDEX IF NOT EXISTS tries_by_end ON tries (ended);
CREATE INDEX IF NOT EXISTS long_tries ON tries (ended, at)
  WHERE ended IS NULL OR ended - at > 60000;
CREATE INDEX IF NOT EXISTS failed_tries ON tries (ended) WHERE outcome = 1;
CREATE INDEX IF NOT EXISTS try_details_by_time ON try_details (at);
CREATE INDEX IF NOT EXISTS locks_by_end ON locks (released, acquired);
CREATE INDEX IF NOT EXISTS events_by_time ON events (at);
CREATE INDEX IF NOT EXISTS messages_by_task ON messages (task);
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (at);
"""
)


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the recording has the table *name*; one of an earlier release may not."""
    row = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
    ).fetchone()
    return row is not None


def select(
    connection: sqlite3.Connection,
    row: type[R],
    source: str,
    params: Mapping[str, Any] | Sequence[Any] = (),
    **expressions: str,
) -> list[R]:
    """Return rows of *source*, the part of a query from ``FROM`` on, in which the table is ``t``.

    A field of *row* is the column of that name, or the expression given for that name. A number in
    ``names`` becomes the name.
    """
    fields = row.__struct_fields__
    if unknown := expressions.keys() - set(fields):
        raise TypeError(f"{row.__name__} has no {', '.join(sorted(unknown))}")
    selected = (
        expressions.get(field) or (_NAME_OF if field in _NAMES else "t.{0}").format(field)
        for field in fields
    )
    values = connection.execute(f"SELECT {', '.join(selected)} {source}", params)
    return msgspec.convert(values.fetchall(), list[row])  # type: ignore[valid-type]
