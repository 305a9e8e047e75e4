"""Samples of a recording by interval, aggregated by SQLite.

A day of 100 topics is 1.7 million rows. SQLite adds up those of one topic and interval where they
lie, in the order of the primary key: 9,600 small queries take a quarter of the time in which the
rows are read, and half of that of one query with ``GROUP BY``, which sorts them all again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from tasktools.history.file_checks import MAX_TIME
from tasktools.history.series import MISSING, Columns, Window, id_of

_HOW: Final = {
    # The weight of a row is its number of samples.
    "mean": "sum(({0}) * n) * 1.0 / sum(n) FILTER (WHERE ({0}) IS NOT NULL)",
    "max": "max({0})",
    "sum": "sum({0})",
}
_IN_INTERVAL: Final = "at >= :start AND at < :end"


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """A table of samples. *group* is its column with the number of a name, or a constant; rows of
    one group lie together if the table is *by_group*, else those of one moment do."""

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
    groups = _groups(connection, samples, name, window)
    selected = [_HOW[way].format(expressions.get(column, column)) for column, way in how.items()]
    starts = window.starts
    values = np.full((len(groups), len(starts), len(how)), np.nan)
    rows = _by_group if samples.by_group else _by_time
    for place, interval, row in rows(connection, samples, groups, window, ", ".join(selected)):
        values[place, interval] = row  # None becomes NaN
    if not ((values >= MISSING) & (values <= MAX_TIME) | np.isnan(values)).all():
        raise ValueError("a value is out of range")
    columns: Columns = {column: values[:, :, n].ravel() for n, column in enumerate(how)}
    columns["group"] = np.repeat(np.array(groups, dtype=np.int64), len(starts))
    columns["at"] = np.tile(starts, len(groups))
    return columns


def _groups(
    connection: sqlite3.Connection, samples: Samples, name: str | None, window: Window
) -> list[int]:
    """Return the numbers of the groups that have samples in *window*."""
    params = {"start": window.first, "end": window.until, "number": id_of(connection, name)}
    if samples.by_group:
        candidates = "SELECT id FROM names WHERE (:number IS NULL OR id = :number) AND EXISTS"
        source = f"(SELECT 1 FROM {samples.table} WHERE {samples.group} = id AND {_IN_INTERVAL})"
        query = f"{candidates} {source} ORDER BY id"
    else:
        query = (
            f"SELECT DISTINCT {samples.group} FROM {samples.table} WHERE {_IN_INTERVAL} "
            f"AND {samples.where} AND (:number IS NULL OR {samples.group} = :number) ORDER BY 1"
        )
    return [number for (number,) in connection.execute(query, params)]


Cell = tuple[int, int, Sequence[Any]]
"""The places of a group and of an interval, and the values there."""


def _by_group(
    connection: sqlite3.Connection,
    samples: Samples,
    groups: list[int],
    window: Window,
    selected: str,
) -> Iterator[Cell]:
    query = f"SELECT {selected} FROM {samples.table} WHERE {samples.group} = :group AND "
    for place, group in enumerate(groups):
        for interval, start in enumerate(window.starts.tolist()):
            params = {"group": group, "start": start, "end": _end(start, window)}
            yield place, interval, connection.execute(query + _IN_INTERVAL, params).fetchone()


def _by_time(
    connection: sqlite3.Connection,
    samples: Samples,
    groups: list[int],
    window: Window,
    selected: str,
) -> Iterator[Cell]:
    places = {group: place for place, group in enumerate(groups)}
    query = (
        f"SELECT {samples.group}, {selected} FROM {samples.table} WHERE {_IN_INTERVAL} "
        f"AND {samples.where} GROUP BY 1"
    )
    for interval, start in enumerate(window.starts.tolist()):
        params = {"start": start, "end": _end(start, window)}
        for group, *row in connection.execute(query, params):
            if group in places:
                yield places[group], interval, row


def _end(start: int, window: Window) -> int:
    return min(start + (window.every or 1), window.until)
