"""Edits of a task message: new values by path, like ``{"kwargs.to": "ann@shop.example"}``."""

from __future__ import annotations

import enum
import inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tasktools.core import untrusted
from tasktools.core.errors import InvalidPlan
from tasktools.core.escaping import exact
from tasktools.core.frames.export import is_missing
from tasktools.core.lazy_imports import np
from tasktools.core.redaction import DEFAULT, MASKED, Masked, Redaction


class Mark(enum.Enum):
    """A mark in place of a value, which no value of a message equals."""

    REMOVE = "(removed)"
    NOT_THERE = "(not there)"
    NOT_KNOWN = "(not known)"

    def __repr__(self) -> str:
        return str(self.value)


REMOVE: Final = Mark.REMOVE
"""The new value of a path that is to be removed."""
NOT_THERE: Final = Mark.NOT_THERE
NOT_KNOWN: Final = Mark.NOT_KNOWN

_INNER: Final = ("args", "kwargs", "headers")
_FIELDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "args": list,
    "kwargs": dict,
    "task_name": str,
    "func_name": str,
    "attempts": int,
    "max_retries": int,
    "retry_delay": (int, float),
    "expires_at": str,
}
_TIMES: Final = ("expires_at",)
_OPTIONAL: Final = ("max_retries", "retry_delay", "expires_at")
_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_INDEX: Final = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)

_Parameter: Final = inspect.Parameter
_BY_POSITION: Final = {_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD}
_BY_NAME: Final = {_Parameter.POSITIONAL_OR_KEYWORD, _Parameter.KEYWORD_ONLY}

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class EditDoesNotFit(ValueError):
    """An edit does not fit this message; the message says why, and nothing was changed."""


# --- edits as a value --------------------------------------------------------------------


def checked(edits: Mapping[str, Any]) -> dict[str, Any]:
    """Return *edits* as plain JSON values that belong to the caller alone.

    A path is ``args.0``, ``kwargs.to``, ``kwargs.address.city`` or ``headers.x``, all of ``args``
    or ``kwargs``, or ``task_name``, ``func_name``, ``attempts``, ``max_retries``, ``retry_delay``
    (seconds), ``expires_at`` (a time, also in ISO 8601; without a zone UTC). Raises `InvalidPlan`
    for any other path, for two that overlap, for a value that is not JSON or not of the field's
    type, and for one that holds a masked secret.
    """
    if not isinstance(edits, Mapping) or not all(isinstance(path, str) for path in edits):
        raise InvalidPlan("Edits are a dict of paths and new values; nothing was done.")
    plain = {path: _checked(path, value) for path, value in edits.items()}
    for path in plain:
        above = path.rpartition(".")[0]
        while above:
            if above in plain:
                raise InvalidPlan(f"Edits of {above} and {path} overlap; nothing was done.")
            above = above.rpartition(".")[0]
    return plain


