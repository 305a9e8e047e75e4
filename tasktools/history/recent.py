"""The recent history of a recording: the last minutes before a moment, as values.

For diagnosis, which runs every few seconds; building frames would take too long.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from tasktools.core.duration_histogram import Histogram
from tasktools.core.lazy_imports import np
from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.models import DurationReading
from tasktools.core.series import Series
from tasktools.history import topic_samples
from tasktools.history.earlier_days import EarlierDay, earlier_days
from tasktools.history.extent import GapRow, clock
from tasktools.history.file_checks import Count, Real, Time, time_of
from tasktools.history.series import MISSING, Columns, fetch, names_of
from tasktools.history.store import OUTCOMES
from tasktools.history.tables import has_table, select

R = TypeVar("R", bound=msgspec.Struct)

_WINDOW_MS: Final = 600_000
_WINDOW_TICKS: Final = 40
"""The series hold the longer of both, at most a day."""
_MAX_WINDOW_MS: Final = 86_400_000
_FINE_MS: Final = 60_000
"""The last minute is read in steps of 2 s, what is older in 60 steps."""
_FINE_STEP_MS: Final = 2_000
_MIN_COARSE_STEP_MS: Final = 5_000
_COARSE_STEPS: Final = 60
MAX_ATTEMPTS: Final = 50_000
"""Begins, and ends, that are read at most: the latest."""
_MAX_PAUSE_MS: Final = 1_200_000
_MIN_KNOWN_SHARE: Final = 0.9
"""Longest pause between the samples of a topic, and least share of them with a number of consumers,
with which it is known that nobody consumed it."""
_SLICE_EVERY_MS: Final = 21_000
_SLICE_MS: Final = 3_000
_MAX_IN_SLICE: Final = 100
"""Slices of a longer time, and the attempts that are read of each."""
_MAX_EARLIER: Final = 10_000
"""Readings of durations by topic that are read at most, of earlier times."""
_MAX_LOST: Final = 10_000
_MAX_CHANGES: Final = 1_000
_LOST: Final = OUTCOMES.index("lost")

_TICKS: Final = "SELECT at FROM ticks WHERE at <= ? AND at > ? ORDER BY at DESC LIMIT ?"
# Topics first, then their samples: the table is ordered by topic, then time. Of the rows of a step,
# max() chooses the last, whose values count; what was counted in the others is added up.
_SAMPLES: Final = """
WITH RECURSIVE known(topic) AS (
  SELECT min(topic) FROM topic_samples
  UNION ALL SELECT (SELECT min(topic) FROM topic_samples WHERE topic > known.topic) FROM known
  WHERE known.topic IS NOT NULL)
SELECT {} FROM known CROSS JOIN topic_samples AS s
  ON s.topic = known.topic AND s.at >= :since AND s.at <= :until
