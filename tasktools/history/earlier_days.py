"""The arrivals and durations of topics around the same time on earlier days, from a recording."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby, pairwise
from operator import itemgetter
from statistics import median
from typing import Final, Protocol

import msgspec

from tasktools.history.series import MISSING, fetch, names_of

_DAYS: Final = 7
_DAY_MS: Final = 86_400_000
_SLOT_MS: Final = 600_000
_AROUND_MS: Final = 1_800_000
_MIN_SLOTS: Final = 4
"""Least number of slots of 10 minutes of which the arrivals are known, so that a day counts."""
_MIN_TASKS: Final = 8
"""Least number of tasks whose durations are known."""
_FIRST_TICK: Final = "SELECT min(at) FROM ticks"
# As the samples of recent.py: topics first. The last row of a slot has the length that counts.
_SLOTS: Final = f"""
WITH RECURSIVE known(topic) AS (
  SELECT min(topic) FROM topic_samples
  UNION ALL SELECT (SELECT min(topic) FROM topic_samples WHERE topic > known.topic) FROM known
  WHERE known.topic IS NOT NULL)
SELECT {{}} FROM known CROSS JOIN topic_samples AS s
  ON s.topic = known.topic AND s.at >= :since AND s.at < :until
GROUP BY s.topic, s.at / {_SLOT_MS} ORDER BY s.topic, 2
"""


class EarlierDay(msgspec.Struct, frozen=True, kw_only=True):
    """The arrivals and durations of a topic around the same time on an earlier day.

    *busiest* and *usual* are numbers of messages that arrived in 10 minutes: the most, and the
    median. *duration* is the median of its tasks (s), *durations* that of each task name.
    """

    busiest: float | None = None
    usual: float | None = None
    duration: float | None = None
    durations: Mapping[str, float] = {}


class _Ended(Protocol):
    @property
    def topic(self) -> str | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def duration(self) -> float: ...


def earlier_days(
    connection: sqlite3.Connection,
    at: int,
    durations_between: Callable[[float, float], Iterable[_Ended]],
) -> dict[str, tuple[EarlierDay, ...]]:
    """Return for each topic up to 7 days before *at* (ms) that were recorded, the newest first.

    *durations_between* returns the ends of some tasks between two times (s).
    """
    (first,) = connection.execute(_FIRST_TICK).fetchone()
    days: defaultdict[str, list[EarlierDay]] = defaultdict(list)
    for number in range(1, _DAYS + 1):
        middle = at - number * _DAY_MS
        if first is None or first > middle:
            break
        since, until = middle - _AROUND_MS, middle + _AROUND_MS
        arrivals = _arrivals(connection, since, until)
        durations = _durations(durations_between(since / 1000, until / 1000))
        for topic in arrivals.keys() | durations.keys():
            counts, by_name = arrivals.get(topic, []), durations.get(topic, {})
            days[topic].append(
                EarlierDay(
                    busiest=max(counts, default=None),
                    usual=median(counts) if counts else None,
                    duration=_median([each for took in by_name.values() for each in took]),
                    durations={
                        name: each
                        for name, took in by_name.items()
                        if name is not None and (each := _median(took)) is not None
                    },
                )
            )
    return {topic: tuple(each) for topic, each in days.items()}


def _arrivals(connection: sqlite3.Connection, since: int, until: int) -> dict[str, list[float]]:
    """Return how many messages arrived in each slot of 10 minutes, by topic: the begun tasks, and
    the growth of the queue."""
    columns = fetch(
        connection,
        "topic:i slot:i last:i queued:f? began:f",
        _SLOTS,
        {"since": since - _SLOT_MS, "until": until},
        topic="s.topic",
        slot=f"s.at / {_SLOT_MS}",
        last="max(s.at)",
        queued="s.queued",
        began="sum(s.began)",
    )
    rows = zip(
        *(columns[name].tolist() for name in ("topic", "slot", "queued", "began")), strict=True
    )
    arrivals = {}
    for topic, slots in groupby(rows, key=itemgetter(0)):
        counts = [
            max(began + queued - before, 0.0)
            for (_, earlier, before, _), (_, slot, queued, began) in pairwise(slots)
            if slot == earlier + 1 and MISSING not in (before, queued)
        ]
        if len(counts) >= _MIN_SLOTS:
            arrivals[topic] = counts
    names = names_of(connection, arrivals)
    return {names[topic]: counts for topic, counts in arrivals.items()}


def _durations(ends: Iterable[_Ended]) -> dict[str, dict[str | None, list[float]]]:
    """Return the durations of *ends* by topic and task name."""
    by_topic: defaultdict[str, defaultdict[str | None, list[float]]]
    by_topic = defaultdict(lambda: defaultdict(list))
    for end in ends:
        if end.topic is not None:
            by_topic[end.topic][end.name].append(end.duration)
    return {topic: dict(by_name) for topic, by_name in by_topic.items()}


def _median(durations: list[float]) -> float | None:
    return median(durations) if len(durations) >= _MIN_TASKS else None
