"""Checks of whether a demand was recorded well enough for planning, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from tasktools.capacity.demand import Demand, Evidence, TopicDemand
from tasktools.capacity.estimates import Estimates, estimates_of
from tasktools.capacity.hour_of_week import DAY, HOUR, hour_of_week
from tasktools.core.timespans import in_words

_WEEK_DAYS: Final = 7.0
_TOLERANCE: Final = 0.05  # days
MIN_TRIES: Final = 200
_MIN_BURSTS: Final = 1_000
"""Arrivals over their dispersion: of batches of two days the number of slots is known to ±1 in 84 %
with 1,100, in 62 % with 570."""
_MAX_MISSING: Final = 0.2
"""Share of the time in gaps with which answers are as good as without."""
_MIN_COVERED: Final = 0.9
_NEARLY_BUSIEST: Final = 0.9
"""Share of the highest rate of the week, from which on an hour is one of the busiest."""
_MAX_RESOLUTION: Final = 10.0
MIN_SERVICES: Final = 6.0
_MAX_BY_CLOCK: Final = 0.05
_MAX_CENSORED: Final = 0.05
_MAX_AT_LIMIT: Final = 0.01
_MAX_HELD: Final = 0.5
_MAX_BACKLOG: Final = 0.01
"""Share of all tasks."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a topic's demand."""

    topic: str
    check: str
    value: float | None
    limit: float
    ok: bool | None
    note: str | None


_Checked = tuple[str, float | None, float, bool | None, str | None]


@dataclass(frozen=True, slots=True)
class _Subject:
    """The topic that is checked, in its demand, and the estimates of it."""

    demand: Demand
    topic: TopicDemand
    estimates: Estimates


def checks(demand: Demand, estimates: Mapping[str, Estimates]) -> tuple[Check, ...]:
    """Return the results of the checks of each topic of *demand*, in a fixed order."""
    return tuple(
        check
        for name, topic in demand.topics.items()
        for check in _checks(_Subject(demand, topic, estimates[name]))
    )


def checks_of(demand: Demand, topic: TopicDemand) -> Iterator[Check]:
    """Yield the results of the checks of one topic."""
    return _checks(_Subject(demand, topic, estimates_of(demand, topic)))


def _checks(subject: _Subject) -> Iterator[Check]:
    for check in _CHECKS:
        for values in check(subject):
            yield Check(subject.topic.topic, *values)


def recorded_days(demand: Demand) -> float:
    """Return for how many days events were recorded, gaps left out."""
    return sum(until - since for since, until in demand.recorded) / DAY


def _span(subject: _Subject) -> Iterator[_Checked]:
    demand = subject.demand
    days = (demand.until - demand.since) / DAY
    note = None
    if days < 1:
        note = (
            f"{in_words(days * DAY)} recorded: the results hold for these hours only, and their "
            "intervals are too narrow"
        )
    elif days < 2:
        note = f"{days:.1f} days recorded: intervals are too narrow (they cover 70 to 90 %)"
    elif days < _WEEK_DAYS - _TOLERANCE:
        note = f"{days:.1f} days recorded: some days of the week are unknown"
    yield "days from start to end", days, _WEEK_DAYS, note is None, note


def _gaps(subject: _Subject) -> Iterator[_Checked]:
    demand = subject.demand
    whole = demand.until - demand.since
    missing = 1 - recorded_days(demand) * DAY / whole if whole > 0 else 0.0
    ok = missing <= _MAX_MISSING
    note = None if ok else f"{missing:.0%} of the time is in gaps; gaps() lists them"
    yield "share in gaps", missing, _MAX_MISSING, ok, note


def _busiest_hour(subject: _Subject) -> Iterator[_Checked]:
    demand, rates = subject.demand, subject.estimates.rates
    if np.isnan(rates.rate).all() or not np.nanmax(rates.rate) > 0:
        return
    busiest = np.flatnonzero(rates.rate >= _NEARLY_BUSIEST * np.nanmax(rates.rate)).tolist()
    possible = {hour: _seconds_between(demand, hour) for hour in busiest}
    shares = {
        hour: float(rates.weeks[hour] * HOUR / seconds)
        for hour, seconds in possible.items()
        if seconds > 0
    }
    if not shares:
        return  # the span is short: that is noted already
    hour = min(shares, key=shares.__getitem__)
    ok = shares[hour] >= _MIN_COVERED
    note = None
    if not ok:
        note = (
            f"{1 - shares[hour]:.0%} of one of the busiest hours ({_hour_name(hour)} UTC) is in "
            "gaps: recorders fail under load, so that the peak may be higher than what is recorded"
        )
    yield "share of the busiest hours recorded", shares[hour], _MIN_COVERED, ok, note


