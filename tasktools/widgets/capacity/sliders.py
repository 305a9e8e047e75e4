"""The sliders and the menu of the capacity widget, whose ranges follow the chosen topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ipywidgets

from tasktools.core.escaping import harmless
from tasktools.widgets.bindings import bound
from tasktools.widgets.capacity.state import LEAST_FACTOR, MOST_FACTOR, CapacityState
from tasktools.widgets.errors import guarded

_ON_RELEASE: Final = {"continuous_update": False}
"""Else JupyterLab sends back each value that it is sent, and so an old one after a newer one."""
_STYLE: Final = {"description_width": "100px"}
_LAYOUT: Final = {"width": "330px"}


def factor(state: CapacityState, trait: str, description: str) -> Any:
    """Return a slider for *trait*, a factor by which recorded values are multiplied."""
    slider = ipywidgets.FloatSlider(
        min=LEAST_FACTOR,
        max=MOST_FACTOR,
        step=0.05,
        value=1.0,
        description=description,
        readout_format=".2f",
        style=_STYLE,
        layout=_LAYOUT,
        **_ON_RELEASE,
    )
    return bound(slider, state, trait)


def workers(state: CapacityState) -> Any:
    """Return the slider for the number of workers, or of slots if no worker was recorded."""
    slider = ipywidgets.IntSlider(
        min=1, max=10, value=1, style=_STYLE, layout=_LAYOUT, **_ON_RELEASE
    )

    def show() -> None:
        slider.description = "Slots" if state.chosen and not state.chosen.workers else "Workers"
        slider.max = max(state.most_workers, slider.value)  # so that it never cuts the old value
        slider.value = state.workers
        slider.max = state.most_workers

    return _following(slider, state, "workers", show, ("workers", "most_workers", "chosen"))


def limits(state: CapacityState) -> Any:
    """Return the slider for the topic's limit."""

    def choices() -> tuple[int | None, ...]:
        return (None,) if state.chosen is None else state.chosen.limits

    def label(limit: int | None) -> str:
        return "none" if limit is None else f"{limit:,}"

    return stepped(state, "limit", "Limit", choices, label, ("chosen",))


def stepped(
    state: CapacityState,
    trait: str,
    description: str,
    choices: Callable[[], tuple[Any, ...]],
    label: Callable[[Any], str],
    followed: tuple[str, ...] = (),
) -> Any:
    """Return a slider for *trait* over *choices*, and over values that code sets."""
    slider = ipywidgets.SelectionSlider(
        options=[""], description=description, style=_STYLE, layout=_LAYOUT, **_ON_RELEASE
    )
    by_label: dict[str, Any] = {}

    def show() -> None:
        value, steps = getattr(state, trait), choices()
        if value not in steps:
            steps = tuple(sorted((*steps, value), key=lambda step: (step is not None, step)))
        by_label.clear()
        by_label.update((label(step), step) for step in steps)
        if slider.options != tuple(by_label):
            slider.options = tuple(by_label)
        slider.value = label(value)

    return _following(slider, state, trait, show, (trait, *followed), by_label.__getitem__)


def choice(state: CapacityState) -> Any:
    """Return the menu of topics."""
    menu = ipywidgets.Dropdown(
        options=[("", "")],
        description="Topic",
        style={"description_width": "100px"},
        layout={"width": "420px"},
    )

    def show() -> None:
        topics = {} if state.facts is None else state.facts.topics
        options = [(harmless(each.label), name) for name, each in topics.items()] or [("", "")]
        if list(menu.options) != options:
            menu.options = options
        menu.value = state.topic if state.topic in topics else options[0][1]

    return _following(menu, state, "topic", show, ("topic", "facts"))


def _following(
    control: Any,
    state: CapacityState,
    trait: str,
    show: Callable[[], object],
    followed: tuple[str, ...],
    read: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """Return *control*, bound to *trait*: its value sets the trait, converted by *read*; *show*
    updates the control when a trait in *followed* changes.

    A change of the value by *show* itself, for example by a new range, does not set the trait.
    """
    showing = False

    def follow(_change: Any = None) -> None:
        nonlocal showing
        with state.lock:
            showing = True
            try:
                show()
            finally:
                showing = False

    def choose(change: Any) -> None:
        with state.lock:
            if not showing:
                setattr(state, trait, read(change["new"]))

    state.observe(guarded(state, "Showing the sliders", follow), list(followed))
    control.observe(guarded(state, "Moving a slider", choose), "value")
    follow()
    return control
