"""The demand of a recorded span: arrivals, service times, and the workers that were present."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WorkerSlots:
    """A recorded worker: its slots, and the topics that it consumed."""

    worker: str
    host: str | None
    capacity: int
    topics: tuple[str, ...]
    prefetch: Mapping[str, int]
    """The prefetch by topic; a missing topic is unknown."""
    since: float = -math.inf
    until: float = math.inf
    """The end of the recorded time in which the worker was present, from `since` on; seconds since
    the epoch."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence behind the demand of a topic, by which its quality is judged."""

    resolution: float
    """Seconds within which the time of most arrivals is known; 0: to the millisecond."""
    by_clock: float
    """Share of the ended tries whose duration is known only from the arrival times of two events, 0
    to 1."""
    lost: int
    """Tries whose end is not known, because their worker disappeared or a gap began."""
    backlog: int | None
    """Messages that waited when the recording began: tasks without an arrival."""
    at_limit: float | None
    """Share of the samples with as many tasks running as the limit allows, and a queue."""
    held: float | None
    """Share of the waiting messages that workers held already; `None`: not recorded."""


@dataclass(frozen=True, slots=True)
class TopicDemand:
    """The demand of one topic.

    Arrivals and service times are not joined: the n-th arrival need not have the n-th service time.
    """

    topic: str
    arrivals: FloatArray
    """Seconds since the epoch by our clock, ascending: first publications only, no retries."""
    arrivals_from: Literal["messages", "balance"]
    """The source of the arrivals: recorded messages, or the balance of starts and the growth of the
    queue."""
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
    hourly: FloatArray | None = None
    """Arrivals in each of the `hours` of the demand, also where `arrivals` are a sample."""
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """The demand of a recorded span, by topic, and the workers of that time."""

    since: float
    until: float
    recorded: tuple[tuple[float, float], ...]
    """Spans between `since` and `until` without gaps, in seconds since the epoch, ascending."""
    topics: Mapping[str, TopicDemand]
    workers: tuple[WorkerSlots, ...]
    sampled: tuple[tuple[float, float], ...] | None = None
    """The spans of which arrivals and tries were read, where there were too many to read all: whole
    hours, each with the ten minutes before it. `None`: all of `recorded` was read."""
    hours: FloatArray = field(default_factory=lambda: np.empty(0))
    """Starts of the whole hours that the recording touches, in seconds since the epoch."""
    covered: FloatArray = field(default_factory=lambda: np.empty(0))
    """Seconds of each of the `hours` that were recorded."""
    label: Mapping[str, str] = field(default_factory=dict)
    """The attrs that name the cluster in frames that are made of it."""
