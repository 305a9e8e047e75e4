"""The capacity widget: its parts, bound to the state, which holds every rule."""

from __future__ import annotations

from functools import partial
from typing import Any

import ipywidgets

from tasktools.cluster.cluster import Cluster
from tasktools.core.redaction import mask_text
from tasktools.core.timespans import Moment, in_words
from tasktools.figures.figure_parts import Theme
from tasktools.figures.page_theme import STYLE
from tasktools.widgets import html
from tasktools.widgets.base import LiveWidget
from tasktools.widgets.bindings import WIDE, bound, button, column, html_of, row, text
from tasktools.widgets.capacity import answer_text
from tasktools.widgets.capacity.feed import CapacityFeed
from tasktools.widgets.capacity.picture import drawn
from tasktools.widgets.capacity.slider_names import SliderNames
from tasktools.widgets.capacity.sliders import choice, factor, limits, stepped, workers
from tasktools.widgets.capacity.state import QUANTILES, WAITS, CapacityState
from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post

_ANSWERED = ("facts", "chosen", "scenario", "drawn", "needed", "outlook", "need", "why_not")
_PRICED = ("price", "money", "price_problem", "hours", "workers", "need", "chosen")


def capacity(
    history: Cluster,
    topic: str = "",
    *,
    since: Moment = "28D",
    until: Moment | None = None,
    price: str = "",
    theme: Theme = "light",
) -> CapacityWidget:
    """Return a widget that says how long tasks wait with other workers, traffic or service times.

    Sliders multiply the traffic and the service time, and set the workers, the limit of the topic
    and the target of the wait. The recorded tasks are simulated with them: wait and utilisation by
    hour of the week come at once, then how many workers are needed, with an interval, and notes on
    data that are too few. It changes nothing and looks into no queue. The widget's thread ends with
    `close()`, and while no browser shows the widget.

    Parameters
    ----------
    history
        A recording of some days (``tt.connect("sqlite:///ops.db")``), or a live cluster, of which
        only events received by this process are known.
    topic
        The topic that is shown first; by default the busiest.
    since
        The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"28D"``).
    until
        The end; by default now, or the end of the recording.
    price
        Of an hour of a worker, in any currency: ``"0.12 €"``.
    theme
        The colours of the figure: ``light``, which is dark on a dark page, or ``dark``.

    Returns
    -------
    The widget. Its `state` holds everything that is on screen.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     widget = tt.widgets.capacity(cluster, since="1h", price="0.12 €")
    ...     widget.close()

    """
    return CapacityWidget(history, topic, since=since, until=until, price=price, theme=theme)


