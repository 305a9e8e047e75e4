"""The true need of each kind of traffic: from the mean late share of many fresh weeks.

`python -m tests.capacity truth` prints them; their seeds are those of no test.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tasktools.capacity.need import LateShares
from tasktools.capacity.share_interval import Share
from tasktools.capacity.simulation import simulated_waits
from tests.capacity.traffic import traffic

WAIT: Final = 30.0
QUANTILE: Final = 0.95
FIRST_SEED: Final = 500_000
NEEDS: Final = {
    "M/M": 8.880,
    "on/off": 19.996,
    "batches": 23.824,
    "lognormal": 9.616,
    "Pareto": 8.821,
    "daily": 12.276,
    "all three": 16.823,
    "weekly": 15.021,
}


def true_need(kind: str, weeks: int = 60) -> float:
    """Return the slots at which a share 1 - `QUANTILE` of the tasks of *weeks* is late."""
    sample = [traffic(kind, FIRST_SEED + week) for week in range(weeks)]
    tasks = sum(len(arrivals) for arrivals, _ in sample)

    def late(slots: int) -> Share:
        late = sum(int(np.sum(simulated_waits(*week, slots) > WAIT)) for week in sample)
        return Share(*[late / tasks] * 3)

    return LateShares(late).need(12, QUANTILE).value
