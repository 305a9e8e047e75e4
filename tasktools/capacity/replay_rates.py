"""Waits of live tasks during a replay, by hours like it, and the highest rate that spares them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tasktools.capacity.demand import Demand, FloatArray
from tasktools.capacity.like_hours import LikeHours, LiveWaits, like_hours
from tasktools.capacity.models import Pool, pools_of
from tasktools.capacity.simulation import wait_quantile
from tasktools.core.errors import NotRecorded

QUANTILE: Final = 0.95
LOWEST_RATE: Final = 0.01
"""Messages a second: 0.6 a minute."""
_EDGES: Final = (0.05, 0.95)
"""Quantiles of the values of all windows that bound the band; it is called 80 %, since the windows
overlap."""
_STEPS: Final = 8  # halvings of the interval of rates
_PRESENT: Final = 900.0
"""A worker seen within so many seconds of the end of a recording counts as present."""


@dataclass(frozen=True, slots=True)
class Impact:
    """The p95 of live waits (s) over like hours at one rate: expected, and its 80 % band."""

    wait_without: float
    wait: float
    low: float
    high: float
    added_low: float
    """The band of the added wait, with `added_high`."""
    added_high: float
    late: float | None
    """Share of live tasks that wait longer than was asked."""


def impact_of(hours: LikeHours, rate: float, *, wait_below: float | None = None) -> Impact | None:
    """Return the impact of a replay at *rate* (messages a second); `None` if no task was live."""
    pairs = [(hours.waits(window, None), hours.waits(window, rate)) for window in hours.windows]
    pairs = [pair for pair in pairs if len(pair[0].waits) and len(pair[1].waits)]
    if not pairs:
        return None
    without, wait = (np.array([_p95(each[place]) for each in pairs]) for place in (0, 1))
    all_waits = np.concatenate([each[1].waits for each in pairs])
    return Impact(
        float(np.median(without)),
        float(np.median(wait)),
        *_band(wait),
        *_band(np.maximum(wait - without, 0.0)),
        None if wait_below is None else float((all_waits > wait_below).mean()),
    )


def highest_rate(hours: LikeHours, wait_below: float, *, most: float) -> float | None:
    """Return the highest rate (messages a second, up to *most*) at which the band of the live p95
    wait stays below *wait_below* seconds.

    `None`: not even 0.6 a minute does.
    """

    def holds(rate: float) -> bool:
        waits = [hours.waits(window, rate) for window in hours.windows]
        values = np.array([_p95(each) for each in waits if len(each.waits)])
        return not len(values) or _band(values)[1] <= wait_below

    return _largest(holds, LOWEST_RATE, most)


def _largest(holds: Callable[[float], bool], low: float, high: float) -> float | None:
    if not holds(low):
        return None
    if high <= low or holds(high):
        return max(high, low)
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _p95(waits: LiveWaits) -> float:
    return wait_quantile(waits.waits, QUANTILE)


def _band(values: FloatArray) -> tuple[float, float]:
    low, high = (wait_quantile(values, edge) for edge in _EDGES)
    return low, high


def hours_of(
    demand: Demand,
    topic: str,
    *,
    at: float,
    messages: int,
    backlog: int = 0,
    parts: Sequence[Demand] = (),
) -> LikeHours:
    """Return the recorded hours around the same time of day as *at* (s since the epoch), from
    *demand* or from *parts* of it.

    Raises `NotRecorded` without any task of *topic*, or without a worker of it.
    """
    recorded = demand.topics.get(topic)
    if recorded is None or not len(recorded.arrivals):
        raise NotRecorded(
            f"No task of {topic!r} was recorded to arrive; nothing was changed. Record the cluster "
            "with messages=True, or check the name."
        )
    if not len(recorded.service_times):
        raise NotRecorded(
            f"No task of {topic!r} was recorded to end, so how long they take is not known; "
            "nothing was changed. Record the cluster while workers run."
        )
    pool = _pool_of(demand, topic)
    if not pool.slots:
        raise NotRecorded(
            f"No worker of {topic!r} was there at the end of the recording; nothing was changed. "
            "Start its workers, and record them."
        )
    return like_hours(demand, pool, topic, at=at, messages=messages, backlog=backlog, parts=parts)


def _pool_of(demand: Demand, topic: str) -> Pool:
    """Return the topics that share workers with *topic*, and the workers that are still present."""
    present = tuple(each for each in demand.workers if each.until >= demand.until - _PRESENT)
    pools = pools_of(replace(demand, workers=present))
    pool = next(pool for pool in pools if topic in pool.topics)
    known = tuple(name for name in pool.topics if len(demand.topics[name].service_times))
    return replace(pool, topics=known)


def fastest_useful(demand: Demand, hours: LikeHours) -> float:
    """Return the rate (messages a second) beyond which a replay only makes a longer queue: twice
    what all slots can serve."""
    mean = float(demand.topics[hours.topic].service_times.mean())
    return max(2 * hours.slots / max(mean, 1e-3), LOWEST_RATE)
