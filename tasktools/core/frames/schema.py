"""The model of a schema: its columns, the kinds of their values, and what in them is alarming."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal[
    "name",
    "id",
    "text",
    "names",
    "count",
    "bytes",
    "ratio",
    "share",
    "rate",
    "flag",
    "time",
    "span",
    "offset",
    "object",
]
"""The kind of a column's values: with their type it says how they are shown.

A *text* is a sentence, *names* a list of them, a *share* a part of 1, a *rate* a number a second,
an *offset* a span with a sign, an *object* whatever a message holds.
"""

_TEXT: Final = "string"
_SPAN: Final = "timedelta64[us]"

Severity = Literal["critical", "warning"]

DTYPES: Final[MappingProxyType[Kind, str]] = MappingProxyType(
    {
        "name": _TEXT,
        "id": _TEXT,
        "text": _TEXT,
        "names": "object",
        "count": "Int64",
        "bytes": "Int64",
        "ratio": "Float64",
        "share": "Float64",
        "rate": "Float64",
        "flag": "boolean",
        "time": "datetime64[us, UTC]",
        "span": _SPAN,
        "offset": _SPAN,
        "object": "object",
    }
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its kind, its meaning with its unit, and its source."""

    name: str
    kind: Kind
    meaning: str
    source: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm for rows in which *column* has one of the values *among*, and its severity.

    Without *among*, every value is alarming that is not missing, 0 or False. With *along*, rows are
    alarming only if the column *along* is above 0.
    """

    column: str
    severity: Severity
    among: tuple[str | int, ...] = ()
    along: str | None = None


@dataclass(frozen=True, slots=True)
class Schema:
    """A frame's name, what one row is, and its columns in order; and how they are shown.

    *main* are the columns to show, in this order, in a table without room for all columns; if
    empty, the first columns are shown. Rows with *alarms* come first, unless the rows are
    *ordered*, as by time.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    main: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    ordered: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)
