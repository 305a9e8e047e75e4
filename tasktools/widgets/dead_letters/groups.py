"""Groups of dead letters, as a short list to choose from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from tasktools.core.escaping import cut, harmless
from tasktools.core.frames.failure_groups import failure_groups, group_values
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
_MAX_READ: Final = 1_000  # dead letters, of which paths are offered
_MAX_DEPTH: Final = 2  # names below a column
_MAX_PATHS: Final = 12
_MAX_TEXT_CHARS: Final = 160
_MISSING_NAMES: Final = {"error_type": "not reported", "task_name": "no task"}


class Group(NamedTuple):
    """The dead letters with the value *name* in the column or path *by*; `None`: a missing
    value."""

    by: str
    name: str | None

    def mask(self, frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return a mask of the rows of *frame* in this group."""
        column = _column(frame, self.by)
        is_member = column.isna() if self.name is None else column.eq(self.name).fillna(value=False)
        return is_member.to_numpy(dtype=bool)


def _column(frame: pd.DataFrame, by: str) -> pd.Series[Any]:
    """Return the values in the column or at the path *by*, in the form of group names."""
    names = [None if is_missing(value) else f"{value}" for value in group_values(frame, by)]
    return pd.Series(names, index=frame.index, dtype="string")


def choices_of(frame: pd.DataFrame | None) -> tuple[tuple[str, str], ...]:
    """Return the columns to group by, as pairs of a label and a column; paths into arguments and
    headers only if several dead letters share a value there."""
    paths = [] if frame is None else _useful_paths(frame)
    return (*GROUP_COLUMNS.items(), *((path, path) for path in paths))


def _useful_paths(frame: pd.DataFrame) -> list[str]:
    values: defaultdict[str, list[str]] = defaultdict(list)
    for name in ("kwargs", "headers"):
        for value in frame[name].head(_MAX_READ):
            for path, leaf in _leaves(name, value, _MAX_DEPTH):
                values[path].append(f"{leaf}")
    useful = [
        path for path, each in values.items() if 1 < len(set(each)) < len(each) and len(path) < 80
    ]
    return sorted(useful, key=lambda path: -len(values[path]))[:_MAX_PATHS]


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the texts and numbers in *value*, with the paths that lead to them."""
    if isinstance(value, dict) and depth:
        for name, item in value.items():
            if isinstance(name, str) and "." not in name:
                yield from _leaves(f"{path}.{name}", item, depth - 1)
    elif isinstance(value, str | int | float):
        yield path, value


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
    """The groups of a frame: the largest ones as lines, and the numbers of all and of the rest."""

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
    example = "" if is_missing(row.example_error) else str(row.example_error)
    shown = _MISSING_NAMES.get(by, "not known") if name is None else name
    return Line(
        name=name,
        title=cut(harmless(shown), _MAX_TEXT_CHARS),
        count=f"{row.count:,}",
        share=float(row.share),
        when=_span(row.first, row.last, now),
        example=cut(harmless(example), _MAX_TEXT_CHARS),
    )


def _span(first: Any, last: Any, now: datetime) -> str:
    """Return in words when the first and the last message of a group died."""
    since, until = cell(first, "time", now).text, cell(last, "time", now).text
    return since if since == until else f"{since} … {until}"
