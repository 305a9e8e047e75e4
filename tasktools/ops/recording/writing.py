"""Writing a recording: everything of a tick in one transaction.

What was heard is kept until it is in the file, so a tick that cannot be written (a full disk)
costs its samples, and nothing that was heard.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

import msgspec

from tasktools.brokers.base import Broker
from tasktools.core import events
from tasktools.core.events import Command, Event, LockEvent, SettingsUpdate, TaskEvent, WorkerEvent
from tasktools.core.models import ClusterState, Lock
from tasktools.ops.ledger import who
from tasktools.ops.recording.inbox import Heard, Published
from tasktools.ops.recording.names import Names
from tasktools.ops.recording.sampling import (
    Picture,
    Row,
    Turns,
    tick_row,
    topic_rows,
    worker_row,
)
from tasktools.ops.recording.store import OUTCOMES, number
from tasktools.ops.recording.told import read
from tasktools.ops.recording.tries import Tries, Try

_MOST_EVENTS: Final = 500_000
_MOST_BYTES: Final = 256 * 1024 * 1024
_MISSED: Final = (
    "not all messages that were published have come: there were more than could be read, or the "
    "connection was lost"
)
_NOT_RUNNING: Final = "no recorder was running"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of a recorder."""

    every: float
    messages: bool
    bodies: bool


