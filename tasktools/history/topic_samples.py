"""The samples of one topic in a time interval, as arrays, and its arrivals by the hour."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import numpy as np

from tasktools.history.series import MISSING, Columns, Window, fetch, id_of, recorded

_SAMPLES: Final = """
SELECT {} FROM topic_samples WHERE topic = :topic AND at >= :since AND at <= :until ORDER BY at
"""
_HOUR_MS: Final = 3_600_000
# Of the rows of an hour, max() chooses the last, whose length of the queue counts.
_HOURS: Final = """
SELECT {} FROM topic_samples WHERE topic = :topic AND at >= :since AND at <= :until
GROUP BY at / 3600000 ORDER BY at
"""
_DEPTH_SECONDS: Final = 600
_DEPTHS: Final = f"""
SELECT {{}} FROM topic_samples
WHERE topic = :topic AND at >= :since AND at <= :until AND queued IS NOT NULL
GROUP BY at / {1000 * _DEPTH_SECONDS}
"""
_EVENT_GAPS: Final = """
SELECT since, until FROM gaps WHERE until > ? AND since < ? AND what IN ('all', 'events')
ORDER BY since
"""
_MIN_COVERED: Final = 1800.0
"""Seconds of an hour that must be recorded, so that it counts."""


def topic_samples(connection: sqlite3.Connection, topic: str, since: int, until: int) -> Columns:
    """Return the samples of *topic* from *since* to *until* (ms), in order: `at`, `queued`,
    `capacity`, `limit` (-1 for missing), and the tasks that `began` and `ended` since the sample
    before."""
    return fetch(
        connection,
        "at:i queued:f? capacity:f? limit:f? began:f ended:f",
        _SAMPLES,
        {"topic": id_of(connection, topic), "since": since, "until": until},
        at="at + span",
        limit="concurrency_limit",
        ended="done + errors",
    )


def usual_depth(
    connection: sqlite3.Connection, topic: str, since: int, until: int, *, at_least: float
) -> float | None:
    """Return the median length of the queue of *topic* from *since* to *until* (ms), of means of
    10 min; `None` if they cover less than *at_least* seconds."""
    params = {"topic": id_of(connection, topic), "since": since, "until": until}
    depth = fetch(connection, "queued:f", _DEPTHS, params, queued="avg(queued)")["queued"]
    return float(np.median(depth)) if len(depth) * _DEPTH_SECONDS >= at_least else None


def event_gaps(connection: sqlite3.Connection, since: int, until: int) -> list[tuple[int, int]]:
    """Return the times (ms) from *since* to *until* in which events were not recorded."""
    return [
        (int(begin), int(end)) for begin, end in connection.execute(_EVENT_GAPS, (since, until))
    ]


def arrivals_by_hour(
    connection: sqlite3.Connection, topic: str, since: int, until: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the hours since the epoch of which more than half was recorded, and the arrivals of
    *topic* (per s) in each: tasks that began, and the growth of its queue."""
    columns = fetch(
        connection,
        "hour:i last:i queued:f? began:f",
        _HOURS,
        {"topic": id_of(connection, topic), "since": since, "until": until},
        hour="at / 3600000",
        last="max(at)",
        began="sum(began)",
    )
    if not len(columns["hour"]):
        return columns["hour"], columns["began"]
    covered = recorded(connection, Window(since=since, until=until, every=_HOUR_MS))
    places = columns["hour"] - since // _HOUR_MS
    seconds = covered[np.clip(places, 0, len(covered) - 1)]
    growth = np.diff(columns["queued"], prepend=MISSING)
    is_known = (columns["queued"] != MISSING) & (np.roll(columns["queued"], 1) != MISSING)
    is_known &= np.diff(columns["hour"], prepend=MISSING) == 1
    is_known[0] = False  # the queue before it is not known
    is_known &= seconds >= _MIN_COVERED
    arrivals = np.maximum(columns["began"] + growth, 0)[is_known] / seconds[is_known]
    return columns["hour"][is_known], arrivals
