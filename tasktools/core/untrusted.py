"""Readers of untrusted JSON values; `None` for a value of the wrong type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasktools.core.escaping import cut

_MAX_COUNT = 2**40  # thousands of them still add up to an Int64
_MAX_SPAN = 1e10  # three centuries
_MAX_NAME_BYTES = 255
_MAX_LABEL_CHARS = 255
_END_OF_TIME = datetime.max.replace(tzinfo=UTC).timestamp()


def text(value: object) -> str | None:
    """Return a non-empty string, else `None`."""
    return value if isinstance(value, str) and value else None


def label(value: object) -> str | None:
    """Return a non-empty string, cut to a length that can be shown, else `None`."""
    return cut(value, _MAX_LABEL_CHARS) if isinstance(value, str) and value else None


def name(value: object) -> str | None:
    """Return a non-empty string that is no longer than AMQP lets a name be, else `None`."""
    if not isinstance(value, str):
        return None
    return value if 0 < len(value.encode("utf-8", "replace")) <= _MAX_NAME_BYTES else None


def count(value: object) -> int | None:
    """Return a whole number of things (0 or more), else `None`."""
    if type(value) is int:
        return value if 0 <= value <= _MAX_COUNT else None
    if not isinstance(value, float):
        return None
    # Compared first: neither NaN nor an int too large for a float gets past this.
    return int(value) if 0 <= value <= _MAX_COUNT and value == int(value) else None


def number(value: object) -> float | None:
    """Return a finite number, else `None`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an int too large for a float
        return None


def span(value: object) -> float | None:
    """Return a span in seconds (0 or more, and no more than a frame can hold), else `None`."""
    seconds = number(value)
    return seconds if seconds is not None and 0 <= seconds <= _MAX_SPAN else None


def mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> Sequence[Any]:
    """Return a JSON array, or an empty one."""
    return value if isinstance(value, list) else ()


def names(value: object) -> tuple[str, ...]:
    """Return the non-empty strings of a JSON array."""
    return tuple(x for x in value if isinstance(x, str) and x) if isinstance(value, list) else ()


def time(value: object) -> datetime | None:
    """Return an ISO 8601 time as aware UTC; one without a zone is UTC (the peer's are)."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is None:  # `replace` takes twice as long
            return datetime.combine(parsed, parsed.time(), UTC)
        return parsed if parsed.tzinfo is UTC else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def epoch(value: object) -> float | None:
    """Return an ISO 8601 time as seconds since the epoch, else `None`."""
    parsed = time(value)
    seconds = None if parsed is None else parsed.timestamp()
    # The last microseconds of the year 9999 round up to a year that no datetime can hold.
    return None if seconds is None or seconds >= _END_OF_TIME else seconds


def moment(value: object) -> datetime | None:
    """Return seconds since the epoch (0 or more) as aware UTC, else `None`."""
    seconds = number(value)
    if seconds is None or not 0 <= seconds < _END_OF_TIME:
        return None
    return datetime.fromtimestamp(seconds, UTC)
