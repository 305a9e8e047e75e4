"""The plan on screen, the two clicks that run it, its progress, and its outcome."""

from __future__ import annotations

from typing import Any

from tasktools.widgets import html
from tasktools.widgets.bindings import button, column, html_of, progress_bar, row, shown_while
from tasktools.widgets.dead_letters.html import outcome_html, plan_html
from tasktools.widgets.dead_letters.state import DeadLettersState


def plan(state: DeadLettersState) -> Any:
    """Return the plan and the buttons that run it."""
    ask = button(state, "Run the plan …", state.run, allowed="can_run", blockers="blockers")
    sure = button(
        state, "Run the plan", state.confirm, style="danger", label="label", allowed="can_run"
    )
    no = button(state, "Not now", state.decline)
    clicks = row(
        shown_while(ask, state, "armed", inverse=True), shown_while(row(sure, no), state, "armed")
    )
    why_off = html_of(state, "blockers", html.reasons)
    shown = column(html_of(state, "plan", plan_html), clicks, why_off, name="run")
    return shown_while(shown, state, "plan")


def progress(state: DeadLettersState) -> Any:
    """Return the progress of the run, and the button that ends it."""
    cancel = button(state, "Cancel", state.cancel, style="warning")
    return shown_while(row(*progress_bar(state), cancel), state, "running")


def outcome(state: DeadLettersState) -> Any:
    """Return how the last run ended, and what became of its tasks since."""
    return column(
        html_of(state, "run_refusal", html.alert),
        html_of(state, "summary", html.status),
        html_of(state, "followed", _since),
        html_of(state, "outcome", outcome_html),
        name="outcome",
    )


def _since(followed: str) -> str:
    return html.status(f"Of the replayed tasks: {followed}.") if followed else ""
