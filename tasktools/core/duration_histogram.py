"""Durations of tasks, from the histograms in the heartbeats of peers.

An idle peer sends its events every half second, so arrival times cannot measure a task of 0.1 s.
Histograms can: the difference between two heartbeats has the exact sum and count of the durations
of tasks that ended in between, by bucket. Histograms are by task name; the topic of a name is
learned from other counts in the heartbeats.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from tasktools.core import untrusted

RESOLUTION: Final = 2.0
"""The shortest duration (s) that the arrival times of two events can measure: each event may be
half a second late, a quarter of this."""
_MAX_TASK_NAMES: Final = 10_000
_MAX_BUCKETS: Final = 100


class Histogram(msgspec.Struct, frozen=True, gc=False):
    """Durations of tasks: how many, their sum in seconds, and how many each bucket holds, by the
    bucket's upper bound; durations beyond the last bound, or in no bucket, are only in `count`."""

    count: int = 0
    sum: float = 0.0
    buckets: Mapping[float, int] = {}

    def __add__(self, other: Histogram) -> Histogram:
        buckets = dict(self.buckets)
        for bound, count in other.buckets.items():
            buckets[bound] = buckets.get(bound, 0) + count
        return Histogram(self.count + other.count, self.sum + other.sum, buckets)

    def since(self, earlier: Histogram) -> Histogram | None:
        """Return the counts since *earlier*; `None` if the counters were reset in between."""
        buckets = {
            bound: count - earlier.buckets.get(bound, 0) for bound, count in self.buckets.items()
        }
        count, total = self.count - earlier.count, self.sum - earlier.sum
        if count < 0 or any(n < 0 for n in buckets.values()) or total < -1e-6:
            return None
        return Histogram(count, max(total, 0.0), {bound: n for bound, n in buckets.items() if n})

    def at_most(self, share: float) -> float | None:
        """Return the bound of the bucket within which *share* of the tasks ended; `None` if they
        took longer than the last bound."""
        wanted, seen = math.ceil(share * self.count), 0
        for bound in sorted(self.buckets):
            seen += self.buckets[bound]
            if seen >= wanted:
                return bound
        return None


NOTHING: Final = Histogram()


def total_of(histograms: Iterable[Histogram]) -> Histogram:
    """Return the sum of *histograms*, without making an intermediate histogram for each.

    >>> total_of([Histogram(2, 0.5, {1.0: 2}), Histogram(1, 0.25, {1.0: 1})])
    Histogram(count=3, sum=0.75, buckets={1.0: 3})
    """
    count, seconds = 0, 0.0
    buckets: defaultdict[float, int] = defaultdict(int)
    for histogram in histograms:
        count += histogram.count
        seconds += histogram.sum
        for bound, each in histogram.buckets.items():
            buckets[bound] += each
    return Histogram(count, seconds, dict(buckets))


def parse(data: object) -> dict[str, Histogram]:
    """Return the histograms of a heartbeat by task name, all outcomes together."""
    histograms: dict[str, Histogram] = {}
    for key, content in itertools.islice(untrusted.mapping(data).items(), _MAX_TASK_NAMES):
        name, _, _status = key.rpartition(":")
        histogram = _histogram(untrusted.mapping(content))
        if histogram is not None:
            histograms[name] = histograms.get(name, NOTHING) + histogram
    return histograms


def _histogram(data: Mapping[str, object]) -> Histogram | None:
    count, total = untrusted.count(data.get("count")), untrusted.span(data.get("sum"))
    if count is None or total is None:
        return None
    pairs = [
        pair for pair in untrusted.sequence(data.get("buckets")) if isinstance(pair, list | tuple)
    ]
    bounds = [untrusted.span(pair[0]) for pair in pairs[:_MAX_BUCKETS] if len(pair) == 2]
    counts = [untrusted.count(pair[1]) for pair in pairs[:_MAX_BUCKETS] if len(pair) == 2]
    known = [n for n in counts if n is not None]
    if None in bounds or len(known) < len(counts):
        return Histogram(count, total)
    cumulative = _cumulative(known, count)
    steps = _steps(cumulative)
    buckets = {b: n for b, n in zip(bounds, steps, strict=False) if b is not None and n}
    return Histogram(count, total, buckets)


def _cumulative(counts: list[int], count: int) -> list[int]:
    """Return how many are within each bound.

    Release 0.3.318 adds up counts that are cumulative already; a corrected release would not.
    Counts that fit neither are ignored."""
    readings = [
        reading
        for reading in (_steps(counts), counts)
        if all(n >= 0 for n in _steps(reading)) and (reading[-1:] or [0])[0] <= count
    ]
    whole = [reading for reading in readings if reading and reading[-1] == count]
    return next(iter(whole or readings), [])


def _steps(counts: list[int]) -> list[int]:
    return [later - earlier for earlier, later in itertools.pairwise([0, *counts])]


class NamesToTopics:
    """The topics on which each task name ran, by heartbeats."""

    def __init__(self) -> None:
        self._topics: dict[str, frozenset[str]] = {}

    def saw(self, name: str, topic: str) -> None:
        """Note that a task of that *name* ran on *topic*."""
        topics = self._topics.get(name, frozenset())
        if topic not in topics and (topics or len(self._topics) < _MAX_TASK_NAMES):
            self._topics[name] = topics | {topic}

    def by_topic(
        self, ended: Mapping[str, Histogram], finished: Mapping[str, int]
    ) -> dict[str, Histogram]:
        """Return the durations of tasks by topic. *ended* has those of the tasks that ended between
        two heartbeats by task name, *finished* the number of such tasks by topic. A topic is left
        out if tasks of unknown topic may belong to it."""
        if len(finished) == 1:
            (only,) = finished
            for name in ended:
                self.saw(name, only)
            return {only: sum(ended.values(), NOTHING)}
        self._learn_the_last(ended, finished)
        histograms: dict[str, Histogram] = {}
        unsure: set[str] = set()
        for name, histogram in ended.items():
            topics = self._topics.get(name, frozenset())
            if len(topics) == 1:
                (topic,) = topics
                histograms[topic] = histograms.get(topic, NOTHING) + histogram
            else:
                unsure |= topics or set(finished)
        return {topic: histogram for topic, histogram in histograms.items() if topic not in unsure}

    def _learn_the_last(self, ended: Mapping[str, Histogram], finished: Mapping[str, int]) -> None:
        """Learn the topic of names that never were seen running, as short tasks seldom are:
        possible if exactly one topic has more ends than the known names explain."""
        unseen = {name: each.count for name, each in ended.items() if name not in self._topics}
        if not unseen:
            return
        left = dict(finished)
        for name, histogram in ended.items():
            topics = self._topics.get(name, frozenset())
            if len(topics) > 1:
                return
            for topic in topics:
                left[topic] = left.get(topic, 0) - histogram.count
        remaining = {topic: count for topic, count in left.items() if count}
        if list(remaining.values()) == [sum(unseen.values())]:
            (topic,) = remaining
            for name in unseen:
                self.saw(name, topic)


def between(
    earlier: Mapping[str, Histogram], later: Mapping[str, Histogram]
) -> dict[str, Histogram]:
    """Return the durations of the tasks that ended between two heartbeats of a worker, by task
    name."""
    ended_by_name = {}
    for name, histogram in later.items():
        ended = histogram.since(earlier.get(name, NOTHING))
        if ended is not None and ended.count:
            ended_by_name[name] = ended
    return ended_by_name
