"""Findings, and frames about the subject of one, as HTML tables."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from tasktools.core.redaction import Redaction
from tasktools.core.timespans import in_words
from tasktools.widgets import html
from tasktools.widgets.finding_lines import FindingLines
from tasktools.widgets.incident.state import Answer

_MAX_ROWS: Final = 20


def answer_html(answer: Answer | None, redaction: Redaction) -> str:
    """Return *answer* with its titles and notes; "" for none."""
    if answer is None:
        return ""
    parts = [
        html.title(redaction.text(title)) + _frame_html(frame, redaction)
        for title, frame in answer.tables
    ]
    parts += [html.quiet(redaction.text(note)) for note in answer.notes]
    return "".join(parts)


def findings_html(findings: FindingLines | None) -> str:
    """Return a table of *findings* with its sources; "" for none."""
    if findings is None:
        return ""
    headings = ("severity", "finding", "since", "remedy", "next call")
    rows = (
        map(html.cell, (line.severity, line.finding, line.since, line.remedy, line.call))
        for line in findings.lines
    )
    shown = html.table(headings, rows) if findings.lines else ""
    return shown + "".join(map(html.quiet, findings.notes))


def _frame_html(frame: pd.DataFrame, redaction: Redaction) -> str:
    if frame.empty:
        return html.quiet("none is known")
    rows = [
        {name: _in_words(value, redaction) for name, value in row.items()}
        for row in frame.head(_MAX_ROWS).to_dict("records")
    ]
    names = [str(name) for name in frame.columns if any(row[name] for row in rows)]
    if len(rows) == 1:
        return html.facts((name, rows[0][name]) for name in names)
    shown = html.table(names, ([html.cell(row[name]) for name in names] for row in rows))
    more = len(frame) - len(rows)
    return shown + (html.quiet(f"{more:,} more are not shown") if more else "")


def _in_words(value: Any, redaction: Redaction) -> str:  # noqa: PLR0911 - one a kind
    if isinstance(value, list | tuple | dict | set):
        return redaction.text(", ".join(map(str, value)))
    if pd.isna(value):
        return ""
    match value:
        case pd.Timestamp():
            return f"{value:%d %b %H:%M:%S} UTC"
        case pd.Timedelta():
            return in_words(value.total_seconds())
        case bool() | np.bool_():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case _:
            return redaction.text(str(value))
