"""The excerpt of a frame that a display shows: rows and columns in words, and what is alarming."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from tasktools.core.escaping import cut, exact, harmless, shortened
from tasktools.core.frames.cell_text import words
from tasktools.core.frames.export import is_missing, plain
from tasktools.core.frames.schema import DTYPES, Alarm, Kind, Schema, Severity

_MAX_CELL_CHARS: Final = 300
_MAX_OBJECT_CHARS: Final = 120
_MAX_TITLE_CHARS: Final = 2_000
_MAX_ROWS: Final = 60  # where pandas has no number
_FLEXIBLE_CHARS: Final = 24
"""Characters that a cell which may be folded wants at most."""
NAME_CHARS: Final = 40
"""Characters that a name has in one line; longer ones are folded."""
_LEAST_CHARS: Final = 12
"""The least number of characters of a cell that may be folded."""
_ID_CHARS: Final = 8
_ID: Final = re.compile(
    r"([0-9a-f]{16,}|[0-9a-f]{8}-[0-9a-f-]{27})(#\d+)?", re.ASCII | re.IGNORECASE
)
"""An id that nobody reads; one with words in it is a name."""
NUMBERS: Final = ("count", "bytes", "ratio", "share", "rate", "span", "offset")
"""Kinds of values that are read from the right."""
FLEXIBLE: Final = ("text", "names", "object")
"""Kinds of values that may be folded, or cut."""
_COUNTED: Final = ("count", "flag", "ratio")
"""Kinds of values that are alarming above 0."""
_SEVERITIES: Final[tuple[Severity | None, ...]] = (None, "warning", "critical")
_MISSING: Final = "-"

Levels = np.ndarray[Any, np.dtype[np.int8]]
"""The level of each row: 0, 1 for a warning, 2 for critical."""


class Cell(NamedTuple):
    """The text of a value; a tooltip, if that says more; and how bad the value is."""

    text: str
    title: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Strip:
    """One column of an excerpt; *day* is the date of all its times, if they have one."""

    name: str
    kind: Kind
    cells: tuple[Cell, ...]
    day: str = ""

    @property
    def only(self) -> Cell:
        """The only value of a column in a frame of one row, with its date."""
        (cell,) = self.cells
        return cell._replace(text=f"{self.day} {cell.text}") if self.day else cell

    @property
    def is_blank(self) -> bool:
        """Whether no value of the column is known."""
        return all(cell.text == _MISSING for cell in self.cells)

    @property
    def width(self) -> int:
        """The characters that the column needs where its name is folded at underscores."""
        heading = max(len(self.day), *map(len, self.heading))
        most = _FLEXIBLE_CHARS if self.kind in FLEXIBLE else NAME_CHARS
        return max(heading, min(self.longest, most))

    @property
    def heading(self) -> list[str]:
        """The parts of the column's name, after each of which it may be folded."""
        *parts, last = self.name.split("_")
        return [*(f"{part}_" for part in parts), last]

    @property
    def longest(self) -> int:
        """The characters of the column's longest value."""
        return max((len(cell.text) for cell in self.cells), default=0)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The rows and columns of a frame that are shown, the most important columns first.

    *labels* are those of the rows, *empty* the columns in which nothing is known of any row. There
    are *more* rows, of which some *more_alarming*.
    """

    labels: tuple[str, ...]
    severities: tuple[Severity | None, ...]
    strips: tuple[Strip, ...]
    empty: tuple[str, ...]
    more: int
    more_alarming: int
    index_name: str = ""

    def parted(self, room: int, gap: int) -> tuple[tuple[Strip, ...], tuple[Strip, ...]]:
        """Return the strips that fit into *room* characters, with *gap* characters between strips,
        and the other strips.

        The last strip that is shown may get less room than it needs."""
        shown: list[Strip] = []
        others: list[Strip] = []
        for strip in self.strips:
            least = min(strip.width, _LEAST_CHARS) if strip.kind in FLEXIBLE else strip.width
            if room >= least + gap or not shown:
                room -= strip.width + gap
                shown.append(strip)
            else:
                others.append(strip)
        return tuple(shown), tuple(others)


def excerpt_of(frame: pd.DataFrame, schema: Schema | None, room: int, gap: int) -> Excerpt:
    """Return the excerpt of *frame*; columns of *schema* are shown as it says.

    The order of columns is changed only where they have no *room* (see `Excerpt.parted`).
    """
    kinds = {str(name): _kind(name, dtype, schema) for name, dtype in frame.dtypes.items()}
    alarms = [alarm for alarm in schema.alarms if _can_tell(alarm, kinds, schema)] if schema else []
    levels, alarming = _levels(frame, kinds, alarms)
    places = _places(frame, levels, ordered=schema is None or schema.ordered)
    part = frame.iloc[places]
    known = [name for name in kinds if _is_known(frame, part, name)]
    severities = _severities(part, kinds, alarms)
    strips = [_strip(part[name], kinds[name], severities.get(name)) for name in known or kinds]
    excerpt = Excerpt(
        labels=tuple(_label(label) for label in part.index),
        severities=tuple(_SEVERITIES[level] for level in levels[places]),
        strips=tuple(strips),
        empty=tuple(_label(name) for name in kinds if known and name not in known),
        more=len(frame) - len(part),
        more_alarming=int((levels > 0).sum() - (levels[places] > 0).sum()),
        index_name=_label(tuple(name for name in part.index.names if name is not None)),
    )
    return _in_order(excerpt, schema, alarming) if excerpt.parted(room, gap)[1] else excerpt


def _in_order(excerpt: Excerpt, schema: Schema | None, alarming: Sequence[str]) -> Excerpt:
    """Return *excerpt* with its columns in order of importance, unless the user chose an order:
    identifying columns, alarming ones, main ones."""
    names = [strip.name for strip in excerpt.strips]
    if schema is None or names != [name for name in schema.names if name in names]:
        return excerpt
    first = next((name for name in schema.main if name in names), names[0])
    ranked = [*dict.fromkeys((first, *alarming, *schema.main, *names))]
    strips = {strip.name: strip for strip in excerpt.strips}
    ranked.sort(key=lambda name: name in strips and strips[name].is_blank)
    return replace(excerpt, strips=tuple(strips[name] for name in ranked if name in strips))


# --- kinds ---------------------------------------------------------------------------


def _kind(name: object, dtype: Any, schema: Schema | None) -> Kind:
    """Return the kind of a column: that of the schema, unless its values have another type."""
    kinds = {column.name: column.kind for column in schema.columns} if schema else {}
    kind = kinds.get(str(name))
    return kind if kind is not None and str(dtype) == DTYPES[kind] else _kind_of(dtype)


def _kind_of(dtype: Any) -> Kind:
    types = pd.api.types
    if types.is_bool_dtype(dtype):
        return "flag"
    if types.is_integer_dtype(dtype):
        return "count"
    if types.is_float_dtype(dtype):
        return "ratio"
    if types.is_datetime64_any_dtype(dtype):
        return "time"
    if types.is_timedelta64_dtype(dtype):
        return "span"
    return "object" if types.is_object_dtype(dtype) else "name"


# --- rows ----------------------------------------------------------------------------


def _can_tell(alarm: Alarm, kinds: dict[str, Kind], schema: Schema) -> bool:
    """Whether the columns of *alarm* exist, with their original values, or sums or means of
    them."""
    meant = {column.name: column.kind for column in schema.columns}
    return all(
        kinds.get(name) in (meant[name], *(("count", "ratio") if meant[name] in _COUNTED else ()))
        for name in (alarm.column, alarm.along)
        if name is not None
    )


def _levels(
    frame: pd.DataFrame, kinds: dict[str, Kind], alarms: Sequence[Alarm]
) -> tuple[Levels, list[str]]:
    """Return how bad each row is, and the columns that say so."""
    levels = np.zeros(len(frame), dtype=np.int8)
    columns = []
    for alarm in alarms:
        if (hits := _hits(frame, kinds, alarm)).any():
            level = np.int8(_SEVERITIES.index(alarm.severity))
            levels = np.maximum(levels, np.where(hits, level, np.int8(0)))
            columns.append(alarm.column)
    return levels, columns


def _hits(frame: pd.DataFrame, kinds: dict[str, Kind], alarm: Alarm) -> np.ndarray[Any, Any]:
    """Return a mask of the rows for which *alarm* is true; it is false for an unknown value."""
    values = frame[alarm.column]
    if alarm.among:
        hits = values.isin(alarm.among).to_numpy(dtype=bool)
    elif kinds[alarm.column] in _COUNTED:
        hits = _above_0(values)
    else:
        hits = values.notna().to_numpy(dtype=bool)
    return hits if alarm.along is None else hits & _above_0(frame[alarm.along])


def _above_0(values: pd.Series[Any]) -> np.ndarray[Any, Any]:
    hits: np.ndarray[Any, Any] = values.to_numpy(dtype=float, na_value=0.0) > 0
    return hits


def _places(frame: pd.DataFrame, levels: Levels, *, ordered: bool) -> np.ndarray[Any, Any]:
    """Return the positions of the rows to show, as many as pandas' options say."""
    ordered = ordered or not frame.index.is_monotonic_increasing  # somebody has sorted them
    most, fewest = (pd.get_option(f"display.{name}_rows") for name in ("max", "min"))
    count = len(frame)
    if most is not None and count > (most := most or _MAX_ROWS):
        alarming = 0 if ordered else int((levels > 0).sum())
        count = min(max(fewest or most, alarming), most)
    if ordered or not levels.any():
        return np.arange(count)
    return np.argsort(-levels, kind="stable")[:count]


