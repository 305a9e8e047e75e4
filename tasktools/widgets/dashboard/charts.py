"""Definitions of the board's charts, windows and thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tasktools.core.timespans import seconds

Unit = Literal["count", "rate", "share", "span"]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of lines, one per topic. *how* is the aggregation of several samples to a point."""

    name: str
    title: str
    unit: Unit
    how: str


_UNTIL_FULL: Final = "the mean of each interval, of {} at least; nothing before that is full"
CHARTS: Final = (
    Chart("queued", "Queue depth", "count", "the most in each interval"),
    Chart("throughput", "Tasks ended per second", "rate", _UNTIL_FULL.format("10 s")),
    Chart("utilisation", "Utilisation by topic", "share", "the mean of each interval"),
    Chart("oldest", "Oldest running task", "span", "the greatest age in each interval"),
    Chart("failures", "Failures per minute", "count", _UNTIL_FULL.format("a minute")),
    Chart("dead_letters", "Dead letters", "count", "the most in each interval"),
)

WINDOWS: Final = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400}
"""Windows of the board in seconds."""

GONE: Final = "gone"
_LIMITED: Final = ("queued", "utilisation", "oldest", "failures", "dead_letters", GONE)


def read_thresholds(thresholds: Mapping[str, Any] | None) -> dict[str, float]:
    """Return *thresholds* as numbers: counts, a share of 1, and a time in seconds.

    Raises `ValueError` for an unknown name, and for a value that cannot be a threshold.
    """
    return {name: _read(name, value) for name, value in (thresholds or {}).items()}


def _read(name: str, value: Any) -> float:
    if name not in _LIMITED:
        raise ValueError(
            f"There is no threshold {name!r}; the board was not made. There are: "
            f"{', '.join(_LIMITED)}."
        )
    try:
        limit = seconds(value) if name == "oldest" else _number(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The threshold {name} cannot be used: {error}") from None
    if name == "utilisation" and limit > 1:
        raise ValueError(f"The threshold utilisation is {value!r}, but it is a share: 0.9 is 90 %.")
    return limit


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number.")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{value!r} is not 0 or more.")
    return float(value)
