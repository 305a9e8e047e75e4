"""The gathering of a forecast's input: the last samples of a topic in bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tasktools.capacity.arrivals import weekly_rates
from tasktools.capacity.demand import BoolArray, FloatArray
from tasktools.capacity.drain.bins import Bins, Timing
from tasktools.capacity.hour_of_week import DAY, HOUR, HOURS_OF_WEEK, hour_of_week
from tasktools.core.series import Series
from tasktools.core.timespans import in_words
from tasktools.history.recent import RecentHistory
from tasktools.history.series import MISSING, Columns

MIN_BINS: Final = 4
"""Bins that must be known of the past, of which as many must have had a backlog."""
_SHAPE_SECONDS: Final = 28 * DAY
_MIN_SHAPE_HOURS: Final = 42
"""Recorded hours from which on the hour of the day is known: nearly two days."""
_MIN_RATE_SHARE: Final = 0.02
_CATCH_UP_SECONDS: Final = 5.0
"""Seconds after a gap in the events in which workers send the events that they could not send
before."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The recent past of a topic: its *bins*, or *why* they are not known."""

    depth: float | None
    slots: float | None
    queued: Series
    bins: Bins | None = None
    why: str | None = None
    knows_hours: bool = False


def read(recent: RecentHistory, topic: str, at: float, timing: Timing) -> Reading:
    """Return the past of *topic* before *at* (s since the epoch) from *recent*."""
    samples = recent.samples(topic, max(timing.window, timing.horizon) + timing.bin)
    times = samples["at"] / 1000
    is_counted = samples["queued"] != MISSING
    queued = Series(
        tuple(times[is_counted].tolist()), tuple(samples["queued"][is_counted].tolist())
    )
    depth, slots = queued.last, _last(_slots(samples))
    why = _too_little(queued, at, timing)
    if why is not None:
        return Reading(depth, slots, queued, why=why)
    edges: FloatArray = at - timing.bin * np.arange(timing.past, -1, -1).astype(np.float64)
    gaps = recent.event_gaps(timing.window + timing.bin)
    is_known = _known_bins(times[is_counted], gaps, edges, timing.longest_step)
    ended = _per_bin(times, samples["ended"], edges)
    began = _per_bin(times, samples["began"], edges)
    depths = np.interp(edges, queued.times, queued.values)
    shape, ahead, knows_hours = _shape(recent, topic, at, timing)
    bins = Bins(
        depth=float(queued.values[-1]),
        completions=np.where(is_known, ended, np.nan),
        arrivals=_not_negative(began + np.diff(depths), is_known),
        slots=_at(times, _slots(samples), edges[1:]),
        is_busy=_is_busy(queued, edges),
        shape=shape,
        shape_ahead=ahead,
    )
    why = _too_few(bins, is_known, timing)
    return Reading(depth, slots, queued, bins if why is None else None, why, knows_hours)


def depths(recent: RecentHistory, topic: str, span: float) -> Series:
    """Return the length of the queue of *topic* in the last *span* seconds."""
    return _depths(recent.samples(topic, span))


def usual_depth(recent: RecentHistory, topic: str) -> float | None:
    """Return the median length of the queue of *topic* in the last 7 days, if at least one is
    recorded; `None`: it is not known."""
    return recent.usual_depth(topic, 7 * DAY, at_least=DAY)


def _too_little(queued: Series, at: float, timing: Timing) -> str | None:
    """Return why a forecast is not possible, by the samples alone; `None`: it may be."""
    if not queued:
        return "the length of its queue is not known"
    age = at - queued.times[-1]
    if age > timing.longest_step:
        return f"the newest sample is {in_words(age)} old"
    span = queued.between(at - timing.window, at).span
    least = MIN_BINS * timing.bin
    if span < least:
        return (
            f"only {in_words(span)} of it are known, and it takes {in_words(least)}: keep a board "
            "open, record the cluster, or ask again"
        )
    return None


def _too_few(bins: Bins, is_known: BoolArray, timing: Timing) -> str | None:
    least = in_words(MIN_BINS * timing.bin)
    if is_known.sum() < MIN_BINS:
        return f"events are missing: fewer than {least} are known of the last minutes"
    if bins.slots_now == 0:
        return None
    if (is_known & bins.is_busy).sum() < MIN_BINS:
        return f"its queue has not been filled for {least} yet"
    return None


def _known_bins(
    times: FloatArray, gaps: list[tuple[float, float]], edges: FloatArray, longest_step: float
) -> BoolArray:
    """Return which bins lie between samples, and in no gap of the events."""
    begins, ends = edges[:-1], edges[1:]
    is_known: BoolArray = (begins >= times[0] - 1e-6) & (begins < times[-1])
    steps = np.diff(times)
    wide = np.flatnonzero(steps > longest_step)
    late = ((since, until + _CATCH_UP_SECONDS) for since, until in gaps)
    holes = [*late, *zip(times[wide].tolist(), times[wide + 1].tolist(), strict=True)]
    for since, until in holes:
        is_known &= (ends <= since) | (begins >= until)
    return is_known