GROUP BY s.topic, CASE WHEN s.at > :fine THEN s.at / :step ELSE s.at / :coarse - 1000000000000 END
ORDER BY s.topic, 2
"""
# The table is ordered by topic, then time, as that of samples.
_EARLIER_DURATIONS: Final = f"""
FROM (
WITH RECURSIVE slices(at) AS (
  SELECT ? UNION ALL SELECT at + 60000 FROM slices WHERE at + 60000 < ?),
known(topic) AS (
  SELECT min(topic) FROM durations
  UNION ALL SELECT (SELECT min(topic) FROM durations WHERE topic > known.topic) FROM known
  WHERE known.topic IS NOT NULL)
SELECT d.topic, d.at, d.count, d.sum, d.buckets
FROM known CROSS JOIN slices CROSS JOIN durations AS d
ON d.topic = known.topic AND d.at >= slices.at AND d.at < min(slices.at + {_SLICE_MS}, ?)
LIMIT {_MAX_EARLIER}) AS t ORDER BY at
"""
_decode_buckets: Final = msgspec.json.Decoder(list[tuple[Real, Count]]).decode


class RecordedEnd(MaskedStruct, frozen=True, array_like=True):
    """The end of an attempt (ms)."""

    ended: Time
    task: str
    topic: str | None
    name: str | None
    worker: str | None
    outcome: Count
    duration: Real | None
    error_type: str | None
    error: str | None


class RecordedDuration(msgspec.Struct, frozen=True, array_like=True):
    """The end of an attempt (ms) and how long it took, as its worker reported."""

    ended: Time
    topic: str | None
    name: str | None
    duration: Real


class RecordedBegin(msgspec.Struct, frozen=True, array_like=True):
    """The begin of an attempt (ms)."""

    started: Time
    task: str
    topic: str | None
    worker: str | None


class LostTask(msgspec.Struct, frozen=True, array_like=True):
    """A task that its worker did not end; *started* and *ended* (when the loss was noted) in ms."""

    task: str
    worker: str
    topic: str | None
    name: str | None
    started: Time | None
    ended: Time


class SeenWorker(msgspec.Struct, frozen=True, array_like=True):
    """A worker as it was sampled: its first and last heartbeat (ms), its facts as JSON."""

    worker: str
    first: Time
    last: Time
    facts: str


class _HoldRow(msgspec.Struct, frozen=True, array_like=True):
    lock: str
    held: Time


class _ChangeRow(msgspec.Struct, frozen=True, array_like=True):
    at: Time
    event: str
    sender: str
    worker: str | None
    topic: str | None
    detail: str


class RecordedMark(msgspec.Struct, frozen=True, array_like=True):
    """A note of an operator (ms)."""

    at: Time
    text: str


class _HistogramRow(msgspec.Struct, frozen=True, array_like=True):
    topic: str
    at: Time
    count: Count
    sum: Real
    buckets: str


class TopicHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of a topic. *began* and *ended* are counted from the first of them."""

    ready: Series = Series()
    dead_ready: Series = Series()
    consumers: Series = Series()
    subscribers: Series = Series()
    running: Series = Series()
    began: Series = Series()
    ended: Series = Series()


