"""The plan, the two clicks that run it, its progress, and what came of it."""

from __future__ import annotations

from typing import Any

import ipywidgets
from traitlets import dlink

from tasktools.widgets import words
from tasktools.widgets.bindings import html_of, shown_while
from tasktools.widgets.triage import html
from tasktools.widgets.triage.bindings import box, button, row, why_not
from tasktools.widgets.triage.state import DeadLettersState


def plan(state: DeadLettersState) -> Any:
    """Return the plan and the buttons that run it."""
    ask = button(state, "Run the plan …", state.run, allowed="can_run", blockers="blockers")
    sure = button(state, "", state.confirm, style="danger", allowed="can_run")
    no = button(state, "Not now", state.decline)
    dlink((state, "label"), (sure, "description"))
    clicks = row(
        shown_while(ask, state, "armed", inverse=True), shown_while(row(sure, no), state, "armed")
    )
    shown = box(html_of(state, "plan", html.plan), clicks, why_not(state, "blockers"), name="run")
    return shown_while(shown, state, "plan")


def progress(state: DeadLettersState) -> Any:
    """Return how far the run has got, and the button that ends it."""
    bar = ipywidgets.IntProgress(min=0, layout={"width": "320px"})
    said = ipywidgets.Label()
    dlink((state, "total"), (bar, "max"), lambda total: max(total, 1))
    dlink((state, "settled"), (bar, "value"))
    dlink((state, "progress"), (said, "value"))
    shown = row(bar, said, button(state, "Cancel", state.cancel, style="warning"))
    return shown_while(shown, state, "running")


def outcome(state: DeadLettersState) -> Any:
    """Return how the last run ended, and how its tasks do."""
    return box(
        html_of(state, "run_refusal", words.alert),
        html_of(state, "summary", words.status),
        html_of(state, "followed", _since),
        html_of(state, "outcome", html.outcome),
        name="outcome",
    )


def _since(followed: str) -> str:
    return words.status(f"Of the replayed tasks: {followed}.") if followed else ""
