"""Times and spans as people give them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

Moment = datetime | str | timedelta
"""A time with its zone, as ``"2026-11-24T12:00Z"``; or a span before now, as ``"2h"``."""
Span = float | str | timedelta
"""Seconds, or a span as ``"5s"``, ``"2h"`` or ``"7D"``."""


def seconds(span: Span) -> float:
    """Return *span* in seconds. Raises `ValueError` for what is none, or not above 0."""
    given = span
    if isinstance(span, str | timedelta):
        try:
            span = pd.Timedelta(span).total_seconds()
        except ValueError:
            raise ValueError(f"{given!r} is no span of time; it looks like 5s, 2h or 7D.") from None
    if not span > 0:
        raise ValueError(f"{given!r} is no span of time: it must be above 0.")
    return float(span)


def epoch(moment: Moment, now: float) -> float:
    """Return *moment* in seconds since the epoch. Raises `ValueError` for what is none, and for a
    time without its zone."""
    if isinstance(moment, timedelta):
        return now - seconds(moment)
    if isinstance(moment, str):
        found = _time(moment)
        if found is None:
            return now - _before(moment)
        moment = found
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; write it as 2026-11-24T12:00Z or +01:00.")
    return moment.timestamp()


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _before(text: str) -> float:
    try:
        return seconds(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no moment; it looks like 2026-11-24T12:00Z, or 2h for two hours ago."
        ) from None
