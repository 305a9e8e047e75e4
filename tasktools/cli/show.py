r"""Frames as tables for people and as JSON for programs. Pure: nothing is printed here.

What is shown comes from strangers (task names, arguments, host names): it is never read as
markup, and characters that a terminal would obey are written out (``\x1b``).
"""

from __future__ import annotations

import csv as csv_format
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any, Final, Literal

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from tasktools.cli.columns import COLUMNS, DISPENSABLE
from tasktools.core import schemas
from tasktools.core.history_schemas import PUBLISHED_MESSAGES
from tasktools.core.schemas import Column, Schema

_LONGEST: Final = 300
"""Characters of one cell; a body can have megabytes."""
_NARROW: Final = 24
"""Characters that a cell which may be folded wants at least."""
_BETWEEN: Final = 3

_STYLES: Final = MappingProxyType(
    {
        "alive": "green",
        "late": "yellow",
        "gone": "bold red",
        "stopped": "dim",
        "running": "green",
        "queued": "cyan",
        "confirmed": "green",
        "replayed": "green",
        "discarded": "green",
        "restored": "green",
        "finished": "green",
        "skipped": "yellow",
        "not sent": "yellow",
        "cancelled": "yellow",
        "no": "bold red",
    }
)
_STYLED: Final = ("state", "outcome", "ended", "dead_lettering", "exists")
_SHARES: Final = ("utilisation", "share")
_WITH_ARGUMENTS: Final = (schemas.ACTIVE_TASKS, schemas.DEAD_LETTERS, PUBLISHED_MESSAGES)
_FOLDED: Final = ("error", "why", "reason", "note", "group", "before", "after", "skipped")
_MISSING: Final = "-"


def harmless(text: str) -> str:
    r"""Return *text* with everything that a terminal would obey written out, as ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def span(seconds: float, *, signed: bool = False) -> str:
    """Return a span as people say it: ``3.2 s``, ``4 min 05 s``, ``2 h 00 min``, ``3 d 4 h``."""
    sign = "-" if seconds < 0 else "+" if signed else ""
    seconds = abs(seconds)
    if seconds < 9.95:
        return f"{sign}{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{sign}{rest} s"
    if minutes < 60:
        return f"{sign}{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{sign}{hours} h {minutes:02} min"
    return f"{sign}{hours // 24} d {hours % 24} h"


# --- tables --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Strip:
    """One column of a table: its cells, and how wide they are."""

    name: str
    cells: list[Text]
    right: bool = False
    flexible: bool = False

    @property
    def width(self) -> int:
        """The width it needs at least."""
        cells = max((cell.cell_len for cell in self.cells), default=0)
        words = max(map(len, self.name.split("_")))
        return max(words, min(cells, _NARROW) if self.flexible else cells)


def table(
    frame: pd.DataFrame, schema: Schema, *, width: int | None
) -> tuple[Table, tuple[str, ...]]:
    """Return *frame* as a table, and the names of columns for which there was no room.

    For a terminal of *width* it has lines, and what is long is folded; without a width, for a
    pipe, it is plain aligned columns with one line a row.
    """
    strips = list(_strips(frame, schema))
    left_out: list[str] = []
    for name in DISPENSABLE.get(schema.name, ()):
        if _fits(strips, width):
            break
        strips = [strip for strip in strips if strip.name != name]
        left_out.append(name)
    fits = _fits(strips, width)
    grid = _grid(terminal=width is not None)
    for strip in strips:
        title = strip.name
        if width is not None:
            title = title.replace("_", " " if strip.width >= len(title) else "\n")
        folds = not fits or (strip.flexible and width is not None)
        _add_column(grid, title, right=strip.right, folds=folds)
    for cells in zip(*(strip.cells for strip in strips), strict=True):
        grid.add_row(*cells)
    return grid, tuple(left_out)


def _fits(strips: list[Strip], width: int | None) -> bool:
    return width is None or sum(strip.width + _BETWEEN for strip in strips) <= width


def _strips(frame: pd.DataFrame, schema: Schema) -> Iterator[Strip]:
    columns = {column.name: column for column in schema.columns}
    for name in COLUMNS.get(schema.name, schema.names):
        column = columns[name]
        yield Strip(
            name,
            [_cell(value, column) for value in frame[name]],
            right=column.kind in ("count", "ratio", "span"),
            flexible=column.kind == "object" or name in _FOLDED,
        )
    if schema in _WITH_ARGUMENTS:
        yield Strip("arguments", [_arguments(row) for row in records(frame)], flexible=True)


def facts(
    frame: pd.DataFrame, schema: Schema, *, width: int | None
) -> tuple[Table, tuple[str, ...]]:
    """Return the one row of *frame* as a table of its columns, one a line."""
    grid = _grid(terminal=width is not None)
    grid.show_header = False
    _add_column(grid, "what")
    _add_column(grid, "value", right=True)
    for row in records(frame):
        for column in schema.columns:
            title = column.name if width is None else column.name.replace("_", " ")
            grid.add_row(Text(title), _cell(row[column.name], column))
    return grid, ()


def counts(of: Mapping[str, int], what: str, *, width: int | None) -> Table:
    """Return how many of *what* had which outcome."""
    grid = _grid(terminal=width is not None)
    _add_column(grid, "outcome")
    _add_column(grid, what, right=True)
    for outcome, n in of.items():
        grid.add_row(Text(outcome, style=_STYLES.get(outcome, "bold red")), Text(f"{n:,}"))
    return grid


def _grid(*, terminal: bool) -> Table:
    if terminal:
        return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")


def _add_column(grid: Table, title: str, *, right: bool = False, folds: bool = False) -> None:
    justify: Literal["right", "left"] = "right" if right else "left"
    grid.add_column(Text(title), justify=justify, overflow="fold", no_wrap=not folds)


def records(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the rows of *frame* as they are."""
    names = [str(name) for name in frame.columns]
    for values in frame.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))


