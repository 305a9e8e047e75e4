"""What all widgets of ours are: a state, a feed in a thread, and that they end together."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import ipywidgets

from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post, to_the_kernel
from tasktools.widgets.presence import Presence
from tasktools.widgets.state import SharedState

Tell = Callable[[Mapping[str, Any]], object]
"""How a feed tells the state what is new: values by trait."""


class LiveFeed(Protocol):
    """A feed, as its widget needs it."""

    def start(self) -> None:
        """Begin, or go on."""

    def stop(self) -> None:
        """Pause: nobody looks."""

    def close(self) -> None:
        """End the thread."""


class LiveWidget(ipywidgets.VBox):
    """A widget with a thread, which ends with `close()` and pauses while no browser shows it.

    The subclass makes its state, calls `_begin` with its feed, and is then given its children.
    """

    _let_go: Callable[[], object] = staticmethod(lambda: None)

    def _begin(
        self, state: SharedState, feed: Callable[[Tell, Post], Any], post: Post | None
    ) -> Any:
        """Make the feed, whose thread does not keep the widget alive, and return it."""
        self._shared = state
        receive = weakref.WeakMethod(self._receive)
        made: LiveFeed = feed(lambda news: _call(receive(), news), post or to_the_kernel())
        self._live = made
        self._let_go = weakref.finalize(self, made.close)
        self._presence = Presence(self._on_screen)
        return made

    def _show(self, children: Sequence[Any], css_class: str) -> None:
        self.children = (*children, self._presence)
        self.add_class(css_class)

    def close(self) -> None:
        """End the thread, once what was ordered is done, and take the widget off screen."""
        self._let_go()
        for child in _descendants(self):
            child.close()
        super().close()

    def _on_screen(self, shown: bool) -> None:  # noqa: FBT001 - a callback
        if shown:
            self._live.start()
        else:
            self._live.stop()

    def _receive(self, news: Mapping[str, Any]) -> None:
        state = self._shared

        def take() -> None:
            self._presence.check()
            with state.lock, state.hold_trait_notifications():
                for name, value in news.items():
                    setattr(state, name, value)

        guarded(state, "Showing what is new", take)()


def _call(receive: Tell | None, news: Mapping[str, Any]) -> None:
    if receive is not None:
        receive(news)


def _descendants(widget: Any) -> Iterator[Any]:
    for child in getattr(widget, "children", ()):
        yield from _descendants(child)
        yield child
