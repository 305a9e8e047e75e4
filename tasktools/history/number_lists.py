"""Whole numbers of many rows as arrays, which SQLite joins into a text for numpy to read.

1.2 million arrivals take 0.3 s of CPU so, a row each in Python 0.6 s, and `GROUP BY topic` 1.7 s.
Real numbers are joined as whole thousandths or millionths, which takes a third of the time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tasktools.history.file_checks import MAX_TIME

Ints = npt.NDArray[np.int64]

UNKNOWN: Final = -1
"""The number for NULL; no recorded number is below 0."""
_ROWS_PER_TEXT: Final = 200_000
_ROWS_AT_AN_END: Final = 1_000
_MAX_NUMBER: Final = 2**62
_MAX_TOPICS: Final = 2**16  # of fewer, numpy sorts the numbers without comparing them


def numbers(
    connection: sqlite3.Connection, columns: Sequence[str], source: str, params: Mapping[str, Any]
) -> list[Ints]:
    """Return an array for each of *columns*, expressions, of the rows of *source*.

    *source* is the part of a query from ``FROM`` on. NULL becomes -1. Raises `ValueError` for
    values that no recorder writes.
    """
    selected = ", ".join(
        f"group_concat(CAST(ifnull({column}, {UNKNOWN}) AS INTEGER))" for column in columns
    )
    count, *texts = connection.execute(f"SELECT count(*), {selected} {source}", params).fetchone()
    if not count:
        return [np.empty(0, np.int64) for _ in columns]
    arrays: list[Ints] = [np.fromstring(text, np.int64, sep=",") for text in texts]
    if any(
        len(values) != count or values.min() < UNKNOWN or values.max() > MAX_TIME
        for values in arrays
    ):
        raise ValueError("a value is out of range")
    return arrays


def of_time(
    connection: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    where: str,
    spans: Sequence[tuple[int, int]],
) -> list[Ints]:
    """Return an array for each of *columns*, of the rows of *table* with ``at`` in *spans* (ms).

    The rows are read in the order of their number ``n``, which is nearly that of time.
    """
    parts = [
        numbers(
            connection,
            columns,
            f"FROM {table} WHERE n >= :first AND n < :end AND at >= :since AND at < :until "
            f"AND {where}",
            {"first": first, "end": end, "since": since, "until": until},
        )
        for since, until in spans
        for first, end in _chunks(connection, table, *number_range(connection, table, since, until))
    ]
    return [
        np.concatenate([part[place] for part in parts]) if parts else np.empty(0, np.int64)
        for place in range(len(columns))
    ]


def _chunks(
    connection: sqlite3.Connection, table: str, first: int, end: int
) -> Iterator[tuple[int, int]]:
    """Yield ranges of row numbers that have rows; numbers may be missing, or far apart."""
    query = f"SELECT n FROM {table} WHERE n >= ? AND n < ? ORDER BY n LIMIT 1"
    start = first
    while row := connection.execute(query, (start, end)).fetchone():
        start = int(row[0]) + _ROWS_PER_TEXT
        yield int(row[0]), min(start, end)


def number_range(
    connection: sqlite3.Connection, table: str, since: int, until: int
) -> tuple[int, int]:
    """Return the first number of the rows of a time, and the number after the last.

    Only the rows next to both ends are looked at: numbers grow with time, except where a clock was
    set or an event came late.
    """
    rows = f"SELECT n FROM {table} WHERE at >= ? AND at < ? ORDER BY at"
    query = (
        f"SELECT min(n), max(n) + 1 FROM (SELECT * FROM ({rows} LIMIT {_ROWS_AT_AN_END}) "
        f"UNION ALL SELECT * FROM ({rows} DESC LIMIT {_ROWS_AT_AN_END}))"
    )
    first, end = connection.execute(query, (since, until, since, until)).fetchone()
    return (0, 0) if first is None else (int(first), min(int(end), _MAX_NUMBER))


def by_topic(topic: Ints, *columns: npt.NDArray[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Yield each topic's number and its values of *columns*, in their order."""
    if not len(topic):
        return
    if topic.max() >= _MAX_TOPICS or topic.min() < 0:
        raise ValueError("a topic's number is out of range")
    order = np.argsort(topic.astype(np.uint16), kind="stable")
    topics, firsts = np.unique(topic[order], return_index=True)
    parts = [np.split(column[order], firsts[1:]) for column in columns]
    for number, *values in zip(topics.tolist(), *parts, strict=True):
        yield number, values