class Writer:
    """Writes ticks into *connection*, for a new session. Used by one thread at a time."""

    def __init__(
        self, connection: sqlite3.Connection, broker: Broker, session: Session, now: float
    ) -> None:
        self.lost = 0
        self._missed = False
        self._connection = connection
        self._session = session
        self._names = Names(connection)
        self._turns = Turns()
        self._heard = 0
        self._events: deque[tuple[float, Event]] = deque()
        self._messages: deque[Published] = deque()
        self._kept_settings: bytes | None = None
        with connection:
            self._last = _close_earlier(connection)
            self._number = _begin(connection, broker, session, now)
        (first,) = connection.execute("SELECT ifnull(max(n), 0) + 1 FROM tries").fetchone()
        self.tries = Tries(first)
        self._why_late = _NOT_RUNNING

    def hear(self, heard: Heard) -> None:
        """Take in what was heard."""
        self._heard += heard.count
        self.lost += heard.lost
        self._missed |= heard.missed
        for at, event in heard.events:
            if isinstance(event, TaskEvent):
                self.tries.hear(at, event)
            else:
                self._events.append((at, event))
        self._messages.extend(heard.messages)
        self._limit()

    def _limit(self) -> None:
        """Let the oldest go of what cannot be written, before it is too much."""
        while len(self._events) > _MOST_EVENTS:
            self._events.popleft()
            self.lost += 1
        size = sum(len(message.body) for message in self._messages)
        while size > _MOST_BYTES:
            size -= len(self._messages.popleft().body)
            self.lost += 1

    def write(self, picture: Picture, *, why_late: str) -> None:
        """Write all of a tick, or raise (`sqlite3.Error`, mostly) and keep what was heard.

        *why_late* says why samples are missing, if this one comes late.
        """
        if picture.state is not None and picture.state.events.ok:
            self.tries.agree_with(picture.state.at.timestamp(), picture.state.running)
        try:
            with self._connection:
                self._write(picture, why_late)
        except BaseException:
            self._names.forget()
            self._kept_settings = None
            raise
        self.tries.written()
        self._events.clear()
        self._messages.clear()
        self._heard = self.lost = 0
        self._missed = False
        self._last, self._why_late = number(picture.at), ""

    def end(self, now: float) -> None:
        """Note that the session has ended."""
        with self._connection:
            self._connection.execute(
                "UPDATE sessions SET ended = ? WHERE session = ?", (number(now), self._number)
            )

    # --- one transaction --------------------------------------------------------------

    def _write(self, picture: Picture, why_late: str) -> None:
        published = self._write_messages() if self._session.messages else None
        self._write_tries()
        self._write_events()
        self._write_locks(picture.state)
        self._write_settings(picture)
        self._write_samples(picture, published)
        self._write_gaps(picture, why_late)
        self._connection.execute(
            "UPDATE sessions SET last = ? WHERE session = ?", (number(picture.at), self._number)
        )

    def _many(self, statement: str, rows: Iterable[Row]) -> None:
        self._connection.executemany(statement, rows)

    def _write_samples(self, picture: Picture, published: Counter[str] | None) -> None:
        names, state = self._names, picture.state
        workers = () if state is None else state.workers
        turn = self._turns.rounds(len(workers)) * self._session.every
        tick = tick_row(picture, self._heard, turn)
        self._many(f"INSERT OR REPLACE INTO ticks VALUES ({_marks(len(tick))})", [tick])
        rows = topic_rows(picture, self.tries, published, names.id)
        self._many(f"INSERT OR REPLACE INTO topic_samples VALUES ({_marks(26)})", rows)
        sampled = (
            worker_row(
                picture, worker, names.id(worker.worker_id), names.fact(worker.worker_id, facts)
            )
            for worker, facts in self._turns.due(workers)
        )
        self._many(f"INSERT OR REPLACE INTO worker_samples VALUES ({_marks(14)})", sampled)

    def _write_tries(self) -> None:
        maybe = self._names.maybe
        self._many(
            f"INSERT INTO tries VALUES ({_marks(12)})",
            (
                (
                    one.n,
                    number(one.at),
                    one.task_id,
                    maybe(one.topic),
                    maybe(one.worker_id),
                    maybe(one.task_name),
                    *_end_of(one),
                )
                for one in self.tries.new.values()
            ),
        )
        self._many(
            "UPDATE tries SET name = ?, started = ?, ended = ?, outcome = ?, duration = ?, "
            "error_type = ?, error = ? WHERE n = ?",
            ((maybe(one.task_name), *_end_of(one), one.n) for one in self.tries.changed.values()),
        )

    def _write_events(self) -> None:
        rows = (self._event_row(number(at), event) for at, event in self._events)
        self._many(
            "INSERT INTO events (at, event, sender, topic, worker, task, detail) "
            f"VALUES ({_marks(7)})",
            rows,
        )

    def _event_row(self, at: int, event: Event) -> Row:
        told = msgspec.json.decode(events.encode(event))
        kind, maybe = told.pop("event"), self._names.maybe
        topic = worker = task = None
        match event:
            case WorkerEvent():
                worker = event.worker.worker_id
            case LockEvent():
                worker, task = event.locked_by, event.task_id
            case SettingsUpdate():
                topic = event.topic
            case Command():
                worker = event.target
        told.pop("sender_id", None)
        detail = msgspec.json.encode(told).decode()
        return at, kind, event.sender_id, maybe(topic), maybe(worker), task, detail

    def _write_locks(self, state: ClusterState | None) -> None:
        for at, event in self._events:
            if isinstance(event, LockEvent):
                self._connection.execute(
                    "UPDATE locks SET released = ? WHERE lock = ? AND released IS NULL",
                    (number(at), self._names.id(event.lock)),
                )
                if event.kind == "lock_acquired":
                    self._acquire(event.lock, event.task_id, event.locked_by, at)
        if state is not None and state.events.ok:
            self._agree_with_locks(state.locks)

    def _agree_with_locks(self, held: Iterable[Lock]) -> None:
        """Take in locks that are held and were taken before we listened."""
        rows = self._connection.execute("SELECT lock FROM locks WHERE released IS NULL")
        known = {lock for (lock,) in rows}
        for lock in held:
            if self._names.id(lock.lock) not in known and lock.acquired_at is not None:
                acquired = lock.acquired_at.timestamp()
                self._acquire(lock.lock, lock.task_id, lock.worker_id, acquired)

    def _acquire(self, lock: str, task: str | None, worker: str | None, at: float) -> None:
        self._connection.execute(
            "INSERT INTO locks (lock, task, worker, acquired) VALUES (?, ?, ?, ?)",
            (self._names.id(lock), task, self._names.maybe(worker), number(at)),
        )

    def _write_settings(self, picture: Picture) -> None:
        if picture.settings is None:
            return
        told = {topic: events.settings_json(one) for topic, one in picture.settings.items()}
        kept = msgspec.json.encode(told, order="deterministic")
        if kept != self._kept_settings:
            row = (number(picture.at), kept.decode())
            self._connection.execute("INSERT INTO settings VALUES (?, ?)", row)
            self._kept_settings = kept

    def _write_messages(self) -> Counter[str]:
        keep = self._session.bodies
        rows = [self._message_row(message, keep=keep) for message in self._messages]
        self._many(
            "INSERT INTO messages (at, topic, task, name, published, attempts, size, properties, "
            f"body) VALUES ({_marks(9)})",
            rows,
        )
        return Counter(message.topic for message in self._messages)

    def _message_row(self, message: Published, *, keep: bool) -> Row:
        task = read(message.properties, message.body)
        published = task.published_at
        return (
            number(message.at),
            self._names.id(message.topic),
            task.task_id,
            self._names.maybe(task.task_name),
            None if published is None else number(published.timestamp()),
            task.attempts,
            len(message.body),
            message.properties if keep else None,
            message.body if keep else None,
        )

    def _write_gaps(self, picture: Picture, why_late: str) -> None:
        at, last = number(picture.at), self._last
        since = last or at
        if last is not None and at - last > 1500 * self._session.every:
            if self._why_late:
                self._gap(last, at, "all", self._why_late)
            else:  # what was heard meanwhile is here
                self._gap(last, at, "samples", why_late)
        if picture.report is None:
            self._gap(since, at, "topics", picture.why or "")
        if picture.state is None or not picture.state.events.ok:
            note = picture.why if picture.state is None else picture.state.events.note
            self._gap(since, at, "events", note or "the events could not be heard")
        if self.lost + self.tries.lost:
            why = f"{self.lost + self.tries.lost:,} events or messages could not be kept"
            self._gap(since, at, "events", why)
        if self._missed:
            self._gap(since, at, "messages", _MISSED)

    def _gap(self, since: int, until: int, what: str, why: str) -> None:
        """Write a gap, or let the last one go on."""
        longer = self._connection.execute(
            "UPDATE gaps SET until = ?, why = ? WHERE until = ? AND what = ? AND since < until",
            (until, why, since, what),
        )
        if not longer.rowcount:
            row = (since, until, what, why)
            self._connection.execute("INSERT INTO gaps VALUES (?, ?, ?, ?)", row)