def _per_bin(times: FloatArray, counts: FloatArray, edges: FloatArray) -> FloatArray:
    """Return the count in each bin; each of *counts* is spread evenly over the time since the
    sample before."""
    return np.diff(np.interp(edges, times, np.cumsum(counts)))


def _not_negative(counts: FloatArray, is_known: BoolArray) -> FloatArray:
    """Return *counts* without numbers below 0. A small negative count comes from samples of
    different moments, and the neighbouring bin has as many too many. After a purge the bin is
    unknown."""
    result = np.where(is_known, counts, 0.0)
    for place in np.flatnonzero(result < 0):
        for near in (place + 1, place - 1):
            if 0 <= near < len(result):
                paid = min(max(result[near], 0.0), -result[place])
                result[near] -= paid
                result[place] += paid
    return np.where(is_known & (result > -1.0), np.maximum(result, 0.0), np.nan)


def _depths(samples: Columns) -> Series:
    is_counted = samples["queued"] != MISSING
    times = samples["at"][is_counted] / 1000
    return Series(tuple(times.tolist()), tuple(samples["queued"][is_counted].tolist()))


def _slots(samples: Columns) -> FloatArray:
    """Return how many tasks of the topic may run at once: the slots of its workers, its limit; 0
    where the broker has no consumer, which shows earlier than missing heartbeats."""
    capacity, limit = samples["capacity"], samples["limit"]
    is_limited = (limit != MISSING) & (limit > 0)
    slots = np.where(is_limited, np.minimum(capacity, limit), capacity)
    is_left = (samples["consumers"] == 0) & (samples["began"] == 0)
    return np.where(is_left, 0.0, np.where(capacity == MISSING, np.nan, slots))


def _last(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else None


def _at(times: FloatArray, values: FloatArray, wanted: FloatArray) -> FloatArray:
    """Return the last value at or before each of the *wanted* times; NaN before the first."""
    places = np.searchsorted(times, wanted, side="right") - 1
    return np.where(places >= 0, values[np.maximum(places, 0)], np.nan)


def _is_busy(queued: Series, edges: FloatArray) -> BoolArray:
    """Return in which bins the queue was never seen empty."""
    times, values = np.array(queued.times), np.array(queued.values)
    empty = times[values <= 0]
    count = np.searchsorted(empty, edges, side="right")
    around = np.interp(edges, times, values)
    is_busy: BoolArray = (np.diff(count) == 0) & (around[:-1] > 0) & (around[1:] > 0)
    return is_busy


# --- the hour of the week -------------------------------------------------------------


def _shape(
    recent: RecentHistory, topic: str, at: float, timing: Timing
) -> tuple[FloatArray, FloatArray, bool]:
    """Return the arrival rates of past and future bins, divided by the present rate, by the
    recorded hours of the week; 1 everywhere if too few are recorded."""
    past: FloatArray = at - timing.bin * (np.arange(timing.past, 0, -1).astype(np.float64) - 0.5)
    ahead: FloatArray = at + timing.bin * (np.arange(timing.ahead).astype(np.float64) + 0.5)
    by_hour = recent.arrivals_by_hour(topic, _SHAPE_SECONDS)
    if len(by_hour["hour"]) < _MIN_SHAPE_HOURS or not by_hour["arrivals"].any():
        return np.ones(timing.past), np.ones(timing.ahead), False
    week = _whole_week(
        weekly_rates(HOUR * by_hour["hour"], by_hour["arrivals"], by_hour["seconds"]).rate
    )
    now = _rate_at(week, np.array([at]))[0]
    return _rate_at(week, past) / now, _rate_at(week, ahead) / now, True


def _whole_week(rates: FloatArray) -> FloatArray:
    """Return the *rates* of all hours of the week. An unknown hour gets the rate of the same hour
    of other days, else the mean; none is 0, since all are divided by the present rate."""
    days = rates.reshape(7, 24)
    known = ~np.isnan(days)
    mean = float(days[known].mean())
    sums, counts = np.where(known, days, 0.0).sum(axis=0), known.sum(axis=0)
    of_day = np.where(counts > 0, sums / np.maximum(counts, 1), mean)
    whole: FloatArray = np.where(known, days, of_day).ravel()
    return np.maximum(whole, _MIN_RATE_SHARE * mean)


def _rate_at(week: FloatArray, times: FloatArray) -> FloatArray:
    """Return the rate at *times* (s since the epoch), from the middle of one hour to the next."""
    hours = hour_of_week(times - HOUR / 2) + (times / HOUR - 0.5) % 1
    rates: FloatArray = np.interp(hours, np.arange(HOURS_OF_WEEK + 1), np.append(week, week[0]))
    return rates
