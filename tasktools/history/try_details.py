"""Details of attempts that workers reported: tracebacks of failures, and arguments as JSON.

They have a table of their own, since most attempts have none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from tasktools.core.masked_repr import MaskedStruct
from tasktools.history.attempts import Attempt
from tasktools.history.file_checks import Count
from tasktools.history.store import number
from tasktools.history.tables import TRY_DETAILS, Row, has_table, select

_ROWS_PER_QUERY: Final = 500


class TryDetails(MaskedStruct, frozen=True, array_like=True):
    """Details of the attempt `n`; `None` where its worker reported nothing, or it was not kept."""

    n: Count = 0
    traceback: str | None = None
    args: str | None = None
    kwargs: str | None = None

    def arguments(self) -> tuple[Any, Any]:
        """Return args and kwargs. An argument that is text is a ``repr`` made by the worker."""
        return _decoded(self.args), _decoded(self.kwargs)


NO_DETAILS: Final = TryDetails()


def write(connection: sqlite3.Connection, attempts: Iterable[Attempt]) -> None:
    """Write the details of those of *attempts* that have some."""
    rows = (_row(attempt) for attempt in attempts if attempt.has_details)
    connection.executemany(TRY_DETAILS.insert(verb="INSERT OR REPLACE"), rows)


def _row(attempt: Attempt) -> Row:
    return {
        "n": attempt.n,
        "at": number(attempt.at),
        "traceback": attempt.traceback,
        "args": _encoded(attempt.args),
        "kwargs": _encoded(attempt.kwargs),
    }


def read(connection: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, TryDetails]:
    """Return the details of attempts by their *numbers*; not all have any."""
    if not has_table(connection, TRY_DETAILS.name):
        return {}
    all_numbers = list(numbers)
    details: dict[int, TryDetails] = {}
    for start in range(0, len(all_numbers), _ROWS_PER_QUERY):
        listed = ", ".join(map(str, all_numbers[start : start + _ROWS_PER_QUERY]))
        source = f"FROM {TRY_DETAILS.name} AS t WHERE n IN ({listed})"
        details |= {row.n: row for row in select(connection, TryDetails, source)}
    return details


def _encoded(arguments: Any) -> str | None:
    return None if arguments is None else msgspec.json.encode(arguments).decode()


def _decoded(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
