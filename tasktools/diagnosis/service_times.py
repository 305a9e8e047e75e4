"""Service times of topics and tasks, as workers themselves report them.

Arrival times of events are no durations: an idle peer sends its events every half second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from tasktools.core.duration_histogram import Histogram, total_of
from tasktools.diagnosis.facts import EarlierEnd, Facts, TaskEnd

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
    ended.

    Where hardly any ended lately, as while all of them hang, those of the hour before count too.
    """
    recent: tuple[TaskEnd | EarlierEnd, ...] = facts.ends_by_topic.get(topic, ())
    earlier: tuple[TaskEnd | EarlierEnd, ...] = (
        *recent,
        *facts.earlier_ends_by_topic.get(topic, ()),
    )
    entry = facts.topics.get(topic) if topic is not None else None
    readings = entry.durations if entry else ()
    all_readings = (*readings, *entry.earlier_durations) if entry else ()
    if task_name is not None:
        histogram = facts.histograms_by_name.get(task_name)
        for ends in (recent, earlier):
            of_name = (end for end in ends if end.task_name == task_name)
            by_name = _usual(of_name, [] if histogram is None else [histogram])
            if by_name.count >= _ENOUGH_TASKS:
                return by_name
    usual = _usual(recent, (reading.durations for reading in readings))
    if usual.count >= _ENOUGH_TASKS:
        return usual
    return _usual(earlier, (reading.durations for reading in all_readings))


def _usual(ends: Iterable[TaskEnd | EarlierEnd], histograms: Iterable[Histogram]) -> UsualTime:
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