def _cell(value: Any, column: Column) -> Text:
    text = _short(harmless(_words(value, column)))
    return Text(text, style=_STYLES.get(text, "") if column.name in _STYLED else "")


def _words(value: Any, column: Column) -> str:  # noqa: PLR0911 - one a kind
    if _is_missing(value):
        return _MISSING
    match column.kind:
        case "count":
            return f"{int(value):,}"
        case "ratio":
            return f"{value:.0%}" if column.name in _SHARES else f"{value:.1f}/s"
        case "flag":
            return "yes" if value else "no"
        case "time":
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case "span":
            return _span_of(value.total_seconds(), signed=column.name == "clock_offset")
        case "object":
            return ", ".join(map(str, value)) if isinstance(value, list) else _json(value)
        case _:
            return str(value)


def _span_of(seconds: float, *, signed: bool) -> str:
    if signed and abs(seconds) < 1:  # no more exact than that
        return "0 s"
    return span(seconds, signed=signed)


def _arguments(row: Mapping[str, Any]) -> Text:
    if not _is_missing(row["problem"]):
        return Text(harmless(f"problem: {row['problem']}"), style="bold red")
    given = [row[name] for name in ("args", "kwargs") if not _is_missing(row[name])]
    if not given:
        return Text(_MISSING)
    words = " ".join(_json(value) for value in given if value)
    return Text(_short(harmless(words or "none")))


def _short(text: str) -> str:
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]} [+{more:,} characters]"


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)


# --- JSON ----------------------------------------------------------------------------


def document(frame: pd.DataFrame, **more: Any) -> str:
    """Return *frame* as one JSON document: rows, sources, notes, and looks where there are any.

    Times are ISO 8601, spans seconds, what is missing is null, a secret is ``•••``. It is
    written in ASCII, so that no value can do anything to a terminal.
    """
    told = {
        "rows": rows(frame),
        "sources": plain(frame.attrs.get("sources", {})),
        "notes": plain(frame.attrs.get("notes", [])),
        **({"looks": plain(frame.attrs["looks"])} if "looks" in frame.attrs else {}),
        **more,
        "cluster": frame.attrs.get("cluster"),
        "demo": "demo" in frame.attrs,
    }
    return json.dumps(told, indent=2, allow_nan=False)


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of *frame* as JSON has them."""
    return [{name: plain(value) for name, value in row.items()} for row in records(frame)]


def csv(frame: pd.DataFrame) -> str:
    """Return *frame* as CSV with a heading: what is missing is empty, what has parts is JSON."""
    file = io.StringIO()
    writer = csv_format.writer(file, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in rows(frame):
        writer.writerow([_csv_cell(value) for value in row.values()])
    return file.getvalue()


def _csv_cell(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
    return harmless(text) if isinstance(text, str) else text


def plain(value: Any) -> Any:  # noqa: PLR0911 - one a type
    """Return *value* as JSON has it."""
    match value:
        case str() | bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None if math.isnan(value) else str(value)
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _ if _is_missing(value):
            return None
        case timedelta():
            return value.total_seconds()
        case date():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case _:
            return value.item() if hasattr(value, "item") else str(value)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value  # noqa: PLR0124


# --- what goes under a table ---------------------------------------------------------


def remarks(frame: pd.DataFrame) -> list[str]:
    """Return what one should know beside the table: notes, and looks that cost something."""
    notes = [str(note) for note in frame.attrs.get("notes", ())]
    costly: dict[str, list[str]] = {}
    for look in frame.attrs.get("looks", ()):
        if not look["refused"] and look["cost"] != "harmless":
            costly.setdefault(f"{look['cost']}: {look['why']}", []).append(str(look["queue"]))
    notes += [f"looking at {', '.join(queues)} {cost}" for cost, queues in costly.items()]
    return [harmless(note) for note in notes]
