"""The fields of tasks, and the value that each task has in each of them, as numbers.

Columns that hold dicts and lists become paths (``kwargs.to``, ``args[0]``), also those that a
worker of Celery sent as text; times become hours and weekdays, numbers with many values bins. A
missing value is a value like others.
"""

from __future__ import annotations

import calendar
import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from tasktools.core.escaping import cut
from tasktools.core.frames import nested_paths

Codes = np.ndarray[Any, np.dtype[np.int32]]

MISSING: Final = "(missing)"
"""The value of rows that have none in a field."""
NOT_KNOWN: Final = "(not known)"
"""The value of rows of which nobody knows whether they have one in a field."""

_MAX_DEPTH: Final = 3  # names in a path
_MAX_ITEMS: Final = 20  # of a list, from its start
_MAX_PATHS: Final = 1_000  # below one column
_MIN_ROWS: Final = 5  # that have a path
_MAX_NUMBERS: Final = 60  # different numbers that are values of their own; more become bins
_BINS: Final = 10
_MAX_DISTINCT: Final = 0.5  # different values / rows, above which a field is an id
_MAX_WHOLE: Final = 0.1  # different whole numbers / rows, up to which each is a value as well
_MAX_LABEL_CHARS: Final = 100
_TOLD_AS_TEXT: Final = ("args", "kwargs")
_IS_NESTED: Final = (dict, list, tuple)
_IS_NUMBER: Final = (int, float, np.number)
_ABSENT: Final = {type(None), type(pd.NA), type(pd.NaT)}


class Field(NamedTuple):
    """A field: for each row the number of its value in `labels`."""

    name: str
    codes: Codes
    labels: Sequence[str]


def with_not_known(field: Field, is_unknown: np.ndarray[Any, np.dtype[np.bool_]]) -> Field:
    """Return *field* with missing values changed to "not known" in the rows *is_unknown*."""
    is_missing = field.codes == field.labels.index(MISSING)
    codes = np.where(is_missing & is_unknown, np.int32(len(field.labels)), field.codes)
    return Field(field.name, codes.astype(np.int32), [*field.labels, NOT_KNOWN])


