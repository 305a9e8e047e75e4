"""Series of a recording: rows of a query as columns, and columns by intervals.

A day of 100 topics is 1.7 million rows, so rows go into arrays as they come, never into lists.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd

from tasktools.core.schemas import Schema

Columns = dict[str, np.ndarray[Any, Any]]

MISSING: Final = -1
"""What stands for NULL in an array; no figure that is recorded is below 0."""
_TYPES: Final = {"i": "i8", "f": "f8"}


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The time from *since* to before *until*, in intervals of *every*; all in ms."""

    since: int
    until: int
    every: int | None = None

    @property
    def first(self) -> int:
        """The start of the first interval: they lie on multiples of their length."""
        return self.since if self.every is None else self.since // self.every * self.every

    @property
    def starts(self) -> np.ndarray[Any, Any]:
        """The starts of all intervals."""
        return np.arange(self.first, self.until, self.every or 1)


def fetch(
    connection: sqlite3.Connection, names: str, statement: str, told: Mapping[str, Any]
) -> Columns:
    """Return the columns *names* of a query, each given as ``name:i`` (whole) or ``name:f``.

    The values must be numbers, none of them NULL.
    """
    fields = [name.split(":") for name in names.split()]
    dtype = np.dtype([(name, _TYPES[kind]) for name, kind in fields])
    rows = np.fromiter(connection.execute(statement, told), dtype)
    return {name: rows[name] for name, _ in fields}


def named(connection: sqlite3.Connection, columns: Columns, group: str) -> dict[str, Any]:
    """Return *columns* with the names that the numbers in *group* stand for, ordered by them."""
    distinct, places = np.unique(columns[group], return_inverse=True)
    marks = ", ".join(map(str, distinct.tolist()))
    told = dict(connection.execute(f"SELECT id, name FROM names WHERE id IN ({marks})").fetchall())
    found: pd.Series[Any] = pd.Series([told.get(one) for one in distinct.tolist()], dtype="string")
    ranks = found.rank().to_numpy(np.int32)[places]
    if (np.diff(ranks) < 0).any():
        order = np.argsort(ranks, kind="stable")
        columns, places = {name: values[order] for name, values in columns.items()}, places[order]
    return {**columns, group: found.take(places).reset_index(drop=True)}


def id_of(connection: sqlite3.Connection, name: str) -> int:
    """Return the number of *name*, or one that nothing has."""
    row = connection.execute("SELECT id FROM names WHERE name = ?", (name,)).fetchone()
    return MISSING if row is None else int(row[0])


def frame_of(schema: Schema, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return *columns* as a frame of *schema*: times in ms, spans in seconds, -1 for missing."""
    return pd.DataFrame({c.name: _typed(c.kind, columns[c.name]) for c in schema.columns})


def _typed(kind: str, values: Any) -> Any:
    if kind == "name":
        return values
    if kind == "time":
        return pd.Series((values * 1000).view("M8[us]")).dt.tz_localize("UTC")
    is_missing = np.isnan(values) | (values < 0)
    if kind == "span":
        spans = (np.where(is_missing, 0, values) * 1e6).round().astype("m8[us]")
        spans[is_missing] = np.timedelta64("NaT")
        return spans
    if kind == "count":
        whole = np.where(is_missing, 0, values).round().astype(np.int64)
        return pd.arrays.IntegerArray(whole, is_missing)
    return pd.arrays.FloatingArray(values.astype(np.float64), is_missing)


def by_interval(columns: Columns, group: str, window: Window, how: Mapping[str, str]) -> Columns:
    """Return one row for each value of *group* and each interval, in order.

    *how*: for each column ``mean`` (in which a row weighs its ``n``), ``max`` or ``sum``. What has
    no rows is NaN.
    """
    every = window.every or 1
    frame = pd.DataFrame({name: columns[name] for name in (group, "at", *how)})
    frame["at"] = frame["at"] // every * every
    for name, way in how.items():
        values = frame[name].to_numpy(np.float64, copy=True)
        values[values < 0] = np.nan
        frame[name] = values * columns["n"] if way == "mean" else values
        if way == "mean":
            frame[f"{name} n"] = np.where(np.isnan(values), 0, columns["n"])
    keys = [frame[group], frame["at"]]
    found = _aggregated(frame, keys, how)
    every_row = pd.MultiIndex.from_product(
        [np.unique(columns[group]), window.starts], names=[group, "at"]
    )
    found = found.reindex(every_row)
    answer = {name: found[name].to_numpy(np.float64) for name in how}
    for level in (group, "at"):
        answer[level] = every_row.get_level_values(level).to_numpy(np.int64)
    return answer


def _aggregated(frame: pd.DataFrame, keys: list[Any], how: Mapping[str, str]) -> pd.DataFrame:
    grouped = frame.groupby(keys, sort=True)
    found: dict[str, pd.Series[Any]] = {}
    for name, way in how.items():
        if way == "max":
            found[name] = grouped[name].max()
        else:
            found[name] = grouped[name].sum(min_count=1)
        if way == "mean":
            weight = grouped[f"{name} n"].sum()
            found[name] = found[name] / weight.where(weight > 0)
    return pd.DataFrame(found)


def quantiles(columns: Columns, value: str, window: Window) -> Columns:
    """Return count, mean, median, 95th percentile and maximum of *value* by topic and interval."""
    every = window.every or 1
    frame = pd.DataFrame({name: columns[name] for name in ("topic", "at", value)})
    frame["at"] = frame["at"] // every * every
    grouped = frame.groupby(["topic", "at"], sort=True)[value]
    found = pd.DataFrame(
        {
            "count": grouped.size().astype(np.float64),
            "mean": grouped.mean(),
            "p50": grouped.quantile(0.5),
            "p95": grouped.quantile(0.95),
            "longest": grouped.max(),
        }
    ).reset_index()
    return {str(name): found[name].to_numpy() for name in found.columns}
