"""The dead-letter widget: its parts, bound to the state, which holds every rule."""

from __future__ import annotations

from functools import partial
from typing import Any

import ipywidgets

from tasktools.cluster.cluster import Cluster
from tasktools.widgets import html
from tasktools.widgets.base import LiveWidget
from tasktools.widgets.bindings import column, html_of, shown_while
from tasktools.widgets.dead_letters import inputs, results
from tasktools.widgets.dead_letters.feed import DeadLettersFeed
from tasktools.widgets.dead_letters.html import static_html
from tasktools.widgets.dead_letters.state import DeadLettersState
from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post


def dead_letters(
    cluster: Cluster, topic: str | None = None, *, history: Cluster | None = None
) -> DeadLettersWidget:
    """Return a widget to look at dead letters, and to replay or discard the selected ones.

    It groups, filters and selects dead letters, and shows a plan before anything is changed. No
    queue is looked at before *Look* is pressed. The widget's thread ends with `close()`, and while
    no browser shows the widget.

    Parameters
    ----------
    cluster
        The cluster with the dead letters.
    topic
        The topic that is chosen at first; by default the one with the most dead letters.
    history
        A recording of the cluster of 5 days or more: beside the rate it says what a replay at that
        rate adds to the waits of live tasks.

    Returns
    -------
    The widget. Its `state` holds everything that is on screen, and does what the buttons do.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     widget = tt.widgets.dead_letters(cluster, "orders")
    ...     widget.state.topic
    ...     widget.close()
    'orders'

    """
    return DeadLettersWidget(cluster, topic, history=history)


class DeadLettersWidget(LiveWidget[DeadLettersState, DeadLettersFeed]):
    """The dead-letter widget; `dead_letters` makes it.

    `state` holds everything that is on screen, and can be used from code:
    ``widget.state.look()``, ``widget.state.table.select(keys)``, ``widget.state.make_plan()``.
    *post* passes a call to the thread that owns the widgets; by default to the notebook's loop.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str | None = None,
        *,
        history: Cluster | None = None,
        post: Post | None = None,
    ) -> None:
        super().__init__()
        broker = cluster.broker
        state = DeadLettersState(
            topic=topic, read_only=cluster.read_only, redaction=cluster.redaction
        )
        self._begin(state, partial(DeadLettersFeed, cluster, history), post)
        self._heading = html.heading(
            "Dead letters",
            f"on {broker.address}",
            demo=broker.demo,
            read_only=cluster.read_only,
        )
        after_look = column(
            inputs.groups(state),
            inputs.letters(state),
            inputs.intent(state),
            results.run(state),
            results.actions(state),
        )
        self._show(
            [
                ipywidgets.HTML(self._heading),
                inputs.where(state),
                shown_while(after_look, state, "has_looked"),
                html_of(state, "problem", html.alert),
            ],
            "tasktools-dead-letters",
            html.caption("Dead letters on", broker.address, demo=broker.demo),
        )
        self._bind()
        self.feed.start()

    def _static_html(self) -> str:
        return self._heading + static_html(self.state)

    def _bind(self) -> None:
        state, feed = self.state, self.feed

        def send(change: Any) -> None:
            if change["new"] is not None:
                feed.execute(change["new"])

        def want(_change: Any = None) -> None:
            feed.want(state.topic)

        def estimate(change: Any) -> None:
            feed.estimate(change["new"])

        want()
        state.observe(guarded(state, "What was ordered", send), "order")
        state.observe(guarded(state, "The impact of the replay", estimate), "impact_asked")
        state.observe(guarded(state, "Choosing the topic", want), "topic")
