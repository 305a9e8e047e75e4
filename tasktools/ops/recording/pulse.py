"""What a recording tells of every tick in a span of time, as arrays: for a live display, which asks
every second and cannot wait for frames."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from tasktools.ops.recording.series import Columns, fetch

# Topics first, then their samples: the table is ordered by topic, then time.
_TOPICS: Final = """
WITH RECURSIVE known(topic) AS (
  SELECT min(topic) FROM topic_samples
  UNION ALL SELECT (SELECT min(topic) FROM topic_samples WHERE topic > known.topic) FROM known
  WHERE known.topic IS NOT NULL)
SELECT s.topic, s.at, s.n, ifnull(s.queued_max, -1), ifnull(s.dead_letter, -1),
  ifnull(s.running, -1), ifnull(s.capacity, -1), s.done + s.errors, s.errors
FROM known CROSS JOIN topic_samples AS s
  ON s.topic = known.topic AND s.at > :after AND s.at <= :until
"""
_TICKS: Final = (
    "SELECT at, span, turn, events_ok FROM ticks WHERE at > :after AND at <= :until ORDER BY at"
)
_WORKERS: Final = (
    "SELECT worker, at, n, ifnull(running, -1), ifnull(capacity, -1), state FROM worker_samples "
    "WHERE at > :after AND at <= :until"
)
_TRIES: Final = (
    "SELECT topic, ifnull(started, at), ifnull(ended, -1) FROM tries WHERE topic IS NOT NULL AND "
    "(ended > :after AND ended <= :until OR ended IS NULL AND at <= :until)"
)


@dataclass(frozen=True, slots=True)
class Pulse:
    """The ticks of a span of time, in order, and what they saw; times in ms, -1 for missing.

    *tries* are those that ended within the span, and those that have not ended (-1).
    """

    ticks: Columns  # at, span, turn, events_ok
    topics: Columns  # topic, at, n, queued, dead_letter, running, capacity, ended, failed
    workers: Columns  # worker, at, n, running, capacity, state
    tries: Columns  # topic, started, ended


def pulse(connection: sqlite3.Connection, after: int, until: int) -> Pulse:
    """Return the ticks after *after*, up to *until*."""
    told = {"after": after, "until": until}
    return Pulse(
        ticks=fetch(connection, "at:i span:i turn:i events_ok:i", _TICKS, told),
        topics=fetch(
            connection,
            "topic:i at:i n:i queued:f dead_letter:f running:f capacity:f ended:f failed:f",
            _TOPICS,
            told,
        ),
        workers=fetch(connection, "worker:i at:i n:i running:f capacity:f state:i", _WORKERS, told),
        tries=fetch(connection, "topic:i started:i ended:i", _TRIES, told),
    )


def failed_since(connection: sqlite3.Connection, since: int, until: int) -> dict[int, int]:
    """Return how many tries failed, by topic."""
    rows = connection.execute(
        "SELECT topic, count(*) FROM tries WHERE outcome = 1 AND topic IS NOT NULL "
        "AND ended > ? AND ended <= ? GROUP BY topic",
        (since, until),
    )
    return dict(rows.fetchall())


def interval(connection: sqlite3.Connection) -> float:
    """Return the seconds between two samples, as the last recorder had them."""
    row = connection.execute("SELECT every FROM sessions ORDER BY session DESC LIMIT 1").fetchone()
    return 1.0 if row is None else float(row[0])


def names_of(connection: sqlite3.Connection, numbers: list[int]) -> dict[int, str]:
    """Return the names that *numbers* stand for."""
    marks = ", ".join(map(str, numbers))
    found = connection.execute(f"SELECT id, name FROM names WHERE id IN ({marks})")
    return dict(found.fetchall())
