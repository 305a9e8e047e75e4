"""The history that a replay is simulated into: the last days, or only the hours around the same
time of day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from tasktools.capacity.demand import Demand
from tasktools.capacity.gather import gather
from tasktools.capacity.like_hours import LikeHours, days_like
from tasktools.capacity.replay_rates import hours_of
from tasktools.cluster.cluster import Cluster

_SPAN: Final = "9D"  # 7 days, the hour before them, and the hours around the time of the day
_BEFORE: Final = 7200.0
_AFTER: Final = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class ReplayHistory:
    """The demand of the last days; if that is a sample, *parts* have the hours like this one."""

    demand: Demand
    parts: Sequence[Demand] = ()

    @classmethod
    def read(cls, history: Cluster, at: float) -> Self:
        """Read the recording up to *at* (s since the epoch)."""
        demand = gather(history, since=_SPAN)
        if demand.sampled is None:
            return cls(demand)
        spans = [(day - _BEFORE, min(day + _AFTER, demand.until)) for day in days_like(demand, at)]
        return cls(
            demand,
            [
                gather(history, since=_moment(since), until=_moment(until))
                for since, until in spans
                if max(since, demand.since) < until
            ],
        )

    def hours(self, topic: str, *, at: float, messages: int, backlog: int = 0) -> LikeHours:
        """Return the recorded hours around the same time of day as *at*; raises `NotRecorded`, as
        `hours_of`."""
        return hours_of(
            self.demand,
            topic,
            at=at,
            messages=messages,
            backlog=backlog,
            parts=self.parts,
        )


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