def _seconds_between(demand: Demand, hour: int) -> float:
    """Return how many seconds of the hour of the week are in the span, its gaps included."""
    starts = demand.hours[hour_of_week(demand.hours) == hour]
    ends = np.minimum(starts + HOUR, demand.until)
    return float((ends - np.maximum(starts, demand.since)).sum())


def _hour_name(hour: int) -> str:
    day = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return f"{day[hour // 24]} {hour % 24:02}:00"


def _bursts(subject: _Subject) -> Iterator[_Checked]:
    spread, count = subject.estimates.dispersion, len(subject.topic.arrivals)
    if math.isnan(spread):
        note = f"{count:,} arrivals are recorded: too few to tell whether they come in bursts"
        yield "independent arrivals", None, _MIN_BURSTS, None, note
        return
    value = count / max(spread, 1.0)
    ok = value >= _MIN_BURSTS
    note = ""
    if not ok and spread > 2:
        note = (
            f"{count:,} arrivals in bursts (dispersion {spread:.1f}) are worth {value:,.0f} "
            "independent ones: the number of slots is not known to ±1"
        )
    elif not ok:
        note = f"{count:,} arrivals are few: the number of slots may not be known to ±1"
    yield "independent arrivals", value, _MIN_BURSTS, ok, note or None


def _services(subject: _Subject) -> Iterator[_Checked]:
    demand, times = subject.demand, subject.estimates.services
    ended = times.tries - times.censored
    ok = ended >= MIN_TRIES
    note = (
        None
        if ok
        else f"{ended:,} {'try' if ended == 1 else 'tries'} ended: too few to know the long ones"
    )
    yield "tries that ended", float(ended), float(MIN_TRIES), ok, note
    if not times.tries:
        return
    share = times.censored / times.tries
    ok = share <= _MAX_CENSORED
    note = (
        None if ok else f"the end of {share:.0%} of the tries is not known: they run, or are lost"
    )
    yield "share of tries without an end", share, _MAX_CENSORED, ok, note
    if not times.mean > 0:
        return
    longest = max(until - since for since, until in demand.recorded)
    value = longest / times.mean
    ok = value >= MIN_SERVICES
    note = None
    if not ok:
        note = (
            f"the longest span without a gap is {value:.1f} mean service times: tasks take longer "
            "than estimated (by 18 % and more), since long ones did not end within it"
        )
    yield "recorded mean service times", value, MIN_SERVICES, ok, note


def _evidence(subject: _Subject) -> Iterator[_Checked]:
    topic, evidence = subject.topic, subject.topic.evidence
    if evidence is None:
        return
    ok = evidence.resolution <= _MAX_RESOLUTION
    note = None
    if not ok:
        note = (
            f"arrivals are known only from samples {in_words(evidence.resolution)} apart: bursts "
            "are smeared, and the slots that they need underestimated (by 2.4 for batches of 8 at "
            "60 s). A recorder with messages=True knows each"
        )
    yield "arrivals known within, s", evidence.resolution, _MAX_RESOLUTION, ok, note
    ok = evidence.by_clock <= _MAX_BY_CLOCK
    note = None
    if not ok:
        note = (
            f"the durations of {evidence.by_clock:.0%} of the tries are known only from the "
            "arrival of events, which may come half a second late"
        )
    yield "share of durations by our clock", evidence.by_clock, _MAX_BY_CLOCK, ok, note
    yield from _waiting(topic, evidence)


def _waiting(topic: TopicDemand, evidence: Evidence) -> Iterator[_Checked]:
    if topic.limit is not None or evidence.at_limit is not None:
        share = evidence.at_limit
        ok = None if share is None else share <= _MAX_AT_LIMIT
        note = None
        if share is not None and not ok:
            note = (
                f"its limit was binding for {share:.0%} of the time: tasks waited for the limit, "
                "and more workers would not have helped"
            )
        yield "share of time at the limit", share, _MAX_AT_LIMIT, ok, note
    held = evidence.held
    ok = None if held is None else held <= _MAX_HELD
    note = None
    if held is None:
        note = "how many messages workers held was not recorded: that takes the management API"
    elif not ok:
        note = (
            f"{held:.0%} of the waiting messages were held by workers that were busy: a lower "
            "prefetch would give them to idle ones"
        )
    yield "share of waiting messages held", held, _MAX_HELD, ok, note
    if evidence.backlog is not None and len(topic.arrivals):
        share = evidence.backlog / len(topic.arrivals)
        ok = share <= _MAX_BACKLOG
        note = None
        if not ok:
            note = (
                f"{evidence.backlog:,} messages waited already when the recording began: they are "
                "not among the arrivals"
            )
        yield "share waiting at the start", share, _MAX_BACKLOG, ok, note


_CHECKS: Final[tuple[Callable[[_Subject], Iterator[_Checked]], ...]] = (
    *(_span, _gaps, _busiest_hour, _bursts, _services, _evidence),
)