class CapacityWidget(LiveWidget[CapacityState, CapacityFeed]):
    """The capacity widget; `capacity` makes it.

    `state` holds everything that is on screen, and can be set from code:
    ``widget.state.workers = 5``. *post* passes a call to the thread that owns the widgets; by
    default to the notebook's loop.
    """

    def __init__(
        self,
        history: Cluster,
        topic: str = "",
        *,
        since: Moment = "28D",
        until: Moment | None = None,
        price: str = "",
        theme: Theme = "light",
        post: Post | None = None,
    ) -> None:
        super().__init__()
        state = CapacityState(topic=topic)
        state.price = price
        make_feed = partial(CapacityFeed, history, since=since, until=until, theme=theme)
        self._begin(state, make_feed, post)
        broker = history.broker
        self._heading = html.heading("Capacity", f"what if, on {broker.address}", demo=broker.demo)
        self._figure = ipywidgets.Output(layout={**WIDE, "min_height": "356px"})
        self._figure.add_class("tt-figure")
        self._answer = ipywidgets.HTML(layout=WIDE)
        self._answer.add_class("tt-answer")
        self._cost = ipywidgets.HTML(layout=WIDE)
        self._notes = ipywidgets.HTML(layout=WIDE)
        self._show(
            [
                ipywidgets.HTML(self._heading + STYLE),
                html_of(state, "problem", html.alert),
                self._controls(),
                self._answer,
                self._cost,
                self._figure,
                self._notes,
                SliderNames(),
            ],
            "tasktools-capacity",
            html.caption("Capacity of", broker.address, demo=broker.demo),
        )
        self._bind()
        self.feed.start()

    def _controls(self) -> Any:
        state = self.state
        return column(
            row(choice(state), button(state, "As recorded", state.reset), self._price()),
            row(
                factor(state, "traffic", "Traffic ×"),
                factor(state, "service", "Service time ×"),
                workers(state),
            ),
            row(
                limits(state),
                stepped(state, "wait_below", "Wait at most", lambda: WAITS, in_words),
                stepped(state, "quantile", "of the tasks", lambda: QUANTILES, answer_text.percent),
            ),
            name="sliders",
        )

    def _price(self) -> Any:
        state = self.state
        hours = ipywidgets.FloatText(
            description="Hours",
            style={"description_width": "auto"},
            layout={"width": "130px"},
        )
        price = text(state, "price", "Price of a worker-hour", width="250px", hint="0.12 €")
        return row(price, bound(hours, state, "hours"))

    def _bind(self) -> None:
        state, feed = self.state, self.feed

        def want(_change: Any = None) -> None:
            feed.want(state.scenario)

        want()
        state.observe(guarded(state, "Asking what if", want), "scenario")
        state.observe(guarded(state, "Drawing the figure", self._draw), ["drawn", "is_stale"])
        state.observe(guarded(state, "Showing the answer", self._say), list(_ANSWERED))
        state.observe(guarded(state, "Showing the cost", self._reckon), list(_PRICED))
        self._say()
        self._reckon()

    def _draw(self, change: Any) -> None:
        if change["name"] == "drawn" and change["new"] is not None:
            # Not a FigureWidget: it is laid out before it is on the page.
            self._figure.outputs = (change["new"].figure,)
        if self.state.is_stale:
            self._figure.add_class("tt-stale")
        else:
            self._figure.remove_class("tt-stale")

    def _say(self, _change: Any = None) -> None:
        state = self.state
        with state.lock:
            answer, notes = _answer_html(state), _notes_html(state)
        self._answer.value, self._notes.value = answer, notes

    def _static_html(self) -> str:
        state = self.state
        with state.lock:
            answer, notes, outlook = _answer_html(state), _notes_html(state), state.outlook
        figure = "" if outlook is None else drawn(outlook)
        return self._heading + answer + figure + html.quiet(answer_text.cost_line(state)) + notes

    def _reckon(self, _change: Any = None) -> None:
        self._cost.value = html.quiet(answer_text.cost_line(self.state))


def _answer_html(state: CapacityState) -> str:
    """Return the answer for the present sliders, as far as it is computed."""
    facts, scenario = state.chosen, state.scenario
    if state.facts is None:
        return html.status("Reading the recording …")
    warning = html.alert(state.facts.warning.capitalize()) if state.facts.warning else ""
    if state.missing_topic:
        warning += html.alert(
            f"There is no topic {state.missing_topic!r} in what is recorded; the busiest is shown."
        )
    if facts is None or scenario is None:
        return warning
    if state.why_not:
        return warning + html.alert(state.why_not)
    if state.outlook is None:
        return warning + html.status(
            mask_text(f"Computing: {answer_text.asked(scenario, facts)} …")
        )
    lines = [*answer_text.outlook_lines(state.outlook, facts)]
    if state.need is None:
        lines.append("Computing how many are needed …")
    else:
        lines += answer_text.need_lines(state.need, facts)
    return warning + "".join(html.status(mask_text(line)) for line in lines)


def _notes_html(state: CapacityState) -> str:
    notes = [] if state.need is None else list(state.need.notes)
    recorded = [] if state.facts is None else list(state.facts.notes)
    return "".join(html.quiet(mask_text(note)) for note in (*notes, *recorded))
