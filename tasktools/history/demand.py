"""Arrivals and tries of a recording by topic, as arrays, for `tasktools.capacity`.

A week of 20 topics may be 2.4 million rows. SQLite joins the values of 200,000 rows into one text,
which numpy reads: 1.2 million arrivals take 0.3 s of CPU, where a row each in Python takes 0.6 s
and `GROUP BY topic` 1.7 s. Real numbers are joined as whole microseconds, which takes a third of
the time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from tasktools.history.file_checks import MAX_TIME
from tasktools.history.recorded_spans import Spans
from tasktools.history.series import MISSING, fetch, names_of
from tasktools.history.store import OUTCOMES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ROWS_PER_TEXT: Final = 200_000
_MAX_TOPICS: Final = 2**20  # a packed number holds the topic, and two bits of the outcome
_OUTCOME_BITS: Final = 2
_RUNNING: Final = len(OUTCOMES)
_UNKNOWN: Final = -1
_TOPICS: Final = """
SELECT id, name FROM names WHERE EXISTS (
  SELECT 1 FROM topic_samples WHERE topic = id AND at >= ? AND at < ?) ORDER BY name
"""
_IS_FRESH: Final = "topic IS NOT NULL AND ifnull(attempts, 0) = 0"
_START: Final = "ifnull(started, ended - duration * 1000)"
"""Of an attempt whose start event did not arrive, the start is known from its end."""
_REPEATED: Final = """
SELECT m.n FROM (
  SELECT task FROM messages WHERE task IS NOT NULL GROUP BY task HAVING count(*) > 1
) AS s CROSS JOIN messages AS m ON m.task = s.task
WHERE ifnull(m.attempts, 0) = 0 AND m.n > (SELECT min(n) FROM messages WHERE task = m.task)
"""
_MAX_WAITS: Final = 2_000  # of a topic
_WAITS: Final = """
SELECT {} FROM tries AS t CROSS JOIN messages AS m ON m.task = t.task
WHERE t.at >= :since AND t.at < :until AND t.n % :step = 0 AND t.topic IS NOT NULL
  AND t.started IS NOT NULL AND ifnull(m.attempts, 0) = 0
  AND NOT EXISTS (SELECT 1 FROM messages WHERE task = t.task AND n <> m.n AND at <= t.started)
"""

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
    """Since the epoch, by our clock."""
    ends: Floats
    """Likewise; of a try that was lost, when that was noticed."""
    durations: Floats
    """As the worker reported."""
    outcomes: Ints
    """Places in `OUTCOMES`; the number after the last: it runs."""

    @property
    def is_ended(self) -> npt.NDArray[np.bool_]:
        """For each try, whether its end was recorded."""
        return self.outcomes < OUTCOMES.index("lost")


def topics(connection: sqlite3.Connection, since: int, until: int) -> dict[int, str]:
    """Return the names of the topics with samples, by their numbers."""
    return dict(connection.execute(_TOPICS, (since, until)).fetchall())


def count_tries(connection: sqlite3.Connection, since: int, until: int) -> int:
    """Return about how many tries there are; exactly if none was deleted in between."""
    first, last = _numbers(connection, "tries", since, until)
    return last - first


def arrivals(connection: sqlite3.Connection, spans: Spans) -> dict[int, Floats]:
    """Return the first publications within *spans* (ms) by topic, in seconds since the epoch.

    A task that was published again, as a retry is, does not count again.
    """
    parts = [
        _texts(connection, "messages", ("topic", "at", "n"), _IS_FRESH, since, until)
        for since, until in spans
    ]
    topic, at, n = _joined(parts, 3)
    repeated = np.fromiter((row[0] for row in connection.execute(_REPEATED)), np.int64)
    if len(repeated):
        is_first = ~np.isin(n, repeated)
        topic, at = topic[is_first], at[is_first]
    order = np.argsort(at, kind="stable")
    return {number: at[order][places] / 1000 for number, places in _by_topic(topic[order])}


def tries(connection: sqlite3.Connection, spans: Spans) -> dict[int, Tries]:
    """Return the tries that began within *spans* (ms) by topic."""
    columns = (
        f"(topic << {_OUTCOME_BITS}) | ifnull(outcome, {_RUNNING})",
        _START,
        f"ifnull(ended, {_UNKNOWN})",
        f"ifnull(duration * 1000000, {_UNKNOWN})",
    )
    where = f"topic IS NOT NULL AND {_START} IS NOT NULL"
    parts = [_texts(connection, "tries", columns, where, *span) for span in spans]
    packed, started, ended, duration = _joined(parts, 4)
    is_inside = _is_inside(started, spans)  # known at the end, or by a heartbeat: begun before
    order = np.argsort(started[is_inside], kind="stable")
    packed, started, ended, duration = (
        column[is_inside][order] for column in (packed, started, ended, duration)
    )
    starts = started / 1000
    ends, durations = _seconds(ended, 1e3), _seconds(duration, 1e6)
    outcomes = packed & (2**_OUTCOME_BITS - 1)
    return {
        number: Tries(starts[at], ends[at], durations[at], outcomes[at])
        for number, at in _by_topic(packed >> _OUTCOME_BITS)
    }


def again(connection: sqlite3.Connection, since: int, until: int) -> dict[int, Floats]:
    """Return by topic when tries began that were not the first of their task: after one that
    failed or was lost."""
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
    return {
        number: columns["started"][places] / 1000 for number, places in _by_topic(columns["topic"])
    }


def waits(
    connection: sqlite3.Connection, since: int, until: int, *, topic_count: int
) -> dict[int, Floats]:
    """Return how long tasks waited for their first start (s), by topic.

    Of many tasks some are taken, at equal distances.
    """
    step = count_tries(connection, since, until) // (_MAX_WAITS * max(topic_count, 1)) + 1
    columns = fetch(
        connection,
        "topic:i wait:i",
        f"{_WAITS} ORDER BY t.topic",
        {"since": since, "until": until, "step": step},
        topic="t.topic",
        wait="max(t.started - m.at, 0)",
    )
    return {number: columns["wait"][at] / 1000 for number, at in _by_topic(columns["topic"])}


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
        number: float(np.median(columns["delay"][places])) / 1000
        for number, places in _by_topic(columns["topic"])
        if len(places) >= _MIN_DELAYS
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
    """Return the latest tries of *topics* whose messages tell the task's name, by topic and name.

    Heartbeats tell names as well, but mostly of tasks that take long.
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
    for topic, at in _by_topic(columns["topic"]):
        for name in np.unique(columns["name"][at]):
            if name in names:
                of_name = at[columns["name"][at] == name]
                part = {column: values[of_name] for column, values in columns.items()}
                durations = np.where(part["duration"] == MISSING, np.nan, part["duration"])
                tries_of[topic, names[name]] = Tries(
                    part["started"] / 1000, _seconds(part["ended"], 1e3), durations, part["outcome"]
                )
    return tries_of


