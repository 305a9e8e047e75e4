"""Rows of a frame as columns to draw: one per name, with gaps, and not too long."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from tasktools.core.frames import (
    capacity_schemas,
    diagnosis_schemas,
    history_schemas,
    schemas,
)
from tasktools.core.frames.schema import Schema

Numbers = np.ndarray[Any, Any]

MAX_LINES: Final = 8
MAX_POINTS: Final = 400
_NEARBY_STEPS: Final = 21
"""Number of neighbouring steps that tell the usual step, since recordings grow coarser with age."""


class Busiest(NamedTuple):
    """The shown columns, the busiest first; the sum of the other columns, if any, and their
    number."""

    shown: pd.DataFrame
    other: pd.Series[float] | None
    others: int


def expect(frame: pd.DataFrame, schema: Schema, *columns: str) -> None:
    """Raise `ValueError` unless *frame* has these *columns* of *schema*."""
    missing = [column for column in columns if column not in frame.columns]
    if not missing:
        return
    every = (
        *(*schemas.SCHEMAS, *history_schemas.SCHEMAS),
        *(*diagnosis_schemas.SCHEMAS, *capacity_schemas.SCHEMAS),
    )
    known_name = next(
        (each.name for each in every if list(each.names) == list(frame.columns)), None
    )
    what = (
        f"This is a frame of {known_name}()" if known_name else f"This frame has no {missing[0]!r}"
    )
    raise ValueError(
        f"{what}; nothing was drawn. Give the frame of {schema.name}(), with its columns "
        f"{', '.join(columns)}."
    )


def by_name(frame: pd.DataFrame, column: str, name: str = "topic") -> pd.DataFrame:
    """Return *column* with one row per time (UTC) and one column per *name*; NaN where missing."""
    values = frame[column]
    if pd.api.types.is_timedelta64_dtype(values):
        values = values.dt.total_seconds()
    times = frame["at"].dt.tz_convert("UTC").dt.tz_localize(None)
    rows = pd.DataFrame(
        {"at": times, "name": frame[name], "value": values.to_numpy(np.float64, na_value=np.nan)}
    )
    # A pivot table would be the same, but omit times without any value.
    return rows.groupby(["at", "name"])["value"].last().unstack("name")  # noqa: PD010


def named(wide: pd.DataFrame) -> Iterator[tuple[str, pd.Series[float]]]:
    """Return the columns of *wide*, each with its name."""
    return ((str(name), values) for name, values in wide.items())


def busiest(wide: pd.DataFrame, weight: pd.Series[float] | None = None) -> Busiest:
    """Return the columns with the greatest *weight* (by default their sum), and the sum of the
    rest."""
    weight = wide.sum() if weight is None else weight.reindex(wide.columns).fillna(0)
    order = weight.sort_values(ascending=False, kind="stable").index
    shown, rest = order[:MAX_LINES], order[MAX_LINES:]
    other = wide[rest].sum(axis=1, min_count=1) if len(rest) else None
    return Busiest(wide[shown], other, len(rest))


def with_gaps(wide: pd.DataFrame, *, intervals: bool = False) -> pd.DataFrame:
    """Return *wide* with an empty row in each step that is much longer than its neighbours.

    With *intervals*, the rows are starts of intervals, and intervals without values are missing.
    """
    times = wide.index.to_numpy()
    steps = pd.Series(np.diff(times).astype("m8[us]").astype(np.int64))
    if intervals:
        too_long = steps > 1.5 * steps.min()
    else:
        too_long = steps > 3 * steps.rolling(_NEARBY_STEPS, center=True, min_periods=1).quantile(
            0.8
        )
    after = np.flatnonzero(too_long)
    if not len(after):
        return wide
    middles = times[after] + (times[after + 1] - times[after]) // 2
    return wide.reindex(np.union1d(times, middles))


def thinned(values: Numbers, most: int = MAX_POINTS) -> np.ndarray[Any, Any]:
    """Return the positions of at most *most* values that keep the shape: minimum, maximum and a
    missing value of each stretch."""
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), most // 3 + 1).astype(int)
    places: set[int] = set()
    for start, end in pairwise(edges):
        stretch = values[start:end]
        is_missing = np.isnan(stretch)
        if is_missing.any():
            places.add(start + int(is_missing.argmax()))
        if not is_missing.all():
            places |= {start + int(np.nanargmin(stretch)), start + int(np.nanargmax(stretch))}
    return np.array(sorted(places))


def isolated(values: Numbers) -> np.ndarray[Any, Any]:
    """Return a mask of the values without a neighbour, which a line does not show."""
    is_missing = np.isnan(np.concatenate([[np.nan], values, [np.nan]]))
    is_alone: np.ndarray[Any, Any] = ~is_missing[1:-1] & is_missing[:-2] & is_missing[2:]
    return is_alone
