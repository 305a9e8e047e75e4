"""The incident widget: its parts, bound to the state, which holds every rule."""

from __future__ import annotations

from functools import partial
from typing import Any

import ipywidgets

from tasktools.cluster.cluster import Cluster
from tasktools.figures.figure_parts import Theme
from tasktools.figures.page_theme import STYLE
from tasktools.widgets import html
from tasktools.widgets.base import LiveWidget
from tasktools.widgets.bindings import WIDE, bound, button, column, html_of, row, shown_while
from tasktools.widgets.dead_letters import DeadLettersWidget
from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post
from tasktools.widgets.finding_lines import FindingLines
from tasktools.widgets.incident.feed import IncidentFeed
from tasktools.widgets.incident.finding_list import FindingList
from tasktools.widgets.incident.state import WINDOWS, IncidentState
from tasktools.widgets.incident.tables import answer_html, findings_html


def incident(cluster: Cluster, *, theme: Theme = "light") -> IncidentWidget:
    """Return a widget that says what is wrong, why and since when, and leads to the remedy.

    Findings come first, causes above their symptoms; below them checks without a verdict, checks
    that were ruled out, and a timeline. A click on a finding shows what speaks for it and against
    it, what changed before, what helps, and its topic, worker, task or lock. From there it is one
    click to the dead letters of the topic and to a plan, and to what its failed tasks have in
    common. The cluster is judged every 10 s. The widget changes nothing, and looks into no queue
    unless *Look* is pressed. The widget's thread ends with `close()`, and while no browser shows
    the widget.

    Parameters
    ----------
    cluster
        The cluster, live or a recording.
    theme
        The colours of the timeline: ``light``, which is dark on a dark page, or ``dark``.

    Returns
    -------
    The widget. Its `state` holds everything that is on screen, and does what the buttons do.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://?incident=dead_worker") as cluster:
    ...     widget = tt.widgets.incident(cluster)
    ...     widget.close()

    """
    return IncidentWidget(cluster, theme=theme)


class IncidentWidget(LiveWidget[IncidentState, IncidentFeed]):
    """The incident widget; `incident` makes it.

    `state` holds everything that is on screen, and can be used from code:
    ``widget.state.choose(key)``, ``widget.state.compare()``. *post* passes a call to the thread
    that owns the widgets; by default to the notebook's loop.
    """

    _static_seconds = 60.0  # it is judged every 10 s; its time is in it

    def __init__(
        self, cluster: Cluster, *, theme: Theme = "light", post: Post | None = None
    ) -> None:
        super().__init__()
        self._cluster = cluster
        state = IncidentState()
        self._begin(state, partial(IncidentFeed, cluster, theme=theme), post)
        broker = cluster.broker
        self._heading = html.heading(
            "Incident", f"on {broker.address}", demo=broker.demo, read_only=cluster.read_only
        )
        self._timeline = ipywidgets.Output(layout=WIDE)
        self._timeline.add_class("tt-timeline")
        self._dead_letters = column(name="opened")
        self._show(
            [
                ipywidgets.HTML(self._heading + STYLE),
                html_of(state, "findings", _summary),
                html_of(state, "problem", html.alert),
                FindingList(state),
                self._ways(),
                self._answers(),
                self._dead_letters,
                row(_window(state)),
                self._timeline,
                html_of(state, "findings", _notes),
            ],
            "tasktools-incident",
            html.caption("Incident on", broker.address, demo=broker.demo),
        )
        self._bind()
        self.feed.start()

    def _ways(self) -> Any:
        """Return the buttons that lead on from the chosen finding."""
        state = self.state
        dead = button(state, "Dead letters of its topic", state.open_dead_letters)
        common = button(state, "What failed tasks have in common", state.compare)
        buttons = row(dead, common, html_of(state, "busy", html.status))
        return shown_while(buttons, state, "has_topic")

    def _answers(self) -> Any:
        shown = partial(answer_html, redaction=self._cluster.redaction)
        return column(
            html_of(self.state, "looked_up", shown), html_of(self.state, "compared", shown)
        )

    def _is_known(self) -> bool:
        return self.state.findings is not None  # the timeline takes longer, and is not in it

    def _static_html(self) -> str:
        state = self.state
        summary, problem = _summary(state.findings), html.alert(state.problem)
        return self._heading + summary + problem + findings_html(state.findings)

    def _bind(self) -> None:
        state, feed = self.state, self.feed

        def send(change: Any) -> None:
            if change["new"] is not None:
                feed.execute(change["new"])

        def want(_change: Any = None) -> None:
            feed.want(state.window)

        def leave(change: Any) -> None:
            feed.choose(change["new"])
            state.looked_up = state.compared = None
            state.dead_letters_of = ""

        want()
        state.observe(guarded(state, "What was ordered", send), "order")
        state.observe(guarded(state, "Choosing the time", want), "window")
        state.observe(guarded(state, "Choosing a finding", leave), "chosen")
        state.observe(guarded(state, "Opening the dead letters", self._open), "dead_letters_of")
        state.observe(guarded(state, "Drawing the timeline", self._draw), "timeline")

    def _open(self, _change: Any) -> None:
        for opened in self._dead_letters.children:
            opened.close()
        topic = self.state.dead_letters_of
        opened = [DeadLettersWidget(self._cluster, topic, post=self._post)] if topic else []
        self._dead_letters.children = opened

    def _draw(self, change: Any) -> None:
        # Not a FigureWidget: it is laid out before it is on the page, so that its title is not.
        self._timeline.outputs = (change["new"],)


def _window(state: IncidentState) -> Any:
    choice = ipywidgets.Dropdown(
        options=[(f"last {window}", window) for window in WINDOWS],
        description="Timeline",
        style={"description_width": "auto"},
        layout={"width": "180px"},
    )
    return bound(choice, state, "window")


def _summary(findings: FindingLines | None) -> str:
    return html.status("Looking …" if findings is None else findings.summary)


def _notes(findings: FindingLines | None) -> str:
    return "" if findings is None else "".join(map(html.quiet, findings.notes))
