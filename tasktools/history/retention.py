"""The retention of a recording: old samples are thinned out, older ones deleted, and the file stays
below its size limit."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from tasktools.core.timespans import Span, seconds
from tasktools.history.store import number
from tasktools.history.tables import SAMPLES, Table

MINUTE, TEN_MINUTES = 60_000, 600_000
_HOUR_MS: Final = 3_600_000
_COARSE_AFTER_SPANS: Final = 7.0
"""The age, in spans of full resolution, at which one sample a minute becomes one in ten minutes."""
_DELETED_SHARE: Final = 10  # 1/10 of a table is deleted at once if the file is too large
_SHRUNK_TABLES: Final = (
    *("server_facts", "messages", "try_details", "tries", "events", "durations"),
    *("worker_samples", "topic_samples", "ticks", "marks"),
)


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """The spans for which a recording keeps each kind of data, and its size limit.

    For the span *full*, every sample is kept. Older samples are thinned out to one a minute, and
    after seven times that span to one in ten minutes. *samples*, *events* and *messages* are the
    ages at which each kind is deleted; marks become as old as samples. Facts of the server
    (`diagnose` uses them) are kept for *full*. When the file would grow over *size* bytes, these
    are deleted, the oldest first, then messages, then events, then samples. Spans are given in
    seconds or as ``"2h"`` and ``"7D"``.
    """

    full: Span = "1D"
    samples: Span = "90D"
    events: Span = "7D"
    messages: Span = "2D"
    size: int = 2 * 1024**3

    def __post_init__(self) -> None:
        for span in (self.full, self.samples, self.events, self.messages):
            seconds(span)
        if self.size < 1024**2:
            raise ValueError(f"size is {self.size}; a recording needs a megabyte at least.")


class RetentionJob:
    """The job that thins out and deletes old rows of a recording. Call `tidy` from time to time."""

    def __init__(self, connection: sqlite3.Connection, retention: Retention) -> None:
        self._connection = connection
        self._retention = retention

    def tidy(self, now: float) -> None:
        """Delete and thin out the rows that are old at *now*. Raises `sqlite3.Error`."""
        with self._connection:
            self._forget(now)
            self._thin(now)
        self._shrink()

    def _forget(self, now: float) -> None:
        retention = self._retention
        before = {name: number(now - seconds(getattr(retention, name))) for name in _EXPIRING}
        for name, tables in _EXPIRING.items():
            for table, where in tables:
                self._connection.execute(
                    f"DELETE FROM {table} WHERE {where}",
                    (before[name],),
                )

    def _thin(self, now: float) -> None:
        full = seconds(self._retention.full)
        for span, age in ((MINUTE, full), (TEN_MINUTES, _COARSE_AFTER_SPANS * full)):
            until = number(now - age) // _HOUR_MS * _HOUR_MS
            for table in SAMPLES:
                since = self._thinned_until(table.name, span)
                if since < until:
                    self._replace(table, {"span": span, "since": since, "until": until})

    def _thinned_until(self, name: str, span: int) -> int:
        row = self._connection.execute(
            "SELECT until FROM thinned WHERE name = ? AND span = ?", (name, span)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _replace(self, table: Table, interval: dict[str, int]) -> None:
        execute, name = self._connection.execute, table.name
        execute(f"CREATE TEMP TABLE thin AS {table.thin()}", interval)
        execute(f"DELETE FROM {name} WHERE at >= :since AND at < :until", interval)
        execute(f"INSERT INTO {name} ({', '.join(table.columns)}) SELECT * FROM temp.thin")
        execute("DROP TABLE temp.thin")
        execute(
            "INSERT OR REPLACE INTO thinned (name, span, until) VALUES (:name, :span, :until)",
            {**interval, "name": name},
        )

    def _shrink(self) -> None:
        """Delete the oldest rows until the file is small enough."""
        for table in _SHRUNK_TABLES:
            while self._used() > self._retention.size and self._delete_oldest(table):
                pass

    def _used(self) -> int:
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _delete_oldest(self, table: str) -> int:
        with self._connection:
            first, last = self._connection.execute(
                f"SELECT min(at), max(at) FROM {table}"
            ).fetchone()
            if first is None:
                return 0
            until = first + (last - first) // _DELETED_SHARE
            return self._connection.execute(
                f"DELETE FROM {table} WHERE at <= ?",
                (until,),
            ).rowcount


_EXPIRING: Final = {
    "samples": (
        ("ticks", "at < ?"),
        ("topic_samples", "at < ?"),
        ("worker_samples", "at < ?"),
        ("gaps", "until < ?"),
        ("marks", "at < ?"),
    ),
    "events": (
        ("tries", "at < ? AND ended IS NOT NULL"),
        ("try_details", "at < ?"),
        ("locks", "released < ?"),
        ("events", "at < ?"),
        ("durations", "at < ?"),
    ),
    "messages": (("messages", "at < ?"),),
    "full": (("server_facts", "at < ?"),),
}
