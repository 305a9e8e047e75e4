"""Edits as they are entered: rows of a path and a new value, as JSON or as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import pandas as pd

from tasktools.core import edits
from tasktools.core.errors import InvalidPlan

_SAMPLE: Final = 200
_KINDS: Final = {
    str: "text",
    bool: "true or false",
    int: "number",
    float: "number",
    list: "list",
    dict: "object",
    type(None): "null",
}


class EditRow(NamedTuple):
    """One edit: *value* is as it was typed. With *remove* what is there is taken out."""

    path: str = ""
    value: str = ""
    remove: bool = False


def value_of(text: str) -> Any:
    """Return what *text* means: JSON where it is some, else the text itself."""
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text


def _no_json(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


def kind_of(row: EditRow) -> str:
    """Say what the value of *row* is read as."""
    if row.remove:
        return "is taken out"
    return "empty text" if not row.value else _KINDS[type(value_of(row.value))]


def read(rows: Iterable[EditRow]) -> tuple[dict[str, Any], list[str]]:
    """Return *rows* as edits by path, and what is wrong with them, in words."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for row in rows:
        path = row.path.strip()
        if not path:
            problems += ["An edit has no path; name one, like kwargs.to."] if row.value else []
        elif path in found:
            problems.append(f"{path} is edited twice.")
        else:
            found[path] = edits.REMOVE if row.remove else value_of(row.value)
            problems += _problems({path: found[path]})
    return found, problems or _problems(found)


def _problems(found: dict[str, Any]) -> list[str]:
    try:
        edits.checked(found)
    except InvalidPlan as error:
        return [str(error).replace("; nothing was done", "")]
    return []


def paths_in(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the paths of what can be edited in *rows*, as far as the first of them tell."""
    first = rows.head(_SAMPLE)
    found = dict.fromkeys(_paths(first))
    return tuple(found)


def _paths(rows: pd.DataFrame) -> Iterator[str]:
    for kwargs in rows["kwargs"]:
        if isinstance(kwargs, dict):
            yield from (f"kwargs.{name}" for name in kwargs)
    for args in rows["args"]:
        if isinstance(args, list):
            yield from (f"args.{number}" for number in range(len(args)))
