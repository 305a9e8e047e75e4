"""Samples of a long recording: whole hours at random, the same number of each hour of the day."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.capacity.demand import BoolArray, Demand, FloatArray
from tasktools.capacity.hour_of_week import DAY, HOUR
from tasktools.capacity.share_interval import Blocks, blocks_of, sampled_blocks

IntArray = np.ndarray[Any, np.dtype[np.int64]]

_EACH: Final = 3  # of each hour of the day
_MIN_DAYS: Final = 3.0
_WARM_UP: Final = 600.0  # seconds before each piece, which are simulated and not counted
_MIN_PIECE: Final = 600.0
_SEED: Final = 24


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a recording that is simulated: all of it, or pieces."""

    since: float
    until: float
    starts: FloatArray | None = None
    """Starts of the pieces; `None`: the whole recording is simulated."""
    length: float = 0.0
    """Length of each piece, in seconds."""

    def simulated(self, times: FloatArray) -> BoolArray:
        """Return a mask of *times* that are simulated: in a piece, or in the warm-up before it."""
        if self.starts is None:
            return np.ones(len(times), dtype=bool)
        piece = self._piece(times + _WARM_UP)
        early = (piece >= 0) & (
            times + _WARM_UP < self.starts[np.maximum(piece, 0)] + self.length + _WARM_UP
        )
        return early | self.counted(times)

    def counted(self, times: FloatArray) -> BoolArray:
        """Return a mask of *times* that count in the results: those in a piece."""
        if self.starts is None:
            return np.ones(len(times), dtype=bool)
        piece = self._piece(times)
        answer: BoolArray = (piece >= 0) & (times < self.starts[np.maximum(piece, 0)] + self.length)
        return answer

    def blocks(self, times: FloatArray) -> Blocks:
        """Return the blocks of *times*, which are `counted`."""
        if self.starts is None:
            return blocks_of(times, self.since, self.until)
        pairs = ((self.starts % DAY) // (2 * HOUR)).astype(np.int64)
        return sampled_blocks(np.maximum(self._piece(times), 0), pairs)

    def _piece(self, times: FloatArray) -> IntArray:
        """Return the number of the last piece that began before each of *times*, or -1."""
        starts = np.zeros(0) if self.starts is None else self.starts
        numbers: IntArray = np.searchsorted(starts, times, side="right") - 1
        return numbers


def span_of(demand: Demand, tries: int, budget: int) -> Span:
    """Return the part of *tries* to simulate, so that it has about *budget* tries.

    A recording of less than three days is simulated as a whole, if all of it was read.
    """
    is_short = demand.until - demand.since < _MIN_DAYS * DAY
    if demand.sampled is None and (tries <= budget or is_short):
        return Span(demand.since, demand.until)
    starts = _whole_hours(demand.recorded if demand.sampled is None else demand.sampled)
    if not len(starts):
        return Span(demand.since, demand.until)
    chosen = _of_each_hour(starts)
    affordable = budget * read_seconds(demand) / max(tries, 1) / len(chosen) - _WARM_UP
    length = min(max(affordable, _MIN_PIECE), HOUR)
    return Span(demand.since, demand.until, chosen, length)


def read_seconds(demand: Demand) -> float:
    """Return of how many seconds *demand* has the tasks."""
    spans = demand.recorded if demand.sampled is None else demand.sampled
    return max(sum(until - since for since, until in spans), 1.0)


def _whole_hours(spans: Sequence[tuple[float, float]]) -> FloatArray:
    """Return the starts of the whole hours in *spans*."""
    parts = [
        np.arange(math.ceil(since / HOUR), until // HOUR, dtype=np.float64) * HOUR
        for since, until in spans
    ]
    return np.concatenate([np.zeros(0), *parts])


def _of_each_hour(starts: FloatArray) -> FloatArray:
    """Return a few of *starts* of each hour of the day, drawn at random."""
    shuffled = np.random.default_rng(_SEED).permutation(starts)
    hours = (shuffled % DAY // HOUR).astype(np.int64)
    order = np.argsort(hours, kind="stable")
    first = np.searchsorted(hours[order], np.arange(24))
    rank = np.arange(len(order)) - first[hours[order]]
    return np.sort(shuffled[order][rank < _EACH])
