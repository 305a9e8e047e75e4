"""Arrivals and tries of a recording by topic, as arrays, for `tasktools.capacity`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from tasktools.history import number_lists
from tasktools.history.attempt_messages import MAX_DELAY_MS
from tasktools.history.number_lists import UNKNOWN, Ints, by_topic
from tasktools.history.recorded_spans import Spans
from tasktools.history.series import MISSING, fetch, names_of
from tasktools.history.store import OUTCOMES

Floats = npt.NDArray[np.float64]

_OUTCOME_BITS: Final = 3  # a number holds the topic, the outcome, and whether the duration is known
_IS_REPORTED: Final = 4
_RUNNING: Final = len(OUTCOMES)
_TOPICS: Final = """
SELECT id, name FROM names WHERE EXISTS (
  SELECT 1 FROM topic_samples WHERE topic = id AND at >= ? AND at < ?) ORDER BY name
"""
_IS_FRESH: Final = "topic IS NOT NULL AND ifnull(attempts, 0) = 0"
_START: Final = "ifnull(started, ended - duration * 1000)"
"""The start of an attempt; computed from its end if the start event did not arrive."""
_REPEATED: Final = """
SELECT m.n FROM (
  SELECT task FROM messages WHERE task IS NOT NULL GROUP BY task HAVING count(*) > 1
) AS s CROSS JOIN messages AS m ON m.task = s.task
WHERE ifnull(m.attempts, 0) = 0 AND m.n > (SELECT min(n) FROM messages WHERE task = m.task)
"""
_MANY_MESSAGES: Final = 100_000
"""Messages of which those that repeat a task are looked for only if there are too many."""
_MAX_WAITS: Final = 1_000  # of a topic
_WAITS: Final = """
WITH RECURSIVE chosen(n) AS (
  SELECT :first UNION ALL SELECT n + :step FROM chosen WHERE n + :step < :end
)
SELECT {} FROM chosen CROSS JOIN tries AS t ON t.n = chosen.n
CROSS JOIN messages AS m ON m.task = t.task
WHERE t.topic IS NOT NULL AND t.started IS NOT NULL AND ifnull(m.attempts, 0) = 0
  AND NOT EXISTS (
    SELECT 1 FROM messages AS o WHERE o.task = t.task AND o.n <> m.n AND (
      o.at <= t.started OR o.at <= t.started + :late AND EXISTS (
        SELECT 1 FROM tries AS e WHERE e.outcome = 1 AND e.ended BETWEEN m.at - :late AND t.started
        AND e.task = t.task AND e.n < t.n)))
