"""Widgets that follow a trait of the state, or change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import ipywidgets
from traitlets import dlink, link

from tasktools.widgets import words
from tasktools.widgets.bindings import ROW, WIDE, html_of
from tasktools.widgets.errors import guarded
from tasktools.widgets.triage.state import DeadLettersState

LABEL: Final = {"description_width": "76px"}
"""For the first field of a row: the fields are below each other."""
NEXT: Final = {"description_width": "auto"}
"""For the others."""


def box(*children: Any, name: str) -> Any:
    """Return *children* below each other, as the part *name* of the widget."""
    made = ipywidgets.VBox(children, layout=WIDE)
    made.add_class(f"tt-{name}")
    return made


def row(*children: Any) -> Any:
    """Return *children* side by side."""
    return ipywidgets.HBox(children, layout=ROW)


def button(
    state: DeadLettersState,
    text: str,
    press: Callable[[], object],
    *,
    style: str = "",
    allowed: str = "",
    blockers: str = "",
) -> Any:
    """Return a button that is on while the trait *allowed* is true; *blockers* say why not."""
    made = ipywidgets.Button(
        description=text, button_style=style, layout={"width": "auto", "min_width": "72px"}
    )
    pressed = guarded(state, text or "The button", press)
    made.on_click(lambda _button: pressed())
    if allowed:
        dlink((state, allowed), (made, "disabled"), lambda value: not value)
    if blockers:
        dlink((state, blockers), (made, "tooltip"), " ".join)
    return made


def why_not(state: DeadLettersState, blockers: str) -> Any:
    """Return why a button is off."""
    return html_of(state, blockers, words.reasons)


def text(
    state: DeadLettersState,
    trait: str,
    description: str,
    *,
    width: str,
    hint: str = "",
    style: Mapping[str, str] = LABEL,
) -> Any:
    """Return a field for the text *trait*."""
    made = ipywidgets.Text(
        description=description, placeholder=hint, style=style, layout={"width": width}
    )
    link((state, trait), (made, "value"))
    return made


def chooser(
    state: DeadLettersState, trait: str, description: str, *, choices: str, width: str
) -> Any:
    """Return a list to choose the value of *trait* from; *choices* are pairs of text and value."""
    made = ipywidgets.Dropdown(description=description, style=LABEL, layout={"width": width})

    def choose(change: Any) -> None:
        setattr(state, trait, change["new"])

    chosen = guarded(state, f"Choosing the {description.lower()}", choose)

    def fill(_change: Any = None) -> None:
        made.unobserve(chosen, "value")  # new options make it choose the first of them
        made.options = getattr(state, choices)
        made.value = getattr(state, trait) or None
        made.observe(chosen, "value")

    made.observe(chosen, "value")
    fill()
    state.observe(guarded(state, f"The {description.lower()}", fill), [choices, trait])
    return made
