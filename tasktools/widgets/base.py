"""Base class of the widgets: a state, and a feed whose thread ends with the widget."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import ipywidgets

from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Feed, Post, to_the_kernel
from tasktools.widgets.state import SharedState
from tasktools.widgets.static_output import LIVE, StaticOutput
from tasktools.widgets.visibility import Visibility

S = TypeVar("S", bound=SharedState)
F = TypeVar("F", bound=Feed)
Tell = Callable[[Mapping[str, Any]], object]
"""Passes news from a feed to the state: values by trait."""
_FIRST_NEWS_SECONDS: Final = 2.0
"""Seconds for which a cell that shows a widget waits for data: a program that runs a notebook shows
the state at the end of the last cell."""


class LiveWidget(ipywidgets.VBox, Generic[S, F]):
    """A widget with a thread, which ends with `close()` and pauses while no browser shows it.

    The subclass calls `_begin` with its state and its feed, and then `_show` with its children. Its
    `_static_html` returns the HTML that is shown where no kernel runs the widget.
    """

    _static_seconds = 0.0
    """Seconds between two updates of the static output."""

    state: S
    feed: F
    _static_html: Callable[[], str]
    _post: Post  # for a widget that is opened later, perhaps in another thread
    _close_feed: Callable[[], object] = staticmethod(lambda: None)

    def _begin(self, state: S, make_feed: Callable[[Tell, Post], F], post: Post | None) -> None:
        """Set `state` and `feed`; the feed's thread does not keep the widget alive."""
        self.state = state
        receive = weakref.WeakMethod(self._receive)
        self._post = post or to_the_kernel()
        feed = make_feed(lambda news: _call(receive(), news), self._post)
        self.feed = feed
        self._close_feed = weakref.finalize(self, feed.close)
        self._visibility = Visibility(self._on_screen)

    def _show(self, children: Sequence[Any], css_class: str, caption: str) -> None:
        self.children = (*children, self._visibility)
        self.add_class(css_class)
        self.add_class(LIVE)
        self._static = StaticOutput(caption)
        self._kept_at = float("-inf")

    def _is_known(self) -> bool:
        """Whether the widget has data to show."""
        return not self.state.at_work

    def _ipython_display_(self) -> None:
        self._static.show_live(self._repr_mimebundle_())
        self.feed.deliver_until(self._is_known, within=_FIRST_NEWS_SECONDS)
        self._keep()
        self._static.show_static()

    def _keep(self) -> None:
        """Update the static picture, for a notebook without a kernel."""
        if not self._static.has_picture:
            self._kept_at = time.monotonic()
            self._static.take_html(self._static_html())

    async def idle(self, *, within: float = 60.0) -> S:
        """Wait until all orders are done and all needed data is there.

        The widget keeps working while a cell of a notebook awaits this.

        Parameters
        ----------
        within
            Seconds after which the wait ends in any case.

        Returns
        -------
        The state of the widget. Its `at_work` is true if the time was too short.

        """
        state = await self.state.idle(within=within)
        self._keep()
        return state

    def close(self) -> None:
        """Finish pending orders, end the thread, and remove the widget from the screen.
        Idempotent."""
        self._close_feed()
        for child in _descendants(self):
            child.close()
        super().close()

    def _on_screen(self, shown: bool) -> None:  # noqa: FBT001 - a callback
        if shown:
            self.feed.start()
        else:
            self.feed.stop()

    def _receive(self, news: Mapping[str, Any]) -> None:
        state = self.state

        def take() -> None:
            self._visibility.check()
            with state.lock, state.hold_trait_notifications():
                for name, value in news.items():
                    setattr(state, name, value)
            if self._static.is_shown and time.monotonic() - self._kept_at >= self._static_seconds:
                self._keep()

        guarded(state, "Showing what is new", take)()


def _call(receive: Tell | None, news: Mapping[str, Any]) -> None:
    if receive is not None:
        receive(news)


def _descendants(widget: Any) -> Iterator[Any]:
    for child in getattr(widget, "children", ()):
        yield from _descendants(child)
        yield child
