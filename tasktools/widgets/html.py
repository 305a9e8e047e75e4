"""HTML that all widgets show. Text of messages is escaped in it, always."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from typing import Any

import pandas as pd

from tasktools.core.redaction import mask_text


def packaged(package: str, *names: str) -> str:
    """Return the text of the files *names* of *package*, one after the other."""
    folder = resources.files(package)
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def heading(title: str, where: str, *, demo: bool, read_only: bool = False) -> str:
    """Return the style sheet of the widgets, and the heading of one, with its cluster."""
    marks = '<span class="tt-demo">DEMO</span>' if demo else ""
    marks += '<span class="tt-mark">read only</span>' if read_only else ""
    cluster = f'<span class="tt-quiet">{escape(where)}</span>'
    style = f"<style>{packaged(__package__, 'style.css')}</style>"
    return f'{style}<div class="tt-heading">{escape(title)} {cluster}{marks}</div>'


def caption(what: str, where: str, *, demo: bool) -> str:
    """Return the text of a widget where nothing shows more."""
    return f"{'DEMO: ' if demo else ''}{what} {where}"


def title(text: str) -> str:
    """Return the title of a part."""
    return f'<div class="tt-title">{escape(text)}</div>'


def step(number: int, text: str) -> str:
    """Return the heading of the step *number* in a widget."""
    return (
        f'<div class="tt-step" role="heading" aria-level="3"><span>{number}</span>'
        f"{escape(text)}</div>"
    )


def quiet(text: str) -> str:
    """Return *text* as a remark."""
    return f'<div class="tt-note tt-quiet">{escape(text)}</div>' if text else ""


def status(text: str) -> str:
    """Return *text* as a status line."""
    return f'<div class="tt-note" role="status">{escape(text)}</div>' if text else ""


def reasons(blockers: Sequence[str]) -> str:
    """Return why a button is off."""
    items = "".join(f"<li>{escape(blocker)}</li>" for blocker in blockers)
    return f'<div class="tt-note" role="status"><ul>{items}</ul></div>' if items else ""


def warnings(texts: Sequence[str]) -> str:
    """Return warnings to read before something is done."""
    return "".join(status(f"Note that {text}.") for text in texts)


def alert(*texts: str) -> str:
    """Return an error box (HTML) with a line for each of *texts* that is not empty."""
    shown = [f"<div>{escape(mask_text(text))}</div>" for text in texts if text]
    return f'<div class="tt-error" role="alert">{"".join(shown)}</div>' if shown else ""


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; *rows* consist of cells, as `cell` returns them."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<table class="tt-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def cell(text: str, *, tooltip: str = "") -> str:
    """Return *text* as a cell of a table."""
    hint = f' title="{escape(tooltip)}"' if tooltip else ""
    return f"<td{hint}>{escape(text)}</td>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values, side by side as far as there is room."""
    items = "".join(
        f'<div><span class="tt-quiet">{escape(name)}</span> {escape(value)}</div>'
        for name, value in pairs
    )
    return f'<div class="tt-facts">{items}</div>'


def text_of(value: Any) -> str:
    """Return *value* as text with secrets masked; a missing one is empty."""
    return "" if pd.isna(value) else mask_text(str(value))
