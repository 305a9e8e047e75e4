"""What is kept for how long: old samples are thinned out, older ones deleted, and the file is kept
below its limit."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from tasktools.core.moments import Span, seconds
from tasktools.ops.recording.store import number

MINUTE, TEN_MINUTES = 60_000, 600_000
_HOUR: Final = 3_600_000
_COARSE_AFTER: Final = 7.0
"""Times the span of full resolution after which one sample a minute becomes one in ten."""
_SHARE: Final = 10  # a tenth of a table is deleted at once when the file is too large
_SACRIFICED: Final = (
    *("messages", "tries", "events"),
    *("worker_samples", "topic_samples", "ticks"),
)


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """For how long a recording keeps what, and how large its file may be.

    *full*: samples as they were taken; older ones are thinned out to one a minute, and after seven
    times as long to one in ten minutes. *samples*, *events* and *messages* are deleted when they
    are older. The file does not grow over *size* bytes: then messages are deleted, the oldest
    first, then events, then samples. Spans are given in seconds or as ``"2h"`` and ``"7D"``.
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


class Keeper:
    """Keeps a recording within its retention. Call it from time to time."""

    def __init__(self, connection: sqlite3.Connection, retention: Retention) -> None:
        self._connection = connection
        self._retention = retention

    def tidy(self, now: float) -> None:
        """Delete and thin out what is old at *now*. Raises `sqlite3.Error`."""
        with self._connection:
            self._forget(now)
            self._thin(now)
        self._shrink()

    def _forget(self, now: float) -> None:
        told = self._retention
        before = {name: number(now - seconds(getattr(told, name))) for name in _AGED}
        for name, tables in _AGED.items():
            for table, where in tables:
                self._connection.execute(
                    f"DELETE FROM {table} WHERE {where}",
                    (before[name],),
                )

    def _thin(self, now: float) -> None:
        full = seconds(self._retention.full)
        for span, age in ((MINUTE, full), (TEN_MINUTES, _COARSE_AFTER * full)):
            until = number(now - age) // _HOUR * _HOUR
            for name, statement in _THINNING.items():
                since = self._thinned_until(name, span)
                if since < until:
                    told = {"span": span, "since": since, "until": until}
                    self._replace(name, statement, told)

    def _thinned_until(self, name: str, span: int) -> int:
        found = self._connection.execute(
            "SELECT until FROM thinned WHERE name = ? AND span = ?", (name, span)
        ).fetchone()
        return 0 if found is None else int(found[0])

    def _replace(self, name: str, statement: str, told: dict[str, int]) -> None:
        execute = self._connection.execute
        execute(f"CREATE TEMP TABLE thin AS {statement}", told)
        execute(f"DELETE FROM {name} WHERE at >= :since AND at < :until", told)
        execute(f"INSERT INTO {name} SELECT * FROM temp.thin")
        execute("DROP TABLE temp.thin")
        execute(
            "INSERT OR REPLACE INTO thinned VALUES (?, ?, ?)", (name, told["span"], told["until"])
        )

    def _shrink(self) -> None:
        """Delete the oldest until the file is small enough."""
        for table in _SACRIFICED:
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
            until = first + (last - first) // _SHARE
            return self._connection.execute(
                f"DELETE FROM {table} WHERE at <= ?",
                (until,),
            ).rowcount


_AGED: Final = {
    "samples": (
        ("ticks", "at < ?"),
        ("topic_samples", "at < ?"),
        ("worker_samples", "at < ?"),
        ("gaps", "until < ?"),
    ),
    "events": (
        ("tries", "at < ? AND ended IS NOT NULL"),
        ("locks", "released < ?"),
        ("events", "at < ?"),
    ),
    "messages": (("messages", "at < ?"),),
}


def _mean(*names: str) -> str:
    """Return the means of columns, in which a row weighs as many samples as are in it."""
    return ", ".join(
        f"round(sum({name} * n) / sum(CASE WHEN {name} IS NULL THEN 0 ELSE n END), 3) AS {name}"
        for name in names
    )


_IN_TIME: Final = "at >= :since AND at < :until"
_THINNING: Final = {
    "ticks": (
        "SELECT at / :span * :span, :span, sum(n), max(turn), sum(heard), "
        f"{_mean('workers', 'running', 'capacity')}, min(events_ok), max(events_age), "
        "max(events_note), min(topics_ok), max(topics_note) "
        f"FROM ticks WHERE {_IN_TIME} GROUP BY at / :span"
    ),
    # What only grows, and what seldom changes, is that of the last sample.
    "topic_samples": (
        "SELECT t.topic, t.start, :span, t.n, t.queued, t.most, t.unacked, t.running, "
        "t.dead_letter, s.consumers, s.subscribers, t.capacity, t.publish_rate, t.ack_rate, "
        "s.concurrency_limit, s.succeeded, s.failed, s.requeued, s.dead_lettered, s.queue_type, "
        "s.dead_lettering, s.is_there, t.began, t.done, t.errors, t.published FROM ("
        "SELECT topic, at / :span * :span AS start, max(at) AS last, sum(n) AS n, "
        f"{_mean('queued', 'unacked', 'running', 'capacity', 'publish_rate', 'ack_rate')}, "
        "max(queued_max) AS most, max(dead_letter) AS dead_letter, sum(began) AS began, "
        "sum(done) AS done, sum(errors) AS errors, sum(published) AS published "
        f"FROM topic_samples WHERE {_IN_TIME} GROUP BY topic, at / :span) AS t "
        "JOIN topic_samples AS s ON s.topic = t.topic AND s.at = t.last"
    ),
    "worker_samples": (
        "SELECT t.start, t.worker, :span, t.n, s.fact, s.state, s.uncertain, t.running, "
        "s.capacity, s.last_seen, s.silence, s.clock_offset, s.succeeded, s.failed FROM ("
        "SELECT worker, at / :span * :span AS start, max(at) AS last, sum(n) AS n, "
        f"{_mean('running')} FROM worker_samples WHERE {_IN_TIME} GROUP BY worker, at / :span) "
        "AS t JOIN worker_samples AS s ON s.worker = t.worker AND s.at = t.last"
    ),
}
