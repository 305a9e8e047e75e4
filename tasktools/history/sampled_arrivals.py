"""Arrivals of a topic from its samples, where no messages were recorded.

What arrived between two samples is what began in between, and what the queue grew by. Of tasks
whose messages were counted (and deleted since), the count is exact.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tasktools.history.recorded_spans import Spans
from tasktools.history.series import MISSING, Columns, fetch

Floats = npt.NDArray[np.float64]

_DEFICIT_SECONDS: Final = 60.0
"""For so long an arrival may have been counted too early, as by a sample that is older than the
start it is compared with. What leaves a queue otherwise (a purge) is forgotten after that."""
_SAMPLES: Final = """
SELECT {} FROM topic_samples
WHERE topic = :topic AND at >= :since AND at < :until ORDER BY at
"""
_HELD: Final = "max(unacked - ifnull(running, 0), 0)"


@dataclass(frozen=True, slots=True)
class TopicSamples:
    """The samples of a topic, each with the time since the one before: seconds since the epoch."""

    begins: Floats
    ends: Floats
    queued: Floats
    """Messages in the queue; NaN where the broker could not be asked."""
    held: Floats
    """Messages that workers hold and have not begun; NaN where only the management API tells."""
    running: Floats
    limit: Floats
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
    columns = fetch(
        connection,
        "at:i span:i queued:f? held:f? running:f? concurrency_limit:i? began:i published:i?",
        _SAMPLES,
        {"topic": topic, "since": since, "until": until},
        held=_HELD,
    )
    ends = (columns["at"] + columns["span"]) / 1000
    before = np.concatenate([columns["at"][:1] / 1000, ends[:-1]])
    begins = np.where(columns["span"] > 0, columns["at"] / 1000, before)
    names = ("queued", "held", "running", "concurrency_limit", "published")
    queued, held, running, limit, published = (_known(columns, name) for name in names)
    began = columns["began"].astype(np.float64)
    return TopicSamples(begins, ends, queued, held, running, limit, began, published)


def _known(columns: Columns, name: str) -> Floats:
    return np.where(columns[name] == MISSING, np.nan, columns[name].astype(np.float64))


def counted(samples: TopicSamples, spans: Spans, again: Floats) -> Counts:
    """Return the arrivals within *spans* (ms): as they were counted, else by the balance.

    *again* are the starts of later tries, in order: they came to the queue once more, and are no
    arrivals.
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
