r"""Frames as tables for people and as JSON for programs. Pure: nothing is printed here.

Values are untrusted (task names, arguments, host names): they are never read as markup, and control
characters are escaped (``\x1b``).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from tasktools.cli.columns import Answer, in_order
from tasktools.core import escaping
from tasktools.core.escaping import shortened
from tasktools.core.frames import caption, schemas
from tasktools.core.frames.cell_text import as_json, words
from tasktools.core.frames.export import is_missing, plain, records, rows
from tasktools.core.frames.history_schemas import PUBLISHED_MESSAGES
from tasktools.core.frames.schema import Column, Schema

_MAX_CELL_CHARS: Final = 300
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
        "prefetched": "cyan",
        "scheduled": "cyan",
        "confirmed": "green",
        "replayed": "green",
        "discarded": "green",
        "restored": "green",
        "finished": "green",
        "skipped": "yellow",
        "not sent": "yellow",
        "cancelled": "yellow",
        "no": "bold red",
        "critical": "bold red",
        "warning": "yellow",
    }
)
_STYLED: Final = ("state", "outcome", "ended", "dead_lettering", "exists", "severity")
_WITH_ARGUMENTS: Final = (schemas.ACTIVE_TASKS, schemas.DEAD_LETTERS, PUBLISHED_MESSAGES)
_LEFT: Final = ("name", "id", "text", "names", "flag", "time", "object")
_FOLDED: Final = ("text", "names", "object")
_MISSING: Final = "-"

harmless: Final = escaping.harmless


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
        """The least width that the column needs."""
        cells = max((cell.cell_len for cell in self.cells), default=0)
        words = max(map(len, self.name.split("_")))
        return max(words, min(cells, _NARROW) if self.flexible else cells)


def all_columns(
    frame: Answer, schema: Schema, *, width: int | None
) -> tuple[Table, tuple[str, ...]]:
    """Return *frame* as a table with all columns of *schema*, in lines of any length."""
    del width
    grid = _grid(terminal=False)
    for column in schema.columns:
        _add_column(grid, column.name, right=column.kind not in _LEFT)
    for row in records(frame):
        grid.add_row(*(_cell(row[column.name], column) for column in schema.columns))
    return grid, ()


def table(frame: Answer, schema: Schema, *, width: int | None) -> tuple[Table, tuple[str, ...]]:
    """Return *frame* as a table, and the names of the columns that did not fit.

    For a terminal of *width* the table has lines, and long values are folded; without a width, for
    a pipe, it is plain aligned columns with one line a row.
    """
    strips = list(_strips(frame, schema))
    left_out: list[str] = []
    for name in in_order(frame, schema):
        if _fits(strips, width):
            break
        if all(strip.name != name for strip in strips):
            continue
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


def _strips(frame: Answer, schema: Schema) -> Iterator[Strip]:
    columns = {column.name: column for column in schema.columns}
    for name in schema.main or schema.names:
        column = columns[name]
        yield Strip(
            name,
            [_cell(value, column) for value in frame[name]],
            right=column.kind not in _LEFT,
            flexible=column.kind in _FOLDED,
        )
    if schema in _WITH_ARGUMENTS:
        yield Strip("arguments", [_arguments(row) for row in records(frame)], flexible=True)


def facts(frame: Answer, schema: Schema, *, width: int | None) -> tuple[Table, tuple[str, ...]]:
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
    """Return the number of rows of *what* by outcome, as a table."""
    grid = _grid(terminal=width is not None)
    _add_column(grid, "outcome")
    _add_column(grid, what, right=True)
    for outcome, n in of.items():
        grid.add_row(Text(outcome, style=_STYLES.get(outcome, "bold red")), Text(f"{n:,}"))
    return grid


def alike(rows: Sequence[dict[str, Any]], most: int) -> list[list[dict[str, Any]]]:
    """Return the *rows* of messages in groups, to be described in a line each: each message alone
    if there are at most *most*, else those with the same outcome for the same reason."""
    if len(rows) <= most:
        return [[row] for row in rows]
    groups: defaultdict[tuple[Any, Any], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["outcome"], row["why"]].append(row)
    return list(groups.values())


def _grid(*, terminal: bool) -> Table:
    if terminal:
        return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")


def _add_column(grid: Table, title: str, *, right: bool = False, folds: bool = False) -> None:
    justify: Literal["right", "left"] = "right" if right else "left"
    grid.add_column(Text(title), justify=justify, overflow="fold", no_wrap=not folds)


def _cell(value: Any, column: Column) -> Text:
    if is_missing(value):
        text = _MISSING
    elif column.kind == "time":
        text = local(value)
    else:
        text = shortened(harmless(words(value, column.kind)), _MAX_CELL_CHARS)
    return Text(text, style=_STYLES.get(text, "") if column.name in _STYLED else "")


def local(time: datetime) -> str:
    """Return *time* in the zone of this machine, with its offset from UTC, as it can be typed."""
    zoned = datetime.fromtimestamp(time.timestamp(), UTC).astimezone()  # also of a pandas time
    text = f"{zoned:%Y-%m-%d %H:%M:%S%z}"
    return f"{text[:-5]}Z" if text.endswith("+0000") else f"{text[:-2]}:{text[-2:]}"


def _arguments(row: Mapping[str, Any]) -> Text:
    if not is_missing(row["problem"]):
        return Text(harmless(f"problem: {row['problem']}"), style="bold red")
    arguments = [row[name] for name in ("args", "kwargs") if not is_missing(row[name])]
    if not arguments:
        return Text(_MISSING)
    texts = " ".join(as_json(value) for value in arguments if value)
    return Text(shortened(harmless(texts or "none"), _MAX_CELL_CHARS))


# --- JSON ----------------------------------------------------------------------------


def document(frame: Answer, **more: Any) -> str:
    """Return *frame* as one JSON document: rows, sources, notes, and looks where there are any.

    Times are ISO 8601, spans seconds, what is missing is null, a secret is ``•••``. It is
    written in ASCII, so that no value can do anything to a terminal.
    """
    return json.dumps(_fields(frame, more), indent=2, allow_nan=False)


def line(frame: Answer, **more: Any) -> str:
    """Return the same document on one line, for programs that read line by line."""
    return json.dumps(_fields(frame, more), allow_nan=False)


def _fields(frame: Answer, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rows": rows(frame),
        "sources": plain(frame.attrs.get("sources", {})),
        "notes": plain(frame.attrs.get("notes", [])),
        **({"looks": plain(frame.attrs["looks"])} if "looks" in frame.attrs else {}),
        **more,
        "cluster": frame.attrs.get("cluster"),
        "demo": "demo" in frame.attrs,
    }


# --- what goes under a table ---------------------------------------------------------


def remarks(frame: Answer) -> list[str]:
    """Return the remarks on *frame*: its notes, and looks that were not harmless."""
    return caption.remarks(frame.attrs)
