"""From columns to what is drawn: the values of each chart by topic, and of workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from tasktools.widgets.board.strip import (
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
    Strip,
)

MINUTE: Final = 60.0
_LEAST: Final = {ENDED: 10.0, FAILED: MINUTE}
"""Seconds over which tasks are counted at least, so that a rate is no row of spikes."""


class Series:
    """The columns of a strip from number *first* on, as arrays of topics (or workers) by time."""

    def __init__(self, strip: Strip, first: int = 0) -> None:
        columns = list(strip.columns)
        offset = columns[0].number if columns else 0
        self._skip = max(first - offset, 0)
        length = strip.length / 1000
        # A rate looks back over columns that are not asked for.
        back = int(max(length, *_LEAST.values()) / length) + 2
        self._length = length
        start = max(self._skip - back, 0)
        self._skip -= start
        self._columns: Sequence[Column] = columns[start:]
        self.columns: Sequence[Column] = self._columns[self._skip :]
        self._count = len(strip.topics.names)
        self._kept = self._stacked()
        self._workers = len(strip.workers.names)

    def __len__(self) -> int:
        return len(self.columns)

    def of(self, chart: str, topics: Sequence[int] | None = None) -> Array:
        """Return the values of *chart* by topic: those at the places *topics*, or all; NaN where
        nothing is known."""
        kept = self._kept if topics is None else self._kept[:, list(topics)]
        return self._shown(_VALUES[chart](self, kept))

    def rest(self, chart: str, topics: Sequence[int]) -> Array:
        """Return the values of the topics at the places *topics* together."""
        kept = self._kept[:, list(topics)]
        if chart == "oldest":
            return self._shown(_highest(kept[OLDEST]))
        together = np.stack([_total(row) for row in kept])[:, None, :]
        shown: Array = self._shown(_VALUES[chart](self, together))[0]
        return shown

    def workers(self) -> Array:
        """Return running tasks, capacity and state (by its number) of workers, as
        ``[what, worker, time]``."""
        found = np.full((3, self._workers, len(self.columns)), np.nan)
        for at, column in enumerate(self.columns):
            found[:, : column.workers.shape[1], at] = column.workers
        return found

    def _stacked(self) -> Array:
        kept = np.full((8, self._count, len(self._columns)), np.nan)
        for at, column in enumerate(self._columns):
            kept[:, : column.topics.shape[1], at] = column.topics
        return kept

    def _shown(self, values: Array) -> Array:
        return values[..., self._skip :]

    def _rate(self, kept: Array, row: int) -> Array:
        """Return how many there were a second, over the last seconds of which something is known.

        A gap ends what is looked back at; after it, a rate begins low rather than wild.
        """
        least = _LEAST[row]
        covered = np.array([column.covered for column in self._columns])
        is_gap = np.array([column.is_gap for column in self._columns], dtype=bool)
        time = np.cumsum(covered)
        begun = np.maximum.accumulate(np.where(is_gap, time, 0.0)) if len(time) else time
        since = np.maximum(time - max(self._length, least), begun)
        count = np.nan_to_num(kept[row]).cumsum(axis=-1)
        before = np.array(
            [np.interp(since, [0, *time], [0, *one]) for one in count], ndmin=2
        ).reshape(count.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            rate: Array = (count - before) / np.maximum(time - since, least)
        rate[np.isnan(kept[row]) | (covered <= 0)] = np.nan
        return rate

    def _load(self, kept: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            load: Array = np.where(kept[CAPACITY] > 0, kept[RUNNING] / kept[CAPACITY], np.nan)
        load[~(kept[SAMPLES] > 0)] = np.nan
        return load


_VALUES: Final[dict[str, Callable[[Series, Array], Array]]] = {
    "queued": lambda _series, kept: kept[QUEUED],
    "dead_letters": lambda _series, kept: kept[DEAD],
    "oldest": lambda _series, kept: kept[OLDEST],
    "utilisation": lambda series, kept: series._load(kept),  # noqa: SLF001 - its own
    "throughput": lambda series, kept: series._rate(kept, ENDED),  # noqa: SLF001
    "failures": lambda series, kept: series._rate(kept, FAILED) * MINUTE,  # noqa: SLF001
}


def _total(values: Array) -> Array:
    """Add up what is known; NaN where nothing is."""
    known: Array = np.where(np.isnan(values).all(axis=0), np.nan, np.nansum(values, axis=0))
    return known


def _highest(values: Array) -> Array:
    highest: Array = np.fmax.reduce(values, axis=0, initial=np.nan)
    return highest
