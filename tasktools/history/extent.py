"""The extent of a recording in words: its begin, its end and its gaps."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from tasktools.core.clock import moment
from tasktools.core.escaping import cut
from tasktools.history.file_checks import Time
from tasktools.history.series import Window
from tasktools.history.tables import select

WITHOUT_GAPS: Final = "without gaps"
_LISTED_GAPS: Final = 3
_NOTHING_RECORDED: Final = "nothing is recorded yet"
_MAX_COUNTED_GAPS: Final = 10_000
_MAX_REASON_CHARS: Final = 160  # characters


class GapRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of ``gaps``: an interval in which something was not recorded (ms)."""

    since: Time
    until: Time
    what: str
    why: str


def of_window(connection: sqlite3.Connection, window: Window) -> str:
    """Return which part of *window* is recorded, and its gaps, in words."""
    first, last = _ends(connection)
    if first is None or last is None:
        return _NOTHING_RECORDED
    since, until = max(window.since, first), min(window.until, last)
    if since > until:
        return f"nothing is recorded of that time: the recording is from {words(first, last)}"
    return f"{words(since, until)}, {_gaps(connection, since, until)}"


def of_all(connection: sqlite3.Connection) -> str:
    """Return the begin, the end and the gaps of the recording in words."""
    first, last = _ends(connection)
    if first is None or last is None:
        return _NOTHING_RECORDED
    return f"{words(first, last)}, {_gaps(connection, first, last)}"


def of_gaps(connection: sqlite3.Connection, window: Window) -> str:
    """Return the gaps of *window* in words."""
    return _gaps(connection, window.since, window.until)


def words(since: int, until: int) -> str:
    """Return a time interval (ms) in words."""
    return f"{clock(since)} to {clock(until)}"


def clock(at: int) -> str:
    """Return a time in ms in words."""
    return f"{moment(at / 1000):%Y-%m-%d %H:%M:%S} UTC"


def _ends(connection: sqlite3.Connection) -> tuple[int | None, int | None]:
    row = connection.execute("SELECT min(at), max(at + span) FROM ticks").fetchone()
    first, last = msgspec.convert(row, tuple[Time | None, Time | None])
    return first, last


def _gaps(connection: sqlite3.Connection, since: int, until: int) -> str:
    where = "FROM gaps AS t WHERE until > ? AND since < ?"
    ordered = f"{where} ORDER BY since LIMIT {_LISTED_GAPS}"
    (count,) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 {where} LIMIT {_MAX_COUNTED_GAPS})", (since, until)
    ).fetchone()
    if not count:
        return WITHOUT_GAPS
    listed = [
        f"{words(gap.since, gap.until)} ({gap.what}: {cut(gap.why, _MAX_REASON_CHARS)})"
        for gap in select(connection, GapRow, ordered, (since, until))
    ]
    more = count - len(listed)
    listed += [f"and {more:,} more (gaps() lists them)"] if more else []
    return f"with {count:,} {'gap' if count == 1 else 'gaps'}: {'; '.join(listed)}"
