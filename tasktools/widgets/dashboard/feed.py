"""The thread of the board: it samples the cluster, or reads its recording, every second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.escaping import harmless
from tasktools.history.recorder import until_next
from tasktools.history.ticks import TickReader
from tasktools.widgets.dashboard.board_data import Board
from tasktools.widgets.dashboard.chart_selection import TopicFilter
from tasktools.widgets.dashboard.charts import WINDOWS
from tasktools.widgets.dashboard.column_buffer import DEAD, QUEUED, ColumnBuffer
from tasktools.widgets.dashboard.findings import FindingsFeed
from tasktools.widgets.dashboard.tiles import Now
from tasktools.widgets.feed import Feed, Post

_NAME_THEM: Final = "to name some, connect with topics=[…]"
_SILENT_INTERVALS: Final = 3.0
"""A recording without new samples for so many intervals has ended."""


class BoardFeed(Feed):
    """Keeps *board* up to date, and sends its numbers to the state. A second thread, which starts
    and ends with this one, diagnoses the cluster.

    *every* is the interval in seconds; *topics* are the topics to show, `None` for all.
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
        self._findings = FindingsFeed(cluster, board, receive, post)
        self._cluster = cluster
        self._board = board
        self._every = every
        self._topics = None if topics is None else tuple(topics)
        self._thresholds = thresholds
        self._window = self._shown_window = ""
        self._revision = 0
        self._paused = False
        self._complaint: str | None = None
        self._is_recorded = cluster.is_recorded
        self._newest, self._moved_at = 0.0, float("-inf")

    # --- from any other thread ----------------------------------------------------------

    def want(self, window: str, text: str, *, paused: bool, hidden: Iterable[str]) -> None:
        """Show the last *window* of the topics with *text* in their names; while *paused*, sample
        without updating the state. Topics that are *hidden* get no forecast."""
        self._window, self._paused = window, paused
        self._board.want(TopicFilter(self._topics, text))
        self._findings.want(paused=paused, hidden=hidden)
        self.look_soon()

    def list_tasks(self, topic: str) -> None:
        """List the running tasks of *topic* from now on; "" for none."""
        self._findings.list_tasks(topic)

    def start(self) -> None:
        """Start both threads, or continue after `stop`."""
        super().start()
        self._findings.start()

    def stop(self) -> None:
        """End both threads, without waiting."""
        super().stop()
        self._findings.stop()

    def close(self) -> None:
        """End both threads for good, and wait for them."""
        super().close()
        self._findings.close()

    def deliver(self) -> None:
        """Pass on the news of both threads."""
        super().deliver()
        self._findings.deliver()

    @property
    def alive(self) -> bool:
        """Whether a thread runs."""
        return super().alive or self._findings.alive

    # --- in the feed's thread -----------------------------------------------------------

    def _look_around(self) -> float:
        if self._window != self._shown_window:
            self._board.restart(WINDOWS[self._window])
            self._shown_window = self._window
        with self._cluster.sampled() as reader:
            try:
                for done in self._board.read(reader):
                    if done:  # it is read in more than one piece
                        self.tell(reading=f"reading the last {self._window}: {done:.0%}")
            except BaseException:
                self.tell(reading="")
                raise
            notes = reader.notes
        self._board.arrange(time.monotonic())
        if self._paused:
            self.tell(reading="")
        else:
            problem = self._problem(reader)
            reasons = () if problem else self._reasons(*notes)
            self.tell(**self._seen(), notes=reasons, **self._complaints(problem))
        return until_next(time.time(), self._every)

    def _problem(self, reader: TickReader) -> str | None:
        """Return why figures are missing, or a note on the live cluster, such as an alarm.

        A recording's note is left out: its extent is shown by `since` and `gaps`.
        """
        return reader.problem or (None if self._is_recorded else self._cluster.broker.note)

    def _reasons(self, events: str, topics: str) -> tuple[str, ...]:
        """Return the notes that say why figures on the board are missing.

        *events* and *topics* are the last tick's notes on those two sources; "" for none.
        """
        buffer = self._board.buffer
        if buffer is None:
            return ()
        if not buffer.topics.names:
            topics = f"no topic is known ({topics or 'none was found'}); {_NAME_THEM}"
        elif not np.isnan(
            buffer.now.topics[[QUEUED, DEAD]][:, list(self._board.selection.topics)]
        ).any():
            topics = ""
        return tuple(harmless(note) for note in (events, topics) if note)

    def _complaints(self, problem: str | None) -> dict[str, str]:
        """Return *problem* if it has changed, so that the problems of others stay."""
        before, self._complaint = self._complaint, problem
        return {} if problem == before else {"problem": problem or ""}

    def _seen(self) -> dict[str, Any]:
        buffer, selection = self._board.buffer, self._board.selection
        if buffer is None or buffer.until is None:
            return {}
        self._revision += 1
        topics, workers = self._board.names()
        newest = buffer.until / 1000
        return {
            "topics": topics,
            "workers": workers,
            "newest_at": newest,
            "ended": self._is_recorded
            and self._is_over(newest, _SILENT_INTERVALS * buffer.interval + 1),
            "since": _since(buffer),
            "gaps": _gaps(buffer),
            "tiles": Now(
                buffer,
                selection.topics,
                self._board.failed,
                self._thresholds,
                mute=self._board.mute,
            ).tiles(),
            "reading": "",
            "revision": self._revision,
        }

    def _is_over(self, newest: float, patience: float) -> bool:
        """Whether the recording has ended: its end is old, or has not moved for a while. The
        recorder's clock may differ from this machine's."""
        now, before = time.monotonic(), self._newest
        if newest != before and (before or abs(time.time() - newest) < patience):
            self._moved_at = now
        self._newest = newest
        return now - self._moved_at > patience


def _since(buffer: ColumnBuffer) -> str:
    """Return when the samples begin, if they do not fill the window."""
    first = buffer.columns[0].at / 1000
    missing = buffer.window - (buffer.columns[-1].at / 1000 - first)
    return (
        f"{moment(first):%H:%M:%S} UTC"
        if missing > _SILENT_INTERVALS * buffer.length / 1000
        else ""
    )


def _gaps(buffer: ColumnBuffer) -> int:
    """Return how many gaps are within the window."""
    since = buffer.columns[-1].at - 1000 * buffer.window
    return sum(column.is_gap and column.at > since for column in buffer.columns)
