"""Columns of a table, and their values as text that is safe to send and to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec
import pandas as pd

from tasktools.core.escaping import harmless, shortened
from tasktools.core.frames import cell_text
from tasktools.core.timespans import in_words

Kind = Literal["text", "id", "json", "count", "size", "time", "span", "flag"]

_TEXT_KINDS: Final = ("text", "id", "json")
_MAX_CHARS: Final = 300
_JSON: Final = msgspec.json.Encoder(enc_hook=str)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name in the frame, its heading, and the kind of its values.

    Widths are pixels; columns that may `grow` share the rest of the width. A column that is `under`
    the others takes the second line of each row. A filter searches the kinds of text: `text`, `id`
    and `json`.
    """

    name: str
    title: str
    kind: Kind = "text"
    width: int = 120
    grow: bool = False
    under: bool = False

    @property
    def searched(self) -> bool:
        """Whether a filter searches this column."""
        return self.kind in _TEXT_KINDS


class Cell(NamedTuple):
    """The text of a value, and its tooltip if that says more."""

    text: str
    title: str = ""


def cell(value: Any, kind: Kind, now: datetime) -> Cell:
    """Return the cell that shows *value* at the time *now*."""
    if is_missing(value):
        return Cell("")
    if kind in _TEXT_KINDS:
        return Cell(shortened(harmless(text_of(value, kind)), _MAX_CHARS))
    return _CELL_OF[kind](value, now)


def text_of(value: Any, kind: Kind) -> str:
    """Return the whole text of *value*, as a filter searches it."""
    if isinstance(value, str):
        return value
    return "" if is_missing(value) else _json(value) if kind == "json" else str(value)


def is_missing(value: Any) -> bool:
    """Whether *value* is `None`, `NA`, `NaT` or NaN."""
    return value is None or value is pd.NA or value is pd.NaT or value != value  # noqa: PLR0124


def _json(value: Any) -> str:
    try:
        return _JSON.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate
        return ascii(value)


# --- numbers, times and flags --------------------------------------------------------


def _count(value: Any, _now: datetime) -> Cell:
    return Cell(f"{int(value):,}")


def _size(value: Any, _now: datetime) -> Cell:
    return Cell(cell_text.size(int(value)), f"{int(value):,} bytes")


def _time(value: Any, now: datetime) -> Cell:
    seconds = (now - value).total_seconds()
    exact = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if abs(seconds) < 60:
        return Cell("just now", exact)
    about = in_words(abs(seconds), units=1)
    return Cell(f"{about} ago" if seconds > 0 else f"in {about}", exact)


def _span(value: Any, _now: datetime) -> Cell:
    seconds = value.total_seconds()
    return Cell(in_words(seconds, units=1), f"{seconds:,.3f} s")


def _flag(value: Any, _now: datetime) -> Cell:
    return Cell("yes" if value else "no")


_CELL_OF: Final[dict[Kind, Callable[[Any, datetime], Cell]]] = {
    "count": _count,
    "size": _size,
    "time": _time,
    "span": _span,
    "flag": _flag,
}
