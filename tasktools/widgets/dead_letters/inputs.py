"""Controls of the dead-letter widget, each bound to a trait of its state."""

from __future__ import annotations

from typing import Any, Final

import ipywidgets
from traitlets import dlink

from tasktools.widgets import html
from tasktools.widgets.bindings import (
    ROW,
    bound,
    button,
    column,
    html_of,
    row,
    shown_while,
    step,
    text,
)
from tasktools.widgets.dead_letters.detail import html as detail_html
from tasktools.widgets.dead_letters.edits import EditRow
from tasktools.widgets.dead_letters.group_list import GroupList
from tasktools.widgets.dead_letters.html import plan_html
from tasktools.widgets.dead_letters.state import DeadLettersState
from tasktools.widgets.errors import guarded
from tasktools.widgets.table import TableWidget

_LABEL: Final = "76px"
"""Width of the label of the first field in a row, so that these fields are aligned."""
_NAME: Final = "500px"
"""Width of a field for a topic, which has room for 32 characters and what is said of it."""
_INDENT: Final = "2px 2px 2px 80px"


def where(state: DeadLettersState) -> Any:
    """Return the list of topics and the *Look* button."""
    look = button(
        state, "Look", state.look, style="primary", allowed="takes_look", blockers="look_blockers"
    )
    return column(
        step(1, "Look"),
        row(_topic(state), look, html_of(state, "cost", html.quiet)),
        html_of(state, "look_blockers", html.reasons),
        html_of(state, "look_refusal", html.alert),
        html_of(state, "words", html.status),
        name="where",
    )


def _topic(state: DeadLettersState) -> Any:
    """Return the list of topics to choose from."""
    topics = ipywidgets.Dropdown(description="Topic", style=_label(), layout={"width": _NAME})

    def choose(change: Any) -> None:
        state.topic = change["new"]

    chosen = guarded(state, "Choosing the topic", choose)

    def fill(_change: Any = None) -> None:
        topics.unobserve(chosen, "value")  # new options would select the first one
        topics.options = state.choices
        topics.value = state.topic or None
        topics.observe(chosen, "value")

    topics.observe(chosen, "value")
    fill()
    state.observe(guarded(state, "The topic", fill), ["choices", "topic"])
    return topics


def _label(width: str = _LABEL) -> dict[str, str]:
    return {"description_width": width}


def groups(state: DeadLettersState) -> Any:
    """Return the list of groups, and the choice of the column that makes them."""
    by = ipywidgets.Dropdown(description="Group by", style=_label(), layout={"width": "240px"})

    def choose(change: Any) -> None:
        state.group_by = change["new"]

    def fill(_change: Any = None) -> None:
        by.unobserve(choose, "value")  # new options would select the first one
        choices = state.group_choices
        is_listed = any(name == state.group_by for _, name in choices)
        by.options = choices if is_listed else (*choices, (state.group_by, state.group_by))
        by.value = state.group_by
        by.observe(choose, "value")

    by.observe(choose, "value")
    fill()
    state.observe(guarded(state, "The groups", fill), ["group_choices", "group_by"])
    return column(step(2, "Choose"), by, GroupList(state), name="groups")


def letters(state: DeadLettersState) -> Any:
    """Return the table, and the details of its current row."""
    whole = button(state, "Show the whole message", state.show_whole, allowed="can_show_whole")
    return column(
        TableWidget(state.table, label="Dead letters", lines=8),
        html_of(state, "detail", detail_html),
        shown_while(whole, state, "detail"),
        name="letters",
    )


def intent(state: DeadLettersState) -> Any:
    """Return the form for the action on the selection, and its plan."""
    verb = ipywidgets.ToggleButtons(
        options=[("Replay", "replay"), ("Discard", "discard")], style={"button_width": "84px"}
    )
    return column(
        step(3, "Plan"),
        bound(verb, state, "verb"),
        shown_while(_replay(state), state, "is_replay"),
        shown_while(_discard(state), state, "is_replay", inverse=True),
        text(
            state,
            "reason",
            "Reason",
            hint="an incident's number, or a sentence",
            width="690px",
            label_width=_LABEL,
        ),
        html_of(state, "plan_blockers", html.reasons),
        html_of(state, "plan_refusal", html.alert),
        html_of(state, "plan", plan_html),
        name="intent",
    )


def _replay(state: DeadLettersState) -> Any:
    to = ipywidgets.Combobox(description="To", style=_label(), layout={"width": _NAME})
    dlink((state, "topics"), (to, "options"), lambda counts: [count.topic for count in counts])
    dlink((state, "home"), (to, "placeholder"), lambda home: f"{home}, their own topic")
    ramp = ipywidgets.Checkbox(
        description="Ramp: 1 first, then up to 10, 100, 1,000, then the rest",
        indent=False,
        layout={"width": "auto", "margin": _INDENT},
    )
    rate = text(state, "rate", "Rate", hint="messages a second", width="190px")
    limit = text(state, "limit", "stop if more than this fail, %", width="250px")
    return column(
        row(bound(to, state, "to"), rate, html_of(state, "impact_text", html.quiet)),
        row(bound(ramp, state, "ramps"), shown_while(limit, state, "ramps")),
        _edits(state),
    )


def _discard(state: DeadLettersState) -> Any:
    hint = "a file to keep them in; without one they are gone for good"
    return text(state, "archive", "Archive", hint=hint, width="690px", label_width=_LABEL)


def _edits(state: DeadLettersState) -> Any:
    """Return one line per edit, and a button to add one."""
    lines = column()

    def show(_change: Any = None) -> None:
        drawn = list(lines.children)
        for line in drawn[len(state.edits) :]:
            line.close()
        drawn = drawn[: len(state.edits)]
        drawn += [EditLine(state, number) for number in range(len(drawn), len(state.edits))]
        lines.children = drawn
        for line, edit, kind in zip(drawn, state.edits, state.kinds, strict=True):
            line.show(edit, kind)

    state.observe(guarded(state, "The edits", show), ["kinds", "planned"])
    add = button(state, "Add an edit", state.add_edit)
    add.layout.margin = _INDENT
    return column(lines, add)


class EditLine(ipywidgets.HBox):
    """The edit *number* of *state*: its path, its value, and a button to remove it."""

    def __init__(self, state: DeadLettersState, number: int) -> None:
        self._path = ipywidgets.Combobox(
            description="Edit", placeholder="kwargs.to", style=_label(), layout={"width": "360px"}
        )
        self._value = ipywidgets.Text(
            description="becomes",
            placeholder="text, or JSON: 5, true, null",
            style=_label("auto"),
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
        """Show *edit*, and the type of its value."""
        for name, field in self._fields:
            field.value = getattr(edit, name)
        self._value.disabled = edit.remove
        self._kind.value = html.quiet(kind)

    def close(self) -> None:
        """Close the line and its fields."""
        for child in self.children:
            child.close()
        super().close()
