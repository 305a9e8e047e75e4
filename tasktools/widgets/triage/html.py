"""The parts of the widget that are HTML. What comes from messages is text in them, always."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from typing import Any, Final

import pandas as pd

from tasktools.core.plans import Plan
from tasktools.core.redaction import mask_text
from tasktools.widgets.triage.state import worth_showing
from tasktools.widgets.words import quiet

_MOST_CHANGES: Final = 6
_MOST_ROWS: Final = 12


def style() -> str:
    """Return the style sheet of the widget."""
    css = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return f"<style>{css}</style>"


def head(address: str, *, demo: bool, read_only: bool) -> str:
    """Return the heading, with the cluster that it is about."""
    marks = ['<span class="tt-demo">DEMO</span>'] if demo else []
    marks += ['<span class="tt-mark">read only</span>'] if read_only else []
    where = f'<span class="tt-quiet">on {escape(address)}</span>'
    return f'<div class="tt-heading">Dead letters {where}{"".join(marks)}</div>'


def title(text: str) -> str:
    """Return the title of a part."""
    return f'<div class="tt-title">{escape(text)}</div>'


def plan(shown: Plan | None) -> str:
    """Return a plan: what it does, what it skips, and of its edits the first ones."""
    if shown is None:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in shown.lines())
    changes = [(message.task_name, c) for message in shown.chosen for c in message.changes]
    rows = [(name, c.path, c.before, c.after) for name, c in changes[:_MOST_CHANGES]]
    made = _table(("task", "edit", "before", "after"), rows) if rows else ""
    left = quiet(_more(len(changes) - len(rows), "edits like these"))
    return (
        f'<div class="tt-plan"><div class="tt-name">Plan: {escape(shown.title)}</div>'
        f"<ul>{items}</ul>{made}{left}</div>"
    )


def outcome(frame: pd.DataFrame | None) -> str:
    """Return what a run has not done as planned, or perhaps twice, and why."""
    if frame is None:
        return ""
    notes = "".join(quiet(str(note)) for note in frame.attrs["notes"])
    odd = worth_showing(frame)
    if odd.empty:
        return notes
    shown = odd.head(_MOST_ROWS)
    twice = shown["possible_duplicate"].fillna(value=False).map({True: "perhaps twice", False: ""})
    rows = zip(shown["task_name"], shown["key"], shown["outcome"], twice, shown["why"], strict=True)
    made = _table(("task", "message", "outcome", "", "why"), rows)
    left = _more(len(odd) - len(shown), f"rows; all of them: tt.ledger({frame.attrs['run']})")
    return notes + made + quiet(left)


def _table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    headings = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(_text(value))}</td>' for value in row)}</tr>" for row in rows
    )
    return (
        f'<table class="tt-table"><thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table>'
    )


def _text(value: Any) -> str:
    return "" if pd.isna(value) else mask_text(str(value))


def _more(count: int, what: str) -> str:
    return f"{count:,} more {what}" if count > 0 else ""
