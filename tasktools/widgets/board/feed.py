"""The thread behind the board: samples the cluster, or reads its recording, every second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tasktools.core.clock import moment
from tasktools.ops.analysis import Sampled
from tasktools.ops.cluster import Cluster
from tasktools.ops.recording import pulse
from tasktools.ops.recording.history import HistoryBroker
from tasktools.ops.recording.recorder import until_next
from tasktools.widgets.board.board import Board
from tasktools.widgets.board.charts import WINDOWS
from tasktools.widgets.board.layout import Wanted
from tasktools.widgets.board.strip import Strip
from tasktools.widgets.board.tiles import Now
from tasktools.widgets.feed import Feed, Post

_MINUTE: Final = 60_000
_SILENT: Final = 3.0
"""Intervals after which nothing more is expected of a recording."""


class BoardFeed(Feed):
    """Keeps *board* up to date, and tells the state how it is now.

    *every* is in seconds; *topics* are those that are wanted, or all.
    """

    def __init__(
        self,
        cluster: Cluster,
        board: Board,
        receive: Callable[[Mapping[str, Any]], object],
        post: Post,
        *,
        every: float,
        topics: Iterable[str] | None,
        thresholds: Mapping[str, float],
    ) -> None:
        super().__init__("board", self._look_around, receive, post)
        self._cluster = cluster
        self._board = board
        self._every = every
        self._topics = None if topics is None else tuple(topics)
        self._thresholds = thresholds
        self._window = self._shown_window = ""
        self._revision = 0
        self._paused = False
        self._complaint: str | None = None
        self._is_recorded = isinstance(cluster.broker, HistoryBroker)
        self._newest, self._moved_at = 0.0, float("-inf")

    # --- from any other thread ----------------------------------------------------------

    def want(self, window: str, text: str, *, paused: bool) -> None:
        """Show the last *window* of the topics whose names contain *text*; while *paused*, go on
        to sample and tell nothing."""
        self._window, self._paused = window, paused
        self._board.want(Wanted(self._topics, text))
        self.look_soon()

    # --- in the feed's thread -----------------------------------------------------------

    def _look_around(self) -> float:
        if self._window != self._shown_window:
            self._board.restart(WINDOWS[self._window])
            self._shown_window = self._window
        with self._cluster.sampled() as sampled:
            for done in self._board.read(sampled):
                if done:  # there is more than one piece of it
                    self.tell(reading=f"reading the last {self._window}: {done:.0%}")
            failed = self._failed(sampled)
        self._board.arrange(time.monotonic())
        if not self._paused:
            self.tell(**self._seen(failed), **self._complaints(sampled.problem))
        return until_next(time.time(), self._every)

    def _complaints(self, problem: str | None) -> dict[str, str]:
        """Return what is wrong, if that is news: what others complain of stays."""
        before, self._complaint = self._complaint, problem
        return {} if problem == before else {"problem": problem or ""}

    def _failed(self, sampled: Sampled) -> dict[str, int]:
        until = sampled.until
        counts = pulse.failed_since(sampled.connection, until - _MINUTE, until)
        names = pulse.names_of(sampled.connection, list(counts))
        return {names[number]: count for number, count in counts.items()}

    def _seen(self, failed: Mapping[str, int]) -> dict[str, Any]:
        strip, layout = self._board.strip, self._board.layout
        if strip is None or strip.until is None:
            return {}
        self._revision += 1
        topics, workers = self._board.names()
        newest = strip.until / 1000
        return {
            "topics": topics,
            "workers": workers,
            "newest_at": newest,
            "ended": self._is_recorded and self._is_over(newest, _SILENT * strip.interval + 1),
            "since": _since(strip),
            "gaps": sum(column.is_gap for column in strip.columns),
            "tiles": Now(strip, layout.topics, failed, self._thresholds).tiles(),
            "reading": "",
            "revision": self._revision,
        }

    def _is_over(self, newest: float, patience: float) -> bool:
        """Whether a recording goes no further: its end is old, or has not moved for a while. The
        clock of the recorder need not be ours."""
        now, before = time.monotonic(), self._newest
        if newest != before and (before or abs(time.time() - newest) < patience):
            self._moved_at = now
        self._newest = newest
        return now - self._moved_at > patience


def _since(strip: Strip) -> str:
    """Return when *strip* begins, if it does not fill its window."""
    first = strip.columns[0].at / 1000
    missing = strip.window - (strip.columns[-1].at / 1000 - first)
    return f"{moment(first):%H:%M:%S} UTC" if missing > _SILENT * strip.length / 1000 else ""
