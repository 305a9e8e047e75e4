"""Edits as the user enters them: rows of a path and a new value, as JSON or as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import pandas as pd

from tasktools.core.errors import InvalidPlan
from tasktools.core.json_input import value_of
from tasktools.core.masked_repr import masked_repr
from tasktools.core.redaction import Redaction, mask
from tasktools.core.secret_text import MARK
from tasktools.core.tasks import edits

_MASK_PROBLEM: Final = (
    "{}: it holds •••, which stands for a secret (one that was typed in is forgotten once the plan "
    "is made); type it again to make another plan."
)
_MAX_SAMPLED_ROWS: Final = 200
_KIND_NAMES: Final = {
    str: "text",
    bool: "true or false",
    int: "number",
    float: "number",
    list: "list",
    dict: "object",
    type(None): "null",
}


class EditRow(NamedTuple):
    """One edit, with *value* as it was typed. With *remove* the value at *path* is removed."""

    path: str = ""
    value: str = ""
    remove: bool = False

    def __repr__(self) -> str:
        (value,) = mask({self.path: self.value}).values()
        return f"EditRow({self.path!r}, {masked_repr(value)}, remove={self.remove!r})"


def without_secrets(rows: tuple[EditRow, ...], redaction: Redaction) -> tuple[EditRow, ...]:
    """Return *rows* with a mark instead of each value that is or contains a secret."""
    return tuple(_without_secret(row, redaction) for row in rows)


def _without_secret(row: EditRow, redaction: Redaction) -> EditRow:
    value = value_of(row.value)
    (masked,) = redaction.value({row.path: value}).values()
    return row if masked == value else row._replace(value=MARK)


def kind_of(row: EditRow) -> str:
    """Return in words the type that the value of *row* has."""
    if row.remove:
        return "is taken out"
    return "empty text" if not row.value else _KIND_NAMES[type(value_of(row.value))]


def read(rows: Iterable[EditRow]) -> tuple[dict[str, Any], list[str]]:
    """Return the edits in *rows* by path, and the problems with them in words."""
    by_path: dict[str, Any] = {}
    problems: list[str] = []
    for row in rows:
        path = row.path.strip()
        if not path:
            problems += ["An edit has no path; name one, like kwargs.to."] if row.value else []
        elif path in by_path:
            problems.append(f"{path} is edited twice.")
        else:
            by_path[path] = edits.REMOVE if row.remove else value_of(row.value)
            problems += (
                [_MASK_PROBLEM.format(path)]
                if row.value == MARK
                else _problems({path: by_path[path]})
            )
    return by_path, problems or _problems(by_path)


def _problems(by_path: dict[str, Any]) -> list[str]:
    try:
        edits.checked(by_path)
    except InvalidPlan as error:
        return [str(error).replace("; nothing was done", "")]
    return []


def paths_in(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the paths that can be edited, judged by the first of *rows*."""
    first = rows.head(_MAX_SAMPLED_ROWS)
    paths = dict.fromkeys(_paths(first))
    return tuple(paths)


def _paths(rows: pd.DataFrame) -> Iterator[str]:
    for kwargs in rows["kwargs"]:
        if isinstance(kwargs, dict):
            yield from (f"kwargs.{name}" for name in kwargs)
    for args in rows["args"]:
        if isinstance(args, list):
            yield from (f"args.{number}" for number in range(len(args)))