"""
"""Waits of first tries, also of tasks that were published again. The message of a retry may arrive
only after the retry has begun, so it is recognised by an earlier try that failed."""
_MIN_DELAYS: Final = 3  # of a topic
_MAX_DELAYS: Final = 20_000
_DELAYS: Final = """
SELECT {} FROM (
  SELECT topic, task, started, ended FROM tries
  WHERE outcome = 1 AND ended >= :since AND ended < :until ORDER BY ended DESC LIMIT :limit
) AS t CROSS JOIN messages AS m ON m.task = t.task
WHERE m.attempts = 1 AND m.at > t.started AND t.topic IS NOT NULL
"""
_MAX_NAMED_TRIES: Final = 60_000
_NAMED_MESSAGES: Final = 50_000  # so many are read
_NAMES: Final = """
SELECT DISTINCT m.topic, names.name FROM (
  SELECT topic, name FROM messages WHERE at <= ? AND name IS NOT NULL ORDER BY n DESC LIMIT ?
) AS m JOIN names ON names.id = m.name
"""


@dataclass(frozen=True, slots=True)
class Tries:
    """Tries of a topic in the order of their start; seconds, and NaN for what is unknown."""

    starts: Floats
    """Starts in seconds since the epoch, by our clock."""
    ends: Floats
    """Ends since the epoch, by the duration if the worker reported it; for a lost try, when the
    loss was noticed."""
    durations: Floats
    """Durations (s) as the workers reported them."""
    outcomes: Ints
    """Index into `OUTCOMES`; the index after its last: the try runs."""

    @property
    def is_ended(self) -> npt.NDArray[np.bool_]:
        """For each try, whether its end was recorded."""
        return self.outcomes < OUTCOMES.index("lost")


def topics(connection: sqlite3.Connection, since: int, until: int) -> dict[int, str]:
    """Return the names of the topics with samples, by their numbers."""
    return dict(connection.execute(_TOPICS, (since, until)).fetchall())


def count_tries(connection: sqlite3.Connection, since: int, until: int) -> int:
    """Return about how many tries there are; exactly if none was deleted in between."""
    first, end = number_lists.number_range(connection, "tries", since, until)
    return end - first


def arrivals(connection: sqlite3.Connection, spans: Spans) -> dict[int, Floats]:
    """Return the first publications within *spans* (ms) by topic, in seconds since the epoch.

    A task that was published again, as a retry is, does not count again.
    """
    topic, at = number_lists.of_time(connection, "messages", ("topic", "at"), _IS_FRESH, spans)
    if len(at) < _MANY_MESSAGES or len(at) > _counted(connection, np.unique(topic), spans):
        repeated = np.fromiter((row[0] for row in connection.execute(_REPEATED)), np.int64)
        if len(repeated):
            columns = ("topic", "at", "n")
            topic, at, n = number_lists.of_time(connection, "messages", columns, _IS_FRESH, spans)
            is_first = ~np.isin(n, repeated)
            topic, at = topic[is_first], at[is_first]
    times_of = by_topic(topic, at)
    return {number: np.sort(times, kind="stable") / 1000 for number, (times,) in times_of}


def _counted(connection: sqlite3.Connection, topics: Ints, spans: Spans) -> float:
    """Return an upper bound of the messages of *topics*, if each is of another task: the number of
    tasks that the recorder counted, and a thousandth more."""
    query = "SELECT total(published) FROM topic_samples WHERE topic = ? AND at > ? AND at <= ?"
    counts = (
        connection.execute(query, (topic, *span)).fetchone()[0]
        for topic in topics.tolist()
        for span in spans
    )
    return 1.001 * float(sum(counts))


def tries(connection: sqlite3.Connection, spans: Spans) -> dict[int, Tries]:
    """Return the tries that began within *spans* (ms) by topic."""
    # A column fewer is a quarter of the time: the end follows from the duration.
    is_reported = "duration IS NOT NULL AND outcome < 2"
    columns = (
        f"(topic << {_OUTCOME_BITS}) | ifnull(outcome, {_RUNNING}) "
        f"| CASE WHEN {is_reported} THEN {_IS_REPORTED} ELSE 0 END",
        _START,
        f"CASE WHEN {is_reported} THEN duration * 1000000 ELSE ended END",
    )
    where = f"topic IS NOT NULL AND {_START} IS NOT NULL"
    packed, started, end = number_lists.of_time(connection, "tries", columns, where, spans)
    topic, code = packed >> _OUTCOME_BITS, packed & (2**_OUTCOME_BITS - 1)
    by_number = by_topic(topic, code, started, end)
    return {number: _tries(values, spans) for number, values in by_number}


def _tries(columns: list[Ints], spans: Spans) -> Tries:
    """Return tries in order; the code of each end says whether it is a duration (µs) or a time
    (ms)."""
    code, started, end = columns
    is_inside = _is_inside(started, spans)  # known at the end, or by a heartbeat: begun before
    order = np.argsort(started, kind="stable")
    code, started, end = (column[order[is_inside[order]]] for column in (code, started, end))
    starts, is_reported = started / 1000, (code & _IS_REPORTED) > 0
    durations = np.where(is_reported, end / 1e6, np.nan)
    ends = np.where(is_reported, starts + durations, _seconds(end, 1e3))
    return Tries(starts, ends, durations, code & (_IS_REPORTED - 1))


def again(connection: sqlite3.Connection, since: int, until: int) -> dict[int, Floats]:
    """Return by topic the begins of retries: of tries after one that failed or was lost."""
    connection.execute("DROP TABLE IF EXISTS temp.unfinished")
    connection.execute(
        "CREATE TEMP TABLE unfinished (task TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID"
    )
    connection.execute(
        "INSERT INTO temp.unfinished SELECT task, min(n) FROM tries "
        "WHERE outcome > 0 AND at < ? GROUP BY task",
        (until,),
    )
    (count,) = connection.execute("SELECT count(*) FROM temp.unfinished").fetchone()
    if not count:
        return {}
    columns = fetch(
        connection,
        "topic:i started:i",
        "SELECT {} FROM tries AS t CROSS JOIN temp.unfinished AS u ON u.task = t.task "
        "WHERE t.at >= :since AND t.at < :until AND t.n > u.n AND t.started IS NOT NULL "
        "AND t.topic IS NOT NULL ORDER BY t.topic, t.started",
        {"since": since, "until": until},
        topic="t.topic",
        started="t.started",
    )
    starts = by_topic(columns["topic"], columns["started"])
    return {number: started / 1000 for number, (started,) in starts}


def waits(
    connection: sqlite3.Connection, since: int, until: int, *, topic_count: int
) -> dict[int, Floats]:
    """Return how long tasks waited for their first start (s), by topic.

    If there are many tasks, a sample at equal distances is taken.
    """
    first, end = number_lists.number_range(connection, "tries", since, until)
    step = (end - first) // (_MAX_WAITS * max(topic_count, 1)) + 1
    columns = fetch(
        connection,
        "topic:i wait:i",
        _WAITS,
        {"first": first, "end": end, "step": step, "late": MAX_DELAY_MS},
        topic="t.topic",
        wait="max(t.started - m.at, 0)",
    )
    return {number: wait / 1000 for number, (wait,) in by_topic(columns["topic"], columns["wait"])}


def retry_delays(connection: sqlite3.Connection, since: int, until: int) -> dict[int, float]:
    """Return the usual seconds from a first failure to the second publication, by topic."""
    columns = fetch(
        connection,
        "topic:i delay:i",
        _DELAYS,
        {"since": since, "until": until, "limit": _MAX_DELAYS},
        topic="t.topic",
        delay="max(m.at - t.ended, 0)",
    )
    return {
        number: float(np.median(delays)) / 1000
        for number, (delays,) in by_topic(columns["topic"], columns["delay"])
        if len(delays) >= _MIN_DELAYS
    }


def task_names(connection: sqlite3.Connection, until: int) -> dict[int, set[str]]:
    """Return the names of tasks by topic, of the latest messages that were recorded."""
    names: dict[int, set[str]] = {}
    rows = connection.execute(_NAMES, (until, _NAMED_MESSAGES))
    for topic, name in msgspec.convert(rows.fetchall(), list[tuple[int, str]]):
        names.setdefault(topic, set()).add(name)
    return names


def tries_by_task(
    connection: sqlite3.Connection, topics: Iterable[int], since: int, until: int
) -> dict[tuple[int, str], Tries]:
    """Return by topic and task name the latest tries of *topics*, for tasks whose message was
    recorded.

    Names from heartbeats are not used: they are mostly of tasks that take long.
    """
    listed = ", ".join(map(str, topics))
    columns = fetch(
        connection,
        "topic:i name:i? started:i ended:i? duration:f? outcome:i",
        f"SELECT {{}} FROM (SELECT *, {_START} AS begun FROM tries "
        f"WHERE topic IN ({listed}) AND at >= :since AND at < :until AND {_START} >= :since "
        "ORDER BY at DESC LIMIT :limit) AS t ORDER BY begun",
        {"since": since, "until": until, "limit": _MAX_NAMED_TRIES},
        name="(SELECT m.name FROM messages AS m WHERE m.task = t.task AND m.name IS NOT NULL)",
        started="CAST(begun AS INTEGER)",
        outcome=f"ifnull(outcome, {_RUNNING})",
    )
    names = names_of(connection, np.unique(columns["name"]).tolist())
    tries_of: dict[tuple[int, str], Tries] = {}
    for topic, (at,) in by_topic(columns["topic"], np.arange(len(columns["topic"]))):
        for name in np.unique(columns["name"][at]):
            if name in names:
                of_name = at[columns["name"][at] == name]
                part = {column: values[of_name] for column, values in columns.items()}
                durations = np.where(part["duration"] == MISSING, np.nan, part["duration"])
                tries_of[topic, names[name]] = Tries(
                    part["started"] / 1000, _seconds(part["ended"], 1e3), durations, part["outcome"]
                )
    return tries_of


def _seconds(values: Ints, parts: float) -> Floats:
    return np.where(values == UNKNOWN, np.nan, values / parts)


def _is_inside(times: Ints, spans: Spans) -> npt.NDArray[np.bool_]:
    if not spans:
        return np.zeros(len(times), np.bool_)
    starts, ends = (np.array(column, np.int64) for column in zip(*spans, strict=True))
    places = np.searchsorted(starts, times, side="right") - 1
    return np.asarray((places >= 0) & (times < ends[np.maximum(places, 0)]))
