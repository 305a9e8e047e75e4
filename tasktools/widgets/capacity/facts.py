"""Facts that the sliders need: topics, their pools, workers and limits, and whether the recording
is long enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tasktools.capacity.demand import Demand
from tasktools.capacity.models import guess_of, pools_of
from tasktools.capacity.quality import recorded_days
from tasktools.capacity.scenario import busy_seconds
from tasktools.core.plurals import named
from tasktools.core.timespans import in_words

_DAY: Final = 86_400.0
_THIN_DAYS: Final = 2.0
_MOST_LIMITS: Final = 16
"""All limits up to this one can be chosen; then in steps that grow."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """The recorded facts of a topic and its pool."""

    topic: str
    mates: tuple[str, ...]
    """The other topics that share its workers."""
    workers: int | None
    """The number of workers of its pool at the end of the recording; `None`: none was recorded."""
    slots: int | None
    """The number of slots of these workers."""
    limit: int | None
    guess: int
    """Workers that are enough for the mean load; slots where none was recorded."""

    @property
    def unit(self) -> str:
        """The noun for the unit of the slider."""
        return "slot" if self.workers is None else "worker"

    @property
    def label(self) -> str:
        """The entry of the menu."""
        shared = f" (shares workers with {named(self.mates)})" if self.mates else ""
        return self.topic + shared

    @property
    def start(self) -> int:
        """The first position of the slider: the recorded number, or a sufficient one."""
        return self.workers or self.guess

    @property
    def most(self) -> int:
        """The initial upper end of the slider."""
        return max(10, 2 * self.start, 2 * self.guess)

    @property
    def limits(self) -> tuple[int | None, ...]:
        """The limits that can be chosen; `None`: no limit."""
        highest = max(_MOST_LIMITS, 2 * (self.limit or 0), 2 * (self.slots or self.guess))
        limits, step = set(range(1, _MOST_LIMITS + 1)), float(_MOST_LIMITS)
        while step <= highest:
            limits.add(round(step))
            step *= 1.25
        if self.limit is not None:
            limits.add(self.limit)
        return (None, *sorted(limits))


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of a recording."""

    topics: Mapping[str, TopicFacts]
    busiest: str
    """The topic whose tasks held slots longest; empty without any."""
    recorded: str
    """The length of the recorded time, in words."""
    is_thin: bool
    """Whether that is too short for an answer to hold."""
    notes: tuple[str, ...]

    @property
    def warning(self) -> str:
        """The warning that the recording is thin; empty: it is not."""
        if not self.topics:
            return "no topic is recorded"
        if self.is_thin:
            return (
                f"only {self.recorded} recorded: the answer holds for these hours only, and other "
                "days and peaks are unknown; `tasktools record` some days, a week at best"
            )
        return ""


def facts_of(demand: Demand, notes: tuple[str, ...] = ()) -> Facts:
    """Return the facts of *demand*; *notes* are those of the cluster."""
    days = recorded_days(demand)
    busy = busy_seconds(demand)
    topics: dict[str, TopicFacts] = {}
    for pool in pools_of(demand):
        load = sum(busy[name] for name in pool.topics) / max(days * _DAY, 1.0)
        slots = pool.slots
        per_worker = slots / len(pool.workers) if slots else 1.0
        guess = max(math.ceil(guess_of(load) / per_worker), 1)
        for name in pool.topics:
            topics[name] = TopicFacts(
                name,
                tuple(other for other in pool.topics if other != name),
                len(pool.workers) or None,
                slots,
                demand.topics[name].limit,
                guess,
            )
    return Facts(
        {name: topics[name] for name in sorted(topics)},
        max(
            sorted(busy),
            key=lambda name: (busy[name], len(demand.topics[name].arrivals)),
            default="",
        ),
        in_words(days * _DAY),
        days < _THIN_DAYS,
        notes,
    )
