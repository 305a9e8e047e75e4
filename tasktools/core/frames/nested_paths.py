"""Paths into the columns of a frame with arguments and headers, like ``kwargs.customer.id``."""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

NESTED: Final = ("args", "kwargs", "headers")
"""Columns into which a path may lead."""


def is_path(name: str, columns: Collection[str]) -> bool:
    """Whether *name* is a path into one of *columns*.

    >>> is_path("kwargs.customer.id", ["kwargs"]), is_path("kwargs", ["kwargs"])
    (True, False)
    """
    column, _, rest = name.partition(".")
    return bool(rest) and column in NESTED and column in columns


def values_at(path: str, column: Iterable[Any]) -> list[Any]:
    """Return for each value of *column* the part at *path*, which begins with the column's name;
    `None` if there is no such part. Positions in lists are numbers from 0.

    >>> values_at("kwargs.items.1", [{"items": ["a", "b"]}, {"items": []}, None])
    ['b', None, None]
    """
    names = path.split(".")[1:]
    return [_value_at(read(value), names) for value in column]


def read(value: Any) -> Any:
    """Return *value*, parsed if it is the ``repr`` of a Python literal, as Celery's workers send
    arguments. Other texts, like the ``repr`` of an object or one that was cut, are returned as they
    are.

    >>> read("{'to': 'a@b'}"), read("(<User 5>,)")
    ({'to': 'a@b'}, '(<User 5>,)')
    """
    return _literal(value) if isinstance(value, str) else value


@functools.lru_cache(maxsize=4096)
def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def _value_at(value: Any, names: Sequence[str]) -> Any:
    for name in names:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list | tuple) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
