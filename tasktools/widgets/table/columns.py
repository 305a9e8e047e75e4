"""What a table shows: its columns, and their values as text that is safe to send and to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec
import pandas as pd

Kind = Literal["text", "id", "json", "count", "size", "time", "span", "flag"]

_TEXTS: Final = ("text", "id", "json")
_LONGEST: Final = 300
_JSON: Final = msgspec.json.Encoder(enc_hook=str)
_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60))


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: which of the frame's, its heading, and how its values are shown.

    Widths are pixels; one that may `grow` shares what is left. Columns of text (`text`, `id`,
    `json`) are those that a filter searches.
    """

    name: str
    title: str
    kind: Kind = "text"
    width: int = 120
    grow: bool = False

    @property
    def searched(self) -> bool:
        """Whether a filter looks here."""
        return self.kind in _TEXTS


class Cell(NamedTuple):
    """A value as it is drawn, and what the pointer over it tells, if that is more."""

    text: str
    title: str = ""


def cell(value: Any, kind: Kind, now: datetime) -> Cell:
    """Return *value* as it is shown at *now*."""
    if is_missing(value):
        return Cell("")
    if kind in _TEXTS:
        return Cell(_cut(harmless(text_of(value, kind))))
    return _SHOWN[kind](value, now)


def text_of(value: Any, kind: Kind) -> str:
    """Return the whole text of *value*, as a filter searches it."""
    if isinstance(value, str):
        return value
    return "" if is_missing(value) else _json(value) if kind == "json" else str(value)


def is_missing(value: Any) -> bool:
    """Whether there is no value."""
    return value is None or value is pd.NA or value is pd.NaT or value != value  # noqa: PLR0124


def harmless(text: str) -> str:
    r"""Return *text* with what is not to be printed written out, as ``\n`` or ``\u202e``: lone
    surrogates cannot be sent, and marks of direction would change how a neighbour reads."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _cut(text: str) -> str:
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]} … [+{more:,} characters]"


def _json(value: Any) -> str:
    try:
        return _JSON.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate
        return ascii(value)


# --- numbers, times and flags --------------------------------------------------------


def _count(value: Any, _now: datetime) -> Cell:
    return Cell(f"{int(value):,}")


def _size(value: Any, _now: datetime) -> Cell:
    size = int(value)
    exact = f"{size:,} bytes"
    for unit, least in (("MB", 1_000_000), ("kB", 1000)):
        if size >= least:
            return Cell(f"{size / least:,.1f} {unit}", exact)
    return Cell(f"{size} B", exact)


def _time(value: Any, now: datetime) -> Cell:
    seconds = (now - value).total_seconds()
    exact = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if abs(seconds) < 60:
        return Cell("just now", exact)
    about = _about(abs(seconds))
    return Cell(f"{about} ago" if seconds > 0 else f"in {about}", exact)


def _about(seconds: float) -> str:
    """Return a span of a minute or more in the largest unit that it fills."""
    unit, size = next(pair for pair in _UNITS if seconds >= pair[1])
    return f"{int(seconds // size)} {unit}"


def _span(value: Any, _now: datetime) -> Cell:
    seconds = value.total_seconds()
    exact = f"{seconds:,.3f} s"
    if abs(seconds) < 60:
        return Cell(f"{seconds:.1f} s", exact)
    return Cell(f"{'-' if seconds < 0 else ''}{_about(abs(seconds))}", exact)


def _flag(value: Any, _now: datetime) -> Cell:
    return Cell("yes" if value else "no")


_SHOWN: Final[dict[Kind, Callable[[Any, datetime], Cell]]] = {
    "count": _count,
    "size": _size,
    "time": _time,
    "span": _span,
    "flag": _flag,
}
