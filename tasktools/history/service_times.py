"""Durations of tasks: as workers report them for each task, and from histograms in heartbeats.

For a topic whose workers send histograms, only these count: the arrival times of two events cannot
measure a task shorter than `tasktools.core.duration_histogram.RESOLUTION`. Without either, the
duration is missing: a mean over only the tasks that were long enough would be far from the truth.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec

from tasktools.core.duration_histogram import NOTHING, Histogram
from tasktools.core.frames import history_schemas as schemas
from tasktools.core.lazy_imports import np, pd
from tasktools.history.file_checks import Count, Real, Time
from tasktools.history.series import (
    MISSING,
    Columns,
    Window,
    fetch,
    frame_of,
    id_of,
    named,
    quantiles,
)
from tasktools.history.store import DURATION
from tasktools.history.tables import has_table, select

Key = tuple[int, int]
"""A topic and the start of an interval."""

_COLUMNS: Final = ("count", "mean", "p50", "p95", "longest", "p50_at_most", "p95_at_most")
_TRIES: Final = """
SELECT {} FROM tries
WHERE topic IS NOT NULL AND outcome < 2 AND ended >= :since AND ended < :until
  AND (:topic IS NULL OR topic = :topic)
"""


class _HistogramRow(msgspec.Struct, frozen=True, array_like=True):
    topic: Count
    at: Time
    count: Annotated[int, msgspec.Meta(ge=1, le=2**50)]
    sum: Real
    buckets: str


_HISTOGRAMS: Final = """
FROM durations AS t
WHERE at >= :since AND at < :until AND (:topic IS NULL OR topic = :topic)
"""


def service_time(connection: sqlite3.Connection, window: Window, topic: str | None) -> pd.DataFrame:
    """Return how long tasks took (schema `SERVICE_TIME`)."""
    number = id_of(connection, topic)
    params = {"since": window.first, "until": window.until, "topic": number}
    attempts = fetch(
        connection,
        "topic:i at:i took:f? is_reported:i",
        _TRIES,
        params,
        at="ended",
        took=DURATION,
        is_reported="duration IS NOT NULL",
    )
    histograms = _histograms(connection, window, params)
    counted = np.unique([topic for topic, _ in histograms])
    is_counted = np.isin(attempts["topic"], counted)
    single = {
        name: values[~is_counted | (attempts["is_reported"] == 1)]
        for name, values in attempts.items()
    }
    measured = {name: values[single["took"] != MISSING] for name, values in single.items()}
    rows = _of_attempts(measured, single, window)
    for key, histogram in histograms.items():
        rows[key] = _together(rows.get(key), histogram, _values(measured, key, window))
    return frame_of(schemas.SERVICE_TIME, named(connection, _as_columns(rows), "topic"))


def histograms_by_topic(connection: sqlite3.Connection, window: Window) -> dict[int, Histogram]:
    """Return the durations of all tasks of *window* by topic, as far as workers keep histograms."""
    params = {"since": window.since, "until": window.until, "topic": None}
    total: defaultdict[int, Histogram] = defaultdict(lambda: NOTHING)
    for (topic, _), histogram in _histograms(connection, window, params).items():
        total[topic] += histogram
    return total


def _histograms(
    connection: sqlite3.Connection, window: Window, params: dict[str, Any]
) -> dict[Key, Histogram]:
    histograms: defaultdict[Key, Histogram] = defaultdict(lambda: NOTHING)
    if not has_table(connection, "durations"):
        return histograms
    every = window.every or 1
    for row in select(connection, _HistogramRow, _HISTOGRAMS, params, topic="t.topic"):
        buckets = dict(msgspec.json.decode(row.buckets, type=list[tuple[Real, Count]]))
        histograms[row.topic, row.at // every * every] += Histogram(row.count, row.sum, buckets)
    return histograms


def _of_attempts(
    measured: Columns, all_attempts: Columns, window: Window
) -> dict[Key, list[float]]:
    """Return the rows of attempts by key; if not all attempts of a key were *measured*, its row has
    only a count."""
    every = window.every or 1
    spans = quantiles(measured, "took", window)
    values = zip(*(spans[name].tolist() for name in _COLUMNS[:5]), strict=True)
    keys = zip(spans["topic"].tolist(), spans["at"].tolist(), strict=True)
    rows = {key: [*row, row[2], row[3]] for key, row in zip(keys, values, strict=True)}
    places = pd.DataFrame(
        {"topic": all_attempts["topic"], "at": all_attempts["at"] // every * every}
    )
    counts = places.groupby(["topic", "at"]).size()
    for key, count in zip(counts.index.tolist(), counts.tolist(), strict=True):
        if key not in rows or rows[key][0] < count:
            rows[key] = [float(count), *[np.nan] * 6]
    return rows


def _values(measured: Columns, key: Key, window: Window) -> list[float]:
    every = window.every or 1
    is_here = (measured["topic"] == key[0]) & (measured["at"] // every * every == key[1])
    values: list[float] = measured["took"][is_here].tolist()
    return values


def _together(
    row: list[float] | None, histogram: Histogram, single: Iterable[float]
) -> list[float]:
    """Return one row for *histogram* together with the durations of *single* attempts. If *row*,
    that of the single attempts, has no durations, only the count is known."""
    if row is not None and np.isnan(row[1]):
        return [row[0] + histogram.count, *[np.nan] * 6]
    bounds = sorted(histogram.buckets)
    total = histogram
    for value in single:
        bound = next((bound for bound in bounds if value <= bound), value)
        total += Histogram(1, value, {bound: 1})
    shares = [total.at_most(share) for share in (0.5, 0.95)]
    known = [np.nan if bound is None else bound for bound in shares]
    return [total.count, total.sum / total.count, *[np.nan] * 3, *known]


def _as_columns(rows: dict[Key, list[float]]) -> Columns:
    keys = sorted(rows)
    values = np.array([rows[key] for key in keys], dtype=np.float64).reshape(-1, len(_COLUMNS))
    columns: Columns = {name: values[:, at] for at, name in enumerate(_COLUMNS)}
    numbers = np.array(keys, dtype=np.int64).reshape(-1, 2)
    return {**columns, "topic": numbers[:, 0], "at": numbers[:, 1]}
