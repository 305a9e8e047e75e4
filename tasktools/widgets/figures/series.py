"""From rows to what is drawn: a column of numbers for each name, with gaps, of bearable length."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from tasktools.core import history_schemas, schemas

Numbers = np.ndarray[Any, Any]

MOST_LINES: Final = 8
MOST_POINTS: Final = 400
_NEAR: Final = 21
"""Steps by which it is judged how long one usually is: recordings grow coarser with age."""


class Busiest(NamedTuple):
    """What is shown, the busiest first; the sum of the rest, if there is one, and of how many."""

    shown: pd.DataFrame
    other: pd.Series[float] | None
    others: int


def expect(frame: pd.DataFrame, schema: schemas.Schema, *columns: str) -> None:
    """Raise `ValueError` unless *frame* has these *columns* of the frame *schema*."""
    missing = [column for column in columns if column not in frame.columns]
    if not missing:
        return
    every = (*schemas.SCHEMAS, *history_schemas.SCHEMAS)
    found = next((each.name for each in every if list(each.names) == list(frame.columns)), None)
    what = f"This is a frame of {found}()" if found else f"This frame has no {missing[0]!r}"
    raise ValueError(
        f"{what}; nothing was drawn. Give the frame of {schema.name}(), with its columns "
        f"{', '.join(columns)}."
    )


def by_name(frame: pd.DataFrame, column: str, name: str = "topic") -> pd.DataFrame:
    """Return *column* with a row a moment (UTC) and a column a *name*; NaN where it is missing."""
    values = frame[column]
    if pd.api.types.is_timedelta64_dtype(values):
        values = values.dt.total_seconds()
    times = frame["at"].dt.tz_convert("UTC").dt.tz_localize(None)
    rows = pd.DataFrame(
        {"at": times, "name": frame[name], "value": values.to_numpy(np.float64, na_value=np.nan)}
    )
    # A pivot table would be the same, but leave out moments of which all is missing.
    return rows.groupby(["at", "name"])["value"].last().unstack("name")  # noqa: PD010


def named(wide: pd.DataFrame) -> Iterator[tuple[str, pd.Series[float]]]:
    """Return the columns of *wide*, each with its name."""
    return ((str(name), values) for name, values in wide.items())


def busiest(wide: pd.DataFrame, weight: pd.Series[float] | None = None) -> Busiest:
    """Return the columns that have most in them (by *weight*, else by their sum), and the rest
    added up."""
    weight = wide.sum() if weight is None else weight.reindex(wide.columns).fillna(0)
    order = weight.sort_values(ascending=False, kind="stable").index
    shown, rest = order[:MOST_LINES], order[MOST_LINES:]
    other = wide[rest].sum(axis=1, min_count=1) if len(rest) else None
    return Busiest(wide[shown], other, len(rest))


def with_gaps(wide: pd.DataFrame, *, intervals: bool = False) -> pd.DataFrame:
    """Return *wide* with a row of nothing in each step that is much longer than those near it.

    With *intervals* the rows are the starts of intervals, and those without anything are not there.
    """
    times = wide.index.to_numpy()
    steps = pd.Series(np.diff(times).astype("m8[us]").astype(np.int64))
    if intervals:
        too_long = steps > 1.5 * steps.min()
    else:
        too_long = steps > 3 * steps.rolling(_NEAR, center=True, min_periods=1).quantile(0.8)
    after = np.flatnonzero(too_long)
    if not len(after):
        return wide
    middles = times[after] + (times[after + 1] - times[after]) // 2
    return wide.reindex(np.union1d(times, middles))


def kept(values: Numbers, most: int = MOST_POINTS) -> np.ndarray[Any, Any]:
    """Return the places of at most *most* values that look like all of them: of each stretch the
    least, the greatest, and one that is missing."""
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


def alone(values: Numbers) -> np.ndarray[Any, Any]:
    """Return which values have neither neighbour: a line does not show them."""
    is_missing = np.isnan(np.concatenate([[np.nan], values, [np.nan]]))
    found: np.ndarray[Any, Any] = ~is_missing[1:-1] & is_missing[:-2] & is_missing[2:]
    return found
