"""The live board as a widget: its state, feed, figure and picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from tasktools.cluster.cluster import Cluster
from tasktools.core.timespans import Span, seconds
from tasktools.widgets import html
from tasktools.widgets.base import LiveWidget
from tasktools.widgets.bindings import button, column, html_of, row
from tasktools.widgets.dashboard.board_data import Board
from tasktools.widgets.dashboard.charts import WINDOWS, read_thresholds
from tasktools.widgets.dashboard.feed import BoardFeed
from tasktools.widgets.dashboard.figure import BoardFigure
from tasktools.widgets.dashboard.findings import LOOKING
from tasktools.widgets.dashboard.state import BoardState
from tasktools.widgets.dashboard.static_html import static_html
from tasktools.widgets.dead_letters import DeadLettersWidget
from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post
from tasktools.widgets.incident import IncidentWidget
from tasktools.widgets.publish import PublishWidget


def dashboard(
    cluster: Cluster,
    *,
    window: str = "1h",
    every: Span = 1.0,
    topics: Iterable[str] | None = None,
    thresholds: Mapping[str, Any] | None = None,
) -> Dashboard:
    """Return a live board: queue depth, throughput, utilisation, failures, dead letters, and the
    oldest running task; above them what is wrong.

    For a live cluster the last hour is kept at most, from the first call on. On a recording the
    board shows its end, and follows it while it is written. The board's thread ends with `close()`,
    and while no browser shows the board. The cluster is diagnosed every 10 s: a click on the worst
    finding, or on the mark of a topic with one, opens the incident below the board. The chart of
    queue depth shows when the longest queue that is not hidden is empty
    (`tasktools.drain_forecast`, every 30 s), as soon as 2 min of it are known.

    Parameters
    ----------
    cluster
        The cluster to show, live or a recording.
    window
        Time to show: 1m, 5m, 15m, 1h, 6h or 24h.
    every
        Interval of the samples: seconds, or a text as ``"5s"``.
    topics
        Names of the topics to show; by default all.
    thresholds
        Limits that are drawn, and marked when exceeded, by name: ``queued``, ``dead_letters`` and
        ``failures`` (in a minute) are counts of one topic, ``oldest`` is the age of a running task
        (seconds, or ``"5m"``), ``utilisation`` a share (0.95), ``gone`` a count of workers.

    Returns
    -------
    The widget. Its `state` holds everything that is on screen.

    Raises
    ------
    ValueError
        If *window* or a threshold does not exist.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     board = tt.widgets.dashboard(cluster, window="5m", thresholds={"queued": 1000})
    ...     board.state.window
    ...     board.close()
    '5m'

    """
    return Dashboard(cluster, window=window, every=every, topics=topics, thresholds=thresholds)


class Dashboard(LiveWidget[BoardState, BoardFeed]):
    """The live board; `dashboard` makes it.

    `state` holds everything that is on screen, and can be set from code:
    ``board.state.paused = True``. *post* passes a call to the thread that owns the widgets; by
    default to the notebook's loop.
    """

    _static_seconds = 30.0

    def __init__(
        self,
        cluster: Cluster,
        *,
        window: str = "1h",
        every: Span = 1.0,
        topics: Iterable[str] | None = None,
        thresholds: Mapping[str, Any] | None = None,
        post: Post | None = None,
    ) -> None:
        if window not in WINDOWS:
            raise ValueError(f"The window is {window!r}; it can be {', '.join(WINDOWS)}.")
        limits = read_thresholds(thresholds)
        if isinstance(topics, str):
            raise TypeError(f"topics is {topics!r}; give a list of names.")
        super().__init__()
        self._cluster = cluster
        state = BoardState(window=window)
        interval = seconds(every)
        board = Board(interval)
        make_feed = partial(
            BoardFeed, cluster, board, every=interval, topics=topics, thresholds=limits
        )
        self._begin(state, make_feed, post)
        broker = cluster.broker
        head = {
            "address": broker.address,
            "demo": broker.demo,
            "recorded": cluster.is_recorded,
            "thresholds": limits,
            "every": interval,
            "refusals": _refusals(cluster),
        }
        self._figure = BoardFigure(state, board, head)
        self._heading = html.heading("Board", f"of {broker.address}", demo=broker.demo)
        self._board = board
        self._opened = column(name="opened")
        self._incident = column(name="investigated")
        self._show(
            [self._figure, self._opened, self._incident],
            "tasktools-dashboard",
            html.caption("Board of", broker.address, demo=broker.demo),
        )
        self._bind()
        self.feed.start()

    def _is_known(self) -> bool:
        return not self.state.at_work and self.state.finding.note != LOOKING

    def _static_html(self) -> str:
        return self._heading + static_html(self.state, self._board)

    def _bind(self) -> None:
        state, feed = self.state, self.feed

        def want(_change: Any = None) -> None:
            feed.want(state.window, state.filter, paused=state.paused, hidden=state.hidden)

        def freeze(change: Any) -> None:
            self._static.take_png(change["new"])

        want()
        state.observe(
            guarded(state, "Choosing what is shown", want), ["window", "filter", "paused", "hidden"]
        )
        self._figure.observe(guarded(state, "Keeping the picture", freeze), "picture")
        state.observe(
            guarded(state, "Opening the incident", self._investigate),
            ["investigating", "investigated"],
        )

        state.observe(
            guarded(state, "Opening what belongs to a topic", self._open),
            ["opened", "opened_topic"],
        )

    def _open(self, _change: Any) -> None:
        state = self.state
        self.feed.list_tasks(state.opened_topic if state.opened == "tasks" else "")
        former, self._opened.children = self._opened.children, ()
        for widget in former:
            for part in widget.children:
                part.close()
            widget.close()
        if state.opened:
            bar = row(button(state, f"Close {state.opened}", state.close))
            self._opened.children = [column(bar, self._about(state.opened, state.opened_topic))]

    def _about(self, part: str, topic: str) -> Any:
        """Return the widget that shows *part* about *topic*."""
        match part:
            case "tasks":
                return html_of(self.state, "tasks", lambda table: table or LOOKING)
            case "dead letters":
                return DeadLettersWidget(self._cluster, topic, post=self._post)
            case _:
                publish = PublishWidget(self._cluster, post=self._post)
                publish.state.topic = topic
                return publish

    def _investigate(self, _change: Any) -> None:
        state = self.state
        if state.investigating and not self._incident.children:
            self._incident.children = [IncidentWidget(self._cluster, post=self._post)]
        for opened in self._incident.children:
            if not state.investigating:
                self._incident.children = []
                opened.close()
            elif state.investigated:
                opened.state.choose_topic(state.investigated)


def _refusals(cluster: Cluster) -> dict[str, str]:
    """Return why entries of a topic's menu cannot be used with *cluster*, by their names."""
    if cluster.is_recorded:
        return {"publish": "this is a recording: nothing can be published to it"}
    if cluster.read_only:
        return {"publish": "this connection is read-only: nothing can be published with it"}
    return {}
