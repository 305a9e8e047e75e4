"""Numbers before and after an incident began, from the frames of its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import pandas as pd

from tasktools.core.timespans import in_words

Words = Callable[[float], str]
"""Writes a number with its unit."""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def _rate(value: float) -> str:
    return f"{value:.3g}/s"


def _share(value: float) -> str:
    return f"{value:.1%}"


_SUMS: Final[tuple[tuple[str, str, str, Words], ...]] = (
    ("messages ready", "queue_depth", "queued", _number),
    ("dead letters", "queue_depth", "dead_letter", _number),
    ("tasks ended", "throughput", "rate", _rate),
)
"""Sums over topics: what, of which frame and column, and how it is written."""
_FAILED: Final = "failed, of those that ended"
_BUSY: Final = "utilisation"
_TOOK: Final = "service time, median"
MEASURES: Final = (*(measure for measure, *_ in _SUMS), _FAILED, _BUSY, _TOOK)


class Compared(msgspec.Struct, frozen=True):
    """A number before and after, and at the end: `None` is not known."""

    before: str | None = None
    after: str | None = None
    last: str | None = None


def compared(
    frames: Mapping[str, pd.DataFrame], split: pd.Timestamp, topic: str | None = None
) -> dict[str, Compared]:
    """Return the numbers before and after *split*, of the cluster or of one *topic*, by measure.

    They are medians of the intervals on either side; the interval with *split* in it is left out.
    The share of failures is that of all tasks that ended on a side.
    """
    values = {
        measure: _of(_summed(_of_topic(frames[name], topic), column), split, words)
        for measure, name, column, words in _SUMS
    }
    values[_FAILED] = _failed(_of_topic(frames["throughput"], topic), split)
    if topic is None:
        busy = frames["utilisation"].set_index("at")["utilisation"].astype(float)
        values[_BUSY] = _of(busy, split, _share)
    else:
        took = _of_topic(frames["service_time"], topic).set_index("at")["p50"]
        values[_TOOK] = _of(took.dt.total_seconds(), split, in_words)
    return values


def _of_topic(frame: pd.DataFrame, topic: str | None) -> pd.DataFrame:
    return frame if topic is None else frame[frame["topic"] == topic]


def _summed(frame: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return the sum over topics by time; missing where no topic has a value."""
    return frame.groupby("at")[column].sum(min_count=1).astype(float)


def _sides(values: Any, split: pd.Timestamp) -> tuple[Any, Any]:
    """Return the part of *values* before the interval with *split* in it, and the part after."""
    earlier = values.index[values.index <= split]
    begin = earlier.max() if len(earlier) else split
    return values[values.index < begin], values[values.index > split]


def _of(values: pd.Series[float], split: pd.Timestamp, words: Words) -> Compared:
    before, after = (side.dropna() for side in _sides(values, split))
    return Compared(
        None if before.empty else words(float(before.median())),
        None if after.empty else words(float(after.median())),
        None if after.empty else words(float(after.iloc[-1])),
    )


def _failed(ended: pd.DataFrame, split: pd.Timestamp) -> Compared:
    sums = ended.groupby("at")[["succeeded", "failed"]].sum(min_count=1).astype(float).dropna()
    before, after = _sides(sums, split)
    return Compared(*map(_failed_share, (before, after, after.tail(1))))


def _failed_share(counts: pd.DataFrame) -> str | None:
    failed, ended = counts["failed"].sum(), counts.to_numpy().sum()
    return _share(float(failed / ended)) if ended > 0 else None
