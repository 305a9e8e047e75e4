"""Groups of dead letters, as a short list to choose from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from tasktools.core.escaping import harmless
from tasktools.core.frames.failure_groups import failure_groups
from tasktools.widgets.table.columns import cell, is_missing

GROUP_COLUMNS: Final = {
    "Fingerprint": "fingerprint",
    "Error": "error_type",
    "Task": "task_name",
    "Reason": "reason",
    "Topic": "topic",
}
"""Columns by which dead letters can be grouped, by their names on screen."""

_MAX_GROUPS: Final = 40
_MAX_TEXT_CHARS: Final = 160
_MISSING_NAMES: Final = {"error_type": "nobody said", "task_name": "no task"}


class Group(NamedTuple):
    """The dead letters whose column *by* has the value *name*; `None`: a missing value."""

    by: str
    name: str | None

    def mask(self, frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return a mask of the rows of *frame* in this group."""
        column = frame[self.by]
        is_member = column.isna() if self.name is None else column.eq(self.name).fillna(value=False)
        return is_member.to_numpy(dtype=bool)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the list on screen. *name* is the name of its group."""

    name: str | None
    title: str
    count: str
    share: float
    when: str
    example: str


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a frame: lines of the largest ones, and the number of all and of the rest."""

    lines: tuple[Line, ...] = ()
    total: int = 0
    more: int = 0

    def as_json(self) -> list[dict[str, Any]]:
        """Return the lines in the form that the browser gets."""
        return [asdict(line) for line in self.lines]


def groups_of(frame: pd.DataFrame, by: str, now: datetime) -> Groups:
    """Return the groups of *frame* by its column *by*, with times relative to *now*."""
    groups = failure_groups(frame, by)
    lines = tuple(_line(row, by, now) for row in groups.head(_MAX_GROUPS).itertuples(index=False))
    return Groups(lines, total=len(groups), more=max(len(groups) - _MAX_GROUPS, 0))


def _line(row: Any, by: str, now: datetime) -> Line:
    name = None if is_missing(row.group) else str(row.group)
    shown = _MISSING_NAMES.get(by, "not known") if name is None else name
    return Line(
        name=name,
        title=_cut(shown),
        count=f"{row.count:,}",
        share=float(row.share),
        when=_span(row.first, row.last, now),
        example=_cut("" if is_missing(row.example_error) else row.example_error),
    )


def _span(first: Any, last: Any, now: datetime) -> str:
    """Return in words when the first and the last message of a group died."""
    since, until = cell(first, "time", now).text, cell(last, "time", now).text
    return since if since == until else f"{since} … {until}"


def _cut(text: str) -> str:
    shown = harmless(text)
    return shown if len(shown) <= _MAX_TEXT_CHARS else f"{shown[:_MAX_TEXT_CHARS]}…"
