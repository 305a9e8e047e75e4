"""The groups of the dead letters, as a short list to choose from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from tasktools.core.groups import failure_groups
from tasktools.widgets.table.columns import cell, harmless, is_missing

BY: Final = {
    "Fingerprint": "fingerprint",
    "Error": "error_type",
    "Task": "task_name",
    "Reason": "reason",
    "Topic": "topic",
}
"""What dead letters are grouped by: the column, by how it is called on screen."""

_MOST: Final = 40
_LONGEST: Final = 160
_UNKNOWN: Final = {"error_type": "nobody said", "task_name": "no task"}


class Group(NamedTuple):
    """Those dead letters whose column *by* is *name*; `None`: where it is missing."""

    by: str
    name: str | None

    def mask(self, frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which rows of *frame* are in it."""
        column = frame[self.by]
        found = column.isna() if self.name is None else column.eq(self.name).fillna(value=False)
        return found.to_numpy(dtype=bool)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the list, as it is drawn. *name* is that of its group."""

    name: str | None
    title: str
    count: str
    share: float
    when: str
    example: str


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a frame: the largest as lines, and how many there are."""

    lines: tuple[Line, ...] = ()
    total: int = 0
    more: int = 0

    def as_json(self) -> list[dict[str, Any]]:
        """Return the lines as they are sent to the browser."""
        return [asdict(line) for line in self.lines]


def groups_of(frame: pd.DataFrame, by: str, now: datetime) -> Groups:
    """Return the groups of dead letters in *frame* by its column *by*, as they look at *now*."""
    found = failure_groups(frame, by)
    lines = tuple(_line(row, by, now) for row in found.head(_MOST).itertuples(index=False))
    return Groups(lines, total=len(found), more=max(len(found) - _MOST, 0))


def _line(row: Any, by: str, now: datetime) -> Line:
    name = None if is_missing(row.group) else str(row.group)
    shown = _UNKNOWN.get(by, "not known") if name is None else name
    return Line(
        name=name,
        title=_cut(shown),
        count=f"{row.count:,}",
        share=float(row.share),
        when=_span(row.first, row.last, now),
        example=_cut("" if is_missing(row.example_error) else row.example_error),
    )


def _span(first: Any, last: Any, now: datetime) -> str:
    """Say when the first and the last of a group died."""
    since, until = cell(first, "time", now).text, cell(last, "time", now).text
    return since if since == until else f"{since} … {until}"


def _cut(text: str) -> str:
    shown = harmless(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
