"""What is on screen: widgets, bound to the state. Every rule is in the state."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import ipywidgets

from tasktools.ops.cluster import Cluster
from tasktools.widgets import words
from tasktools.widgets.bindings import html_of, shown_while
from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post
from tasktools.widgets.live import LiveWidget
from tasktools.widgets.triage import html, inputs, results
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


class DeadLettersWidget(LiveWidget):
    """The dead-letter widget; `dead_letters` makes it.

    `state` holds what was entered and what came of it, and can be used in place of the screen:
    ``widget.state.look()``, ``widget.state.table.select(keys)``, ``widget.state.make_plan()``.
    *post* brings a call into the thread that owns the widgets; by default it is the notebook's
    loop.
    """

    def __init__(
        self, cluster: Cluster, topic: str | None = None, *, post: Post | None = None
    ) -> None:
        super().__init__()
        broker = cluster.broker
        self.state = state = DeadLettersState(topic=topic, read_only=cluster.read_only)
        self.feed: DeadLettersFeed = self._begin(
            state, lambda tell, into: DeadLettersFeed(cluster, tell, into), post
        )
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
        self._show(
            [
                ipywidgets.HTML(html.style() + head),
                inputs.where(state),
                shown_while(found, state, "has_looked"),
                results.progress(state),
                results.outcome(state),
                html_of(state, "problem", words.alert),
            ],
            "tasktools-dead-letters",
        )
        self._bind()
        self.feed.start()

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
