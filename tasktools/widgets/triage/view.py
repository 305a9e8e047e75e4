"""What is on screen: widgets, bound to the state. Every rule is in the state."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import ipywidgets

from tasktools.ops.cluster import Cluster
from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post, to_the_kernel
from tasktools.widgets.presence import Presence
from tasktools.widgets.triage import html, inputs, results
from tasktools.widgets.triage.bindings import html_of, shown_while
from tasktools.widgets.triage.feed import DeadLettersFeed
from tasktools.widgets.triage.state import DeadLettersState

_GLANCE: Final = 0.05


def dead_letters(cluster: Cluster, topic: str | None = None) -> DeadLettersWidget:
    """Return a widget for the dead letters of *cluster*: look at them, group and select them, and
    replay or discard those selected, by a plan that is shown before anything happens.

    *topic* is chosen at first; by default the one with most dead letters. Nothing is looked at
    before *Look* is pressed.

    Its thread ends with `close()`, and while no browser shows the widget.
    """
    return DeadLettersWidget(cluster, topic)


class DeadLettersWidget(ipywidgets.VBox):
    """The dead-letter widget; `dead_letters` makes it.

    `state` holds what was entered and what came of it, and can be used in place of the screen:
    ``widget.state.look()``, ``widget.state.table.select(keys)``, ``widget.state.make_plan()``.
    *post* brings a call into the thread that owns the widgets; by default it is the notebook's
    loop.
    """

    _let_go: Callable[[], object] = staticmethod(lambda: None)

    def __init__(
        self, cluster: Cluster, topic: str | None = None, *, post: Post | None = None
    ) -> None:
        broker = cluster.broker
        self.state = state = DeadLettersState(topic=topic, read_only=cluster.read_only)
        # The feed's thread must not keep the widget alive.
        receive = weakref.WeakMethod(self._receive)
        self.feed = DeadLettersFeed(
            cluster, lambda news: _call(receive(), news), post or to_the_kernel()
        )
        self._let_go = weakref.finalize(self, self.feed.close)
        self._presence = Presence(self._on_screen)
        head = html.head(broker.address, demo=broker.demo, read_only=cluster.read_only)
        found = ipywidgets.VBox(
            [
                inputs.groups(state),
                inputs.letters(state),
                inputs.intent(state),
                results.plan(state),
            ],
            layout={"width": "auto"},
        )
        super().__init__(
            [
                ipywidgets.HTML(html.style() + head),
                inputs.where(state),
                shown_while(found, state, "has_looked"),
                results.progress(state),
                results.outcome(state),
                html_of(state, "problem", html.alert),
                self._presence,
            ]
        )
        self.add_class("tasktools-dead-letters")
        self._bind()
        self.feed.start()

    def close(self) -> None:
        """End the thread, a run early if one is on, and take the widget off screen."""
        self._let_go()
        for child in _descendants(self):
            child.close()
        super().close()

    async def idle(self, *, within: float = 60.0) -> DeadLettersState:
        """Wait until what was ordered is done, or for *within* seconds; returns the state.

        While a cell of a notebook awaits this, the widget goes on.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if not self._is_busy:
                break
            await asyncio.sleep(_GLANCE)
        return self.state

    @property
    def _is_busy(self) -> bool:
        state = self.state
        return bool(state.busy) or (state.judged is None and not state.problem)

    def _bind(self) -> None:
        state, feed = self.state, self.feed

        def send(change: Any) -> None:
            feed.obey(change["new"])

        def want(_change: Any = None) -> None:
            feed.want(state.topic)

        want()
        state.observe(guarded(state, "What was ordered", send), "order")
        state.observe(guarded(state, "Choosing the topic", want), "topic")

    def _on_screen(self, shown: bool) -> None:  # noqa: FBT001 - a callback
        if shown:
            self.feed.start()
        else:
            self.feed.stop()

    def _receive(self, news: Mapping[str, Any]) -> None:
        def take() -> None:
            self._presence.check()
            with self.state.lock, self.state.hold_trait_notifications():
                for name, value in news.items():
                    setattr(self.state, name, value)

        guarded(self.state, "Showing what is new", take)()


def _call(receive: Callable[[Mapping[str, Any]], object] | None, news: Mapping[str, Any]) -> None:
    if receive is not None:
        receive(news)


def _descendants(widget: Any) -> Iterator[Any]:
    for child in getattr(widget, "children", ()):
        yield from _descendants(child)
        yield child
