"""The demand of a recorded span: what arrived, how long it took, and who was there to do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WorkerSlots:
    """A worker that was there: its slots, and the topics that it consumed."""

    worker: str
    host: str | None
    capacity: int
    topics: tuple[str, ...]
    prefetch: Mapping[str, int]
    """By topic; absent: unknown."""


@dataclass(frozen=True, slots=True)
class TopicDemand:
    """The demand of one topic.

    Arrivals and service times are not joined: the n-th arrival need not have the n-th service time.
    """

    topic: str
    arrivals: FloatArray
    """Seconds since the epoch by our clock, ascending: first publications only, no retries."""
    arrivals_from: Literal["messages", "balance"]
    """Each message was recorded, or the balance of starts and the length of the queue was."""
    service_times: FloatArray
    """Seconds for which a try held a slot, of tries that ended (failed ones too), in order of
    their start."""
    failed: BoolArray
    """For each of `service_times`, whether the try failed."""
    censored: FloatArray
    """Seconds so far of tries whose end is unknown: they run, or were lost."""
    limit: int | None
    retry_delay: float | None
    max_retries: int | None
    waits: FloatArray | None = None
    """Recorded seconds from arrival to start of first tries; `None`: not recorded."""
    running: FloatArray | None = None
    """For each of `service_times`, how many tries of this topic ran when it started, itself
    included; `None`: unknown."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The demand of a recorded span, by topic, and the workers that were there."""

    since: float
    until: float
    recorded: tuple[tuple[float, float], ...]
    """Spans between `since` and `until` without gaps, in seconds since the epoch, ascending."""
    topics: Mapping[str, TopicDemand]
    workers: tuple[WorkerSlots, ...]
