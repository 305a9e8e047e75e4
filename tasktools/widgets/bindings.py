"""Widgets that follow a trait of a state, or change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ipywidgets
from traitlets import HasTraits, dlink, link

from tasktools.widgets import html
from tasktools.widgets.errors import guarded
from tasktools.widgets.state import SharedState

WIDE: Final = {"width": "auto"}
"""The width of the enclosing box; 100 % would add the margins."""
ROW: Final = {"flex_flow": "row wrap", "align_items": "center"}
"""Side by side, and below each other where the page is narrow."""


def column(*children: Any, name: str = "") -> Any:
    """Return *children* below each other, as the part *name* of a widget."""
    box = ipywidgets.VBox(children, layout=WIDE)
    if name:
        box.add_class(f"tt-{name}")
    return box


def row(*children: Any, **layout: str) -> Any:
    """Return *children* side by side."""
    return ipywidgets.HBox(children, layout={**ROW, **layout})


def shown_while(widget: Any, state: HasTraits, trait: str, *, inverse: bool = False) -> Any:
    """Show *widget* only while *trait* is true (with *inverse*: false), and return it."""
    dlink(
        (state, trait),
        (widget.layout, "display"),
        lambda value: None if bool(value) is not inverse else "none",
    )
    return widget


def bound(widget: Any, state: HasTraits, trait: str) -> Any:
    """Link the value of *widget* and *trait* in both directions, and return *widget*."""
    link((state, trait), (widget, "value"))
    return widget


def html_of(state: HasTraits, trait: str, as_html: Callable[[Any], str]) -> Any:
    """Return a piece of HTML that follows *trait*."""
    shown = ipywidgets.HTML(layout=WIDE)
    dlink((state, trait), (shown, "value"), as_html)
    return shown


def step(number: int, name: str) -> Any:
    """Return the heading of the step *number*."""
    return ipywidgets.HTML(html.step(number, name), layout=WIDE)


def text(
    state: HasTraits,
    trait: str,
    description: str,
    *,
    width: str,
    hint: str = "",
    label_width: str = "auto",
) -> Any:
    """Return a field for the text *trait*; *hint* is shown while it is empty."""
    field = ipywidgets.Text(
        description=description,
        placeholder=hint,
        style={"description_width": label_width},
        layout={"width": width},
    )
    return bound(field, state, trait)


def button(
    state: SharedState,
    text: str,
    press: Callable[[], object],
    *,
    style: str = "",
    label: str = "",
    allowed: str = "",
    blockers: str = "",
) -> Any:
    """Return a button that calls *press*; an exception becomes the problem of *state*.

    *label*, *allowed* and *blockers* are traits: its text in place of *text*, whether it is on,
    and the reasons why it is off.
    """
    shown = ipywidgets.Button(
        description=text, button_style=style, layout={"width": "auto", "min_width": "72px"}
    )
    pressed = guarded(state, text, press)
    shown.on_click(lambda _button: pressed())
    if label:
        dlink((state, label), (shown, "description"))
    if allowed:
        dlink((state, allowed), (shown, "disabled"), lambda value: not value)
    if blockers:
        dlink((state, blockers), (shown, "tooltip"), " ".join)
    return shown


def progress_bar(state: HasTraits) -> tuple[Any, Any]:
    """Return a bar of how many of `total` are `settled`, and `progress` in words."""
    bar = ipywidgets.IntProgress(min=0, layout={"width": "320px"})
    in_words = ipywidgets.Label()
    dlink((state, "total"), (bar, "max"), lambda total: max(total, 1))
    dlink((state, "settled"), (bar, "value"))
    dlink((state, "progress"), (in_words, "value"))
    return bar, in_words
