"""The bar of actions with the two clicks that run a plan, its progress, and its outcome."""

from __future__ import annotations

from typing import Any

from tasktools.widgets import html
from tasktools.widgets.bindings import (
    button,
    column,
    html_of,
    progress_bar,
    row,
    shown_while,
    step,
)
from tasktools.widgets.dead_letters.html import outcome_html
from tasktools.widgets.dead_letters.state import DeadLettersState


def actions(state: DeadLettersState) -> Any:
    """Return the bar that stays in sight: the selection, and the buttons of the next steps."""
    make = button(state, "Make the plan", state.make_plan, style="primary", allowed="can_plan")
    ask = button(state, "Run the plan …", state.run, allowed="can_run", blockers="blockers")
    sure = button(
        state, "Run the plan", state.confirm, style="danger", label="label", allowed="can_run"
    )
    no = button(state, "Not now", state.decline)
    cancel = button(state, "Cancel", state.cancel, style="warning")
    bar = row(
        html_of(state, "chosen", html.title),
        make,
        shown_while(ask, state, "armed", inverse=True),
        shown_while(row(sure, no), state, "armed"),
        shown_while(row(*progress_bar(state), cancel), state, "running"),
    )
    bar.add_class("tt-actions")
    return bar


def run(state: DeadLettersState) -> Any:
    """Return the obstacles to a run, and the outcome of the last one with the states of its
    tasks."""
    return column(
        step(4, "Run"),
        shown_while(html_of(state, "blockers", html.reasons), state, "plan"),
        html_of(state, "run_refusal", html.alert),
        html_of(state, "summary", html.status),
        html_of(state, "followed", _since),
        html_of(state, "outcome", outcome_html),
        name="run",
    )


def _since(followed: str) -> str:
    return html.status(f"Of the replayed tasks: {followed}.") if followed else ""
