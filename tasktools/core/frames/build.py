"""Rows to DataFrames with exactly their schema, and the notes that travel with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasktools.core.escaping import all_are_plain, as_shown, is_disguised
from tasktools.core.frames.schema import DTYPES, Schema
from tasktools.core.models import Source

pd.set_option("display.html.use_mathjax", False)
# Names, errors and arguments in frames are of strangers, and so none of it is a formula: Jupyter
# would typeset what stands between two dollars. It is a switch of pandas for all its tables.


def frame_from(schema: Schema, rows: Sequence[Sequence[Any]], **attrs: Any) -> pd.DataFrame:
    """Return *rows* (values in the schema's order) as a frame of exactly *schema*."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema.columns)
    frame = frame_of_columns(schema, columns)
    frame.attrs.update(attrs)
    return frame


def frame_of_columns(schema: Schema, columns: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return *columns*, each with its values, in the schema's order, as a frame of *schema*."""
    return pd.DataFrame(
        {
            column.name: _series(list(values), DTYPES[column.kind])
            for column, values in zip(schema.columns, columns, strict=True)
        }
    )


def _series(values: list[Any], dtype: Any) -> pd.Series[Any]:
    if dtype.startswith("timedelta"):  # given in seconds
        values = [None if v is None else np.timedelta64(round(v * 1e6), "us") for v in values]
    elif dtype == DTYPES["object"] and not all_are_plain(values):
        values = [as_shown(value) for value in values]
    elif dtype == DTYPES["name"] and is_disguised("".join(v for v in values if isinstance(v, str))):
        values = [as_shown(value) for value in values]
        dtype = pd.StringDtype("python")  # the other storage would keep plain strings only
    series: pd.Series[Any] = pd.Series(values, dtype=dtype)
    return series


def sources_attr(sources: Iterable[Source]) -> dict[str, dict[str, Any]]:
    """Return `attrs["sources"]`: for each source its columns, whether it answered (`ok`),
    how old it is (`age`, seconds) and what is wrong with it (`note`)."""
    return {
        source.name: {
            "ok": source.ok,
            "columns": list(source.columns),
            "age": source.age,
            "note": source.note,
        }
        for source in sources
    }
