"""`dashboard`: the live board of a cluster, put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tasktools.core.moments import Span, seconds
from tasktools.ops.cluster import Cluster
from tasktools.ops.recording.history import HistoryBroker
from tasktools.widgets.board.board import Board
from tasktools.widgets.board.charts import WINDOWS, read_thresholds
from tasktools.widgets.board.feed import BoardFeed
from tasktools.widgets.board.figure import BoardFigure
from tasktools.widgets.board.picture import Picture
from tasktools.widgets.board.state import BoardState
from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post
from tasktools.widgets.live import LiveWidget

_GLANCE: Final = 0.05


def dashboard(
    cluster: Cluster,
    *,
    window: str = "1h",
    every: Span = 1.0,
    topics: Iterable[str] | None = None,
    thresholds: Mapping[str, Any] | None = None,
) -> Dashboard:
    """Return a live board of *cluster*: queue depth, throughput, utilisation of workers and
    topics, dead letters, failures, and the oldest running task.

    It shows the last *window* (1m, 5m, 15m, 1h, 6h, 24h) and moves *every* second; of all topics,
    or of *topics*. A live cluster is remembered from when it was first looked at, for an hour at
    most; on a recording the board shows its end, and follows it while it is written.

    *thresholds* are drawn, and what passes one is marked:
    ``{"queued": 1000, "oldest": "5m", "utilisation": 0.95, "failures": 10, "dead_letters": 0,
    "gone": 0}``; of topics each by itself, failures in a minute, and of workers how many are gone.

    Its thread ends with `close()`, and while no browser shows the board. Raises `ValueError` for
    a window and for thresholds that there are not.
    """
    return Dashboard(cluster, window=window, every=every, topics=topics, thresholds=thresholds)


class Dashboard(LiveWidget):
    """The live board; `dashboard` makes it.

    `state` holds what is on screen, and can be used in place of it: ``widget.state.paused = True``.
    *post* brings a call into the thread that owns the widgets; by default it is the notebook's
    loop.
    """

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
        self.state = state = BoardState(window=window)
        interval = seconds(every)
        board = Board(interval)
        self.feed: BoardFeed = self._begin(
            state,
            lambda tell, into: BoardFeed(
                cluster, board, tell, into, every=interval, topics=topics, thresholds=limits
            ),
            post,
        )
        broker = cluster.broker
        head = {
            "address": broker.address,
            "demo": broker.demo,
            "recorded": isinstance(broker, HistoryBroker),
            "thresholds": limits,
            "every": interval,
        }
        self._figure = BoardFigure(state, board, head)
        words = "DEMO board" if broker.demo else "Board"
        self._picture = Picture(f"{words} of {broker.address}")
        self._show([self._figure], "tasktools-dashboard")
        self._bind()
        self.feed.start()

    async def idle(self, *, within: float = 60.0) -> BoardState:
        """Wait until the window is read and on screen, or for *within* seconds; returns the state.

        While a cell of a notebook awaits this, the board goes on.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if not self._is_busy:
                break
            await asyncio.sleep(_GLANCE)
        return self.state

    def _ipython_display_(self) -> None:
        self._picture.show_beside(self._repr_mimebundle_())

    @property
    def _is_busy(self) -> bool:
        state = self.state
        return (state.newest_at is None or bool(state.reading)) and not state.problem

    def _bind(self) -> None:
        state, feed = self.state, self.feed

        def want(_change: Any = None) -> None:
            feed.want(state.window, state.filter, paused=state.paused)

        def freeze(change: Any) -> None:
            self._picture.take(change["new"])

        want()
        state.observe(
            guarded(state, "Choosing what is shown", want), ["window", "filter", "paused"]
        )
        self._figure.observe(guarded(state, "Keeping the picture", freeze), "picture")
