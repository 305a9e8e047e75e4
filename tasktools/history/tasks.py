"""Tasks of a recording, one row each: how their last try ended, where, and with what arguments."""

from __future__ import annotations

import sqlite3
from typing import Annotated, Any, Final

import msgspec

from tasktools.core.clock import moment
from tasktools.core.duration_histogram import RESOLUTION
from tasktools.core.escaping import cut
from tasktools.core.fingerprints import fingerprint
from tasktools.core.frames import build
from tasktools.core.frames import history_schemas as schemas
from tasktools.core.lazy_imports import pd
from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.redaction import Redaction
from tasktools.history import attempt_messages, records, try_details
from tasktools.history.file_checks import Count, Flag, Real, Time
from tasktools.history.records import RecordedMessage
from tasktools.history.samples import Facts
from tasktools.history.series import Window, id_of
from tasktools.history.store import DURATION, OUTCOMES
from tasktools.history.tables import select
from tasktools.history.try_details import NO_DETAILS, TryDetails

_MAX_ERROR_CHARS: Final = 500
_RUNNING: Final = "running"

_OF_TOPIC: Final = "at < :until AND (:topic IS NULL OR topic = :topic)"
_LAST_TRIES: Final = f"""
FROM (
  SELECT max(n) AS n FROM (
    SELECT n, task FROM tries WHERE ended >= :since AND {_OF_TOPIC}
    UNION ALL SELECT n, task FROM tries WHERE ended IS NULL AND {_OF_TOPIC}
  ) GROUP BY task ORDER BY n DESC LIMIT :limit
) AS last CROSS JOIN tries AS t ON t.n = last.n
"""
_TRIES: Final = """
FROM tries AS t WHERE t.at < :until AND t.task IN temp.wanted GROUP BY t.task
"""
_DURATIONS: Final = (
    "CASE WHEN count(*) > 1 THEN json_group_array(json_array(t.n, CASE WHEN t.ended < :until "
    f"THEN {DURATION} END)) END"
)
_MESSAGES: Final = """
FROM temp.wanted AS w CROSS JOIN messages AS t ON t.task = w.task WHERE t.at < :until
GROUP BY t.task
"""


class _LastTry(MaskedStruct, frozen=True, array_like=True):
    n: Count
    task: str
    topic: str | None
    worker: str | None
    name: str | None
    started: Time | None
    ended: Time | None
    outcome: Annotated[int, msgspec.Meta(ge=0, lt=len(OUTCOMES))] | None
    duration: Real | None
    is_prompt: Flag
    """Its worker reports durations, so it sends events at once."""
    error_type: str | None
    error: str | None


class _Tries(msgspec.Struct, frozen=True, array_like=True):
    task: str
    count: Count
    started: Time | None
    """Start of the first try."""
    durations: str | None
    """Numbers and durations of the tries as JSON, if there are several; else `_LastTry` has it."""


class _Messages(MaskedStruct, frozen=True, array_like=True):
    task: str
    count: Count
    at: Time
    """Arrival of the first message; the fields below are those of the first message."""
    n: Count
    attempts: Count | None
    name: str | None
    published: Time | None
    size: Count


class _WorkerRow(msgspec.Struct, frozen=True, array_like=True):
    worker: str
    facts: str


def tasks(
    connection: sqlite3.Connection,
    window: Window,
    *,
    topic: str | None,
    limit: int,
    redaction: Redaction,
) -> pd.DataFrame:
    """Return the tasks of which a try ended or ran in the window (schema `TASKS`)."""
    params = {"since": window.since, "until": window.until, "topic": id_of(connection, topic)}
    last_tries = select(
        connection,
        _LastTry,
        _LAST_TRIES,
        {**params, "limit": limit},
        duration=DURATION,
        is_prompt="t.duration IS NOT NULL",
    )
    attempt_messages.fill_wanted(connection, (row.task for row in last_tries))
    until = {"until": window.until}
    counts = {"count": "count(*)"}
    tries = select(
        connection,
        _Tries,
        _TRIES,
        until,
        **counts,
        started="min(t.started)",
        durations=_DURATIONS,
    )
    # Of the rows of a task, min() chooses the first message.
    messages = select(connection, _Messages, _MESSAGES, until, **counts, at="min(t.at)")
    rows = _Rows(connection, window.until, redaction)
    rows.tries = {row.task: row for row in tries}
    rows.messages = {row.task: row for row in messages}
    rows.bodies = _bodies(connection, last_tries, rows.messages)
    without_body = (last.n for last in last_tries if last.n not in rows.bodies)
    rows.details = try_details.read(connection, without_body)
    return build.frame_from(schemas.TASKS, [rows.row(last) for last in last_tries])


