"""Times and spans of time as people write and read them."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timedelta
from typing import Final

from tasktools.core.arguments import is_number
from tasktools.core.lazy_imports import pd

Moment = datetime | str | timedelta
"""A time with its zone, as ``"2026-11-24T12:00Z"``; or a span before now, as ``"2h"``."""
_NUMBER = re.compile(r"[-+]?+[\d._]++")
_SECONDS: Final = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "D": 86_400}
_SIMPLE = re.compile(r"(\d{1,5}+(?:\.\d{1,6}+)?) ?(s|min|m|h|d|D)", re.ASCII)
Span = float | str | timedelta
"""Seconds, or a span as ``"5s"``, ``"2h"`` or ``"7D"``."""
_UNITS: Final = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
"""Size in seconds and name of each unit, and of the smaller one that is shown with it."""

_INTERVALS: Final = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 900.0, 1800.0),
    *(3600.0, 7200.0, 21_600.0, 86_400.0),
)
"""Lengths of intervals (s) that people count in."""


def interval(shortest: float) -> float:
    """Return a round length of intervals (s), at least *shortest* if that is up to a day.

    >>> interval(7), interval(60), interval(1e9)
    (10.0, 60.0, 86400.0)
    """
    return next((length for length in _INTERVALS if length >= shortest), _INTERVALS[-1])


def in_words(seconds: float, *, signed: bool = False, units: int = 2) -> str:
    """Return a span for people, in up to *units* units; *signed* writes a plus, too.

    >>> [in_words(span) for span in (0.02, 3.21, 9.96, 200, 7500, -7200, 273_600)]
    ['0.02 s', '3.2 s', '10 s', '3 min 20 s', '2 h 5 min', '-2 h', '3 d 4 h']
    """
    sign = "-" if seconds < 0 else "+" if signed else ""
    seconds = abs(seconds)
    if seconds < 9.95:
        return f"{sign}{round(seconds, 3):.2g} s"
    whole = round(seconds)
    for size, unit, small_size, small_unit in _UNITS:
        if whole >= size:
            rest = whole % size // small_size if units > 1 else 0
            return f"{sign}{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{sign}{whole} s"


def seconds(span: Span) -> float:
    """Return *span* in seconds. Raises `ValueError` for a text that is no span, and for spans that
    are not above 0."""
    length = _length(span)
    if length is None:
        raise ValueError(f"{span!r} is no span of time; it looks like 5s, 2h or 7D.")
    if not length > 0:
        raise ValueError(f"{span!r} is no span of time: it must be above 0.")
    return length


def epoch(moment: Moment, now: float) -> float:
    """Return *moment* in seconds since the epoch.

    Raises `ValueError` for a text that is no time, and for a time without its zone.
    """
    if isinstance(moment, timedelta):
        return now - seconds(moment)
    if isinstance(moment, str):
        time = _time(moment)
        if time is None:
            return now - _seconds_before(moment)
        moment = time
    if not isinstance(moment, datetime):
        raise _no_moment(moment)
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; write it as 2026-11-24T12:00Z or +01:00.")
    return moment.timestamp()


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _length(span: Span) -> float | None:
    if isinstance(span, timedelta):
        return span.total_seconds()
    if not isinstance(span, str):
        return float(span) if is_number(span) else None
    if _NUMBER.fullmatch(span.strip()):  # pandas takes it for nanoseconds
        return None
    if simple := _SIMPLE.fullmatch(span):  # the usual ones, without the import of pandas
        return round(float(simple[1]) * _SECONDS[simple[2]], 6)
    try:
        return float(pd.Timedelta(span).total_seconds())
    except ValueError:
        return None


def _seconds_before(text: str) -> float:
    if any(map(str.isalpha, text)):  # 2026 and 12:00 are not spans
        with contextlib.suppress(ValueError):
            return seconds(text)
    raise _no_moment(text)


def _no_moment(what: object) -> ValueError:
    return ValueError(
        f"{what!r} is no moment; it looks like 2026-11-24T12:00Z, or 2h for two hours ago."
    )