def _end_of(one: Try) -> Row:
    started, ended = one.started_at, one.ended_at
    return (
        None if started is None else number(started),
        None if ended is None else number(ended),
        None if one.outcome is None else OUTCOMES.index(one.outcome),
        one.duration,
        one.error_type,
        one.error,
    )


def _close_earlier(connection: sqlite3.Connection) -> int | None:
    """End what earlier sessions left open; returns the time of the last tick, if any."""
    (last,) = connection.execute("SELECT max(last) FROM sessions").fetchone()
    if last is not None:
        connection.execute(
            "UPDATE tries SET ended = ?, outcome = ? WHERE ended IS NULL",
            (last, OUTCOMES.index("lost")),
        )
        connection.execute("UPDATE locks SET released = ? WHERE released IS NULL", (last,))
    return None if last is None else int(last)


def _begin(connection: sqlite3.Connection, broker: Broker, session: Session, now: float) -> int:
    row = (
        number(now),
        number(now),
        session.every,
        broker.address,
        broker.layout.name,
        broker.server_version,
        broker.demo,
        who(),
        session.messages,
        session.bodies,
    )
    return (
        connection.execute(
            "INSERT INTO sessions (started, last, every, cluster, layout, server, demo, who, "
            f"messages, bodies) VALUES ({_marks(10)})",
            row,
        ).lastrowid
        or 0
    )


def _marks(count: int) -> str:
    return ", ".join("?" * count)