def _severities(
    part: pd.DataFrame, kinds: dict[str, Kind], alarms: Sequence[Alarm]
) -> dict[str, list[Severity | None]]:
    """Return by column how bad each of its values is; the first alarm of a column counts."""
    severities: dict[str, list[Severity | None]] = {}
    for alarm in alarms:
        cells = severities.setdefault(alarm.column, [None] * len(part))
        for place in np.flatnonzero(_hits(part, kinds, alarm)):
            cells[place] = cells[place] or alarm.severity
    return severities


def _is_known(frame: pd.DataFrame, part: pd.DataFrame, name: str) -> bool:
    """Whether the column has a value, in any row; or there are no rows."""
    return part.empty or bool(part[name].notna().any()) or bool(frame[name].notna().any())


def _label(label: Any) -> str:
    parts = label if isinstance(label, tuple) else (label,)
    text = harmless(", ".join(map(str, parts)))
    return cut(text, NAME_CHARS)


# --- cells ---------------------------------------------------------------------------


def _strip(
    values: pd.Series[Any], kind: Kind, severities: Sequence[Severity | None] | None
) -> Strip:
    items = list(values)
    day = _day(items) if kind == "time" else ""
    cells = list(_ids(items) if kind == "id" else (_cell(item, kind, day) for item in items))
    if severities is not None:
        cells = [c._replace(severity=s) for c, s in zip(cells, severities, strict=True)]
    return Strip(
        name=_label(values.name),
        kind=kind,
        cells=tuple(cells),
        day=day,
    )


