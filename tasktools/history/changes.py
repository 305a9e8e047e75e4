"""Changes in an interval of a recording, read in one transaction for a timeline.

Times are seconds since the epoch, by the recorder's clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from tasktools.core import events
from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.models import TopicSettings, WorkerState
from tasktools.history.file_checks import Count, Real, Time
from tasktools.history.samples import Facts
from tasktools.history.series import Window
from tasktools.history.store import STATES, number
from tasktools.history.tables import select
from tasktools.history.topic_series import TopicSeries, topic_series

QUIET: Final = 300.0
"""Seconds before the interval of which failures are read too: they show which episodes had begun
before."""
LOOK_BACK: Final = 600.0
"""Seconds before the interval of which topics are read too: a state is computed from so many."""
BRIEF_HOLD: Final = 10.0
"""Seconds; locks that were held for less are only counted."""
_MAX_ROWS: Final = 100_000
_MAX_FAILURES: Final = 30_000

_ENDS: Final = """
SELECT EXISTS (SELECT 1 FROM ticks WHERE at >= :before AND at <= :since),
  EXISTS (SELECT 1 FROM ticks WHERE at <= :since), EXISTS (SELECT 1 FROM ticks WHERE at >= :until)
"""
_SESSIONS: Final = "FROM sessions AS t WHERE started < :until ORDER BY session"
_FIRSTS: Final = """
FROM (
  SELECT worker AS who, min(at) AS first, max(at) AS last FROM worker_samples
  WHERE at >= :before AND at < :until GROUP BY worker
) AS b JOIN worker_samples AS t ON t.at = b.first AND t.worker = b.who
"""
_STATES: Final = """
FROM (
  SELECT *, lag(state) OVER (PARTITION BY worker ORDER BY at) AS before FROM worker_samples
  WHERE at >= :before AND at < :until AND worker IN (
    SELECT worker FROM worker_samples WHERE at >= :before AND at < :until AND state > 0)
) AS t WHERE t.before != t.state ORDER BY t.at LIMIT :limit
"""
_FACTS: Final = "(SELECT facts FROM worker_facts AS f WHERE f.fact = t.fact)"
_FAILURES: Final = """
FROM tries AS t WHERE outcome = 1 AND ended >= :since - :quiet AND ended < :until
ORDER BY ended DESC LIMIT :failures
"""
_HOLDS: Final = """
FROM locks AS t WHERE acquired < :until AND (released IS NULL OR released >= :since)
"""
_LONG: Final = "AND ifnull(released, :until) - acquired >= :brief ORDER BY acquired LIMIT :limit"
_EVENTS: Final = """
FROM events AS t WHERE event IN ('register', 'unregister', 'config_update', 'worker_command',
  'tasktools_command') AND at >= :since AND at < :until ORDER BY at, n LIMIT :limit
"""
_SETTINGS: Final = """
FROM settings AS t WHERE at < :until
AND at >= ifnull((SELECT max(at) FROM settings WHERE at <= :since), 0) ORDER BY at LIMIT :limit
"""
_UPDATES_BEFORE: Final = """
FROM events AS t WHERE event = 'config_update' AND at < :since AND topic IS NOT NULL GROUP BY topic
"""


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of a worker in another state than the sample before it, or its first one."""

    at: float
    worker_id: str
    state: WorkerState
    last_seen: float | None = None
    host: str | None = None
    topics: tuple[str, ...] = ()
    started_at: float | None = None


class Failed(MaskedStruct, frozen=True, kw_only=True):
    """An attempt that failed."""

    at: float
    topic: str | None
    worker_id: str | None = None
    error_type: str | None = None
    error: str | None = None


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A lock that was held; *released* is missing if it still is."""

    lock: str
    task_id: str | None = None
    worker_id: str | None = None
    acquired: float
    released: float | None = None


class RecordedEvent(MaskedStruct, frozen=True, kw_only=True):
    """An event of workers, settings or commands, as it is in the recording."""

    at: float
    event: str
    sender_id: str = ""
    worker_id: str | None = None
    topic: str | None = None
    detail: Mapping[str, Any] = {}


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The changes in an interval of a recording, from *since* to before *until*.

    *first* and *last* are its first and last tick, if any; *turn* is how old a worker's last sample
    may be at a tick, *every* the usual time between two ticks. *begins* are the times at which
    recorders began in it, *clusters* the addresses that were recorded. *states* begin before
    *since*, early enough to show the states at *since*; *last_samples* has the last sample of each
    worker. *settings* are the settings stored by the broker, by time; *settings_before* the
    settings sent to workers.
    """

    since: float
    until: float
    first: float | None = None
    last: float | None = None
    was_recorded: bool = False
    """Whether there is a tick just before *since*."""
    has_earlier: bool = False
    has_later: bool = False
    """Whether there is any tick before the interval, or after it."""
    turn: float = 0.0
    every: float = 5.0
    begins: tuple[float, ...] = ()
    clusters: tuple[str, ...] = ()
    states: tuple[StateChange, ...] = ()
    last_samples: Mapping[str, float] = {}
    failures: tuple[Failed, ...] = ()
    has_more_failures: bool = False
    """Whether there were earlier failures, too many to read."""
    holds: tuple[Hold, ...] = ()
    brief_holds: int = 0
    events: tuple[RecordedEvent, ...] = ()
    settings: tuple[tuple[float, Mapping[str, TopicSettings]], ...] = ()
    settings_before: Mapping[str, TopicSettings] = {}
    topics: Mapping[str, TopicSeries] = {}
    """Series of topics that were not always empty, from `LOOK_BACK` before *since* on."""

    @property
    def heard_from(self) -> float | None:
        """The time from which on events were received; `None`: none were. The first tick may come
        later."""
        if self.was_recorded:
            return self.since
        return min([*self.begins[:1], *([] if self.first is None else [self.first])], default=None)