# --- texts of numbers -----------------------------------------------------------------


def _numbers(connection: sqlite3.Connection, table: str, since: int, until: int) -> tuple[int, int]:
    """Return the first number of the rows of a time, and the number after the last."""
    query = f"SELECT min(n), max(n) + 1 FROM {table} WHERE at >= ? AND at < ?"
    first, end = connection.execute(query, (since, until)).fetchone()
    return (0, 0) if first is None else (int(first), int(end))


def _texts(
    connection: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    where: str,
    since: int,
    until: int,
) -> list[Ints]:
    """Return whole numbers of the rows of a time: an array for each of *columns*.

    Raises `ValueError` for values that no recorder writes.
    """
    first, end = _numbers(connection, table, since, until)
    selected = ", ".join(f"group_concat(CAST({column} AS INTEGER))" for column in columns)
    query = (
        f"SELECT count(*), {selected} FROM {table} "
        f"WHERE n >= ? AND n < ? AND at >= ? AND at < ? AND {where}"
    )
    parts = []
    for start in range(first, end, _ROWS_PER_TEXT):
        bounds = (start, min(start + _ROWS_PER_TEXT, end), since, until)
        count, *texts = connection.execute(query, bounds).fetchone()
        if count:
            parts.append([np.fromstring(text, np.int64, sep=",") for text in texts])
            if {len(values) for values in parts[-1]} != {count}:
                raise ValueError(f"a value in {table} is missing")
    return _joined(parts, len(columns))


def _joined(parts: Sequence[Sequence[Ints]], count: int) -> list[Ints]:
    columns = [
        np.concatenate([part[place] for part in parts]) if parts else np.empty(0, np.int64)
        for place in range(count)
    ]
    if any(((values < _UNKNOWN) | (values > MAX_TIME)).any() for values in columns):
        raise ValueError("a value is out of range")
    return columns


def _seconds(values: Ints, parts: float) -> Floats:
    return np.where(values == _UNKNOWN, np.nan, values / parts)


def _is_inside(times: Ints, spans: Spans) -> npt.NDArray[np.bool_]:
    if not spans:
        return np.zeros(len(times), np.bool_)
    starts, ends = (np.array(column, np.int64) for column in zip(*spans, strict=True))
    places = np.searchsorted(starts, times, side="right") - 1
    return np.asarray((places >= 0) & (times < ends[np.maximum(places, 0)]))


def _by_topic(topic: Ints) -> Iterable[tuple[int, Ints]]:
    """Yield each topic's number and the places of its values, in their order."""
    if not len(topic):
        return
    if topic.max() >= _MAX_TOPICS or topic.min() < 0:
        raise ValueError("a topic's number is out of range")
    order = np.argsort(topic.astype(np.int32), kind="stable")
    numbers, firsts = np.unique(topic[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, firsts[1:]), strict=True)
