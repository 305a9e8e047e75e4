"""A widget of ours without a browser, with the calls of its feed made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import ipywidgets

from tasktools.testing import eventually
from tasktools.widgets.feed import Post

W = TypeVar("W", bound=ipywidgets.Widget)


class WidgetScreen(Generic[W]):
    """What *make* makes, given what brings calls into the thread that owns widgets: this one."""

    def __init__(self, make: Callable[[Post], W]) -> None:
        self._waiting: list[Callable[[], object]] = []
        self.widget = make(self._waiting.append)

    def until(self, predicate: Callable[[], object]) -> None:
        """Make the calls that wait until *predicate* holds."""

        def turned() -> object:
            while self._waiting:
                self._waiting.pop(0)()
            return predicate()

        eventually(turned)

    def all(self, kind: type | None = None) -> list[Any]:
        """Return what is on screen, of that *kind*."""
        widgets = list(descendants(self.widget))
        return [widget for widget in widgets if kind is None or isinstance(widget, kind)]

    def labelled(self, description: str) -> Any:
        """Return the widget with this description."""
        (widget,) = [w for w in self.all() if getattr(w, "description", None) == description]
        return widget

    @property
    def html(self) -> str:
        """All HTML that is shown."""
        return "".join(widget.value for widget in self.all(ipywidgets.HTML))


def descendants(widget: Any) -> Iterator[Any]:
    """Yield all that *widget* contains."""
    for child in getattr(widget, "children", ()):
        yield child
        yield from descendants(child)