def _cell(value: Any, kind: Kind, day: str) -> Cell:
    if is_missing(value):
        return Cell(_MISSING)
    if kind == "time":
        at = value.tz_convert(UTC) if value.tzinfo else value
        text = f"{at:%H:%M:%S}" if day else f"{at:%Y-%m-%d %H:%M:%S}"
        return Cell(text, f"{at:%Y-%m-%d %H:%M:%S.%f}{' UTC' if value.tzinfo else ''}")
    text = harmless(words(value, kind))
    most = _MAX_OBJECT_CHARS if kind == "object" else _MAX_CELL_CHARS
    if len(text) > most:
        return Cell(shortened(text, most), cut(text, _MAX_TITLE_CHARS))
    return Cell(text, _exactly(value, kind))


def _exactly(value: Any, kind: Kind) -> str:
    """Return the exact value, for a kind that is shown rounded; "" for others."""
    match kind:
        case "bytes":
            return f"{int(value):,} bytes"
        case "ratio" | "share" | "rate":
            return f"{value:.6g}"
        case "span" | "offset":
            return f"{value.total_seconds():,.3f} s"
        case _:
            return ""


def _day(values: Sequence[Any]) -> str:
    """Return the date (UTC) of *values*, if it is one for all of them."""
    times = [value for value in values if not is_missing(value)]
    days = {f"{t.tz_convert(UTC) if t.tzinfo else t:%Y-%m-%d}" for t in times}
    return days.pop() if len(days) == 1 else ""


def _ids(values: Sequence[Any]) -> Iterator[Cell]:
    """Yield ids; random ids are shortened, as git does, to the length at which they differ."""
    texts = [None if is_missing(value) else exact(str(plain(value))) for value in values]
    matches = [None if text is None else _ID.fullmatch(text) for text in texts]
    whole = {match[1] for match in matches if match}
    length = next(
        (n for n in range(_ID_CHARS, 36, 4) if len({text[:n] for text in whole}) == len(whole)), 36
    )
    for text, match in zip(texts, matches, strict=True):
        if text is None:
            yield Cell(_MISSING)
        elif match and len(match[1]) > length and len(texts) > 1:
            yield Cell(f"{match[1][:length]}…{match[2] or ''}", text)
        else:
            yield Cell(harmless(text))
