"""A buffer of columns, one per interval of equal length, with the samples of that interval.

A buffer holds up to `MAX_COLUMNS` columns, so memory and drawing do not grow with the window. A
column has the maximum of queue depth, dead letters and age of tasks, and the mean of everything
else. Times are ms.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tasktools.history.series import MISSING, Columns
from tasktools.history.ticks import Ticks

Array = npt.NDArray[np.float64]

MAX_COLUMNS: Final = 360
_LEAD_SECONDS: Final = 60.0
"""A mean counts over so many seconds, also one at the beginning of the window."""
_COLUMN_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 240, 300, 600, 900, 1800, 3600)
_GAP_INTERVALS: Final = 2.5
"""A sample that comes more than so many intervals after the one before begins after a gap."""

# Rows of numbers of each topic; the first three are maxima, the others sums.
QUEUED, DEAD, OLDEST, SAMPLES, RUNNING, CAPACITY, ENDED, FAILED = range(8)
_HIGHEST: Final = slice(0, 3)
_SUMS: Final = slice(3, 8)
# Rows of numbers of each worker.
W_RUNNING, W_CAPACITY, W_STATE = range(3)


class Names:
    """Names of topics or workers; positions are in the order in which names were first seen."""

    def __init__(self) -> None:
        self._place: dict[int, int] = {}
        self.names: list[str] = []

    def unknown(self, numbers: Iterable[int]) -> list[int]:
        """Return the *numbers* that have no position yet."""
        return [n for n in dict.fromkeys(numbers) if n not in self._place]

    def add(self, number: int, name: str) -> None:
        """Give *number* the next position, with *name*."""
        self._place[number] = len(self.names)
        self.names.append(name)

    def places(self, numbers: Any) -> npt.NDArray[np.intp]:
        """Return the positions of *numbers*."""
        return np.fromiter((self._place[n] for n in numbers.tolist()), np.intp, len(numbers))


@dataclass(slots=True)
class Column:
    """The samples of one interval. *at* is the time of the last sample; *covered* is the number of
    seconds in which ended tasks were counted; *is_gap*: nothing was recorded until the next
    column."""

    number: int
    bucket: int
    at: int
    covered: float
    topics: Array
    workers: Array
    is_gap: bool = False


class ColumnBuffer:
    """The columns of the last *window* seconds of a recording with one sample every *interval*
    seconds, and the last sample by itself (`now`)."""

    def __init__(
        self,
        window: float,
        interval: float,
        topics: Names | None = None,
        workers: Names | None = None,
    ) -> None:
        self.window = window
        self.interval = interval
        self.length = 1000 * length_of(window, interval)
        self.topics, self.workers = topics or Names(), workers or Names()
        self.columns: deque[Column] = deque()
        self.now = _column()
        self.consumers: Array = np.empty(0)  # of each topic at the last sample
        self.gone: frozenset[int] = frozenset()  # places of topics that the broker has no more
        self.until: int | None = None  # end of the last sample
        self.is_heard = False  # whether events arrived at the last sample
        self._next = 0
        self._seen: npt.NDArray[np.int64] = np.empty(
            0, np.int64
        )  # time of the last sample of each worker

    @property
    def watched(self) -> float:
        """Seconds up to now in which ended tasks were counted without a gap."""
        last = itertools.takewhile(lambda column: not column.is_gap, reversed(self.columns))
        return sum(column.covered for column in last)

    @property
    def extent(self) -> float:
        """The seconds kept: the window, and the span of a moving mean before it."""
        return self.window + _LEAD_SECONDS + 2 * self.length / 1000

    @property
    def first(self) -> int:
        """The number of the first column within the window."""
        oldest = (self.until or 0) - 1000 * self.window
        return next((column.number for column in self.columns if column.at >= oldest), 0)

    # --- taking in --------------------------------------------------------------------

    def add(self, pulse: Ticks, *, ages_from: int) -> None:
        """Add *pulse*, which is later than all before. Ages of tasks count from *ages_from* on."""
        ticks = pulse.ticks
        topics, workers = _in_time(pulse.topics), _in_time(pulse.workers)
        is_late, covers = self._timing(ticks)
        buckets = ticks["at"] // self.length
        for bucket in np.unique(buckets).tolist():
            now = slice(*np.searchsorted(buckets, [bucket, bucket + 1]))
            if is_late[now][0]:
                self._open_gap()
            column = self._column(bucket, int(ticks["at"][now][-1] + ticks["span"][now][-1]))
            column.covered += float(covers[now].sum())
            counted = ticks["at"][now][covers[now] > 0]
            self._add_topics(column, self._part(topics, bucket), counted)
            self._add_workers(column, self._part(workers, bucket))
        if len(buckets):
            self.until = int(ticks["at"][-1] + ticks["span"][-1])
            self.is_heard = bool(ticks["events_ok"][-1])
            self._add_ages(pulse.tries, ages_from)
            self._look(topics, workers, pulse)
            self._forget()

    def _timing(self, ticks: Columns) -> tuple[Any, Any]:
        """Return the ticks that follow a gap, and the seconds that each tick covers."""
        at, span = ticks["at"], ticks["span"]
        first = at[:1] if self.until is None else [self.until]
        before = np.concatenate([first, (at + span)[:-1]])
        is_late = at - before > _GAP_INTERVALS * 1000 * self.interval
        covers = np.where(is_late | (ticks["events_ok"] == 0), 0, at + span - before) / 1000
        return is_late, covers

    def _part(self, rows: Columns, bucket: int) -> Columns:
        ends = np.searchsorted(rows["at"], [bucket * self.length, (bucket + 1) * self.length])
        return {name: values[slice(*ends)] for name, values in rows.items()}

    def _column(self, bucket: int, at: int) -> Column:
        last = self.columns[-1] if self.columns else None
        if last is None or last.bucket != bucket or last.is_gap:
            last = _column(self._next, bucket)
            self._append(last)
        last.at = at
        return last

    def _append(self, column: Column) -> None:
        self.columns.append(column)
        self._next += 1

    def _open_gap(self) -> None:
        if self.columns:
            last = self.columns[-1]
            self._append(_column(self._next, at=last.at + 1, is_gap=True))

    def _add_topics(self, column: Column, rows: Columns, counted: Any) -> None:
        if not len(rows["at"]):
            return
        place = self.topics.places(rows["topic"])
        size = len(self.topics.names)
        values = column.topics = _wider(column.topics, size, _blank)
        for row, name in ((QUEUED, "queued"), (DEAD, "dead_letter")):
            np.fmax.at(values[row], place, _known(rows[name]))
        running, capacity = _known(rows["running"]), _known(rows["capacity"])
        weight = np.where(np.isnan(running + capacity), 0, rows["n"])
        tells = np.isin(rows["at"], counted)
        for row, of_rows in (
            (SAMPLES, weight),
            (RUNNING, np.nan_to_num(running) * weight),
            (CAPACITY, np.nan_to_num(capacity) * weight),
            (ENDED, rows["ended"] * tells),
            (FAILED, rows["failed"] * tells),
        ):
            values[row] += np.bincount(place, of_rows, size)

    def _add_workers(self, column: Column, rows: Columns) -> None:
        if not len(rows["at"]):
            return
        place = self.workers.places(rows["worker"])
        values = column.workers = _wider(column.workers, len(self.workers.names), _unseen)
        for row, name in ((W_RUNNING, "running"), (W_CAPACITY, "capacity"), (W_STATE, "state")):
            values[row, place] = _known(rows[name])  # rows are sorted by time: the last one wins

    def _add_ages(self, tries: Columns, since: int) -> None:
        """Add the ages of tasks to all columns in which they ran."""
        if self.until is None or not len(tries["topic"]):
            return
        began, place = tries["started"], self.topics.places(tries["topic"])
        ended = np.where(tries["ended"] == MISSING, self.until, tries["ended"])
        oldest = min(column.bucket for column in self.columns if not column.is_gap)
        first = np.maximum(np.maximum(began, since) // self.length, oldest)
        count = np.maximum(ended // self.length - first + 1, 0)
        which = np.repeat(np.arange(len(count)), count)
        bucket = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
        age = np.minimum(ended[which], (bucket + 1) * self.length) - began[which]
        order = np.argsort(bucket, kind="stable")
        self._raise_ages(bucket[order], place[which][order], age[order] / 1000)

    def _raise_ages(self, bucket: Any, place: Any, age: Any) -> None:
        """Raise the greatest ages of topics to *age*; *bucket* is sorted."""
        by_bucket = {column.bucket: column for column in self.columns}
        for number in np.unique(bucket).tolist():
            if column := by_bucket.get(number):
                now = slice(*np.searchsorted(bucket, [number, number + 1]))
                column.topics = _wider(column.topics, len(self.topics.names), _blank)
                np.fmax.at(column.topics[OLDEST], place[now], age[now])

    def _look(self, topics: Columns, workers: Columns, pulse: Ticks) -> None:
        """Set `now` to the last tick. If there are very many workers, each tick samples only
        some."""
        at, turn = int(pulse.ticks["at"][-1]), int(pulse.ticks["turn"][-1])
        now, last = _column(at=at), _since(topics, at)
        self._add_topics(now, last, [])
        self.consumers = np.full(len(self.topics.names), np.nan)
        places = self.topics.places(last["topic"])
        self.consumers[places] = _known(last["consumers"])
        if pulse.ticks["topics_ok"][-1]:
            self.gone = frozenset(range(len(self.topics.names))) - frozenset(places.tolist())
        running = pulse.tries["ended"] == MISSING
        now.topics = _wider(now.topics, len(self.topics.names), _blank)
        place = self.topics.places(pulse.tries["topic"][running])
        np.fmax.at(now.topics[OLDEST], place, (at - pulse.tries["started"][running]) / 1000)
        now.workers = _wider(self.now.workers, len(self.workers.names), _unseen).copy()
        new = len(self.workers.names) - len(self._seen)
        self._seen = np.append(self._seen, np.zeros(new, np.int64))
        np.maximum.at(self._seen, self.workers.places(workers["worker"]), workers["at"])
        self._add_workers(now, workers)
        now.workers[:, self._seen <= at - max(turn, 1)] = np.nan
        self.now = now

    def _forget(self) -> None:
        oldest = (self.until or 0) - 1000 * self.extent - self.length
        while self.columns and (len(self.columns) > 2 * MAX_COLUMNS or self.columns[0].at < oldest):
            self.columns.popleft()


def length_of(window: float, interval: float) -> int:
    """Return the length of a column in seconds."""
    least = max(window / MAX_COLUMNS, interval)
    return next((length for length in _COLUMN_SECONDS if length >= least), _COLUMN_SECONDS[-1])


def _column(number: int = -1, bucket: int = -1, at: int = 0, *, is_gap: bool = False) -> Column:
    return Column(number, bucket, at, 0.0, _blank(0), _unseen(0), is_gap)


def _since(rows: Columns, at: int) -> Columns:
    return {name: values[np.searchsorted(rows["at"], at) :] for name, values in rows.items()}


def _in_time(rows: Columns) -> Columns:
    order = np.argsort(rows["at"], kind="stable")
    return {name: values[order] for name, values in rows.items()}


def _known(values: Any) -> Array:
    return np.where(values == MISSING, np.nan, values)


def _blank(size: int) -> Array:
    made = np.zeros((8, size))
    made[_HIGHEST] = np.nan
    return made


def _unseen(size: int) -> Array:
    return np.full((3, size), np.nan)


def _wider(values: Array, size: int, blank: Any) -> Array:
    more = size - values.shape[1]
    return values if more <= 0 else np.hstack([values, blank(more)])
