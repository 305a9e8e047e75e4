"""The published tasks, and all of the widget as HTML. Text of messages is escaped in it, always."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

import pandas as pd

from tasktools.widgets.html import alert, cell, facts, quiet, status, table, text_of
from tasktools.widgets.publish.figure import COLOURS
from tasktools.widgets.publish.state import PublishState
from tasktools.widgets.publish.statuses import worth_showing

_MAX_ROWS: Final = 12
_HEADINGS: Final = ("Task", "Topic", "Outcome", "Now", "Worker", "Took", "Error")


def tasks_html(joined: pd.DataFrame) -> str:
    """Return a table of the tasks in *joined*; of many, those that need attention."""
    if joined.empty:
        return ""
    shown = worth_showing(joined, _MAX_ROWS)
    more = len(joined) - len(shown)
    return table(_HEADINGS, map(_cells, shown.to_dict("records"))) + quiet(
        f"{more:,} more; those in trouble are shown first, then those that run." if more else ""
    )


def static_html(state: PublishState) -> str:
    """Return what is on screen, without its controls and the arguments: what was published."""
    with state.lock:
        form = (("Topic", text_of(state.topic)), ("Task", text_of(state.task)))
        summary, shown, problems = state.summary, state.shown, (state.refusal, state.problem)
    published = status(summary) if summary else quiet("Nothing has been published here.")
    return (
        facts(pair for pair in form if pair[1]) + published + tasks_html(shown) + alert(*problems)
    )


def _cells(record: Mapping[Any, Any]) -> list[str]:
    fate = str(record["fate"])
    marked = f'<span class="tt-fate" style="--tt-fate: {COLOURS[fate]}">{escape(fate)}</span>'
    error = ": ".join(filter(None, map(text_of, (record["error_type"], record["error"]))))
    return [
        cell(text_of(record["task_name"]), tooltip=text_of(record["task_id"])),
        cell(text_of(record["topic"])),
        cell(text_of(record["outcome"])),
        f"<td>{marked}</td>",
        cell(text_of(record["worker_id"])),
        cell(_took(record["duration"])),
        cell(error),
    ]


def _took(duration: Any) -> str:
    return "" if pd.isna(duration) else f"{duration.total_seconds():,.2f} s"
