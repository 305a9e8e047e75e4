"""The samples of one topic in a time interval, as arrays, and its arrivals by the hour."""

from __future__ import annotations

import sqlite3
from typing import Final

from tasktools.core.lazy_imports import np
from tasktools.history.series import MISSING, Columns, fetch, id_of

_SAMPLES: Final = """
SELECT {} FROM topic_samples WHERE topic = :topic AND at >= :since AND at <= :until ORDER BY at
"""
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
    `capacity`, `consumers`, `limit` (-1 for missing), and the tasks that `began` and `ended` since
    the sample before."""
    return fetch(
        connection,
        "at:i queued:f? capacity:f? consumers:f? limit:f? began:f ended:f",
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


def arrivals_by_hour(connection: sqlite3.Connection, topic: str, since: int, until: int) -> Columns:
    """Return the hours (`hour`, since the epoch) of which more than half was recorded, with the
    `arrivals` of *topic* (begun tasks, and the growth of its queue) and the `seconds` recorded."""
    columns = fetch(
        connection,
        "hour:i last:i queued:f? began:f",
        _HOURS,
        {"topic": id_of(connection, topic), "since": since, "until": until},
        hour="at / 3600000",
        last="max(at)",
        began="sum(began)",
    )
    hours, queued, last = columns["hour"], columns["queued"], columns["last"]
    before, queued_before = np.roll(last, 1), np.roll(queued, 1)
    seconds = (last - before) / 1000  # what was counted is of this time
    for begin, end in event_gaps(connection, since, until):
        seconds -= np.maximum(np.minimum(last, end) - np.maximum(before, begin), 0) / 1000
    is_known = (queued != MISSING) & (queued_before != MISSING) & (seconds >= _MIN_COVERED)
    is_known &= np.diff(hours, prepend=MISSING) == 1
    is_known[:1] = False  # the queue before the first is not known
    arrivals = np.maximum(columns["began"] + queued - queued_before, 0)
    by_hour = {"hour": hours, "arrivals": arrivals, "seconds": seconds}
    return {name: values[is_known] for name, values in by_hour.items()}
