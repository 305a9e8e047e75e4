"""Time series of a recording: the rows of a query as columns, and columns by interval.

A day of 100 topics is 1.7 million rows, so rows go straight into arrays, never into lists.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from tasktools.core.frames.build import framed
from tasktools.core.frames.schema import DTYPES, Kind, Schema
from tasktools.core.lazy_imports import np, pd
from tasktools.history.file_checks import MAX_TIME

Columns = dict[str, "np.ndarray[Any, Any]"]

MISSING: Final = -1
"""The value for NULL in an array; no recorded number is below 0."""
_TYPES: Final = {"i": "i8", "f": "f8"}


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The time from *since* to before *until*, in intervals of *every*; all in ms."""

    since: int
    until: int
    every: int | None = None

    @property
    def first(self) -> int:
        """The start of the first interval; starts are multiples of the length."""
        return self.since if self.every is None else self.since // self.every * self.every

    @property
    def starts(self) -> np.ndarray[Any, Any]:
        """The starts of all intervals."""
        return np.arange(self.first, self.until, self.every or 1)


def fetch(
    connection: sqlite3.Connection,
    names: str,
    statement: str,
    params: Mapping[str, Any],
    **expressions: str,
) -> Columns:
    """Return the columns *names* of a query as arrays; they replace the ``{}`` of *statement*.

    Each is given as ``name:i`` (integer) or ``name:f`` (float), with ``?`` if it may be NULL, which
    becomes -1. It is the column of that name, or the expression given for that name. All values
    must be numbers. Raises `ValueError` for values that no recorder writes.
    """
    fields = [name.split(":") for name in names.split()]
    selected = (
        f"ifnull({expressions.get(name, name)}, {MISSING})"
        if kind.endswith("?")
        else expressions.get(name, name)
        for name, kind in fields
    )
    dtype = np.dtype([(name, _TYPES[kind[0]]) for name, kind in fields])
    query = statement.replace("{}", ", ".join(selected))
    rows = np.fromiter(connection.execute(query, params), dtype)
    columns = {name: rows[name] for name, _ in fields}
    for name, values in columns.items():
        if not ((values >= MISSING) & (values <= MAX_TIME)).all():
            raise ValueError(f"{name} is out of range")
    return columns


def recorded(connection: sqlite3.Connection, window: Window) -> np.ndarray[Any, Any]:
    """Return for how many seconds of each interval events were recorded.

    A tick counts the events since the previous tick, so that time counts for its interval.
    """
    ticks = fetch(
        connection,
        "at:i end:i begin:i",
        "SELECT {} FROM ticks WHERE at < :until AND "
        "at >= ifnull((SELECT max(at) FROM ticks WHERE at < :since), :since) ORDER BY at",
        {"since": window.first, "until": window.until},
        end="at + span",
        begin="ifnull(lag(at + span) OVER (ORDER BY at), CASE span WHEN 0 THEN "
        "(SELECT ifnull(max(started), at) FROM sessions WHERE started <= at) ELSE at END)",
    )
    rows = connection.execute(
        "SELECT since, until FROM gaps WHERE what IN ('all', 'events') ORDER BY since"
    )
    borders, lost = _gap_time(rows.fetchall())
    covered = ticks["end"] - ticks["begin"]
    covered = (
        covered - np.interp(ticks["end"], borders, lost) + np.interp(ticks["begin"], borders, lost)
    )
    is_inside = ticks["at"] >= window.first
    places = (ticks["at"][is_inside] - window.first) // (window.every or 1)
    seconds = np.zeros(len(window.starts))
    np.add.at(seconds, places, np.maximum(covered[is_inside], 0) / 1000)
    return seconds


def _gap_time(gaps: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the borders of *gaps* (which are in order), and the total time in gaps before each
    border; all in ms."""
    borders, lost = [0], [0]
    for since, until in gaps:
        begin = max(since, borders[-1])
        if until > begin:
            borders += [begin, until]
            lost += [lost[-1], lost[-1] + until - begin]
    return borders, lost


def named(connection: sqlite3.Connection, columns: Columns, group: str) -> dict[str, Any]:
    """Return *columns* with names in place of the numbers in *group*, ordered by these names."""
    distinct, places = np.unique(columns[group], return_inverse=True)
    numbers = distinct.tolist()
    names = names_of(connection, numbers)
    labels: pd.Series[Any] = pd.Series([names[number] for number in numbers], dtype="string")
    ranks = labels.rank().to_numpy(np.int32)[places]
    if (np.diff(ranks) < 0).any():
        order = np.argsort(ranks, kind="stable")
        columns, places = {name: values[order] for name, values in columns.items()}, places[order]
    return {**columns, group: labels.take(places).reset_index(drop=True)}


def names_of(connection: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, str]:
    """Return the names that *numbers* stand for."""
    listed = ", ".join(map(str, numbers))
    return dict(connection.execute(f"SELECT id, name FROM names WHERE id IN ({listed})").fetchall())


def id_of(connection: sqlite3.Connection, name: str | None) -> int | None:
    """Return the number of *name*; -1 if it is not in the recording, `None` for `None`."""
    if name is None:
        return None
    with contextlib.suppress(UnicodeEncodeError):  # no recording has a name that is no UTF-8
        return _id_of(connection, name)
    return MISSING


def _id_of(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT id FROM names WHERE name = ?", (name,)).fetchone()
    return MISSING if row is None else int(row[0])


def frame_of(schema: Schema, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return *columns* as a frame of *schema*: in *columns* times are ms, spans are seconds, and -1
    is missing."""
    return framed(schema, {c.name: _typed(c.kind, columns[c.name]) for c in schema.columns})


def _typed(kind: Kind, values: Any) -> Any:
    dtype = DTYPES[kind]
    if dtype == DTYPES["name"]:
        return values
    if dtype == DTYPES["time"]:
        return pd.Series((values * 1000).view("M8[us]")).dt.tz_localize("UTC")
    is_missing = np.isnan(values) | (values < 0)
    if dtype == DTYPES["span"]:
        spans = (np.where(is_missing, 0, values) * 1e6).round().astype("m8[us]")
        spans[is_missing] = np.timedelta64("NaT", "us")
        return spans
    if dtype == DTYPES["count"]:
        whole = np.where(is_missing, 0, values).round().astype(np.int64)
        return pd.arrays.IntegerArray(whole, is_missing)
    return pd.arrays.FloatingArray(values.astype(np.float64), is_missing)


def quantiles(columns: Columns, value: str, window: Window) -> Columns:
    """Return count, mean, median, 95th percentile and maximum of *value* by topic and interval."""
    every = window.every or 1
    frame = pd.DataFrame({name: columns[name] for name in ("topic", "at", value)})
    frame["at"] = frame["at"] // every * every
    grouped = frame.groupby(["topic", "at"], sort=True)[value]
    results = pd.DataFrame(
        {
            "count": grouped.size().astype(np.float64),
            "mean": grouped.mean(),
            "p50": grouped.quantile(0.5),
            "p95": grouped.quantile(0.95),
            "longest": grouped.max(),
        }
    ).reset_index()
    return {str(name): results[name].to_numpy() for name in results.columns}
