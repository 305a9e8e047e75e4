"""The data of the board: samples in a column buffer, the selection that is shown, and packets.

The feed's thread adds samples; any thread may pack them for the page.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.core.escaping import harmless
from tasktools.history.ticks import TickReader, Ticks
from tasktools.widgets.dashboard.chart_selection import (
    NO_SELECTION,
    ChartSelection,
    TopicFilter,
    select_charts,
)
from tasktools.widgets.dashboard.charts import CHARTS
from tasktools.widgets.dashboard.column_buffer import (
    CAPACITY,
    DEAD,
    OLDEST,
    QUEUED,
    RUNNING,
    SAMPLES,
    Array,
    ColumnBuffer,
    Names,
)
from tasktools.widgets.dashboard.series import Series
from tasktools.widgets.dashboard.tiles import MIN_WATCHED_SECONDS

_COLUMNS_PER_READ: Final = 40
_NO_WORKERS: Final = "No worker has sent an event."
_UNHEARD: Final = "Events of workers cannot be received at present."
_SHORT_QUEUE: Final = 10
"""A queue of no more messages is not forecast."""
_RATE_COLUMNS: Final = 60
_MIN_RATE: Final = 1 / 600
"""Tasks a second; of a topic without any, the deepest queue counts."""
_STAYS: Final = 1.5
"""A forecast topic is replaced by another one that waits so many times as long."""
TABLE: Final = (
    *("queued", "running", "capacity", "ended per second", "oldest running task"),
    *("failures in a minute", "dead letters", "consumers"),
)
"""Numbers in the table of topics, in the order in which the page gets them."""
FAILURES_MS: Final = 60_000
"""Milliseconds over which failures are counted, in the table and in the tile."""
_LAYOUT_SECONDS: Final = 10.0  # the selection of topics stays so long


@dataclass(frozen=True, slots=True)
class Packed:
    """Columns for the page: a description, and three buffers of numbers.

    The first buffer has 64-bit rows: time, 1 for a gap, then the lines in the order of the charts.
    The second one has 32-bit rows: running tasks, capacity and state of workers. The third one has
    the 64-bit columns of the table of topics, as they are now. `generation` increases with each new
    selection; a page with another generation asks for everything.
    """

    message: dict[str, Any]
    buffers: list[bytes]


class Board:
    """The samples and the selection of the board. *every* is the sampling interval in seconds."""

    def __init__(self, every: float) -> None:
        self.selection: ChartSelection = NO_SELECTION
        self.generation = 0
        self.buffer: ColumnBuffer | None = None
        self._every, self._window = every, 0.0
        self._topics, self._workers = Names(), Names()
        self._wanted = TopicFilter(None, "")
        self._laid_out = float("-inf")
        self._lock = threading.Lock()
        self.failed: dict[str | None, int] = {}
        """The attempts that failed in the last minute, by topic (`None`: not told), as they were
        read last."""
        self.mute: frozenset[str] = frozenset()
        """The topics of whose tasks no events arrive: no failures are known there, not none."""

    # --- in the feed's thread -----------------------------------------------------------

    def restart(self, window: float) -> None:
        """Remove all samples, for another window. Topics keep their styles."""
        with self._lock:
            self._window = window
            self.buffer = None
            self.generation += 1
            self._laid_out = float("-inf")

    def want(self, wanted: TopicFilter) -> None:
        """Show the topics that *wanted* matches."""
        with self._lock:
            self._wanted = wanted
            self._laid_out = float("-inf")

    def read(self, reader: TickReader) -> Iterator[float]:
        """Add the new samples of the recording; yield the share that is done, from 0 to 1."""
        until = reader.until
        with self._lock:
            if self.buffer is None:
                every = max(self._every, reader.interval)
                self.buffer = ColumnBuffer(self._window, every, self._topics, self._workers)
        buffer = self.buffer
        is_new = buffer.until is None
        earliest = until - int(1000 * (buffer.extent))
        start = earliest if buffer.until is None else buffer.until
        # Begin with a whole column.
        after = max(start, earliest) // buffer.length * buffer.length - 1
        after = max(after, start) if not is_new else after
        step = _COLUMNS_PER_READ * buffer.length
        for since in range(after, until, step):
            yield (since - after) / (until - after)
            ticks = reader.ticks(since, min(since + step, until))
            with self._lock:
                self._learn(buffer, reader, ticks)
                buffer.add(ticks, ages_from=0 if is_new else since)
        failed, mute = reader.failed(FAILURES_MS), reader.mute_topics()
        with self._lock:
            self.failed, self.mute = failed, mute

    def _learn(self, buffer: ColumnBuffer, reader: TickReader, ticks: Ticks) -> None:
        """Look up the names of topics and workers that are new."""
        topics = np.concatenate([ticks.topics["topic"], ticks.tries["topic"]])
        for names, numbers in ((buffer.topics, topics), (buffer.workers, ticks.workers["worker"])):
            unknown = names.unknown(np.unique(numbers).tolist())
            if unknown:
                name_of = reader.names(unknown)
                for number in sorted(unknown, key=lambda n: name_of.get(n, "")):
                    names.add(number, harmless(name_of.get(number, f"#{number}")))

    def arrange(self, now: float) -> None:
        """Select topics for the charts; not more often than every few seconds, to stay readable."""
        with self._lock:
            buffer = self.buffer
            if buffer is None:
                return
            if now - self._laid_out < _LAYOUT_SECONDS and not self._is_stale(buffer):
                return
            self._laid_out = now
            selection = select_charts(buffer, Series(buffer), self._wanted, self.selection)
            if selection != self.selection:
                self.selection = selection
                self.generation += 1

    def _is_stale(self, buffer: ColumnBuffer) -> bool:
        """Whether a wanted topic is missing from the selection."""
        wanted = set(self._wanted.places(buffer.topics.names)) - buffer.gone
        return wanted != set(self.selection.topics)

    # --- from any thread ----------------------------------------------------------------

    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of the shown topics and workers."""
        buffer = self.buffer
        if buffer is None:
            return (), ()
        topics = tuple(buffer.topics.names[place] for place in self.selection.topics)
        return topics, tuple(buffer.workers.names[place] for place in self.selection.workers)

    def longest_queue(self, hidden: frozenset[str], before: str | None) -> str | None:
        """Return the topic with the longest wait among the lines of the queue chart: depth by the
        tasks that ended in the last minute. The topic *before* stays unless another waits far
        longer; `None`: no queue has more than a few messages."""
        with self._lock:
            buffer = self.buffer
            if buffer is None or not buffer.columns:
                return None
            names = buffer.topics.names
            places = [
                place
                for place in self.selection.charts["queued"].topics
                if names[place] not in hidden
            ]
            depth = buffer.now.topics[QUEUED]
            series = Series(buffer, buffer.columns[-1].number - _RATE_COLUMNS)
            rates = dict(zip(places, series.of("throughput", places), strict=True))
        waits = {}
        for place in places:
            if place < len(depth) and depth[place] > _SHORT_QUEUE:  # NaN is not
                rate = rates[place][~np.isnan(rates[place])]
                ended = float(rate.mean()) if len(rate) else 0.0
                stays = _STAYS if names[place] == before else 1.0
                waits[names[place]] = stays * float(depth[place]) / max(ended, _MIN_RATE)
        return max(waits, key=waits.__getitem__, default=None)

    def table(self) -> dict[str, list[float]]:
        """Return the numbers of this moment (`TABLE`) of the listed topics; NaN: not known."""
        with self._lock:
            buffer = self.buffer
            if buffer is None or not buffer.columns:
                return {}
            rows = self._table(buffer, Series(buffer, buffer.columns[-1].number))
            names = [buffer.topics.names[place] for place in self.selection.listed]
        return dict(zip(names, rows.T.tolist(), strict=True))

    def pack(self, since: int | None = None) -> Packed | None:
        """Return the columns from number *since* on, or all of them with their description."""
        with self._lock:
            buffer = self.buffer
            if buffer is None:
                return None
            series = Series(buffer, buffer.first if since is None else since)
            message = {
                "do": "add" if since is not None else "all",
                "generation": self.generation,
                "first": series.columns[0].number if len(series) else 0,
                "count": len(series),
                "no_workers": _NO_WORKERS if buffer.is_heard else _UNHEARD,
            }
            if since is None:
                message |= self._described(buffer)
            return Packed(
                message,
                [
                    self._pack_lines(series),
                    self._pack_workers(series),
                    self._pack_topics(buffer, series),
                ],
            )

    def _described(self, buffer: ColumnBuffer) -> dict[str, Any]:
        names, styles = buffer.topics.names, self.selection.styles
        return {
            "lines": {
                name: {
                    "topics": [[names[place], styles[place]] for place in lines.topics],
                    "rest": len(lines.rest),
                }
                for name, lines in self.selection.charts.items()
            },
            "listed": [names[place] for place in self.selection.listed],
            "unlisted": len(self.selection.topics) - len(self.selection.listed),
            "workers": [buffer.workers.names[place] for place in self.selection.workers],
            "window": buffer.window,
            "length": buffer.length / 1000,
        }

    def _pack_lines(self, series: Series) -> bytes:
        rows: list[Any] = [
            [column.at / 1000 for column in series.columns],
            [float(column.is_gap) for column in series.columns],
        ]
        for chart in CHARTS:
            lines = self.selection.charts[chart.name]
            rows += list(series.of(chart.name, lines.topics))
            if lines.rest:
                rows.append(series.rest(chart.name, lines.rest))
        return np.array(rows, np.float64).tobytes()

    def _pack_workers(self, series: Series) -> bytes:
        return series.workers()[:, list(self.selection.workers), :].astype(np.float32).tobytes()

    def _pack_topics(self, buffer: ColumnBuffer, series: Series) -> bytes:
        return self._table(buffer, series).tobytes()

    def _table(self, buffer: ColumnBuffer, series: Series) -> Array:
        """Return the rows of `TABLE`, of the listed topics."""
        listed = list(self.selection.listed)
        known = np.full((8, len(buffer.topics.names)), np.nan)
        known[:, : buffer.now.topics.shape[1]] = buffer.now.topics
        now = known[:, listed]
        with np.errstate(divide="ignore", invalid="ignore"):
            running, capacity = now[[RUNNING, CAPACITY]] / now[SAMPLES]
        ended = series.of("throughput", listed)[:, -1:].ravel()
        nothing = 0.0 if buffer.watched >= MIN_WATCHED_SECONDS else np.nan
        names = [buffer.topics.names[place] for place in listed]
        failed = np.array(
            [self.failed.get(name, np.nan if name in self.mute else nothing) for name in names]
        )
        consumers = np.full(len(buffer.topics.names), np.nan)
        consumers[: len(buffer.consumers)] = buffer.consumers
        rows = [now[QUEUED], running, capacity, ended, now[OLDEST], failed, now[DEAD]]
        return np.array([*rows, consumers[listed]], np.float64)
