"""Service times of topics and tasks, as workers themselves report them.

Arrival times of events are no durations: an idle peer sends its events every half second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from tasktools.core.duration_histogram import Histogram, total_of
from tasktools.diagnosis.facts import Facts, TaskEnd

_ENOUGH_TASKS: Final = 10
"""Tasks of a name of which the service times are judged by themselves, not with their topic's."""


class UsualTime(msgspec.Struct, frozen=True):
    """The usual duration of tasks, in seconds, from *count* of them; `None` where none ended.

    A task in a histogram counts as the upper bound of its bucket.
    """

    count: int
    p95: float | None
    longest: float | None


def usual_time(facts: Facts, topic: str | None, task_name: str | None = None) -> UsualTime:
    """Return the usual duration of tasks of *topic*; that of *task_name* if enough of them
    ended."""
    if task_name is not None:
        histogram = facts.histograms_by_name.get(task_name)
        ends = (end for end in facts.ends_by_topic.get(topic, ()) if end.task_name == task_name)
        by_name = _usual(ends, [] if histogram is None else [histogram])
        if by_name.count >= _ENOUGH_TASKS:
            return by_name
    entry = facts.topics.get(topic) if topic is not None else None
    histograms = [reading.durations for reading in entry.durations] if entry else []
    return _usual(facts.ends_by_topic.get(topic, ()), histograms)


def _usual(ends: Iterable[TaskEnd], histograms: Iterable[Histogram]) -> UsualTime:
    durations = [(end.duration, 1) for end in ends if end.duration is not None]
    durations += _weighted(total_of(histograms))
    count = sum(weight for _, weight in durations)
    return UsualTime(count, _at_most(durations, 0.95), _at_most(durations, 1.0))


def _weighted(histogram: Histogram) -> list[tuple[float, int]]:
    """Return the bounds of the buckets with their counts. Tasks beyond the last bound get their
    mean: the histogram's sum less the smallest possible sum of the other tasks, so it is an upper
    limit."""
    bounds = sorted(histogram.buckets)
    weighted = [(bound, histogram.buckets[bound]) for bound in bounds]
    beyond = histogram.count - sum(weight for _, weight in weighted)
    if beyond > 0 and histogram.count:
        lower = [0.0, *bounds]
        least = sum(low * histogram.buckets[high] for low, high in zip(lower, bounds, strict=False))
        weighted.append(((histogram.sum - least) / beyond, beyond))
    return weighted


def _at_most(weighted: list[tuple[float, int]], share: float) -> float | None:
    wanted = math.ceil(share * sum(weight for _, weight in weighted))
    seen = 0
    for duration, weight in sorted(weighted):
        seen += weight
        if seen >= wanted:
            return duration
    return None
