"""The recent past of a topic in bins of equal length: the input of a forecast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasktools.capacity.demand import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class Timing:
    """The time scale of a forecast: everything else is counted in bins, so that a test may run the
    same forecast in a hundredth of the time.

    *bin* is the length of a bin in seconds; the past has *past* of them, the future *ahead*.
    """

    bin: float = 30.0
    past: int = 60
    ahead: int = 720

    @property
    def longest_step(self) -> float:
        """The longest time (s) between two samples for which the counts between them are used."""
        return 10 * self.bin

    @property
    def window(self) -> float:
        """The seconds of the past."""
        return self.bin * self.past

    @property
    def horizon(self) -> float:
        """The seconds of the future."""
        return self.bin * self.ahead


@dataclass(frozen=True, slots=True)
class Bins:
    """The counts of a topic, the newest last. NaN where a count is unknown.

    *completions* are tasks that ended, *arrivals* tasks that came into the queue, *slots* the tasks
    that its workers can run at once. *is_busy*: the queue was never empty in the bin, so its
    completions show what the workers can do. *shape* is the expected arrival rate of each past bin
    over that of now, *shape_ahead* that of each future bin; both are 1 where nothing is known.
    """

    depth: float
    completions: FloatArray
    arrivals: FloatArray
    slots: FloatArray
    is_busy: BoolArray
    shape: FloatArray
    shape_ahead: FloatArray

    @property
    def slots_now(self) -> float | None:
        """The slots in the newest bin with a known number; `None` if no bin has one."""
        known = self.slots[~np.isnan(self.slots)]
        return float(known[-1]) if len(known) else None

    @property
    def capacity(self) -> FloatArray:
        """The slots of each bin, with unknown bins filled in; 1 everywhere if no bin is known."""
        if self.slots_now is None:
            return np.ones(len(self.slots))
        known = np.flatnonzero(~np.isnan(self.slots))
        return np.interp(np.arange(len(self.slots)), known, self.slots[known])
