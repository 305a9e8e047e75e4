"""Samples and counters of topics over an interval, as series."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from tasktools.core.lazy_imports import np
from tasktools.core.series import Series
from tasktools.history.series import fetch

_MAX_SAMPLES: Final = 2_000  # of a topic; of a longer time the lowest of each stretch
_MAX_TOPICS: Final = 200
_TOPICS: Final = """
SELECT id, name FROM names WHERE EXISTS (
  SELECT 1 FROM topic_samples WHERE topic = id AND at >= :since AND at < :until
  AND (queued_max > 0 OR running > 0)) ORDER BY id
"""
_LONGEST_QUEUE: Final = """
SELECT max(queued_max) FROM topic_samples WHERE topic = :topic AND at >= :since AND at < :until
"""
_STEPS: Final = """
CREATE TEMP TABLE IF NOT EXISTS steps (start INTEGER PRIMARY KEY, end INTEGER NOT NULL)
"""
# The steps come in order, so that SQLite need not sort the rows to group them.
_SAMPLES: Final = """
SELECT {} FROM temp.steps AS s
CROSS JOIN topic_samples AS t ON t.topic = :topic AND t.at >= s.start AND t.at < s.end
GROUP BY s.start ORDER BY s.start
"""


class TopicSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of a topic; *began* and *ended* are counted up from the first sample."""

    queued: Series
    running: Series
    began: Series
    ended: Series


def topic_series(connection: sqlite3.Connection, since: int, until: int) -> dict[str, TopicSeries]:
    """Return the series, from *since* to before *until* (ms), of topics that were not always empty;
    of at most 200 topics, those with the longest queues."""
    params = {"since": since, "until": until}
    topics = connection.execute(_TOPICS, params).fetchall()
    if len(topics) > _MAX_TOPICS:
        lengths = {
            number: connection.execute(_LONGEST_QUEUE, {**params, "topic": number}).fetchone()[0]
            or 0
            for number, _ in topics
        }
        topics.sort(key=lambda topic: lengths[topic[0]], reverse=True)
    _fill_steps(connection, since, until)
    return {name: _series(connection, number) for number, name in topics[:_MAX_TOPICS]}


def _fill_steps(connection: sqlite3.Connection, since: int, until: int) -> None:
    """Fill the table ``temp.steps`` with intervals, each of which becomes one sample; the starts of
    intervals are multiples of their length."""
    step = max((until - since) // _MAX_SAMPLES, 1)
    starts = range(since // step * step, until, step)
    connection.execute(_STEPS)
    connection.execute("DELETE FROM temp.steps")
    connection.executemany(
        "INSERT INTO temp.steps VALUES (?, ?)",
        ((max(start, since), min(start + step, until)) for start in starts),
    )


def _series(connection: sqlite3.Connection, topic: int) -> TopicSeries:
    columns = fetch(
        connection,
        "at:i queued:f? running:f? began:i ended:i",
        _SAMPLES,
        {"topic": topic},
        at="max(at + span)",
        queued="min(queued)",
        running="min(running)",
        began="sum(began)",
        ended="sum(done + errors)",
    )
    times = columns["at"] / 1000

    def known(name: str) -> Series:
        is_known = columns[name] >= 0
        return Series(tuple(times[is_known].tolist()), tuple(columns[name][is_known].tolist()))

    def counter(name: str) -> Series:
        return Series(tuple(times.tolist()), tuple(np.cumsum(columns[name]).tolist()))

    return TopicSeries(
        queued=known("queued"),
        running=known("running"),
        began=counter("began"),
        ended=counter("ended"),
    )
