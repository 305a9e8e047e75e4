"""The published tasks, and all of the widget as HTML. Text of messages is escaped in it, always."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

import pandas as pd

from tasktools.widgets.html import alert, cell, facts, quiet, status, table, text_of
from tasktools.widgets.publish.state import PublishState
from tasktools.widgets.publish.statuses import COLOURS, worth_showing

_MAX_ROWS: Final = 12
_HEADINGS: Final = ("Task", "Topic", "Outcome", "Now", "Worker", "Took", "Error")


def tasks_html(joined: pd.DataFrame) -> str:
    """Return a table of the tasks in *joined*; if there are many, tasks that need attention."""
    if joined.empty:
        return ""
    shown = worth_showing(joined, _MAX_ROWS)
    more = len(joined) - len(shown)
    return table(_HEADINGS, map(_cells, shown.to_dict("records"))) + quiet(
        f"{more:,} more; those in trouble are shown first, then those that run." if more else ""
    )


def bar_html(counts: Mapping[str, int]) -> str:
    """Return a bar that is divided by the states of several tasks, with a key below it.

    It is HTML since Voilà draws no `FigureWidget` that comes to the page after it was laid out.
    """
    if sum(counts.values()) < 2:
        return ""
    parts = "".join(
        f'<span style="flex: {count}; background: {COLOURS[fate]}" title="{count:,} {fate}"></span>'
        for fate, count in counts.items()
    )
    key = "".join(_marked(fate, f"{count:,} {fate}") for fate, count in counts.items())
    return (
        f'<div class="tt-bar" aria-hidden="true">{parts}</div><div class="tt-bar-key">{key}</div>'
    )


def static_html(state: PublishState) -> str:
    """Return the screen without controls and arguments: the published tasks."""
    with state.lock:
        form = (("Topic", text_of(state.topic)), ("Task", text_of(state.task)))
        summary, shown, problems = state.summary, state.shown, (state.refusal, state.problem)
    published = status(summary) if summary else quiet("Nothing has been published here.")
    return (
        facts(pair for pair in form if pair[1]) + published + tasks_html(shown) + alert(*problems)
    )


def _cells(record: Mapping[Any, Any]) -> list[str]:
    fate = str(record["fate"])
    error = ": ".join(filter(None, map(text_of, (record["error_type"], record["error"]))))
    return [
        cell(text_of(record["task_name"]), tooltip=text_of(record["task_id"])),
        cell(text_of(record["topic"])),
        cell(text_of(record["outcome"])),
        f"<td>{_marked(fate, fate)}</td>",
        cell(text_of(record["worker_id"])),
        cell(_took(record["duration"])),
        cell(error),
    ]


def _marked(fate: str, text: str) -> str:
    return f'<span class="tt-fate" style="--tt-fate: {COLOURS[fate]}">{escape(text)}</span>'


def _took(duration: Any) -> str:
    return "" if pd.isna(duration) else f"{duration.total_seconds():,.2f} s"