class RecentHistory:
    """The history of an open recording before the moment *at* (s since the epoch)."""

    def __init__(self, connection: sqlite3.Connection, at: float) -> None:
        self._connection = connection
        self._at = round(at * 1000)

    def topics(self) -> dict[str, TopicHistory]:
        """Return the samples of each topic: of 10 minutes or of 40 ticks, the longer of both."""
        since = self._first_tick()
        span = max(self._at - _FINE_MS - since, 0)
        params = {
            "since": since,
            "until": self._at,
            "fine": self._at - _FINE_MS,
            "step": _FINE_STEP_MS,
            "coarse": max(span // _COARSE_STEPS, _MIN_COARSE_STEP_MS),
        }
        columns = fetch(
            self._connection,
            "topic:i at:i ready:f? dead_ready:f? consumers:f? subscribers:f? running:f? "
            "began:f ended:f",
            _SAMPLES,
            params,
            topic="s.topic",
            at="max(s.at)",
            ready="s.queued",
            dead_ready="s.dead_letter",
            began="sum(s.began)",
            ended="sum(s.done + s.errors)",
        )
        numbers, starts = np.unique(columns["topic"], return_index=True)
        names = names_of(self._connection, numbers.tolist())
        ends = [*starts[1:].tolist(), len(columns["topic"])][: len(starts)]  # there may be none
        return {
            names[number]: _history(columns, slice(start, end))
            for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True)
        }

    def _first_tick(self) -> int:
        oldest = self._at - _MAX_WINDOW_MS
        ticks = self._connection.execute(_TICKS, (self._at, oldest, _WINDOW_TICKS)).fetchall()
        return min([self._at - _WINDOW_MS, *(int(at) for (at,) in ticks[-1:])])

    def durations(self) -> dict[str, tuple[DurationReading, ...]]:
        """Return how long tasks took by topic, from the histograms of workers, for as long as
        `topics`."""
        if not has_table(self._connection, "durations"):
            return {}
        since = self._first_tick()
        source = (
            f"FROM durations AS t WHERE at > ? AND at <= ? ORDER BY at DESC LIMIT {MAX_ATTEMPTS}"
        )
        rows = select(self._connection, _HistogramRow, source, (since, self._at))[::-1]
        return self._readings(rows, self._spans(since))

    def earlier_durations(self, seconds: float) -> dict[str, tuple[DurationReading, ...]]:
        """Return some of the durations by topic of the last *seconds* that `durations` does not
        return: of 3 s in every minute."""
        if not has_table(self._connection, "durations"):
            return {}
        until = self._first_tick()
        since = max(self._at - round(seconds * 1000), 0)
        rows = select(self._connection, _HistogramRow, _EARLIER_DURATIONS, (since, until, until))
        return self._readings(rows, {})

    @staticmethod
    def _readings(
        rows: Iterable[_HistogramRow], spans: Mapping[int, float]
    ) -> dict[str, tuple[DurationReading, ...]]:
        readings: defaultdict[str, list[DurationReading]] = defaultdict(list)
        for row in rows:
            buckets = dict(_decode_buckets(row.buckets))
            readings[row.topic].append(
                DurationReading(
                    at=row.at / 1000,
                    span=spans.get(row.at, 0.0),
                    durations=Histogram(row.count, row.sum, buckets),
                )
            )
        return {topic: tuple(each) for topic, each in readings.items()}

    def _spans(self, since: int) -> dict[int, float]:
        """Return the seconds between each tick and the one before."""
        ticks = self._connection.execute(
            "SELECT at, at - lag(at) OVER (ORDER BY at) FROM ticks WHERE at <= ? AND at >= ifnull("
            "(SELECT max(at) FROM ticks WHERE at < ?), 0)",
            (self._at, since),
        )
        return {at: span / 1000 for at, span in ticks if span is not None}

    # --- single attempts --------------------------------------------------------------

    def ends(self, seconds: float) -> list[RecordedEnd]:
        """Return the ends of attempts of the last *seconds*, in order."""
        source = (
            "SELECT ended, task, topic, name, worker, outcome, duration, error_type, error "
            f"FROM tries WHERE ended > ? AND ended <= ? AND outcome < {_LOST} "
            f"ORDER BY ended DESC LIMIT {MAX_ATTEMPTS}"
        )
        return self._attempts(RecordedEnd, source, seconds, ids=(2, 3, 4))

    def some_durations(self, since: float, until: float) -> list[RecordedDuration]:
        """Return the durations of some attempts that ended from *since* to *until* (s), in order:
        of 3 s in every 21."""
        source = (
            "SELECT ended, topic, name, duration FROM tries WHERE ended >= ? AND ended < ? "
            f"AND outcome < {_LOST} AND duration IS NOT NULL ORDER BY ended LIMIT {_MAX_IN_SLICE}"
        )
        first, end = (
            round(at * 1000) // _SLICE_EVERY_MS * _SLICE_EVERY_MS for at in (since, until)
        )
        rows: list[tuple[Any, ...]] = []
        for begin in range(first, end, _SLICE_EVERY_MS):
            rows += self._connection.execute(source, (begin, begin + _SLICE_MS)).fetchall()
        names: dict[Any, str | None] = {None: None}
        names |= names_of(self._connection, {n for row in rows for n in row[1:3]} - {None})
        named = [(at, names[topic], names[name], took) for at, topic, name, took in rows]
        return msgspec.convert(named, list[RecordedDuration])

    def begins(self, seconds: float) -> list[RecordedBegin]:
        """Return the begins of attempts of the last *seconds*, in order."""
        source = (
            "SELECT started, task, topic, worker FROM tries "
            "WHERE at > ? AND at <= ? AND started IS NOT NULL "
            f"ORDER BY at DESC LIMIT {MAX_ATTEMPTS}"
        )
        return self._attempts(RecordedBegin, source, seconds, ids=(2, 3))

    def samples(self, topic: str, seconds: float) -> Columns:
        """Return the samples of *topic* of the last *seconds* (as `topic_samples`)."""
        return topic_samples.topic_samples(self._connection, topic, *self._interval(seconds))

    def usual_depth(self, topic: str, seconds: float, *, at_least: float) -> float | None:
        """Return the median length of the queue of *topic* in the last *seconds*; `None` if less
        than *at_least* seconds are recorded."""
        interval = self._interval(seconds)
        return topic_samples.usual_depth(self._connection, topic, *interval, at_least=at_least)

    def event_gaps(self, seconds: float) -> list[tuple[float, float]]:
        """Return when in the last *seconds* events were not recorded (s)."""
        gaps = topic_samples.event_gaps(self._connection, *self._interval(seconds))
        return [(since / 1000, until / 1000) for since, until in gaps]

    def arrivals_by_hour(self, topic: str, seconds: float) -> Columns:
        """Return the arrivals of *topic* in the hours of the last *seconds* (as
        `arrivals_by_hour`)."""
        return topic_samples.arrivals_by_hour(self._connection, topic, *self._interval(seconds))

    def earlier_days(self) -> dict[str, tuple[EarlierDay, ...]]:
        """Return what each topic did around the same time on earlier days (as `earlier_days`)."""
        return earlier_days(self._connection, self._at, self.some_durations)

    def lost(self, seconds: float) -> list[LostTask]:
        """Return the tasks of the last *seconds* that their workers did not end."""
        source = (
            f"FROM tries AS t WHERE ended > ? AND ended <= ? AND outcome = {_LOST} "
            f"AND worker IS NOT NULL ORDER BY ended DESC LIMIT {_MAX_LOST}"
        )
        return select(self._connection, LostTask, source, self._interval(seconds))

    def _attempts(self, row: type[R], source: str, seconds: float, ids: Iterable[int]) -> list[R]:
        """Return rows, with the numbers in the columns *ids* replaced by the names that they stand
        for."""
        rows = self._connection.execute(source, self._interval(seconds)).fetchall()
        numbers = {values[place] for place in ids for values in rows} - {None}
        names: dict[Any, str | None] = {None: None}
        names |= names_of(self._connection, (int(number) for number in numbers))
        named = [
            tuple(names[v] if i in ids else v for i, v in enumerate(values))
            for values in reversed(rows)
        ]
        return msgspec.convert(named, list[row])  # type: ignore[valid-type]

    # --- workers, events ----------------------------------------------------------------

    def workers(self, seconds: float) -> list[SeenWorker]:
        """Return the workers that were alive or late within the last *seconds*."""
        source = (
            "FROM (SELECT worker, min(last_seen) AS first, max(last_seen) AS last, max(at), fact "
            "FROM worker_samples WHERE at > ? AND at <= ? AND state < 2 AND last_seen IS NOT NULL "
            "GROUP BY worker) AS t JOIN worker_facts AS f ON f.fact = t.fact"
        )
        return select(
            self._connection, SeenWorker, source, self._interval(seconds), facts="f.facts"
        )

    def goodbyes(self, seconds: float) -> dict[str, float]:
        """Return when workers of the last *seconds* said goodbye themselves (s): peers say it for
        others, too."""
        senders: dict[str, str] = {}
        goodbyes: dict[str, float] = {}
        for row in self._changes(seconds, "register", "unregister"):
            if row.worker is None:
                continue
            if row.event == "register":
                senders[row.worker] = row.sender
                goodbyes.pop(row.worker, None)
            elif senders.get(row.worker, row.sender) == row.sender:
                goodbyes[row.worker] = row.at / 1000
        return goodbyes

    def lock_holds(self, seconds: float) -> dict[str, list[float]]:
        """Return for how long (s) each lock was held that was released in the last *seconds*."""
        source = (
            "FROM locks AS t WHERE released > ? AND released <= ? "
            f"ORDER BY released DESC LIMIT {_MAX_CHANGES}"
        )
        holds: defaultdict[str, list[float]] = defaultdict(list)
        interval = self._interval(seconds)
        for row in select(
            self._connection, _HoldRow, source, interval, held="t.released - t.acquired"
        ):
            holds[row.lock].append(row.held / 1000)
        return holds

    def unconsumed_for(self, topics: Iterable[str], seconds: float) -> dict[str, float]:
        """Return for how long (s) each of *topics* has been sampled within the last *seconds*,
        without those that had a consumer, and those of which that is not known.

        What was sampled before a pause of more than 20 minutes does not count: meanwhile, somebody
        may have consumed them.
        """
        interval = self._interval(seconds)
        (resumed,) = self._connection.execute(
            "SELECT ifnull(max(at), 0) FROM (SELECT at, at - lag(at) OVER (ORDER BY at) AS pause "
            f"FROM ticks WHERE topics_ok AND at > ? AND at <= ?) WHERE pause > {_MAX_PAUSE_MS}",
            interval,
        ).fetchone()
        source = (
            "SELECT min(CASE WHEN at >= ? THEN at END), max(consumers), avg(consumers IS NOT NULL) "
            "FROM topic_samples WHERE at > ? AND at <= ? "
            "AND topic = (SELECT id FROM names WHERE name = ?)"
        )
        spans = {}
        for topic in topics:
            row = self._connection.execute(source, (resumed, *interval, topic)).fetchone()
            first, consumed, known = row
            if first is not None and not consumed and known >= _MIN_KNOWN_SHARE:
                spans[topic] = (self._at - int(first)) / 1000
        return spans

    def settings(self, seconds: float) -> Iterator[tuple[float, str, Mapping[str, Any]]]:
        """Yield when settings of topics were sent to workers in the last *seconds* (s), the topic,
        and its settings as JSON values."""
        for row in self._changes(seconds, "config_update"):
            if row.topic is not None:
                detail = msgspec.json.decode(row.detail, type=dict[str, Any])
                config = detail.get("config")
                yield row.at / 1000, row.topic, config if isinstance(config, dict) else {}

    def marks(self, seconds: float) -> list[RecordedMark]:
        """Return the operators' marks of the last *seconds*."""
        if not has_table(self._connection, "marks"):
            return []
        source = "FROM marks AS t WHERE at > ? AND at <= ? ORDER BY at, rowid LIMIT ?"
        interval = self._interval(seconds)
        return select(self._connection, RecordedMark, source, (*interval, _MAX_CHANGES))

    def _changes(self, seconds: float, *events: str) -> list[_ChangeRow]:
        listed = ", ".join(f"'{event}'" for event in events)
        source = (
            f"FROM events AS t WHERE at > ? AND at <= ? AND event IN ({listed}) "
            f"ORDER BY at DESC LIMIT {_MAX_CHANGES}"
        )
        rows = select(self._connection, _ChangeRow, source, self._interval(seconds))
        return rows[::-1]

    def tick_before(self, seconds: float) -> float | None:
        """Return the time of the last tick (s) at least *seconds* before the one that is shown."""
        (at,) = self._connection.execute(
            "SELECT max(at) FROM ticks WHERE at <= (SELECT max(at) FROM ticks WHERE at <= ?) - ?",
            (self._at, round(seconds * 1000)),
        ).fetchone()
        return None if at is None else time_of(at)

    def heard_since(self) -> float | None:
        """Return since when events were recorded without a gap (s); `None`: none are."""
        (first,) = self._connection.execute(
            "SELECT min(started) FROM sessions WHERE started <= ?", (self._at,)
        ).fetchone()
        tick = self._connection.execute(
            "SELECT events_ok FROM ticks WHERE at <= ? ORDER BY at DESC LIMIT 1", (self._at,)
        ).fetchone()
        if first is None or tick is None or not tick[0]:
            return None
        gap = self.last_gap()
        return max(int(first), 0 if gap is None else min(gap.until, self._at)) / 1000

    def last_gap(self) -> GapRow | None:
        """Return the last gap in the events."""
        source = (
            "FROM gaps AS t WHERE since <= ? AND what IN ('all', 'events') "
            "ORDER BY until DESC LIMIT 1"
        )
        gaps = select(self._connection, GapRow, source, (self._at,))
        return gaps[0] if gaps else None

    def note_of_gap(self) -> str | None:
        """Return in words which gap the events had last."""
        gap = self.last_gap()
        if gap is None:
            return None
        return f"events of {clock(gap.since)} to {clock(gap.until)} are missing: {gap.why}"

    def _interval(self, seconds: float) -> tuple[int, int]:
        return self._at - round(seconds * 1000), self._at


def _history(columns: Columns, rows: slice) -> TopicHistory:
    at = columns["at"][rows] / 1000
    times = tuple(at.tolist())

    def level(name: str) -> Series:
        values = columns[name][rows]
        is_known = values != MISSING
        if is_known.all():
            return Series(times, tuple(values.tolist()))
        return Series(tuple(at[is_known].tolist()), tuple(values[is_known].tolist()))

    def counter(name: str) -> Series:
        total = np.cumsum(columns[name][rows])
        return Series(times, tuple((total - total[0]).tolist()))

    return TopicHistory(
        ready=level("ready"),
        dead_ready=level("dead_ready"),
        consumers=level("consumers"),
        subscribers=level("subscribers"),
        running=level("running"),
        began=counter("began"),
        ended=counter("ended"),
    )
