"""Buttons of the publish widget, and the states of the published tasks."""

from __future__ import annotations

from typing import Any

import ipywidgets
from traitlets import dlink

from tasktools.widgets import html
from tasktools.widgets.bindings import (
    WIDE,
    button,
    column,
    html_of,
    progress_bar,
    row,
    shown_while,
)
from tasktools.widgets.publish.html import bar_html, tasks_html
from tasktools.widgets.publish.inputs import INDENTED
from tasktools.widgets.publish.state import PublishState


def buttons(state: PublishState) -> Any:
    """Return the publish button, the question about a batch, and why the button is off."""
    send = button(
        state,
        "Publish",
        state.publish,
        style="primary",
        label="label",
        allowed="can_publish",
        blockers="blockers",
    )
    question = ipywidgets.Label()
    dlink((state, "question"), (question, "value"))
    sure = button(state, "Yes, publish", state.confirm, style="warning")
    no = button(state, "No", state.cancel)
    clicks = row(send, shown_while(row(question, sure, no), state, "armed"))
    why_off = html_of(state, "blockers", html.reasons)
    warnings = html_of(state, "warnings", html.warnings)
    return ipywidgets.VBox([clicks, why_off, warnings], layout=INDENTED)


def progress(state: PublishState) -> Any:
    """Return the progress of a batch that is being sent."""
    return shown_while(row(*progress_bar(state), **INDENTED), state, "progress")


def errors(state: PublishState) -> Any:
    """Return the last refusal and the last error."""
    shown = ipywidgets.HTML(layout=WIDE)

    def show(_change: Any) -> None:
        shown.value = html.alert(state.refusal, state.problem)

    state.observe(show, ["refusal", "problem"])
    return shown


def tasks(state: PublishState) -> Any:
    """Return the states of the tasks: in words, as a bar (of several tasks), and as a table."""
    return column(
        html_of(state, "summary", html.status),
        html_of(state, "counts", bar_html),
        html_of(state, "shown", tasks_html),
    )
