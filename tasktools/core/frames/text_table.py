"""Frames as plain text, within the width of a terminal and without codes for it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

import pandas as pd

from tasktools.core.frames.caption import Caption
from tasktools.core.frames.excerpt import FLEXIBLE, NUMBERS, Excerpt, Strip
from tasktools.core.plurals import counted

GAP: Final = 2
_MARKS: Final = {"critical": "!!", "warning": "!", None: ""}
_DEFAULT_WIDTH: Final = 80  # that pandas has, also in a wider terminal
_MIN_WIDTH: Final = 20
_MAX_LINES: Final = 6  # of a cell
_WRAPPED: Final = ("text", "name", "id")
_MAX_COLUMN_CHARS: Final = 160

Lines = Sequence[str]


def width() -> int:
    """Return the characters of a line: by pandas' option, or of the terminal if that has none."""
    option = pd.get_option("display.width")
    if option is None or (option == _DEFAULT_WIDTH and sys.stdout.isatty()):
        option = shutil.get_terminal_size().columns
    return max(int(option), _MIN_WIDTH)


def text(caption: Caption, excerpt: Excerpt, *, chars: int, nothing: str) -> str:
    """Return the frame as lines of up to *chars* characters; *nothing* is the text for one without
    rows.

    A row that is alarming is marked with ``!``, a critical one with ``!!``.
    """
    title = f"{'DEMO ' if caption.demo else ''}{caption.title}"
    lines = _wrapped(f"{title}: {'; '.join(caption.facts)}", chars)
    lines += _body(excerpt, chars) if excerpt.labels else [nothing]
    if excerpt.more:
        lines.append(f"… {more_rows(excerpt)}")
    if excerpt.empty:
        lines += _wrapped(f"empty: {', '.join(excerpt.empty)}", chars)
    for note in caption.notes:
        lines += _wrapped(f"note: {note}", chars)
    return "\n".join([*lines, *_wrapped(caption.summary, chars)])


def more_rows(excerpt: Excerpt) -> str:
    """Return the number of rows that are not shown."""
    alarming = f", {excerpt.more_alarming:,} of them alarming" if excerpt.more_alarming else ""
    return f"{counted(excerpt.more, 'more row')}{alarming}"


def _body(excerpt: Excerpt, chars: int) -> Iterator[str]:
    marks = _padded([_MARKS[severity] for severity in excerpt.severities])
    labels = _padded([excerpt.index_name, *excerpt.labels])
    leads = [f"{labels[0]}{' ' * len(marks[0])}", *map(str.__add__, labels[1:], marks)]
    room = chars - len(leads[0])
    shown, others = excerpt.parted(room, GAP)
    if others and len(excerpt.labels) == 1 and not excerpt.more:
        yield from _facts(excerpt.strips, chars)
        return
    columns = [_lines_of(strip, size) for strip, size in _sizes(shown, room)]
    headings = [heading for heading, _ in columns]
    depth = max(map(len, headings))
    yield from _row(leads[0], [[""] * (depth - len(each)) + list(each) for each in headings])
    for place, lead in enumerate(leads[1:]):
        yield from _row(lead, [cells[place] for _, cells in columns])
    if others:
        names = ", ".join(strip.name for strip in others)
        yield from _wrapped(f"no room for: {names}", chars)


def _sizes(strips: Sequence[Strip], room: int) -> Iterator[tuple[Strip, int]]:
    """Yield each strip and its width: spare *room* goes to values that may be folded, then to
    names."""
    left = room - sum(strip.width + GAP for strip in strips)
    most = pd.get_option("display.max_colwidth") or _MAX_COLUMN_CHARS
    sizes = [strip.width for strip in strips]
    for place, strip in enumerate(strips):
        if strip.kind in FLEXIBLE:
            more = max(0, min(min(strip.longest, most) - strip.width, left))
            sizes[place] += more
            left -= more
    for place, strip in enumerate(strips):
        if 0 < (more := len(strip.name) - sizes[place]) <= left:
            sizes[place] += more
            left -= more
    sizes[-1] += min(left, 0)
    yield from zip(strips, sizes, strict=True)


def _lines_of(strip: Strip, size: int) -> tuple[Lines, list[Lines]]:
    """Return the heading of a column and its cells, in lines of *size* characters."""
    heading = [strip.name] if len(strip.name) <= size else strip.heading
    heading = [strip.day, *heading] if strip.day else heading
    put = str.rjust if strip.kind in NUMBERS else str.ljust
    cells = [_folded(cell.text, size, strip.kind in _WRAPPED) for cell in strip.cells]
    return [put(line, size) for line in heading], [[put(x, size) for x in cell] for cell in cells]


def _folded(value: str, size: int, wraps: bool) -> Lines:  # noqa: FBT001
    if len(value) <= size:
        return [value]
    if not wraps:
        return [f"{value[: size - 1]}…"]
    return textwrap.wrap(value, size, max_lines=_MAX_LINES, placeholder="…")


def _row(lead: str, cells: Sequence[Lines]) -> Iterator[str]:
    sizes = [len(cell[0]) for cell in cells]
    for number, line in enumerate(zip_longest(*cells, fillvalue="")):
        first = lead if number == 0 else " " * len(lead)
        padded = (part.ljust(size) for part, size in zip(line, sizes, strict=True))
        yield (" " * GAP).join((first, *padded)).rstrip()


def _facts(strips: Sequence[Strip], chars: int) -> Iterator[str]:
    """Yield the names and values of a single row, one under the other."""
    size = max(len(strip.name) for strip in strips)
    for strip in strips:
        first, *others = _wrapped(strip.only.text, max(chars - size - GAP, GAP)) or [""]
        yield f"{strip.name.ljust(size)}  {first}"
        yield from (f"{'':{size}}  {line}" for line in others)


def _padded(texts: Sequence[str]) -> list[str]:
    size = max(map(len, texts))
    return [text.ljust(size) for text in texts]


def _wrapped(text: str, chars: int) -> list[str]:
    return textwrap.wrap(text, chars, subsequent_indent="  ", break_on_hyphens=False)
