"""Frames as HTML: for notebooks, light and dark, and readable where style sheets are stripped."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib import resources
from typing import Final

from tasktools.core.escaping import UNTYPESET
from tasktools.core.frames.caption import Caption
from tasktools.core.frames.excerpt import FLEXIBLE, NAME_CHARS, NUMBERS, Cell, Excerpt, Strip
from tasktools.core.frames.schema import Kind, Severity
from tasktools.core.frames.text_table import more_rows
from tasktools.core.plurals import counted

ROOM: Final = 140
"""Characters of a line: as many as a notebook of 1280 px has beside its list of files."""
GAP: Final = 2
_FOLD: Final = re.compile(r"(?<=[.(])(?=['\"A-Za-z_])")
"""The places at which a call or a dotted name is folded, rather than within a word."""
_MARKS: Final = {"critical": "✖", "warning": "▲"}


def html(caption: Caption, excerpt: Excerpt, *, nothing: str) -> str:
    """Return the frame as HTML without scripts; *nothing* is the text for a frame without rows.

    Columns for which there is no room are folded: a click shows them in tables of their own.
    """
    parts = [f"<style>{_style()}</style>", _caption(caption)]
    parts += _tables(excerpt) if excerpt.labels else [f"<div {UNTYPESET}>{escape(nothing)}</div>"]
    if excerpt.empty:
        parts.append(_under(f"empty: {', '.join(excerpt.empty)}"))
    if caption.summary:
        parts.append(f"<div {UNTYPESET}>{escape(caption.summary)}</div>")
    return f'<div class="tasktools-frame tex2jax_ignore mathjax_ignore">{"".join(parts)}</div>'


@functools.cache
def _style() -> str:
    return resources.files(__package__).joinpath("frame.css").read_text(encoding="utf-8")


def _caption(caption: Caption) -> str:
    demo = '<b class="tt-demo">DEMO</b> ' if caption.demo else ""
    title = f'<b title="{escape(caption.row)}">{escape(caption.title)}</b>'
    facts = escape(" · ".join(caption.facts))
    notes = "".join(f"<div>note: {escape(note)}</div>" for note in caption.notes)
    return (
        f'<div class="tt-caption">{demo}{title}: <span class="tt-facts">{facts}</span>{notes}</div>'
    )


def _under(text: str) -> str:
    return f'<div class="tt-under">{escape(text)}</div>'


def _tables(excerpt: Excerpt) -> Iterator[str]:
    shown, others = excerpt.parted(ROOM, GAP)
    if others and len(excerpt.labels) == 1 and not excerpt.more:
        yield _facts(excerpt.strips)
        return
    yield _table(excerpt, shown)
    if excerpt.more:
        yield _under(f"… {more_rows(excerpt)}")
    if others:
        names = ", ".join(strip.name for strip in others)
        tables = "".join(_table(excerpt, part) for part in _parts(shown[0], others))
        summary = f"{counted(len(others), 'more column')}: {escape(names)}"
        yield f"<details><summary>{summary}</summary>{tables}</details>"


def _parts(first: Strip, strips: Sequence[Strip]) -> Iterator[list[Strip]]:
    """Yield *strips* in tables that have room, each with the column *first*."""
    part, room = [first], ROOM - first.width
    for strip in strips:
        room -= strip.width + GAP
        if room < 0 and len(part) > 1:
            yield part
            part, room = [first], ROOM - first.width - strip.width - GAP
        part.append(strip)
    yield part


def _table(excerpt: Excerpt, strips: Sequence[Strip]) -> str:
    head = f"<th>{escape(excerpt.index_name)}</th>" + "".join(map(_heading, strips))
    leads = zip(excerpt.labels, excerpt.severities, strict=True)
    rows = zip(leads, zip(*(strip.cells for strip in strips), strict=True), strict=True)
    body = "".join(
        f"<tr{_class(severity)}>{_label(label, severity)}{_cells(strips, cells)}</tr>"
        for (label, severity), cells in rows
    )
    return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _label(label: str, severity: Severity | None) -> str:
    mark = f'<span title="{severity}">{_MARKS[severity]}</span> ' if severity else ""
    return f"<th>{mark}{escape(label)}</th>"


def _heading(strip: Strip) -> str:
    is_folded = len(strip.name) > strip.width
    name = "<wbr>".join(map(escape, strip.heading if is_folded else [strip.name]))
    day = f"<small>{escape(strip.day)}</small>" if strip.day else ""
    return f"<th{_class('number' if strip.kind in NUMBERS else None)}>{day}{name}</th>"


def _cells(strips: Sequence[Strip], cells: Iterable[Cell]) -> str:
    return "".join(_cell(strip.kind, cell) for strip, cell in zip(strips, cells, strict=True))


def _cell(kind: Kind, cell: Cell) -> str:
    classes = (
        ["number"]
        if kind in NUMBERS
        else ["long"]
        if kind in FLEXIBLE or len(cell.text) > NAME_CHARS
        else []
    )
    classes += [cell.severity] if cell.severity else []
    title = f' title="{escape(cell.title)}"' if cell.title else ""
    align = ' align="right"' if kind in NUMBERS else ""
    text = "<wbr>".join(map(escape, _FOLD.split(cell.text) if "long" in classes else [cell.text]))
    text = f"<b>{text}</b>" if cell.severity else text
    return f"<td{_class(*classes)}{align}{title}>{text}</td>"


def _class(*names: str | None) -> str:
    classes = " ".join(f"tt-{name}" for name in names if name)
    return f' class="{classes}"' if classes else ""


def _facts(strips: Sequence[Strip]) -> str:
    """Return the names and values of a single row, one under the other."""
    rows = "".join(
        f"<tr><th>{escape(strip.name)}</th>{_cell('object', strip.only)}</tr>" for strip in strips
    )
    return f'<table class="dataframe"><tbody>{rows}</tbody></table>'
