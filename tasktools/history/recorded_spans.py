"""The spans of time that are recorded: between the gaps, and with messages or without.

All times are in ms.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

import msgspec

from tasktools.history.file_checks import Flag, Time
from tasktools.history.series import Window
from tasktools.history.tables import select

Spans = list[tuple[int, int]]
"""Spans in order, from a moment to before another; they do not overlap."""

_GAPS: Final = "SELECT since, until FROM gaps WHERE until > ? AND since < ? AND what IN "


class _SessionRow(msgspec.Struct, frozen=True, array_like=True):
    started: Time
    last: Time
    messages: Flag


def recorded(connection: sqlite3.Connection, window: Window) -> Spans:
    """Return the spans of *window* in which events were recorded."""
    first, last = connection.execute("SELECT min(at), max(at + span) FROM ticks").fetchone()
    if first is None:
        return []
    inside = between([(first, last)], window.since, window.until)
    return without(inside, _gaps(connection, window, "('all', 'events')"))


def with_messages(connection: sqlite3.Connection, window: Window) -> Spans:
    """Return the spans of *window* in which messages were recorded, and are still kept."""
    (oldest,) = connection.execute("SELECT min(at) FROM messages").fetchone()
    sessions = select(connection, _SessionRow, "FROM sessions AS t ORDER BY t.session")
    spans: Spans = []
    for session in sessions:
        start = max(session.started, spans[-1][1] if spans else 0)
        if session.messages and session.last > start:
            spans.append((start, session.last))
    if oldest is None:
        return [] if _had_messages(connection, window.until) else spans
    if _had_messages(connection, oldest):
        spans = between(spans, oldest, window.until)
    spans = between(spans, window.since, window.until)
    return without(spans, _gaps(connection, window, "('all', 'events', 'messages')"))


def _had_messages(connection: sqlite3.Connection, until: int) -> bool:
    """Whether messages were recorded before *until*, by their counts, although they may be deleted
    by now."""
    query = "SELECT 1 FROM topic_samples WHERE at + span < ? AND published > 0 LIMIT 1"
    return connection.execute(query, (until,)).fetchone() is not None


def _gaps(connection: sqlite3.Connection, window: Window, kinds: str) -> Spans:
    rows = connection.execute(f"{_GAPS}{kinds} ORDER BY since", (window.since, window.until))
    return msgspec.convert(rows.fetchall(), list[tuple[Time, Time]])


def between(spans: Iterable[tuple[int, int]], since: int, until: int) -> Spans:
    """Return the parts of *spans* from *since* to before *until*."""
    cut = ((max(start, since), min(end, until)) for start, end in spans)
    return [(start, end) for start, end in cut if start < end]


def without(spans: Iterable[tuple[int, int]], gaps: Iterable[tuple[int, int]]) -> Spans:
    """Return *spans* without *gaps*, which are in the order of their start."""
    left: Spans = []
    ordered = list(gaps)
    for start, end in spans:
        begin = start
        for since, until in ordered:
            if until <= begin or since >= end:
                continue
            if since > begin:
                left.append((begin, since))
            begin = max(begin, until)
        if begin < end:
            left.append((begin, end))
    return left


def common(first: Spans, second: Spans) -> Spans:
    """Return the times that are in both."""
    return [span for since, until in first for span in between(second, since, until)]
