"""What is entered: where to look, which group, and what is to be done with the selection."""

from __future__ import annotations

from typing import Any

import ipywidgets
from traitlets import dlink, link

from tasktools.widgets import words
from tasktools.widgets.bindings import ROW, WIDE, html_of, shown_while
from tasktools.widgets.errors import guarded
from tasktools.widgets.table import TableWidget
from tasktools.widgets.triage import html
from tasktools.widgets.triage.bindings import LABEL, NEXT, box, button, chooser, row, text, why_not
from tasktools.widgets.triage.detail import html as detail_html
from tasktools.widgets.triage.edits import EditRow
from tasktools.widgets.triage.group_list import GroupList
from tasktools.widgets.triage.groups import BY
from tasktools.widgets.triage.state import DeadLettersState


def where(state: DeadLettersState) -> Any:
    """Return the choice of a topic, and the button to look at it."""
    topic = chooser(state, "topic", "Topic", choices="choices", width="340px")
    look = button(
        state, "Look", state.look, style="primary", allowed="can_look", blockers="look_blockers"
    )
    return box(
        row(topic, look, html_of(state, "cost", words.quiet)),
        why_not(state, "look_blockers"),
        html_of(state, "look_refusal", words.alert),
        html_of(state, "words", words.status),
        name="where",
    )


def groups(state: DeadLettersState) -> Any:
    """Return the groups, and the choice of what they are."""
    by = ipywidgets.Dropdown(
        options=list(BY.items()),
        description="Group by",
        style=LABEL,
        layout={"width": "240px"},
    )
    link((state, "group_by"), (by, "value"))
    return box(by, GroupList(state), name="groups")


def letters(state: DeadLettersState) -> Any:
    """Return the table, and the current row in full."""
    whole = button(state, "Show the whole message", state.show_whole, allowed="can_show_whole")
    return box(
        TableWidget(state.table, label="Dead letters", lines=12),
        html_of(state, "detail", detail_html),
        shown_while(whole, state, "detail"),
        name="letters",
    )


def intent(state: DeadLettersState) -> Any:
    """Return what is to be done with what is selected."""
    verb = ipywidgets.ToggleButtons(
        options=[("Replay", "replay"), ("Discard", "discard")], style={"button_width": "84px"}
    )
    link((state, "verb"), (verb, "value"))
    chosen = html_of(state, "chosen", html.title)
    make = button(state, "Make the plan", state.make_plan, style="primary", allowed="can_plan")
    make.layout.margin = "2px 2px 2px 80px"
    return box(
        row(verb, chosen),
        shown_while(_replay(state), state, "is_replay"),
        shown_while(_discard(state), state, "is_replay", inverse=True),
        text(state, "reason", "Reason", hint="an incident's number, or a sentence", width="690px"),
        row(make, html_of(state, "plan_blockers", words.reasons)),
        html_of(state, "plan_refusal", words.alert),
        name="intent",
    )


def _replay(state: DeadLettersState) -> Any:
    to = ipywidgets.Combobox(description="To", style=LABEL, layout={"width": "360px"})
    link((state, "to"), (to, "value"))
    dlink((state, "topics"), (to, "options"), lambda topics: [one.topic for one in topics])
    dlink((state, "home"), (to, "placeholder"), lambda home: f"{home}, their own topic")
    ramp = ipywidgets.Checkbox(
        description="Ramp: 1, 10, 100, 1,000, then the rest",
        indent=False,
        layout={"width": "auto", "margin": "2px 2px 2px 80px"},
    )
    link((state, "ramps"), (ramp, "value"))
    rate = text(state, "rate", "Rate", hint="messages a second", width="190px", style=NEXT)
    limit = text(state, "limit", "stops when more fail than, %", width="240px", style=NEXT)
    return ipywidgets.VBox(
        [
            row(to, rate),
            row(ramp, shown_while(limit, state, "ramps")),
            _edits(state),
        ],
        layout=WIDE,
    )


def _discard(state: DeadLettersState) -> Any:
    hint = "a file to keep them in; without one they are gone for good"
    return text(state, "archive", "Archive", hint=hint, width="690px")


def _edits(state: DeadLettersState) -> Any:
    """Return the edits: one line each, and a button for another one."""
    lines = ipywidgets.VBox([], layout=WIDE)

    def show(_change: Any = None) -> None:
        drawn = list(lines.children)
        for line in drawn[len(state.edits) :]:
            line.close()
        drawn = drawn[: len(state.edits)]
        drawn += [EditLine(state, number) for number in range(len(drawn), len(state.edits))]
        lines.children = drawn
        for line, edit, kind in zip(drawn, state.edits, state.kinds, strict=True):
            line.show(edit, kind)

    state.observe(guarded(state, "The edits", show), "kinds")
    add = button(state, "Add an edit", state.add_edit)
    add.layout.margin = "2px 2px 2px 80px"
    return ipywidgets.VBox([lines, add], layout=WIDE)


class EditLine(ipywidgets.HBox):
    """The edit *number* of *state*: its path, its value, and a button to do without it."""

    def __init__(self, state: DeadLettersState, number: int) -> None:
        self._path = ipywidgets.Combobox(
            description="Edit", placeholder="kwargs.to", style=LABEL, layout={"width": "360px"}
        )
        self._value = ipywidgets.Text(
            description="becomes",
            placeholder="text, or JSON",
            style=NEXT,
            layout={"width": "300px"},
        )
        self._remove = ipywidgets.Checkbox(
            description="remove it", indent=False, layout={"width": "96px"}
        )
        self._kind = ipywidgets.HTML()
        drop = button(state, "✕", lambda: state.drop_edit(number))
        drop.tooltip, drop.layout.min_width = "Do without this edit", "32px"
        dlink((state, "paths"), (self._path, "options"))
        for name, field in self._fields:

            def change(change: Any, name: str = name) -> None:
                state.change_edit(number, **{name: change["new"]})

            field.observe(guarded(state, "The edit", change), "value")
        super().__init__([self._path, self._value, self._remove, drop, self._kind], layout=ROW)
        self.add_class("tt-edit")

    @property
    def _fields(self) -> tuple[tuple[str, Any], ...]:
        return ("path", self._path), ("value", self._value), ("remove", self._remove)

    def show(self, edit: EditRow, kind: str) -> None:
        """Show *edit*, and what its value is read as."""
        for name, field in self._fields:
            field.value = getattr(edit, name)
        self._value.disabled = edit.remove
        self._kind.value = words.quiet(kind)

    def close(self) -> None:
        """Take all of it off screen."""
        for child in self.children:
            child.close()
        super().close()
