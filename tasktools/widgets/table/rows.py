"""Rows of a table: a frame with keys that can be searched and sorted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasktools.widgets.table.columns import Cell, Column, cell, is_missing, text_of

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

_COLUMN_SEPARATOR: Final = "\x1f"  # no word of a filter spans two columns


@dataclass(frozen=True, slots=True)
class Sort:
    """The column by which rows are sorted, and the direction."""

    column: str
    descending: bool = False


class Rows:
    """The rows of *frame*. A *place* is the position of a row in the frame, from 0.

    Raises `ValueError` if a column or a key is missing, or if a key occurs twice.
    """

    def __init__(self, frame: pd.DataFrame, columns: Sequence[Column]) -> None:
        lacking = [name for name in ("key", *(c.name for c in columns)) if name not in frame]
        if lacking:
            raise ValueError(f"The frame has no column {', '.join(lacking)}.")
        self.frame = frame.reset_index(drop=True)
        self.columns = {column.name: column for column in columns}
        self.keys = pd.Index(self.frame["key"].astype(object))
        if not all(isinstance(key, str) for key in self.keys):
            raise ValueError("The key of each row must be a string.")
        if not self.keys.is_unique:
            twice = self.keys[self.keys.duplicated()][0]
            raise ValueError(f"The key of each row must be its own; {twice!r} is there twice.")
        self._sorted: tuple[Sort, Places] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def place(self, key: str) -> int | None:
        """Return the position of the row of *key*, or `None`."""
        place = self.keys.get_indexer([key])[0]
        return None if place < 0 else int(place)

    def having(self, keys: Collection[str]) -> Mask:
        """Return a mask of the rows that have one of *keys*."""
        having: Mask = self.keys.isin(list(keys))
        return having

    def matching(self, text: str) -> Mask:
        """Return a mask of the rows with every word of *text* in their texts, in any case."""
        matches = np.ones(len(self), dtype=bool)
        for word in text.casefold().split():
            matches &= np.fromiter((word in row for row in self._searched), bool, len(self))
        return matches

    def order(self, sort: Sort | None) -> Places:
        """Return the positions of all rows in the order of *sort*.

        Equal rows keep their order; rows without a value come last.
        """
        if sort is None:
            return np.arange(len(self))
        if self._sorted is None or self._sorted[0] != sort:
            values = self._comparable(self.columns[sort.column]).sort_values(
                ascending=not sort.descending, kind="stable", na_position="last"
            )
            self._sorted = sort, values.index.to_numpy()
        return self._sorted[1]

    def cells(self, places: Places, now: datetime) -> list[list[Cell]]:
        """Return the cells of the rows at the positions *places*, one list per row."""
        columns = [
            [cell(value, column.kind, now) for value in self.frame[name].iloc[places]]
            for name, column in self.columns.items()
        ]
        return [list(row) for row in zip(*columns, strict=True)]

    @cached_property
    def _searched(self) -> list[str]:
        """The text of each row in lower case, built for the first search."""
        texts = [self._texts(column) for column in self.columns.values() if column.searched]
        return [_COLUMN_SEPARATOR.join(row).casefold() for row in zip(*texts, strict=True)]

    def _texts(self, column: Column) -> Iterable[str]:
        return [text_of(value, column.kind) for value in self.frame[column.name].tolist()]

    def _comparable(self, column: Column) -> pd.Series[Any]:
        values: pd.Series[Any] = self.frame[column.name]
        if not column.searched:
            return values
        texts = [
            None if is_missing(value) else text_of(value, column.kind).casefold()
            for value in values.tolist()
        ]
        return pd.Series(texts, dtype=object)
