"""Values of each chart by topic, and of workers, computed from the columns of a buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from tasktools.widgets.dashboard.column_buffer import (
    CAPACITY,
    DEAD,
    ENDED,
    FAILED,
    OLDEST,
    QUEUED,
    RUNNING,
    SAMPLES,
    Array,
    Column,
    ColumnBuffer,
)

_MINUTE: Final = 60.0
_MIN_RATE_SECONDS: Final = {ENDED: 10.0, FAILED: _MINUTE}
"""Shortest time over which tasks are counted, so that a rate is not a row of spikes."""
_MIN_SHARE_COVERED: Final = 0.95  # samples are not exact to the millisecond


class Series:
    """The columns of a buffer from number *first* on, as arrays of topics (or workers) by time."""

    def __init__(self, buffer: ColumnBuffer, first: int = 0) -> None:
        columns = list(buffer.columns)
        offset = columns[0].number if columns else 0
        self._skip = max(first - offset, 0)
        length = buffer.length / 1000
        # A rate needs earlier columns than those asked for.
        back = int(max(length, *_MIN_RATE_SECONDS.values()) / length) + 2
        self._length = length
        start = max(self._skip - back, 0)
        self._skip -= start
        self._columns: Sequence[Column] = columns[start:]
        self.columns: Sequence[Column] = self._columns[self._skip :]
        self._count = len(buffer.topics.names)
        self._rows = self._stacked()
        self._workers = len(buffer.workers.names)

    def __len__(self) -> int:
        return len(self.columns)

    def of(self, chart: str, topics: Sequence[int] | None = None) -> Array:
        """Return the values of *chart* for the topics at the positions *topics*, or for all; NaN
        where unknown."""
        rows = self._rows if topics is None else self._rows[:, list(topics)]
        return self._shown(_VALUES[chart](self, rows))

    def rest(self, chart: str, topics: Sequence[int]) -> Array:
        """Return the sum of the values of the topics at the positions *topics*."""
        rows = self._rows[:, list(topics)]
        if chart == "oldest":
            return self._shown(_highest(rows[OLDEST]))
        together = np.stack([_total(row) for row in rows])[:, None, :]
        shown: Array = self._shown(_VALUES[chart](self, together))[0]
        return shown

    def workers(self) -> Array:
        """Return running tasks, capacity and state (by its number) of workers, as
        ``[what, worker, time]``."""
        values = np.full((3, self._workers, len(self.columns)), np.nan)
        for at, column in enumerate(self.columns):
            values[:, : column.workers.shape[1], at] = column.workers
        return values

    def _stacked(self) -> Array:
        rows = np.full((8, self._count, len(self._columns)), np.nan)
        for at, column in enumerate(self._columns):
            rows[:, : column.topics.shape[1], at] = column.topics
        return rows

    def _shown(self, values: Array) -> Array:
        return values[..., self._skip :]

    def _rate(self, rows: Array, row: int) -> Array:
        """Return the events per second, over the last seconds that were recorded.

        A rate does not look back across a gap. After a gap, as at the beginning, it is missing
        until enough time was recorded.
        """
        least = _MIN_RATE_SECONDS[row]
        covered = np.array([column.covered for column in self._columns])
        is_gap = np.array([column.is_gap for column in self._columns], dtype=bool)
        time = np.cumsum(covered)
        begun = np.maximum.accumulate(np.where(is_gap, time, 0.0)) if len(time) else time
        since = np.maximum(time - max(self._length, least), begun)
        count = np.nan_to_num(rows[row]).cumsum(axis=-1)
        before = np.array(
            [np.interp(since, [0, *time], [0, *row_counts]) for row_counts in count], ndmin=2
        ).reshape(count.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            rate: Array = (count - before) / (time - since)
        is_short = time - since < _MIN_SHARE_COVERED * least
        rate[np.isnan(rows[row]) | (covered <= 0) | is_short] = np.nan
        return rate

    def _load(self, rows: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            load: Array = np.where(rows[CAPACITY] > 0, rows[RUNNING] / rows[CAPACITY], np.nan)
        load[~(rows[SAMPLES] > 0)] = np.nan
        return load


_VALUES: Final[dict[str, Callable[[Series, Array], Array]]] = {
    "queued": lambda _series, rows: rows[QUEUED],
    "dead_letters": lambda _series, rows: rows[DEAD],
    "oldest": lambda _series, rows: rows[OLDEST],
    "utilisation": lambda series, rows: series._load(rows),  # noqa: SLF001 - its own
    "throughput": lambda series, rows: series._rate(rows, ENDED),  # noqa: SLF001
    "failures": lambda series, rows: series._rate(rows, FAILED) * _MINUTE,  # noqa: SLF001
}


def _total(values: Array) -> Array:
    """Return the sums of the known values; NaN where none is known."""
    known: Array = np.where(np.isnan(values).all(axis=0), np.nan, np.nansum(values, axis=0))
    return known


def _highest(values: Array) -> Array:
    highest: Array = np.fmax.reduce(values, axis=0, initial=np.nan)
    return highest
