"""The writer of a recording: it writes each tick in one transaction.

Events and messages stay in memory until they are in the file. A tick that cannot be written (a
full disk) loses its samples, but no events.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from tasktools.brokers.base import Broker
from tasktools.core import events
from tasktools.core.duration_histogram import NOTHING, Histogram
from tasktools.core.events import Command, Event, LockEvent, SettingsUpdate, TaskEvent, WorkerEvent
from tasktools.core.marks import Mark
from tasktools.core.models import ClusterState, EventGap, Lock
from tasktools.history import sessions, try_details
from tasktools.history.attempts import Attempt, Attempts
from tasktools.history.event_buffer import BufferedEvents, Published
from tasktools.history.file_checks import Count
from tasktools.history.name_table import NameTable
from tasktools.history.records import read
from tasktools.history.samples import Snapshot, WorkerRotation, tick_row, topic_rows, worker_row
from tasktools.history.sessions import Session
from tasktools.history.store import OUTCOMES, number
from tasktools.history.tables import (
    DURATIONS,
    EVENTS,
    GAPS,
    LOCKS,
    MARKS,
    MESSAGES,
    SERVER_FACTS,
    SETTINGS,
    TICKS,
    TOPIC_DIALECTS,
    TOPIC_SAMPLES,
    TRIES,
    WORKER_SAMPLES,
    Row,
)
from tasktools.history.topic_dialects import TopicDialects

_MAX_EVENTS: Final = 500_000
_MAX_BODY_BYTES: Final = 256 * 1024 * 1024
_MISSED_MESSAGES: Final = (
    "not all published messages have arrived: there were more than could be read, or the "
    "connection was lost"
)
_SET_BACK: Final = "the clock was set back while no recorder was running"
_NOT_RUNNING: Final = "no recorder was running"


class Writer:
    """The writer of a new session into *connection*. Used by one thread at a time."""

    def __init__(
        self, connection: sqlite3.Connection, broker: Broker, session: Session, now: float
    ) -> None:
        self.lost = 0
        self._missed = False
        self._began = number(now)
        self._connection = connection
        self._session = session
        self._names = NameTable(connection)
        self._topic_dialects = TopicDialects()
        self._rotation = WorkerRotation()
        self._event_count = 0
        self._events: deque[tuple[float, Event]] = deque()
        self._messages: deque[Published] = deque()
        self._settings: bytes | None = None
        self._durations: Mapping[str, Histogram] | None = None
        with connection:
            self._last = sessions.close_earlier(connection)
            self._number = sessions.begin(connection, broker, session, now)
        (first,) = connection.execute("SELECT ifnull(max(n), 0) + 1 FROM tries").fetchone()
        self.attempts = Attempts(msgspec.convert(first, Count), keeps_arguments=session.arguments)
        self._why_late = _NOT_RUNNING

    def count_from(self, state: ClusterState) -> None:
        """Set the histograms of *state* as the base for the durations of the next tick."""
        self._durations = state.durations

    def shift(self, now: float, step: float) -> None:
        """Shift the times of open attempts by *step* seconds: the clock was set by that much."""
        if step:
            self.attempts.shift(now, step)

    def add(self, batch: BufferedEvents) -> None:
        """Add events and messages that are to be written."""
        self._event_count += batch.count
        self.lost += batch.lost
        self._missed |= batch.missed
        for at, event in batch.events:
            if isinstance(event, TaskEvent):
                self.attempts.handle_event(at, event)
            else:
                self._events.append((at, event))
        self._messages.extend(batch.messages)
        self._limit()

    def _limit(self) -> None:
        """Drop the oldest events and messages if too many wait to be written."""
        while len(self._events) > _MAX_EVENTS:
            self._events.popleft()
            self.lost += 1
        size = sum(len(message.body) for message in self._messages)
        while size > _MAX_BODY_BYTES:
            size -= len(self._messages.popleft().body)
            self.lost += 1

    @property
    def waiting(self) -> int:
        """The number of events and messages that are not in the file yet."""
        tries = len(self.attempts.new) + len(self.attempts.changed)
        return tries + len(self._events) + len(self._messages)

    def write(self, snapshot: Snapshot, *, why_late: str, is_last: bool = False) -> None:
        """Write a whole tick; on an error (mostly `sqlite3.Error`) events stay in memory.

        *why_late* is the reason to store for missing samples if this tick is late. The last tick of
        a recording samples every worker.
        """
        if snapshot.state is not None and snapshot.state.events.ok:
            self.attempts.agree_with(snapshot.state.at.timestamp(), snapshot.state.running)
        try:
            with self._connection:
                self._write(snapshot, why_late, everyone=is_last)
        except BaseException:
            self._names.forget()
            self._topic_dialects.forget()
            self._rotation = WorkerRotation()
            self._settings = None
            raise
        self.attempts.written()
        self._events.clear()
        self._messages.clear()
        self._event_count = self.lost = 0
        self._missed = False
        if snapshot.state is not None:
            self.count_from(snapshot.state)
        self._last, self._why_late = number(snapshot.at), ""

    def keep_server(self, facts: Row) -> None:
        """Write facts of the server, in a transaction of their own."""
        with self._connection:
            self._connection.execute(SERVER_FACTS.insert(verb="INSERT OR REPLACE"), facts)

    def end(self, now: float) -> None:
        """Write the end of the session."""
        with self._connection:
            self._connection.execute(
                "UPDATE sessions SET ended = ? WHERE session = ?", (number(now), self._number)
            )

    # --- one transaction --------------------------------------------------------------

    def _write(self, snapshot: Snapshot, why_late: str, *, everyone: bool) -> None:
        published = self._write_messages() if self._session.messages else None
        self._write_attempts()
        self._write_durations(snapshot)
        self._write_events()
        self._write_marks()
        self._write_locks(snapshot.state)
        self._write_settings(snapshot)
        self._write_samples(snapshot, published, everyone=everyone)
        self._write_gaps(snapshot, why_late)
        self._connection.execute(
            "UPDATE sessions SET last = ? WHERE session = ?", (number(snapshot.at), self._number)
        )

    def _many(self, statement: str, rows: Iterable[Row]) -> None:
        self._connection.executemany(statement, rows)

    def _write_samples(
        self, snapshot: Snapshot, published: Counter[str] | None, *, everyone: bool
    ) -> None:
        names, state = self._names, snapshot.state
        workers = () if state is None else state.workers
        due = self._rotation.due(workers, snapshot.at, everyone=everyone)
        tick = tick_row(snapshot, self._event_count, self._rotation.reach(snapshot.at))
        self._connection.execute(TICKS.add(), tick)
        rows = topic_rows(snapshot, self.attempts, published, names.id)
        self._many(TOPIC_SAMPLES.add(), rows)
        if snapshot.report is not None:
            changed = self._topic_dialects.changed(snapshot.report, number(snapshot.at), names.id)
            self._many(TOPIC_DIALECTS.insert(verb="INSERT OR REPLACE"), changed)
        sampled = (
            worker_row(
                snapshot, worker, names.id(worker.worker_id), names.fact(worker.worker_id, facts)
            )
            for worker, facts in due
        )
        self._many(WORKER_SAMPLES.insert(verb="INSERT OR REPLACE"), sampled)

    def _write_attempts(self) -> None:
        self._many(TRIES.insert(), map(self._attempt_row, self.attempts.new.values()))
        self._many(
            "UPDATE tries SET topic = :topic, name = :name, started = :started, ended = :ended, "
            "outcome = :outcome, duration = :duration, error_type = :error_type, error = :error "
            "WHERE n = :n",
            map(self._attempt_row, self.attempts.changed.values()),
        )
        for attempts in (self.attempts.new, self.attempts.changed):
            try_details.write(self._connection, attempts.values())

    def _attempt_row(self, attempt: Attempt) -> Row:
        started, ended, outcome = attempt.started_at, attempt.ended_at, attempt.outcome
        maybe = self._names.maybe
        return {
            "n": attempt.n,
            "at": number(attempt.at),
            "task": attempt.task_id,
            "topic": maybe(attempt.topic),
            "worker": maybe(attempt.worker_id),
            "name": maybe(attempt.task_name),
            "started": None if started is None else number(started),
            "ended": None if ended is None else number(ended),
            "outcome": None if outcome is None else OUTCOMES.index(outcome),
            "duration": attempt.duration,
            "error_type": attempt.error_type,
            "error": attempt.error,
        }

    def _write_durations(self, snapshot: Snapshot) -> None:
        """Write the durations of tasks that ended since the last tick; the first tick has nothing
        to compare with."""
        if snapshot.state is None or self._durations is None:
            return
        rows = []
        for topic, total in snapshot.state.durations.items():
            ended = total.since(self._durations.get(topic, NOTHING))
            if ended is not None and ended.count:
                buckets = msgspec.json.encode(sorted(ended.buckets.items())).decode()
                row = {"topic": self._names.id(topic), "at": number(snapshot.at)}
                rows.append({**row, "count": ended.count, "sum": ended.sum, "buckets": buckets})
        self._many(DURATIONS.insert(verb="INSERT OR REPLACE"), rows)

    def _write_events(self) -> None:
        events_only = ((at, event) for at, event in self._events if not isinstance(event, Mark))
        rows = (self._event_row(number(at), event) for at, event in events_only)
        self._many(EVENTS.insert("n"), rows)

    def _event_row(self, at: int, event: Event) -> Row:
        fields = msgspec.json.decode(events.encode(event))
        kind = fields.pop("event")
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
        fields.pop("sender_id", None)
        return {
            "at": at,
            "event": kind,
            "sender": event.sender_id,
            "topic": self._names.maybe(topic),
            "worker": self._names.maybe(worker),
            "task": task,
            "detail": msgspec.json.encode(fields).decode(),
        }

    def _write_marks(self) -> None:
        """Write each mark once: marks of this process also arrive as events."""
        rows = (
            {"mark": event.mark, "at": number(at), "text": event.text, "who": event.who}
            for at, event in self._events
            if isinstance(event, Mark)
        )
        self._many(MARKS.insert(verb="INSERT OR IGNORE"), rows)

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
        """Add locks that were taken before we listened."""
        rows = self._connection.execute("SELECT lock FROM locks WHERE released IS NULL")
        known = {lock for (lock,) in rows}
        for lock in held:
            if self._names.id(lock.lock) not in known and lock.acquired_at is not None:
                acquired = lock.acquired_at.timestamp()
                self._acquire(lock.lock, lock.task_id, lock.worker_id, acquired)

    def _acquire(self, lock: str, task: str | None, worker: str | None, at: float) -> None:
        row = {
            "lock": self._names.id(lock),
            "task": task,
            "worker": self._names.maybe(worker),
            "acquired": number(at),
        }
        self._connection.execute(LOCKS.insert("n", "released"), row)

    def _write_settings(self, snapshot: Snapshot) -> None:
        if snapshot.settings is None:
            return
        by_topic = {
            topic: events.settings_json(settings) for topic, settings in snapshot.settings.items()
        }
        settings = msgspec.json.encode(by_topic, order="deterministic")
        if settings != self._settings:
            row = {"at": number(snapshot.at), "kept": settings.decode()}
            self._connection.execute(SETTINGS.insert(), row)
            self._settings = settings

    def _write_messages(self) -> Counter[str]:
        keep = self._session.bodies
        rows = [self._message_row(message, keep=keep) for message in self._messages]
        new = self._new_tasks(rows)
        self._many(MESSAGES.insert("n"), rows)
        return new

    def _new_tasks(self, rows: Iterable[Row]) -> Counter[str]:
        """Count the new tasks of *rows* by topic. A retry publishes the task again, and does not
        count."""
        counts: Counter[str] = Counter()
        known: set[str] = set()
        for message, row in zip(self._messages, rows, strict=True):
            task, attempts = row["task"], row["attempts"]
            if task is not None and not attempts and task not in known:
                known.add(task)
                earlier = self._connection.execute(
                    "SELECT 1 FROM messages WHERE task = ? LIMIT 1", (task,)
                )
                counts[message.topic] += earlier.fetchone() is None
            elif task is None and not attempts:
                counts[message.topic] += 1
        return counts

    def _message_row(self, message: Published, *, keep: bool) -> Row:
        task = read(message.properties, message.body)
        published = task.published_at
        return {
            "at": number(message.at),
            "topic": self._names.id(message.topic),
            "task": task.task_id,
            "name": self._names.maybe(task.task_name),
            "published": None if published is None else number(published.timestamp()),
            "attempts": task.attempts,
            "size": len(message.body),
            "properties": message.properties if keep else None,
            "body": message.body if keep else None,
        }

    def _write_gaps(self, snapshot: Snapshot, why_late: str) -> None:
        at, last = number(snapshot.at), self._last
        since = last or at
        if last is not None and at - last > 1500 * self._session.every:
            if self._why_late:
                self._gap(last, at, "all", self._why_late)
            else:  # events of that time are here
                self._gap(last, at, "samples", why_late)
        elif last is not None and at < last:
            self._gap(at, last, "samples", why_late if self._why_late == "" else _SET_BACK)
            since = at
        if snapshot.report is None:
            self._gap(since, at, "topics", snapshot.why or "")
        if snapshot.state is None or not snapshot.state.events.ok:
            note = snapshot.why if snapshot.state is None else snapshot.state.events.note
            self._gap(since, at, "events", note or "no events could be received")
        else:
            self._write_event_gaps(snapshot.state.gaps)
        if self.lost + self.attempts.lost:
            lost = self.lost + self.attempts.lost
            why = f"{lost:,} events or messages were dropped: too many waited to be written"
            self._gap(since, at, "events", why)
        if self._missed:
            self._gap(since, at, "messages", _MISSED_MESSAGES)

    def _write_event_gaps(self, gaps: Iterable[EventGap]) -> None:
        """Write those of *gaps* that came after the last tick, and within this session."""
        last = max(self._began, self._last or 0)
        for gap in gaps:
            since, until = number(gap.since.timestamp()), number(gap.until.timestamp())
            if until > last:
                self._gap(max(since, last), until, "events", gap.why)

    def _gap(self, since: int, until: int, what: str, why: str) -> None:
        """Write a gap, or extend the last one."""
        row = {"since": since, "until": until, "what": what, "why": why}
        continued = self._connection.execute(
            "UPDATE gaps SET until = :until, why = :why "
            "WHERE until = :since AND what = :what AND since < until",
            row,
        )
        if not continued.rowcount:
            self._connection.execute(GAPS.insert(), row)
