"""Frames as plain values and as CSV, for programs and spreadsheets."""

from __future__ import annotations

import csv as csv_format
import io
import json
import math
import re
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Final

from tasktools.core.escaping import exact, harmless
from tasktools.core.frames.table import Table
from tasktools.core.lazy_imports import pd

_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠")  # noqa: RUF001
_NUMBER: Final = re.compile(r"[+-]?\d++(?:\.\d++)?(?:[eE][+-]?\d++)?", re.ASCII)


def records(frame: pd.DataFrame | Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of *frame* as dicts, with their values unchanged."""
    if isinstance(frame, Table):
        yield from frame.records()
        return
    names = [str(name) for name in frame.columns]
    for values in frame.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))


def rows(frame: pd.DataFrame | Table) -> list[dict[str, Any]]:
    """Return the rows of *frame* as JSON values."""
    return [{name: plain(value) for name, value in row.items()} for row in records(frame)]


def csv(frame: pd.DataFrame | Table) -> str:
    """Return *frame* as CSV with a heading: a missing value is empty, lists and dicts are JSON.

    A text that a spreadsheet would take for a formula has a quote before it, which makes it a text
    there.
    """
    file = io.StringIO()
    writer = csv_format.writer(file, lineterminator="\n")
    if isinstance(frame, Table):
        writer.writerow(frame.schema.names)
        columns = [[_cell(plain(value)) for value in frame[name]] for name in frame.schema.names]
    else:
        writer.writerow(frame.columns)
        columns = [_cells(frame.iloc[:, place]) for place in range(frame.shape[1])]
    writer.writerows(zip(*columns, strict=True))
    return file.getvalue()


def _cells(column: pd.Series[Any]) -> list[Any]:
    """Return the cells of *column*. Equal values, as times and names often are, are made once."""
    if column.dtype == object:
        return [_cell(plain(value)) for value in column]
    places, values = column.factorize(use_na_sentinel=False)
    cells = [_cell(plain(value)) for value in values]
    return [cells[place] for place in places.tolist()]


def _cell(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
    if not isinstance(text, str):
        return text
    is_formula = text.lstrip()[:1] in _FORMULA_SIGNS and _NUMBER.fullmatch(text) is None
    return harmless(f"'{text}" if is_formula else text)


def plain(value: Any) -> Any:  # noqa: PLR0911 - one a type
    """Return *value* as a JSON value."""
    match value:
        case str() | bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None if math.isnan(value) else str(value)
        case dict():
            return {
                exact(key) if isinstance(key, str) else str(key): plain(item)
                for key, item in value.items()
            }
        case list() | tuple():
            return [plain(item) for item in value]
        case _ if is_missing(value):
            return None
        case timedelta():
            return value.total_seconds()
        case date():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case _ if not hasattr(value, "tolist"):
            return str(value)
        case _:  # numpy's, one value or many
            items = value.tolist()
            return plain(items) if isinstance(items, list) else items


def is_missing(value: Any) -> bool:
    """Whether *value* is missing: `None`, NaN, `pandas.NA` or `pandas.NaT`.

    >>> [is_missing(value) for value in (None, float("nan"), 0, "", [None])]
    [True, True, False, False, False]
    """
    if value is None or ("pandas" in sys.modules and (value is pd.NA or value is pd.NaT)):
        return True
    if getattr(value, "shape", ()):  # an array or a frame in a cell
        return False
    return bool(value != value)  # noqa: PLR0124 - NaN is not itself
