"""Arrivals of a topic from its samples, where no messages were recorded.

Arrivals between two samples are the tasks that began in between plus the growth of the queue. Where
messages were counted (and deleted since), the count is exact.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from tasktools.history.file_checks import Count, Real
from tasktools.history.number_lists import UNKNOWN, Ints, numbers
from tasktools.history.recorded_spans import Spans

Floats = npt.NDArray[np.float64]

_DEFICIT_SECONDS: Final = 60.0
"""Seconds by which an arrival may have been counted too early, as when the sample of the queue is
older than the count of starts. Messages that left the queue otherwise (a purge) are ignored after
this time."""
_OF_TOPIC: Final = "FROM topic_samples WHERE topic = :topic AND at >= :since AND at < :until"
_HELD: Final = "max(unacked - ifnull(running, 0), 0)"
_WAITING: Final = f"queued + {_HELD}"
_FACTS: Final = f"""
SELECT
  (SELECT concurrency_limit {_OF_TOPIC} ORDER BY at DESC LIMIT 1),
  (SELECT ifnull({_WAITING}, queued) {_OF_TOPIC} AND queued IS NOT NULL ORDER BY at LIMIT 1),
  avg(running >= concurrency_limit - 0.5 AND queued >= 0.5),
  sum({_HELD}) FILTER (WHERE queued IS NOT NULL) / nullif(sum({_WAITING}), 0)
{_OF_TOPIC}
"""


class SampledFacts(msgspec.Struct, frozen=True, array_like=True):
    """The totals of all samples of a topic; `None` where unknown."""

    limit: Count | None
    """The limit of the topic at the end."""
    backlog: Real | None
    """Messages that waited in the first sample."""
    at_limit: Real | None
    """Share of the samples with as many tasks running as the limit allows, and a queue."""
    held: Real | None
    """Share of the waiting messages that workers held already."""


@dataclass(frozen=True, slots=True)
class TopicSamples:
    """The samples of a topic, each with the time since the one before: seconds since the epoch."""

    begins: Floats
    ends: Floats
    queued: Floats
    """Messages in the queue; NaN where the broker could not be asked."""
    held: Floats
    """Messages that workers hold and have not begun; NaN without the management API, which alone
    counts them."""
    began: Floats
    published: Floats
    """New tasks of the time since the sample before; NaN where messages were not recorded."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of arrivals from `begins` to `ends`, seconds since the epoch."""

    begins: Floats
    ends: Floats
    counts: Floats

    def times(self, seed: int) -> Floats:
        """Return a time for each arrival: anywhere in its interval, since no more is known."""
        whole = np.rint(self.counts).astype(np.int64)
        begins, ends = np.repeat(self.begins, whole), np.repeat(self.ends, whole)
        shares = np.random.default_rng(seed).random(len(begins))
        return np.sort(begins + shares * (ends - begins))

    @property
    def resolution(self) -> float:
        """The length of the interval in which half of the arrivals are, or more; seconds."""
        order = np.argsort(lengths := self.ends - self.begins)
        total = np.cumsum(self.counts[order])
        if not len(total) or not total[-1]:
            return 0.0
        return float(lengths[order][np.searchsorted(total, total[-1] / 2)])


def topic_samples(
    connection: sqlite3.Connection, topic: int, since: int, until: int
) -> TopicSamples:
    """Return the samples of a topic from *since* to before *until* (ms)."""
    names = ("at", "span", "queued * 1000", f"{_HELD} * 1000", "began", "published")
    params = {"topic": topic, "since": since, "until": until}
    at, span, queued, held, began, published = numbers(connection, names, _OF_TOPIC, params)
    ends = (at + span) / 1000
    before = np.concatenate([at[:1] / 1000, ends[:-1]])
    begins = np.where(span > 0, at / 1000, before)
    known = (_known(queued, 1000), _known(held, 1000), began.astype(np.float64))
    return TopicSamples(begins, ends, *known, _known(published, 1))


def _known(values: Ints, parts: int) -> Floats:
    return np.where(values == UNKNOWN, np.nan, values / parts)


def facts(connection: sqlite3.Connection, topic: int, since: int, until: int) -> SampledFacts:
    """Return the totals of the samples of a topic from *since* to before *until* (ms)."""
    params = {"topic": topic, "since": since, "until": until}
    return msgspec.convert(connection.execute(_FACTS, params).fetchone(), SampledFacts)


def counted(samples: TopicSamples, spans: Spans, again: Floats) -> Counts:
    """Return the arrivals within *spans* (ms): from counts of messages if there are any, else from
    the balance.

    *again* are the starts of later tries, in order: such tasks came to the queue once more, which
    is no arrival.
    """
    parts = [_balance(samples, since / 1000, until / 1000, again) for since, until in spans]
    if not parts:
        return Counts(*(np.empty(0) for _ in range(3)))
    begins, ends, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Counts(begins, ends, counts)


def _balance(
    samples: TopicSamples, since: float, until: float, again: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return begins, ends and counts within a span without gaps."""
    inside = (samples.ends > since) & (samples.ends <= until)
    published = samples.published[inside]
    if len(published) and not np.isnan(published).any():
        return np.maximum(samples.begins[inside], since), samples.ends[inside], published
    inside |= samples.ends == since
    is_asked = ~np.isnan(samples.queued[inside])
    ends = samples.ends[inside][is_asked]
    if len(ends) < 2:
        return np.empty(0), np.empty(0), np.empty(0)
    held = samples.held[inside][is_asked]
    waiting = samples.queued[inside][is_asked] + (0.0 if np.isnan(held).any() else held)
    began = np.cumsum(samples.began[inside])[is_asked]
    later = np.searchsorted(again, ends, side="right").astype(np.float64)
    begins = np.maximum(ends[:-1], samples.begins[inside][is_asked][1:])
    return begins, ends[1:], _rises(began + waiting - later, begins, ends[1:])


def _rises(arrived: Floats, begins: Floats, ends: Floats) -> Floats:
    """Return by how much each value of *arrived* is above the highest of the minute before."""
    length = float(np.median(ends - begins))
    before = max(round(_DEFICIT_SECONDS / max(length, 1.0)), 1)
    padded = np.concatenate([np.full(before - 1, -np.inf), arrived])
    highest = np.lib.stride_tricks.sliding_window_view(padded, before).max(axis=1)
    rises: Floats = np.maximum(arrived[1:] - highest[:-1], 0.0)
    return rises
