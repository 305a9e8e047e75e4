"""The ticks of a recording in a time interval, as arrays, for a display that reads every second:
frames would take too long."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from tasktools.history import mute_workers
from tasktools.history.series import Columns, fetch, names_of

# Topics first, then their samples: the table is ordered by topic, then time.
_TOPICS: Final = """
WITH RECURSIVE known(topic) AS (
  SELECT min(topic) FROM topic_samples
  UNION ALL SELECT (SELECT min(topic) FROM topic_samples WHERE topic > known.topic) FROM known
  WHERE known.topic IS NOT NULL)
SELECT {} FROM known CROSS JOIN topic_samples AS s
  ON s.topic = known.topic AND s.at > :after AND s.at <= :until
"""
_TICKS: Final = "SELECT {} FROM ticks WHERE at > :after AND at <= :until ORDER BY at"
_WORKERS: Final = "SELECT {} FROM worker_samples WHERE at > :after AND at <= :until"
_TRIES: Final = """
SELECT {} FROM tries WHERE topic IS NOT NULL AND
(ended > :after AND ended <= :until OR ended IS NULL AND at <= :until)
"""


@dataclass(frozen=True, slots=True)
class Ticks:
    """The ticks of an interval in order, with their samples; times in ms, -1 for missing.

    `tries` are the attempts that ended in the interval, and those that have not ended (-1).
    """

    ticks: Columns  # at, span, turn, events_ok, topics_ok
    topics: Columns  # topic, at, n, queued, dead_letter, running, capacity, consumers, ended …
    workers: Columns  # worker, at, n, running, capacity, state
    tries: Columns  # topic, started, ended


class TickReader:
    """An open recording, read tick by tick.

    *until* is the end of what was recorded (ms); *problem* says in words what keeps the recorder
    of a live cluster from recording, else it is `None`.
    """

    def __init__(self, connection: sqlite3.Connection, until: int, problem: str | None) -> None:
        self.until = until
        self.problem = problem
        self._connection = connection

    @property
    def interval(self) -> float:
        """The seconds between two samples, as the last recorder had them."""
        row = self._connection.execute(
            "SELECT every FROM sessions ORDER BY session DESC LIMIT 1"
        ).fetchone()
        return 1.0 if row is None else float(row[0])

    def ticks(self, after: int, until: int) -> Ticks:
        """Return the ticks after *after*, up to *until* (ms)."""
        params = {"after": after, "until": until}

        def columns(names: str, statement: str, **expressions: str) -> Columns:
            return fetch(self._connection, names, statement, params, **expressions)

        return Ticks(
            ticks=columns("at:i span:i turn:i events_ok:i topics_ok:i", _TICKS),
            topics=columns(
                "topic:i at:i n:i queued:f? dead_letter:f? running:f? capacity:f? consumers:f? "
                "ended:f failed:f",
                _TOPICS,
                topic="s.topic",
                queued="queued_max",
                ended="done + errors",
                failed="errors",
            ),
            workers=columns("worker:i at:i n:i running:f? capacity:f? state:i", _WORKERS),
            tries=columns("topic:i started:i ended:i?", _TRIES, started="ifnull(started, at)"),
        )

    @property
    def notes(self) -> tuple[str, str]:
        """Return why the last tick missed events, and why counts of topics; empty if it did not."""
        row = self._connection.execute(
            "SELECT CASE WHEN NOT events_ok THEN events_note END, topics_note FROM ticks "
            "WHERE at <= ? ORDER BY at DESC LIMIT 1",
            (self.until,),
        ).fetchone()
        events, topics = row or (None, None)
        return events or "", topics or ""

    def failed(self, span: int) -> dict[str | None, int]:
        """Return how many attempts failed in the last *span* ms, by topic. The key `None` has those
        of tasks whose topic no event named."""
        rows = self._connection.execute(
            "SELECT names.name, count(*) FROM tries LEFT JOIN names ON names.id = topic "
            "WHERE outcome = 1 AND ended > ? AND ended <= ? GROUP BY topic",
            (self.until - span, self.until),
        )
        return dict(rows.fetchall())

    def mute_topics(self) -> frozenset[str]:
        """Return the topics of workers whose events of tasks do not arrive."""
        return mute_workers.recorded(self._connection, self.until).topics

    def names(self, numbers: list[int]) -> dict[int, str]:
        """Return the names that *numbers* stand for."""
        return names_of(self._connection, numbers)
