"""Controls of the publish widget, each bound to a trait of its state."""

from __future__ import annotations

from typing import Any, Final

import ipywidgets
from traitlets import dlink

from tasktools.widgets import html
from tasktools.widgets.bindings import WIDE, bound, column, html_of, row, shown_while, text
from tasktools.widgets.errors import guarded
from tasktools.widgets.publish.batch import Batch
from tasktools.widgets.publish.forms import Field
from tasktools.widgets.publish.state import PublishState

_LABEL: Final = {"description_width": "110px"}
INDENTED: Final = {"width": "auto", "margin": "2px 2px 2px 120px"}
"""Aligned with the fields, to the right of their labels."""
_FILES: Final = ".csv,.jsonl,.ndjson,.json"


def where_and_what(state: PublishState) -> Any:
    """Return the fields for topic and task."""
    topic = ipywidgets.Combobox(
        description="Topic", placeholder="choose or type", style=_LABEL, layout={"flex": "1 1 auto"}
    )
    create = ipywidgets.Checkbox(
        description="Create the topic", indent=False, layout={"width": "160px"}
    )
    task = ipywidgets.Combobox(
        description="Task", placeholder="module:function", style=_LABEL, layout=WIDE
    )
    dlink((state, "topics"), (topic, "options"))
    dlink((state, "tasks"), (task, "options"))
    where = ipywidgets.HBox([bound(topic, state, "topic"), bound(create, state, "create")])
    return column(where, bound(task, state, "task"))


def arguments(state: PublishState) -> Any:
    """Return the choice between one task, with its arguments, and a batch."""
    mode = ipywidgets.ToggleButtons(
        options=[("One task", "one"), ("A batch", "batch")],
        style={"button_width": "110px"},
        layout=INDENTED,
    )
    return column(
        bound(mode, state, "mode"),
        shown_while(_one_task(state), state, "is_batch", inverse=True),
        shown_while(_batch(state), state, "is_batch"),
    )


def _one_task(state: PublishState) -> Any:
    """Return the arguments of one task, as a form or as JSON."""
    as_json = ipywidgets.Checkbox(
        description="Edit the arguments as JSON", indent=False, layout=INDENTED
    )
    bound(as_json, state, "as_json")
    form = column()
    as_text = ipywidgets.VBox([_json("args", state, rows=1), _json("kwargs", state, rows=4)])

    def build(_change: Any = None) -> None:
        old, form.children = form.children, [_control(field, state) for field in state.fields]
        for control in old:
            control.close()

    def show(_change: Any) -> None:
        for control in form.children:
            control.value = state.entered.get(control.description, control.value)

    build()
    state.observe(guarded(state, "The form", build), "fields")
    state.observe(guarded(state, "The form", show), "entered")
    return column(
        shown_while(form, state, "shows_form"),
        shown_while(as_text, state, "shows_form", inverse=True),
        shown_while(as_json, state, "has_form"),
    )


def _json(trait: str, state: PublishState, *, rows: int) -> Any:
    area = ipywidgets.Textarea(description=trait, rows=rows, style=_LABEL, layout=WIDE)
    area.add_class("tt-json")
    return bound(area, state, trait)


def _control(field: Field, state: PublishState) -> Any:
    kinds = {"flag": ipywidgets.Checkbox, "json": ipywidgets.Textarea}
    control = kinds.get(field.kind, ipywidgets.Text)(
        description=field.name, tooltip=field.hint, style=_LABEL, layout=WIDE
    )
    if field.kind == "json":
        control.rows = 1
    if field.kind != "flag":
        control.placeholder = field.hint
    control.value = state.entered.get(field.name, field.default)

    def enter(change: Any) -> None:
        with state.lock:
            state.entered = {**state.entered, field.name: change["new"]}

    control.observe(guarded(state, f"The field {field.name}", enter), "value")
    return control


def _batch(state: PublishState) -> Any:
    """Return the upload of a file with tasks."""
    upload = ipywidgets.FileUpload(
        accept=_FILES, description="File with tasks", layout={"width": "180px"}
    )

    def read(change: Any) -> None:
        for file in change["new"]:
            state.batch = Batch.from_file(file["name"], bytes(file["content"]))
        upload.value = ()  # a saved notebook would store the content

    upload.observe(guarded(state, "Reading the file", read), "value")
    about = html_of(state, "about_batch", html.quiet)
    return row(upload, about, **INDENTED)


def options(state: PublishState) -> Any:
    """Return priority, TTL and delay."""
    width = _LABEL["description_width"]
    return row(
        text(state, "priority", "Priority", hint="0 to 255", width="230px", label_width=width),
        text(state, "ttl", "TTL", hint="seconds", width="180px", label_width="60px"),
        text(state, "delay", "Delay", hint="seconds", width="180px", label_width="60px"),
    )
