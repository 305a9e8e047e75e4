"""The log of forecasts: each is stored in the ledger's database, and scored when its drain has
ended, or its horizon is over."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
import numpy as np

from tasktools.capacity.drain.forecast import Forecast
from tasktools.capacity.drain.scores import REMEMBERED, is_covered, pinball, rank
from tasktools.core.errors import LedgerError
from tasktools.core.series import Series
from tasktools.history import file_checks, sqlite_files
from tasktools.replay.ledger import Ledger
from tasktools.replay.ledger_file import FORECASTS

_STORED_SECONDS: Final = 90 * 86_400.0
_MAX_WAITING: Final = 1_000
_MAX_TOPICS: Final = 20
_MAX_AGE: Final = 1.5 * 86_400.0
"""Seconds after which a forecast that is not scored yet is given up; no horizon is longer than a
day."""
_WAITING: Final = """
SELECT forecast, level, horizon, made_at, earliest, expected, latest, times, seen_until
FROM forecasts
WHERE cluster = ? AND topic = ? AND made_at < ? AND scored_at IS NULL ORDER BY made_at LIMIT ?
"""
_TOPICS: Final = """
SELECT topic, min(seen_until) FROM forecasts
WHERE cluster = ? AND made_at < ? AND made_at > ? AND scored_at IS NULL
GROUP BY topic ORDER BY max(made_at) DESC LIMIT ?
"""
_SCORED: Final = """
SELECT rank, earliest, latest, ended, pinball FROM forecasts
WHERE cluster = ? AND scored_at <= ? ORDER BY scored_at DESC LIMIT ?
"""


_Time = Annotated[float, msgspec.Meta(ge=0, le=file_checks.MAX_TIME / 1000)]
_Length = Annotated[float, msgspec.Meta(ge=0, le=_MAX_AGE)]
_Count = Annotated[float, msgspec.Meta(ge=0, le=2.0**50)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of the last 300 scored forecasts of a cluster: the *ranks* of the true times, the
    share of bands that *covered* them, the mean *pinball* loss."""

    ranks: tuple[float, ...] = ()
    covered: float | None = None
    pinball: float | None = None


class _Waiting(msgspec.Struct, frozen=True, array_like=True):
    forecast: int
    level: _Count
    horizon: _Length
    made_at: _Time
    earliest: _Length | None
    expected: _Length | None
    latest: _Length | None
    times: bytes
    seen_until: _Time

    @property
    def shown(self) -> tuple[float, float, float]:
        return _span(self.earliest), _span(self.expected), _span(self.latest)


class _Scored(msgspec.Struct, frozen=True, array_like=True):
    rank: _Share
    earliest: _Length | None
    latest: _Length | None
    ended: _Length | None
    pinball: _Count


