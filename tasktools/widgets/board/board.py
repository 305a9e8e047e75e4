"""The board as data: the strip of what was seen, what of it is shown, and both packed for the page.

The feed's thread adds to it, and any thread may pack it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.ops.analysis import Sampled
from tasktools.ops.recording import pulse
from tasktools.widgets.board.charts import CHARTS
from tasktools.widgets.board.layout import NOTHING, Layout, Wanted, lay_out
from tasktools.widgets.board.series import Series
from tasktools.widgets.board.strip import Names, Strip
from tasktools.widgets.table.columns import harmless

_AT_ONCE: Final = 40  # columns that are read in one go
_SETTLED: Final = 10.0  # seconds for which the choice of topics stays as it is


@dataclass(frozen=True, slots=True)
class Packed:
    """Columns for the page: what they are, and their numbers.

    Of lines in the order of the charts, 64-bit, after time, and 1 for a gap; of workers running
    tasks, capacity and state, 32-bit. `generation` numbers what is shown: a page that has another
    one asks for everything.
    """

    message: dict[str, Any]
    buffers: list[bytes]


class Board:
    """What is on the board. *every* is how often it is added to, in seconds."""

    def __init__(self, every: float) -> None:
        self.layout: Layout = NOTHING
        self.generation = 0
        self.strip: Strip | None = None
        self._every, self._window = every, 0.0
        self._topics, self._workers = Names(), Names()
        self._wanted = Wanted(None, "")
        self._laid_out = float("-inf")
        self._lock = threading.Lock()

    # --- in the feed's thread -----------------------------------------------------------

    def restart(self, window: float) -> None:
        """Forget all, for another window; topics keep their styles."""
        with self._lock:
            self._window = window
            self.strip = None
            self.generation += 1
            self._laid_out = float("-inf")

    def want(self, wanted: Wanted) -> None:
        """Show these topics."""
        with self._lock:
            self._wanted = wanted
            self._laid_out = float("-inf")

    def read(self, sampled: Sampled) -> Iterator[float]:
        """Take in what is new in the recording; yields how much of it is done, from 0 to 1."""
        connection, until = sampled.connection, sampled.until
        with self._lock:
            if self.strip is None:
                every = max(self._every, pulse.interval(connection))
                self.strip = Strip(self._window, every, self._topics, self._workers)
        strip = self.strip
        is_new = strip.until is None
        start = until - int(1000 * self._window) if strip.until is None else strip.until
        # At the beginning of a column, so that the first one is whole.
        after = max(start, until - int(1000 * self._window)) // strip.length * strip.length - 1
        after = max(after, start) if not is_new else after
        step = _AT_ONCE * strip.length
        for since in range(after, until, step):
            yield (since - after) / (until - after)
            found = pulse.pulse(connection, since, min(since + step, until))
            with self._lock:
                self._learn(strip, connection, found)
                strip.add(found, ages_from=0 if is_new else since)

    def _learn(self, strip: Strip, connection: Any, found: pulse.Pulse) -> None:
        """Get the names of those that were not seen before."""
        topics = np.concatenate([found.topics["topic"], found.tries["topic"]])
        for names, numbers in ((strip.topics, topics), (strip.workers, found.workers["worker"])):
            unknown = names.unknown(np.unique(numbers).tolist())
            if unknown:
                told = pulse.names_of(connection, unknown)
                for number in sorted(unknown, key=lambda n: told.get(n, "")):
                    names.add(number, harmless(told.get(number, f"#{number}")))

    def arrange(self, now: float) -> None:
        """Choose what is shown; not more often than one can read."""
        with self._lock:
            strip = self.strip
            if strip is None:
                return
            if now - self._laid_out < _SETTLED and not self._is_stale(strip):
                return
            self._laid_out = now
            layout = lay_out(strip, Series(strip), self._wanted, self.layout)
            if layout != self.layout:
                self.layout = layout
                self.generation += 1

    def _is_stale(self, strip: Strip) -> bool:
        """Whether somebody has come who is nowhere."""
        wanted = len(self._wanted.places(strip.topics.names))
        return wanted != len(self.layout.topics)

    # --- from any thread ----------------------------------------------------------------

    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the topics and the workers that are shown."""
        strip = self.strip
        if strip is None:
            return (), ()
        topics = tuple(strip.topics.names[place] for place in self.layout.topics)
        return topics, tuple(strip.workers.names[place] for place in self.layout.workers)

    def pack(self, since: int | None = None) -> Packed | None:
        """Return the columns from number *since* on; without it, all, and what they are."""
        with self._lock:
            strip = self.strip
            if strip is None:
                return None
            series = Series(strip, since or 0)
            message = {
                "do": "add" if since is not None else "all",
                "generation": self.generation,
                "first": series.columns[0].number if len(series) else 0,
                "count": len(series),
            }
            if since is None:
                message |= self._described(strip)
            return Packed(message, [self._pack_lines(series), self._pack_workers(series)])

    def _described(self, strip: Strip) -> dict[str, Any]:
        names, styles = strip.topics.names, self.layout.styles
        return {
            "lines": {
                name: {
                    "topics": [[names[place], styles[place]] for place in lines.topics],
                    "rest": len(lines.rest),
                }
                for name, lines in self.layout.charts.items()
            },
            "workers": [strip.workers.names[place] for place in self.layout.workers],
            "window": strip.window,
            "length": strip.length / 1000,
        }

    def _pack_lines(self, series: Series) -> bytes:
        rows: list[Any] = [
            [column.at / 1000 for column in series.columns],
            [float(column.is_gap) for column in series.columns],
        ]
        for chart in CHARTS:
            lines = self.layout.charts[chart.name]
            rows += list(series.of(chart.name, lines.topics))
            if lines.rest:
                rows.append(series.rest(chart.name, lines.rest))
        return np.array(rows, np.float64).tobytes()

    def _pack_workers(self, series: Series) -> bytes:
        return series.workers()[:, list(self.layout.workers), :].astype(np.float32).tobytes()
