"""The controls of the publish widget, each bound to a trait of its state."""

from __future__ import annotations

from typing import Any, Final

import ipywidgets
from traitlets import dlink, link

from tasktools.widgets import words
from tasktools.widgets.bindings import ROW, WIDE, html_of, shown_while
from tasktools.widgets.errors import guarded
from tasktools.widgets.publishing.batch import Batch
from tasktools.widgets.publishing.forms import Field
from tasktools.widgets.publishing.state import PublishState

_LABEL: Final = {"description_width": "110px"}
INDENTED: Final = {"width": "auto", "margin": "2px 2px 2px 120px"}
"""Where the fields begin, beside their labels."""
_FILES: Final = ".csv,.jsonl,.ndjson,.json"


def where_and_what(state: PublishState) -> Any:
    """Return the choice of topic and task."""
    topic = ipywidgets.Combobox(
        description="Topic", placeholder="choose or type", style=_LABEL, layout={"flex": "1 1 auto"}
    )
    create = ipywidgets.Checkbox(
        description="Create the topic", indent=False, layout={"width": "160px"}
    )
    task = ipywidgets.Combobox(
        description="Task", placeholder="module:function", style=_LABEL, layout=WIDE
    )
    link((state, "topic"), (topic, "value"))
    link((state, "create"), (create, "value"))
    link((state, "task"), (task, "value"))
    dlink((state, "topics"), (topic, "options"))
    dlink((state, "tasks"), (task, "options"))
    return ipywidgets.VBox([ipywidgets.HBox([topic, create]), task], layout=WIDE)


def arguments(state: PublishState) -> Any:
    """Return what the tasks are: one task with its arguments, or a batch."""
    mode = ipywidgets.ToggleButtons(
        options=[("One task", "one"), ("A batch", "batch")],
        style={"button_width": "110px"},
        layout=INDENTED,
    )
    link((state, "mode"), (mode, "value"))
    return ipywidgets.VBox(
        [
            mode,
            shown_while(_one_task(state), state, "is_batch", inverse=True),
            shown_while(_batch(state), state, "is_batch"),
        ],
        layout=WIDE,
    )


def _one_task(state: PublishState) -> Any:
    """Return the arguments of one task: a form, or JSON."""
    as_json = ipywidgets.Checkbox(
        description="Edit the arguments as JSON", indent=False, layout=INDENTED
    )
    link((state, "as_json"), (as_json, "value"))
    form = ipywidgets.VBox([], layout=WIDE)
    args = _json("args", state, rows=1)
    kwargs = _json("kwargs", state, rows=4)

    def build(_change: Any = None) -> None:
        old, form.children = form.children, [_control(field, state) for field in state.fields]
        for control in old:
            control.close()

    build()
    state.observe(guarded(state, "The form", build), "fields")
    return ipywidgets.VBox(
        [
            shown_while(form, state, "shows_form"),
            shown_while(ipywidgets.VBox([args, kwargs]), state, "shows_form", inverse=True),
            shown_while(as_json, state, "has_form"),
        ],
        layout=WIDE,
    )


def _json(trait: str, state: PublishState, *, rows: int) -> Any:
    area = ipywidgets.Textarea(description=trait, rows=rows, style=_LABEL, layout=WIDE)
    area.add_class("tt-json")
    link((state, trait), (area, "value"))
    return area


def _control(field: Field, state: PublishState) -> Any:
    kinds = {"flag": ipywidgets.Checkbox, "json": ipywidgets.Textarea}
    made = kinds.get(field.kind, ipywidgets.Text)(
        description=field.name, tooltip=field.hint, style=_LABEL, layout=WIDE
    )
    if field.kind == "json":
        made.rows = 1
    if field.kind != "flag":
        made.placeholder = field.hint
    made.value = state.entered.get(field.name, field.default)

    def enter(change: Any) -> None:
        with state.lock:
            state.entered = {**state.entered, field.name: change["new"]}

    made.observe(guarded(state, f"The field {field.name}", enter), "value")
    return made


def _batch(state: PublishState) -> Any:
    """Return the choice of a file with tasks."""
    upload = ipywidgets.FileUpload(
        accept=_FILES, description="File with tasks", layout={"width": "180px"}
    )

    def read(change: Any) -> None:
        for file in change["new"]:
            state.batch = Batch.from_file(file["name"], bytes(file["content"]))

    upload.observe(guarded(state, "Reading the file", read), "value")
    about = html_of(state, "about_batch", words.quiet)
    return ipywidgets.HBox([upload, about], layout={**INDENTED, **ROW})


def options(state: PublishState) -> Any:
    """Return priority, TTL and delay."""
    made = []
    for trait, description, placeholder in (
        ("priority", "Priority", "0 to 255"),
        ("ttl", "TTL", "seconds"),
        ("delay", "Delay", "seconds"),
    ):
        text = ipywidgets.Text(
            description=description,
            placeholder=placeholder,
            style=_LABEL if trait == "priority" else {"description_width": "60px"},
            layout={"width": "230px" if trait == "priority" else "180px"},
        )
        link((state, trait), (text, "value"))
        made.append(text)
    return ipywidgets.HBox(made, layout=ROW)