class ForecastLog:
    """The forecasts of the cluster at *address*."""

    def __init__(self, connection: sqlite3.Connection, address: str) -> None:
        self._connection = connection
        self._address = address

    def past(self, at: float) -> Past:
        """Return the scores of the forecasts that were scored before *at*."""
        scored = self._connection.execute(_SCORED, (self._address, at, REMEMBERED)).fetchall()
        rows = msgspec.convert(scored[::-1], list[_Scored])
        if not rows:
            return Past()
        held = [
            is_covered(_span(row.earliest), _span(row.latest), _span(row.ended)) for row in rows
        ]
        return Past(
            ranks=tuple(row.rank for row in rows),
            covered=float(np.mean(held)),
            pinball=float(np.mean([row.pinball for row in rows])),
        )

    def forget_from(self, at: float) -> None:
        """Delete forecasts made after *at*, the present time: the clock was set back, so they would
        be scored by the wrong events."""
        sql = "DELETE FROM forecasts WHERE cluster = ? AND made_at > ? AND scored_at IS NULL"
        self._connection.execute(sql, (self._address, at))

    def waiting(self, at: float) -> dict[str, float]:
        """Return the topics with forecasts made before *at* that are not scored yet, and up to when
        (s since the epoch) each was looked at."""
        rows = self._connection.execute(_TOPICS, (self._address, at, at - _MAX_AGE, _MAX_TOPICS))
        return msgspec.convert(dict(rows.fetchall()), dict[str, _Time])

    def score(self, topic: str, queued: Series, rng: np.random.Generator, step: float) -> None:
        """Score the forecasts of *topic* whose end shows in the samples *queued*. A gap of more
        than *step* seconds in the samples scores nothing: another process may have the missing
        ones."""
        if not queued:
            return
        params = (self._address, topic, queued.times[-1], _MAX_WAITING)
        rows = self._connection.execute(_WAITING, params).fetchall()
        for waiting in msgspec.convert(rows, list[_Waiting]):
            self._decide(waiting, queued, rng, step)

    def _decide(
        self, waiting: _Waiting, queued: Series, rng: np.random.Generator, step: float
    ) -> None:
        end = waiting.made_at + waiting.horizon
        samples = queued.between(waiting.seen_until, end)
        crossed = crossing(samples, waiting.level)
        is_over = crossed is not None or queued.times[-1] >= end
        times = [waiting.seen_until, *samples.times]
        if crossed is not None:
            place = next(at for at, depth in enumerate(samples.values) if depth <= waiting.level)
            times = times[: place + 2]
        elif is_over:
            times.append(end)
        if np.diff(times).max(initial=0.0) > step:
            return
        if is_over:
            truth = math.inf if crossed is None else max(crossed - waiting.made_at, 0.0)
            self._set_score(waiting, truth, times[-1], rng)
        elif times[-1] - waiting.seen_until >= step / 2:
            sql = "UPDATE forecasts SET seen_until = ? WHERE forecast = ?"
            self._connection.execute(sql, (times[-1], waiting.forecast))

    def _set_score(
        self, waiting: _Waiting, truth: float, at: float, rng: np.random.Generator
    ) -> None:
        futures = np.frombuffer(waiting.times, np.float32).astype(np.float64)
        self._connection.execute(
            "UPDATE forecasts SET times = NULL, ended = ?, scored_at = ?, rank = ?, pinball = ? "
            "WHERE forecast = ?",
            (
                _finite(truth),
                at,
                rank(futures, truth, float(rng.random())),
                pinball(waiting.shown, truth, waiting.horizon),
                waiting.forecast,
            ),
        )

    def store(self, topic: str, at: float, forecast: Forecast, step: float) -> None:
        """Store the *forecast* made *at* (s since the epoch), unless a forecast of *topic* for the
        same level is stored less than *step* seconds before or after. Very old forecasts are
        deleted."""
        (count,) = self._connection.execute(
            "SELECT count(*) FROM forecasts WHERE cluster = ? AND topic = ? AND level = ? "
            "AND made_at > ? AND made_at < ?",
            (self._address, topic, forecast.level, at - step, at + step),
        ).fetchone()
        if count:
            return
        self._connection.execute(
            "INSERT INTO forecasts (cluster, topic, level, horizon, made_at, earliest, expected, "
            "latest, times, seen_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self._address, topic, forecast.level, forecast.horizon, at),
                *map(_finite, forecast.shown),
                *(forecast.times.astype(np.float32).tobytes(), at),
            ),
        )
        self._connection.execute(
            "DELETE FROM forecasts WHERE cluster = ? AND made_at < ?",
            (self._address, at - _STORED_SECONDS),
        )


@contextlib.contextmanager
def opened(ledger: Ledger, address: str) -> Iterator[ForecastLog]:
    """Open the log of the cluster at *address*, with other writers kept out until the end.

    Raises `LedgerError` when it cannot be used.
    """
    with ledger.open() as connection:
        try:
            with sqlite_files.alone(connection):
                for statement in FORECASTS.split(";"):
                    connection.execute(statement)
                yield ForecastLog(connection, address)
        except (sqlite3.Error, msgspec.ValidationError, ValueError) as error:
            raise LedgerError(
                f"The forecasts in the ledger {ledger.path} cannot be used ({error}); earlier ones "
                "were not changed. Set TASKTOOLS_LEDGER to a file that can be written."
            ) from error


def crossing(queued: Series, level: float) -> float | None:
    """Return when *queued* is first at or below *level*; `None` if it always stays above.

    >>> crossing(Series((0.0, 10.0, 20.0), (30.0, 20.0, 0.0)), 10.0)
    15.0
    """
    for place, (at, depth) in enumerate(zip(queued.times, queued.values, strict=True)):
        if depth <= level:
            if not place or queued.values[place - 1] <= depth:
                return at
            before, since = queued.values[place - 1], queued.times[place - 1]
            return since + (at - since) * (before - level) / (before - depth)
    return None


def _span(value: float | None) -> float:
    return math.inf if value is None else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
