"""A plan, an outcome, and all of the widget as HTML. Text of messages is escaped in it, always."""

from __future__ import annotations

from html import escape
from typing import Final

import pandas as pd

from tasktools.core.plans import Plan
from tasktools.widgets.dead_letters.state import DeadLettersState, worth_showing
from tasktools.widgets.html import alert, cell, quiet, status, table, text_of

_MAX_CHANGES: Final = 6
_MAX_ROWS: Final = 12


def plan_html(plan: Plan | None) -> str:
    """Return HTML: what *plan* does and skips, and the first of its edits."""
    if plan is None:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in plan.lines())
    changes = [
        (message.task_name, change.path, change.before, change.after)
        for message in plan.chosen
        for change in message.changes
    ]
    rows = [map(_cell, change) for change in changes[:_MAX_CHANGES]]
    edits = table(("task", "edit", "before", "after"), rows) if rows else ""
    more = quiet(_more(len(changes) - len(rows), "edits like these"))
    return (
        f'<div class="tt-plan"><div class="tt-name">Plan: {escape(plan.title)}</div>'
        f"<ul>{items}</ul>{edits}{more}</div>"
    )


def outcome_html(outcome: pd.DataFrame | None) -> str:
    """Return the messages that a run did not treat as planned, or perhaps twice, and why."""
    if outcome is None:
        return ""
    notes = "".join(quiet(str(note)) for note in outcome.attrs["notes"])
    odd = worth_showing(outcome)
    if odd.empty:
        return notes
    shown = odd.head(_MAX_ROWS)
    twice = shown["possible_duplicate"].fillna(value=False).map({True: "perhaps twice", False: ""})
    rows = zip(shown["task_name"], shown["key"], shown["outcome"], twice, shown["why"], strict=True)
    headings = ("task", "message", "outcome", "", "why")
    more = _more(
        len(odd) - len(shown), f"rows; all of them: cluster.ledger({outcome.attrs['run']})"
    )
    return notes + table(headings, (map(_cell, row) for row in rows)) + quiet(more)


def static_html(state: DeadLettersState) -> str:
    """Return the screen without its controls: counts, groups, plan, and outcome."""
    with state.lock:
        counts, topic, groups = state.choices, state.topic, state.groups
        lines = (state.words, state.summary, state.followed)
        plan, outcome = state.plan, state.outcome
        problems = (state.look_refusal, state.run_refusal, state.problem)
    topics = table(
        ("topics with dead letters",), ([cell(text)] for text, _name in counts[:_MAX_ROWS])
    )
    more = quiet(_more(len(counts) - _MAX_ROWS, "topics"))
    rows = (map(cell, (line.count, line.title, line.example, line.when)) for line in groups.lines)
    shown = (
        table(("messages", f"group in {topic}", "example", "died"), rows) if groups.lines else ""
    )
    no_look = "" if state.has_looked else quiet("No queue has been looked into.")
    return "".join(
        [
            topics + more if counts else "",
            no_look,
            *map(status, lines[:1]),
            shown,
            plan_html(plan),
            *map(status, lines[1:]),
            outcome_html(outcome),
            alert(*problems),
        ]
    )


def _cell(value: object) -> str:
    return cell(text_of(value))


def _more(count: int, what: str) -> str:
    return f"{count:,} more {what}" if count > 0 else ""
