"""The buttons of the publish widget, and what it shows of the tasks."""

from __future__ import annotations

from typing import Any

import ipywidgets
import plotly.graph_objects as go
from traitlets import dlink

from tasktools.widgets import words
from tasktools.widgets.bindings import ROW, WIDE, html_of, shown_while
from tasktools.widgets.errors import guarded
from tasktools.widgets.publishing import figure, html
from tasktools.widgets.publishing.inputs import INDENTED
from tasktools.widgets.publishing.state import PublishState


def buttons(state: PublishState) -> Any:
    """Return the button to publish, the question about a batch, and why it is off."""
    send = _button("", "primary", guarded(state, "Publishing", state.publish))
    sure = _button("Yes, publish", "warning", guarded(state, "Publishing", state.confirm))
    no = _button("No", "", guarded(state, "Cancelling", state.cancel))
    question = ipywidgets.Label()
    dlink((state, "label"), (send, "description"))
    dlink((state, "can_publish"), (send, "disabled"), lambda allowed: not allowed)
    dlink((state, "blockers"), (send, "tooltip"), " ".join)
    dlink((state, "question"), (question, "value"))
    asked = ipywidgets.HBox([question, sure, no], layout=ROW)
    row = ipywidgets.HBox([send, shown_while(asked, state, "armed")], layout=ROW)
    return ipywidgets.VBox([row, html_of(state, "blockers", words.reasons)], layout=INDENTED)


def _button(description: str, style: str, press: Any) -> Any:
    made = ipywidgets.Button(
        description=description, button_style=style, layout={"width": "auto", "min_width": "90px"}
    )
    made.on_click(lambda _button: press())
    return made


def progress(state: PublishState) -> Any:
    """Return the bar of a batch that is being sent."""
    bar = ipywidgets.IntProgress(min=0, layout={"width": "300px"})
    text = ipywidgets.Label()
    dlink((state, "total"), (bar, "max"), lambda total: max(total, 1))
    dlink((state, "settled"), (bar, "value"))
    dlink((state, "progress"), (text, "value"))
    return shown_while(ipywidgets.HBox([bar, text], layout=INDENTED), state, "progress")


def errors(state: PublishState) -> Any:
    """Return what was refused, and what has failed."""
    shown = ipywidgets.HTML(layout=WIDE)

    def show(_change: Any) -> None:
        shown.value = words.alert(state.refusal, state.problem)

    state.observe(show, ["refusal", "problem"])
    return shown


def tasks(state: PublishState, *, demo: bool) -> Any:
    """Return what became of the tasks: in words, of several as a bar, and as a table."""
    bar = ipywidgets.VBox([], layout=WIDE)

    def draw(_change: Any) -> None:
        if len(state.shown) < 2:
            return
        if bar.children:
            figure.update(bar.children[0], state.counts)
        else:
            bar.children = [go.FigureWidget(figure.figure(state.counts, demo=demo))]

    state.observe(guarded(state, "Drawing the bar", draw), "shown")
    return ipywidgets.VBox(
        [html_of(state, "summary", words.status), bar, html_of(state, "shown", html.table)],
        layout=WIDE,
    )