class FieldReader:
    """Reads columns as fields. Those that have no use are in `skipped`, with the reason.

    *wants* says whether a field of that name is asked for.
    """

    def __init__(self, rows: int, wants: Callable[[str], bool]) -> None:
        self.skipped: dict[str, str] = {}
        self._rows = rows
        self._wants = wants

    def read(self, name: str, column: pd.Series[Any]) -> Iterator[Field]:
        """Yield the fields of a column."""
        dtype = column.dtype
        if isinstance(dtype, pd.DatetimeTZDtype) or dtype.kind == "M":
            yield from self._times(name, column)
        elif dtype.kind == "m":
            seconds = column.dt.total_seconds().to_numpy(np.float64)
            yield from self._numbers(name, seconds, unit=" s")
        elif pd.api.types.is_bool_dtype(dtype):
            yield from self._categories(name, column)
        elif pd.api.types.is_numeric_dtype(dtype):
            yield from self._numbers(name, column.to_numpy(np.float64, na_value=np.nan))
        elif pd.api.types.is_object_dtype(dtype):
            values = column.tolist()
            for path, places, leaves in self._paths(name, values):
                if self._wants(path):
                    yield from self._leaves(path, places, leaves)
        else:
            yield from self._categories(name, column)

    # --- what is nested -------------------------------------------------------------------

    def _paths(self, name: str, values: list[Any]) -> Iterator[tuple[str, list[int], list[Any]]]:
        """Yield each path into *values*, with the rows that have it and their values there."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        leaves: defaultdict[str, list[Any]] = defaultdict(list)
        if name in _TOLD_AS_TEXT:
            values = list(map(nested_paths.read, values))
        for path, rows, items in _flattened(name, list(range(len(values))), values, 1):
            places[path] += rows
            leaves[path] += items
        often = [path for path in places if len(places[path]) >= _MIN_ROWS or path == name]
        if len(often) > _MAX_PATHS:
            often.sort(key=lambda path: -len(places[path]))
            self.skipped[f"{name}.…"] = (
                f"it has {len(often):,} paths; the {_MAX_PATHS:,} that most rows have are read"
            )
        for path in often[:_MAX_PATHS]:
            yield path, places[path], leaves[path]

    def _leaves(self, name: str, places: list[int], leaves: list[Any]) -> Iterator[Field]:
        """Yield the field at a path that the rows at the positions *places* have."""
        kinds = set(map(type, leaves)) - _ABSENT
        values = np.full(self._rows, None, dtype=object)
        if all(issubclass(kind, _IS_NUMBER) and kind is not bool for kind in kinds):
            try:
                numbers = np.full(self._rows, np.nan)
                numbers[places] = [np.nan if type(v) in _ABSENT else float(v) for v in leaves]
            except OverflowError:
                pass
            else:
                yield from self._numbers(name, numbers)
                return
        if kinds != {str}:
            leaves = [None if _is_absent(value) else _text(value) for value in leaves]
        values[places] = leaves
        yield from self._categories(name, values)

    # --- kinds of values ------------------------------------------------------------------

    def _times(self, name: str, column: pd.Series[Any]) -> Iterator[Field]:
        for part, values, labels in (
            ("hour", column.dt.hour, [f"{hour:02}" for hour in range(24)]),
            ("weekday", column.dt.day_of_week, list(calendar.day_name)),
        ):
            path = f"{name}.{part}"
            if self._wants(path):
                codes = values.fillna(len(labels)).to_numpy(np.int32)
                yield Field(path, codes, [*labels, MISSING])

    def _numbers(
        self, name: str, values: np.ndarray[Any, np.dtype[np.float64]], unit: str = ""
    ) -> Iterator[Field]:
        codes, numbers = pd.factorize(values, sort=True)
        if len(numbers) <= _MAX_NUMBERS:
            labels = [f"{_number(number)}{unit}" for number in numbers]
            yield _with_missing(name, codes, labels)
            return
        present = values[codes >= 0]
        shares = np.arange(1, _BINS) / _BINS
        edges = np.unique(np.quantile(present, shares, method="inverted_cdf"))
        bins = np.where(codes < 0, -1, np.searchsorted(edges, values, side="right"))
        yield _with_missing(name, bins, _bin_labels(edges.tolist(), unit))
        is_whole = bool(np.isfinite(numbers).all() and (np.floor(numbers) == numbers).all())
        if is_whole and not unit and len(numbers) <= _MAX_WHOLE * self._rows:
            # It may be an id as well, as of a customer, of which a single one is the cause.
            yield _with_missing(name, codes, [_number(number) for number in numbers])

    def _categories(self, name: str, values: Any) -> Iterator[Field]:
        codes, distinct = pd.factorize(values)
        if len(distinct) > _MAX_DISTINCT * self._rows and len(distinct) > 1:
            self.skipped[name] = f"an id: {len(distinct):,} different values in {self._rows:,} rows"
            return
        yield _with_missing(name, codes, [_text(value) for value in distinct])


def _with_missing(name: str, codes: Any, labels: list[str]) -> Field:
    """Return the field; rows of code -1 have no value."""
    codes = codes.astype(np.int32)
    return Field(name, np.where(codes < 0, np.int32(len(labels)), codes), [*labels, MISSING])


def _flattened(
    name: str, rows: list[int], values: list[Any], depth: int
) -> Iterator[tuple[str, list[int], list[Any]]]:
    """Yield the paths below *name*, with the rows that have them and their values.

    Values of the same shape are processed together, for speed: dicts mostly have the same keys.
    """
    kinds = set(map(type, values))
    if depth >= _MAX_DEPTH or not any(issubclass(kind, _IS_NESTED) for kind in kinds):
        yield name, rows, values
        return
    shapes: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, value in enumerate(values):
        shapes[_shape(value)].append(place)
    for shape, places in shapes.items():
        if shape is None:
            yield name, [rows[at] for at in places], [values[at] for at in places]
            continue
        mine = [rows[at] for at in places]
        parts: Iterable[tuple[str, Any]]
        if isinstance(shape, tuple):
            parts = ((f"{name}.{key}", key) for key in shape)
        else:
            parts = ((f"{name}[{item}]", item) for item in range(int(str(shape))))
        for path, key in parts:
            yield from _flattened(path, mine, [values[at][key] for at in places], depth + 1)


def _shape(value: Any) -> Hashable:
    """Return the keys of a dict, or the length of a list; `None` for a single value."""
    if isinstance(value, dict):
        return tuple(value)
    return min(len(value), _MAX_ITEMS) if isinstance(value, (list, tuple)) else None


def _is_absent(value: Any) -> bool:
    return type(value) in _ABSENT or (isinstance(value, float) and np.isnan(value))


def _text(value: Any) -> str:
    """Return a value in words: a text as it is, others as Python writes them."""
    text = value if isinstance(value, str) else repr(value)
    return cut(text, _MAX_LABEL_CHARS)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) < 1e15 and value % 1 == 0 else f"{value:.12g}"


def _bin_labels(edges: Sequence[float], unit: str) -> list[str]:
    shown = [f"{edge:.6g}{unit}" for edge in edges]
    between = [f"{low} to below {high}" for low, high in itertools.pairwise(shown)]
    return [f"below {shown[0]}", *between, f"{shown[-1]} and more"]
