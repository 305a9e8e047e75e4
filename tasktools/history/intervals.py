"""Samples of a recording by interval, aggregated by SQLite.

A day of 100 topics is 1.7 million rows. SQLite adds up the rows of one topic and interval in the
order of the primary key: 14,500 small queries take a quarter of the time of reading all rows, and
half of the time of one query with ``GROUP BY``, which sorts all rows again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from tasktools.core.lazy_imports import np
from tasktools.history.file_checks import MAX_TIME
from tasktools.history.series import MISSING, Columns, Window, id_of

_HOW: Final = {"mean": "avg({0})", "max": "max({0})", "sum": "sum({0})"}
_HOW_IF_THINNED: Final = {
    **_HOW,
    # The weight of a row is its number of samples. It takes half as long again, so it is asked only
    # of times in which rows stand for several.
    "mean": "sum(({0}) * n) * 1.0 / sum(n) FILTER (WHERE ({0}) IS NOT NULL)",
}
_THINNED_UNTIL: Final = "SELECT ifnull(max(until), 0) FROM thinned WHERE name = ?"
_IN_INTERVAL: Final = "at >= :start AND at < :end"


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """A table of samples. *group* is its column with the number of a name, or a constant; with
    *by_group* the table is ordered by group, else by time."""

    table: str
    group: str
    by_group: bool = False
    where: str = "true"


TOPICS: Final = Samples(table="topic_samples", group="topic", by_group=True)
WORKERS: Final = Samples(table="worker_samples", group="worker", where="state < 2")
CLUSTER: Final = Samples(table="ticks", group="0")


def by_interval(
    connection: sqlite3.Connection,
    samples: Samples,
    name: str | None,
    window: Window,
    how: Mapping[str, str],
    **expressions: str,
) -> Columns:
    """Return one row for each group and each interval, in order, as ``group``, ``at`` and columns.

    Parameters
    ----------
    connection
        The recording.
    samples
        What is aggregated.
    name
        The one group; by default all that have samples in *window*.
    window
        The time, and the length of its intervals.
    how
        For each column ``mean`` (a row weighs its ``n``), ``max`` or ``sum``. An interval without
        values is NaN.
    expressions
        What stands for a column that has no column of its name.

    Raises
    ------
    ValueError
        There are values that no recorder writes.

    """
    starts, number = window.starts, id_of(connection, name)
    intervals = _intervals(connection, samples, window, how, expressions)
    rows = _by_group if samples.by_group else _by_time
    blocks = list(rows(connection, samples, number, intervals))
    groups = sorted({group for block in blocks for group in block.groups})
    places = {group: place for place, group in enumerate(groups)}
    values = np.full((len(groups), len(starts), len(how)), np.nan)
    for block in blocks:
        values[[places[group] for group in block.groups], block.intervals] = block.values
    if not ((values >= MISSING) & (values <= MAX_TIME) | np.isnan(values)).all():
        raise ValueError("a value is out of range")
    columns: Columns = {column: values[:, :, n].ravel() for n, column in enumerate(how)}
    columns["group"] = np.repeat(np.array(groups, dtype=np.int64), len(starts))
    columns["at"] = np.tile(starts, len(groups))
    return columns


class _Interval(NamedTuple):
    """An interval (ms), and the values selected from it."""

    start: int
    end: int
    selected: str


class _Block(NamedTuple):
    """The values (of several columns) of *groups* in *intervals*; NaN where there are none."""

    groups: list[int]
    intervals: int | slice
    values: np.ndarray[Any, Any]


def _intervals(
    connection: sqlite3.Connection,
    samples: Samples,
    window: Window,
    how: Mapping[str, str],
    expressions: Mapping[str, str],
) -> list[_Interval]:
    every, single = (
        ", ".join(ways[way].format(expressions.get(column, column)) for column, way in how.items())
        for ways in (_HOW_IF_THINNED, _HOW)
    )
    (thinned_until,) = connection.execute(_THINNED_UNTIL, (samples.table,)).fetchone()
    return [
        _Interval(
            start,
            min(start + (window.every or 1), window.until),
            every if start < thinned_until else single,
        )
        for start in window.starts.tolist()
    ]


def _by_group(
    connection: sqlite3.Connection,
    samples: Samples,
    number: int | None,
    intervals: list[_Interval],
) -> Iterator[_Block]:
    if not intervals:
        return
    table, group = samples.table, samples.group
    groups = connection.execute(
        "SELECT id FROM names WHERE (:number IS NULL OR id = :number) AND EXISTS "
        f"(SELECT 1 FROM {table} WHERE {group} = id AND {_IN_INTERVAL})",
        {"start": intervals[0].start, "end": intervals[-1].end, "number": number},
    )
    for (name,) in groups.fetchall():
        rows = [
            connection.execute(
                f"SELECT {selected} FROM {table} WHERE {group} = :group AND {_IN_INTERVAL}",
                {"group": name, "start": start, "end": end},
            ).fetchone()
            for start, end, selected in intervals
        ]
        yield _Block([name], slice(None), np.array(rows, dtype=np.float64))  # None becomes NaN


def _by_time(
    connection: sqlite3.Connection,
    samples: Samples,
    number: int | None,
    intervals: list[_Interval],
) -> Iterator[_Block]:
    table, group = samples.table, samples.group
    for place, (start, end, selected) in enumerate(intervals):
        rows = connection.execute(
            f"SELECT {group}, {selected} FROM {table} WHERE {_IN_INTERVAL} AND {samples.where} "
            f"AND (:number IS NULL OR {group} = :number) GROUP BY 1",
            {"start": start, "end": end, "number": number},
        ).fetchall()
        if rows:
            values = np.array([row[1:] for row in rows], dtype=np.float64)
            yield _Block([row[0] for row in rows], place, values)
