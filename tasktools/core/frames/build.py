"""Rows to DataFrames with exactly their schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasktools.core.escaping import all_are_plain, as_shown, is_disguised
from tasktools.core.frames.schema import DTYPES, Schema
from tasktools.core.lazy_imports import np, pd


def frame_from(schema: Schema, rows: Sequence[Sequence[Any]], **attrs: Any) -> pd.DataFrame:
    """Return *rows* (values in the schema's order) as a frame of exactly *schema*."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema.columns)
    frame = frame_of_columns(schema, columns)
    frame.attrs.update(attrs)
    return frame


def frame_of_columns(schema: Schema, columns: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return *columns*, each with its values, in the schema's order, as a frame of *schema*."""
    return framed(
        schema,
        {
            column.name: _series(list(values), DTYPES[column.kind])
            for column, values in zip(schema.columns, columns, strict=True)
        },
    )


def framed(schema: Schema, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return *columns*, whose values have the types of *schema*, as a frame with its display."""
    from tasktools.core.frames.frame import Frame  # a class of pandas'

    frame = Frame(columns)
    frame._schema = schema  # noqa: SLF001
    return frame


def _series(values: list[Any], dtype: Any) -> pd.Series[Any]:
    if dtype.startswith("timedelta"):  # given in seconds
        values = [None if v is None else np.timedelta64(round(v * 1e6), "us") for v in values]
    elif dtype == DTYPES["object"] and not all_are_plain(values):
        values = [as_shown(value) for value in values]
    elif dtype == DTYPES["name"] and is_disguised(
        "".join(v for v in {*values} if isinstance(v, str))  # names repeat
    ):
        values = [as_shown(value) for value in values]
        dtype = pd.StringDtype("python")  # the other storage would keep plain strings only
    series: pd.Series[Any] = pd.Series(values, dtype=dtype)
    return series