def _checked(path: str, value: Any) -> Any:
    field, *inner = path.split(".")
    if field not in (_INNER if inner else _FIELDS) or "" in inner:
        raise InvalidPlan(
            f"{path!r} is no path of a task; nothing was done. Paths are args.0, kwargs.name, "
            f"headers.name, {', '.join(_FIELDS)}."
        )
    if field == "args" and inner and not _INDEX.fullmatch(inner[0]):
        raise InvalidPlan(f"{path}: items of args have numbers, from 0 on; nothing was done.")
    if value is REMOVE:
        if not inner and field not in _OPTIONAL:
            raise InvalidPlan(f"{path} cannot be removed, only changed; nothing was done.")
        return value
    try:
        plain = _plain(
            value.isoformat() if field in _TIMES and isinstance(value, datetime) else value
        )
        _encode(plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidPlan(f"{path} cannot be given this value: {why}; nothing was done.") from None
    if not inner:
        _check_field(field, plain)
    time = untrusted.time(plain) if field in _TIMES and not inner else None
    return plain if time is None else time.isoformat()


def _check_field(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, _FIELDS[field]):
        why = f"cannot be {type(value).__name__}"
    elif isinstance(value, int | float) and value < 0:
        why = "cannot be negative"
    elif field == "task_name" and not value:
        why = "cannot be empty"
    elif field == "func_name" and not _FUNCTION.fullmatch(str(value)):
        why = "must be module:function"
    elif field in _TIMES and untrusted.time(value) is None:
        why = "must be a time in ISO 8601, as 2026-11-30T18:00:00+00:00"
    else:
        return
    raise InvalidPlan(f"{field} {why}; nothing was done.")


def _plain(value: Any) -> Any:
    """Return a copy of *value* as JSON has it; raises `TypeError` or `ValueError`."""
    match value:
        case np.generic():
            return _plain(value.item())
        case None | bool() | int() | float():
            return value
        case str():
            if str(MASKED) in value:
                raise ValueError(f"it holds {MASKED}, which stands for a secret")
            return exact(value)
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise TypeError("its keys must be texts")
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case Masked():
            raise ValueError(f"it holds {MASKED}, which stands for a secret")
    raise TypeError(f"JSON has no {type(value).__name__}")


def to_json(edits: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked *edits* as JSON: ``{"set": {path: value}, "remove": [path]}``."""
    content_by_kind = {
        "set": {path: value for path, value in edits.items() if value is not REMOVE},
        "remove": [path for path, value in edits.items() if value is REMOVE],
    }
    return {name: content for name, content in content_by_kind.items() if content}


def from_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the edits in *data*, as made by `to_json`; raises `InvalidPlan` as `checked` does."""
    return checked({**data.get("set", {}), **dict.fromkeys(data.get("remove", ()), REMOVE)})


# --- before and after --------------------------------------------------------------------


def before_after(
    row: Mapping[str, Any], edits: Mapping[str, Any], redaction: Redaction = DEFAULT
) -> list[tuple[str, Any, Any]]:
    """Return for each of *edits* its path, the value before and the value after, for display.

    *row* has the columns of a dead letter, with secrets masked; new values under a name of a secret
    are masked as well. `NOT_THERE` and `NOT_KNOWN` (the row does not show it) stand for no value.
    """
    return [
        (path, _before(row, path), _after(path, value, redaction)) for path, value in edits.items()
    ]


def _before(row: Mapping[str, Any], path: str) -> Any:
    field, *inner = path.split(".")
    value = row.get(field)
    if field in _TIMES and isinstance(value, datetime):
        value = untrusted.time(str(value))
        return NOT_KNOWN if value is None else value.isoformat()
    if "numpy" in sys.modules and isinstance(value, np.generic):
        value = value.item()
    return NOT_KNOWN if is_missing(value) else _at(value, inner)


def _after(path: str, value: Any, rules: Redaction) -> Any:
    if value is REMOVE:
        return NOT_THERE
    parts = path.split(".")
    nested = value
    for key in reversed(parts):
        nested = {key: nested}
    return _at(rules.value(nested), parts)


def _at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and _INDEX.fullmatch(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return value if value == MASKED else NOT_THERE
    return value


# --- arguments and the function that gets them ---------------------------------------------


def misfit(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str | None:
    """Return in words why a function cannot take these arguments, or `None` if it can.

    >>> def send(to, subject="hello"): ...
    >>> misfit(inspect.signature(send), [], {"too": "ann"})
    "missing argument 'to'; unexpected argument 'too'"
    """
    parameters = signature.parameters.values()
    kinds = {p.kind for p in parameters}
    by_position = [p.name for p in parameters if p.kind in _BY_POSITION]
    by_name = [p.name for p in parameters if p.kind in _BY_NAME]
    problems = []
    if len(args) > len(by_position) and _Parameter.VAR_POSITIONAL not in kinds:
        problems.append(f"{len(args)} positional arguments instead of {len(by_position)}")
    at_place = by_position[: len(args)]
    at_name = [name for name in by_name if name in kwargs]
    problems += [f"argument {name!r} given twice" for name in at_name if name in at_place]
    problems += [
        f"missing argument {p.name!r}"
        for p in parameters
        if p.default is p.empty
        and p.kind in _BY_POSITION | _BY_NAME
        and p.name not in (*at_place, *at_name)
    ]
    if _Parameter.VAR_KEYWORD not in kinds:
        problems += [f"unexpected argument {name!r}" for name in kwargs if name not in by_name]
    return "; ".join(problems) or None
