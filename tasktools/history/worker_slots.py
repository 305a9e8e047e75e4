"""The workers of a recorded span, each with its slots and the time in which it was present."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

import msgspec

from tasktools.core.models import RetryRule
from tasktools.history.file_checks import Count, Time
from tasktools.history.samples import Facts
from tasktools.history.tables import select

_MAX_MOMENTS: Final = 1_000
"""The largest number of moments of a span that are read."""
_WORKERS: Final = """
FROM (
  WITH RECURSIVE steps(start) AS (
    SELECT :since UNION ALL SELECT start + :step FROM steps WHERE start + :step < :until
  )
  SELECT (
    SELECT max(at) FROM worker_samples WHERE at >= start AND at < min(start + :step, :until)
  ) AS at FROM steps
) AS k
CROSS JOIN worker_samples AS t ON t.at = k.at
JOIN worker_facts AS f ON f.fact = t.fact
WHERE t.state < 2 GROUP BY t.worker ORDER BY first, t.worker
"""


class RecordedWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as it was last sampled alive; times in seconds since the epoch."""

    worker: str
    host: str | None
    capacity: int
    topics: tuple[str, ...]
    prefetch: Mapping[str, int]
    """The prefetch by topic; empty: the worker does not report it."""
    retries: Mapping[str, RetryRule]
    """The retry rules by task name; empty: the worker does not report them."""
    since: float
    until: float


class _Row(msgspec.Struct, frozen=True, array_like=True):
    worker: str
    facts: str
    capacity: Count | None
    first: Time
    last: Time


def workers(connection: sqlite3.Connection, since: int, until: int) -> tuple[RecordedWorker, ...]:
    """Return the workers that were alive between two times (ms), in the order of their start."""
    step = max((until - since) // _MAX_MOMENTS, 1)
    params = {"since": since, "until": until, "step": step}
    # Of the rows of a worker, max() chooses the last one.
    rows = select(
        connection,
        _Row,
        _WORKERS,
        params,
        facts="f.facts",
        first="min(t.at) AS first",
        last="max(t.at + t.span)",
    )
    return tuple(_worker(row) for row in rows if row.capacity)


def _worker(row: _Row) -> RecordedWorker:
    facts = msgspec.json.decode(row.facts, type=Facts)
    return RecordedWorker(
        worker=row.worker,
        host=facts.host,
        capacity=row.capacity or 0,
        topics=facts.topics,
        prefetch=dict(facts.prefetch),
        retries=dict(facts.retries),
        since=row.first / 1000,
        until=row.last / 1000,
    )