class _StateRow(msgspec.Struct, frozen=True, array_like=True):
    at: Time
    worker: str
    state: Annotated[int, msgspec.Meta(ge=0, lt=len(STATES))]
    last_seen: Time | None
    facts: str
    last: Time | None


class _FailedRow(MaskedStruct, frozen=True, array_like=True):
    ended: Time
    topic: str | None
    worker: str | None
    error_type: str | None
    error: str | None


class _HoldRow(msgspec.Struct, frozen=True, array_like=True):
    lock: str
    task: str | None
    worker: str | None
    acquired: Time
    released: Time | None


class _EventRow(MaskedStruct, frozen=True, array_like=True):
    at: Time
    event: str
    sender: str
    worker: str | None
    topic: str | None
    detail: str


class _SettingsRow(msgspec.Struct, frozen=True, array_like=True):
    at: Time
    stored: str


class _SessionRow(msgspec.Struct, frozen=True, array_like=True):
    started: Time
    cluster: str
    every: Real


class _TickRow(msgspec.Struct, frozen=True, array_like=True):
    first: Time | None
    last: Time | None
    turn: Count | None


def read(connection: sqlite3.Connection, window: Window) -> Changes:
    """Return the changes of *window*."""
    params: dict[str, Any] = {
        "since": window.since,
        "until": window.until,
        "limit": _MAX_ROWS,
        "failures": _MAX_FAILURES,
        "quiet": QUIET * 1000,
        "brief": BRIEF_HOLD * 1000,
    }
    (ticks,) = select(
        connection,
        _TickRow,
        "FROM ticks AS t WHERE at + span >= :since AND at < :until",
        params,
        first="min(at)",
        last="max(at + span)",
        turn="max(max(turn, span))",
    )
    turn = ticks.turn or 0
    params["before"] = window.since - turn
    was_recorded, has_earlier, has_later = connection.execute(_ENDS, params).fetchone()
    sessions = select(
        connection,
        _SessionRow,
        _SESSIONS,
        params,
    )
    firsts = select(connection, _StateRow, _FIRSTS, params, facts=_FACTS, last="b.last")
    changed = select(connection, _StateRow, _STATES, params, facts=_FACTS, last="NULL")
    failures = _failures(connection, params)
    return Changes(
        since=window.since / 1000,
        until=window.until / 1000,
        first=None if ticks.first is None else max(ticks.first, window.since) / 1000,
        last=None if ticks.last is None else ticks.last / 1000,
        was_recorded=bool(was_recorded),
        has_earlier=bool(has_earlier),
        has_later=bool(has_later),
        turn=turn / 1000,
        every=sessions[-1].every if sessions else 5.0,
        begins=tuple(s.started / 1000 for s in sessions if s.started >= window.since),
        clusters=tuple({session.cluster: None for session in sessions}),
        states=tuple(map(_state, (*firsts, *changed))),
        last_samples={row.worker: (row.last or row.at) / 1000 for row in firsts},
        failures=failures,
        has_more_failures=len(failures) == _MAX_FAILURES,
        holds=tuple(
            Hold(
                lock=row.lock,
                task_id=row.task,
                worker_id=row.worker,
                acquired=row.acquired / 1000,
                released=None if row.released is None else row.released / 1000,
            )
            for row in select(connection, _HoldRow, f"{_HOLDS} {_LONG}", params)
        ),
        brief_holds=_brief_holds(connection, params),
        events=tuple(map(_event, select(connection, _EventRow, _EVENTS, params))),
        settings=tuple(
            (row.at / 1000, _settings(msgspec.json.decode(row.stored)))
            for row in select(connection, _SettingsRow, _SETTINGS, params, stored="t.kept")
        ),
        topics=topic_series(connection, window.since - number(LOOK_BACK), window.until),
        settings_before={
            row.topic: events.settings_from(_event(row).detail.get("config"))
            for row in select(connection, _EventRow, _UPDATES_BEFORE, params, at="max(t.at)")
            if row.topic is not None
        },
    )


def _state(row: _StateRow) -> StateChange:
    facts = msgspec.json.decode(row.facts, type=Facts)
    return StateChange(
        at=row.at / 1000,
        worker_id=row.worker,
        state=STATES[row.state],
        last_seen=None if row.last_seen is None else row.last_seen / 1000,
        host=facts.host,
        topics=facts.topics,
        started_at=facts.started_at,
    )


def _failures(connection: sqlite3.Connection, params: Mapping[str, Any]) -> tuple[Failed, ...]:
    """Return the failures, the earliest first."""
    return tuple(
        Failed(
            at=row.ended / 1000,
            topic=row.topic,
            worker_id=row.worker,
            error_type=row.error_type,
            error=row.error,
        )
        for row in reversed(select(connection, _FailedRow, _FAILURES, params))
    )


def _brief_holds(connection: sqlite3.Connection, params: Mapping[str, Any]) -> int:
    (count,) = connection.execute(
        f"SELECT count(*) {_HOLDS} AND released - acquired < :brief", params
    ).fetchone()
    return int(count)


def _event(row: _EventRow) -> RecordedEvent:
    detail = msgspec.json.decode(row.detail)
    return RecordedEvent(
        at=row.at / 1000,
        event=row.event,
        sender_id=row.sender,
        worker_id=row.worker,
        topic=row.topic,
        detail=detail if isinstance(detail, dict) else {},
    )


def _settings(by_topic: Any) -> dict[str, TopicSettings]:
    return {topic: events.settings_from(values) for topic, values in dict(by_topic).items()}