def _bodies(
    connection: sqlite3.Connection, last_tries: list[_LastTry], messages: dict[str, _Messages]
) -> dict[int, RecordedMessage]:
    """Return the message of each last try, by the number of the try."""
    numbers = {
        last.n: messages[last.task].n
        for last in last_tries
        if last.task in messages and messages[last.task].count == 1
    }
    several = [task for task, of_task in messages.items() if of_task.count > 1]
    if several:
        pairs = attempt_messages.messages_by_attempt(connection, several)
        numbers |= {last.n: pairs[last.n] for last in last_tries if last.n in pairs}
    by_number = {
        message.n: message for message in records.messages(connection, sorted(numbers.values()))
    }
    return {n: by_number[number] for n, number in numbers.items() if number in by_number}


class _Rows:
    """Makes the rows, from the last try of each task and from facts loaded for all tasks."""

    tries: dict[str, _Tries]
    messages: dict[str, _Messages]
    bodies: dict[int, RecordedMessage]
    details: dict[int, TryDetails]

    def __init__(self, connection: sqlite3.Connection, until: int, redaction: Redaction) -> None:
        self._until = until
        self._redaction = redaction
        facts = select(connection, _WorkerRow, "FROM worker_facts AS t ORDER BY t.fact")
        self._workers = {row.worker: msgspec.json.decode(row.facts, type=Facts) for row in facts}

    def row(self, last: _LastTry) -> tuple[Any, ...]:
        """Return the values of a row."""
        is_over = last.ended is not None and last.ended < self._until
        failure = (last.error_type, last.error) if is_over else (None, None)
        error_type, error = (text and self._redaction.text(text) for text in failure)
        first = self.messages.get(last.task)
        message = self.bodies.get(last.n)
        task = None if message is None else message.task
        facts = self._workers.get(last.worker or "", Facts())
        outcome = None if last.outcome is None else OUTCOMES[last.outcome]
        args, kwargs = self._arguments(last, message)
        return (
            last.task,
            (task and task.task_name) or (first and first.name) or last.name,
            last.topic,
            outcome if is_over else _RUNNING,
            self.tries[last.task].count,
            self._first_wait(last, first),
            last.duration if is_over else None,
            self._durations(last, is_over=is_over),
            last.worker,
            facts.host,
            facts.version,
            None if first is None else _time(first.published),
            _time(last.started),
            _time(last.ended) if is_over else None,
            error_type,
            error and cut(error, _MAX_ERROR_CHARS),
            fingerprint(error_type, error),
            self._redaction.value(args),
            self._redaction.value(kwargs),
            message.size if message is not None else first and first.size,
        )

    def _arguments(self, last: _LastTry, message: RecordedMessage | None) -> tuple[Any, Any]:
        """Return args and kwargs, from the message or from the worker's events."""
        if message is not None:
            return message.task.args, message.task.kwargs
        return self.details.get(last.n, NO_DETAILS).arguments()

    def _durations(self, last: _LastTry, *, is_over: bool) -> list[float | None]:
        """Return how long each try of the task took (s), the first one first."""
        several = self.tries[last.task].durations
        if several is None:
            return [last.duration if is_over else None]
        tries = msgspec.json.decode(several, type=list[tuple[Count, Real | None]])
        return [duration for _, duration in sorted(tries)]

    def _first_wait(self, last: _LastTry, first: _Messages | None) -> float | None:
        """Return how long the task waited before its first start (s), if both are recorded."""
        started = self.tries[last.task].started
        if first is None or started is None or first.attempts:
            return None
        wait = max(started - first.at, 0) / 1000
        return wait if last.is_prompt or wait >= RESOLUTION else None


def _time(at: int | None) -> Any:
    return None if at is None else moment(at / 1000)
