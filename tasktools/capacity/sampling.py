"""Samples of a long recording: whole hours at random, the same number of each hour of the day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.capacity.demand import BoolArray, FloatArray
from tasktools.capacity.interval import DAY, HOUR, Blocks, blocks_of, sampled_blocks

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
    """Of the pieces; `None`: all of it."""
    length: float = 0.0
    """Of each piece, in seconds."""

    def simulated(self, times: FloatArray) -> BoolArray:
        """Return which of *times* are simulated."""
        if self.starts is None:
            return np.ones(len(times), dtype=bool)
        piece = self._piece(times + _WARM_UP)
        early = (piece >= 0) & (
            times + _WARM_UP < self.starts[np.maximum(piece, 0)] + self.length + _WARM_UP
        )
        return early | self.counted(times)

    def counted(self, times: FloatArray) -> BoolArray:
        """Return which of *times* are simulated and counted."""
        if self.starts is None:
            return np.ones(len(times), dtype=bool)
        piece = self._piece(times)
        answer: BoolArray = (piece >= 0) & (times < self.starts[np.maximum(piece, 0)] + self.length)
        return answer

    def blocks(self, times: FloatArray) -> Blocks:
        """Return the blocks of *times* that are counted."""
        if self.starts is None:
            return blocks_of(times, self.since, self.until)
        pairs = ((self.starts % DAY) // (2 * HOUR)).astype(np.int64)
        return sampled_blocks(np.maximum(self._piece(times), 0), pairs)

    def _piece(self, times: FloatArray) -> IntArray:
        """Return the number of the last piece that has begun at each of *times*, or -1."""
        starts = np.zeros(0) if self.starts is None else self.starts
        numbers: IntArray = np.searchsorted(starts, times, side="right") - 1
        return numbers


def span_of(
    recorded: Sequence[tuple[float, float]], since: float, until: float, tries: int, budget: int
) -> Span:
    """Return what is simulated of *tries*, so that they are about as many as *budget*.

    A recording of less than three days is simulated as a whole.
    """
    if tries <= budget or until - since < _MIN_DAYS * DAY:
        return Span(since, until)
    starts = np.arange(since // HOUR * HOUR, until, HOUR)
    is_whole = np.zeros(len(starts), dtype=bool)
    for begin, end in recorded:
        is_whole |= (starts >= begin) & (starts + HOUR <= end)
    starts = starts[is_whole]
    rng = np.random.default_rng(_SEED)
    shuffled = starts[rng.permutation(len(starts))]
    hours = (shuffled % DAY) // HOUR
    order = np.argsort(hours, kind="stable")
    first = np.searchsorted(hours[order], np.arange(24), side="left")
    rank = np.arange(len(order)) - first[hours[order].astype(np.int64)]
    chosen = np.sort(shuffled[order][rank < _EACH])
    per_second = tries / max(sum(end - begin for begin, end in recorded), 1.0)
    affordable = budget / per_second / max(len(chosen), 1) - _WARM_UP
    return Span(since, until, chosen, min(max(affordable, _MIN_PIECE), HOUR))
