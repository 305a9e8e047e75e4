"""Widgets that follow a trait of a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ipywidgets
from traitlets import HasTraits, dlink

WIDE: Final = {"width": "auto"}
"""As wide as the box it is in; 100 % would be wider by the margins."""
ROW: Final = {"flex_flow": "row wrap", "align_items": "center"}
"""Side by side, and below each other where the page is narrow."""


def shown_while(widget: Any, state: HasTraits, trait: str, *, inverse: bool = False) -> Any:
    """Let *widget* be on screen while *trait* is something, or with *inverse* while it is not."""
    dlink(
        (state, trait),
        (widget.layout, "display"),
        lambda value: None if bool(value) is not inverse else "none",
    )
    return widget


def html_of(state: HasTraits, trait: str, as_html: Callable[[Any], str]) -> Any:
    """Return a piece of HTML that follows *trait*."""
    made = ipywidgets.HTML(layout=WIDE)
    dlink((state, trait), (made, "value"), as_html)
    return made
