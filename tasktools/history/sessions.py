"""Sessions of a recording: the times in which a recorder wrote into it, and its options."""

from __future__ import annotations

import sqlite3

import msgspec

from tasktools.brokers.base import Broker
from tasktools.history.identity import who
from tasktools.history.store import OUTCOMES, number
from tasktools.history.tables import SESSIONS


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a recorder: the seconds between two samples, and whether it keeps messages,
    their bodies, and the arguments of all tasks, if workers send them (arguments of failures are
    always kept)."""

    every: float = 5.0
    messages: bool = False
    bodies: bool = False
    arguments: bool = False


def close_earlier(connection: sqlite3.Connection) -> int | None:
    """End the attempts and locks that earlier sessions left open.

    Returns the time of the last tick (ms), if any.
    """
    (last,) = connection.execute("SELECT max(last) FROM sessions").fetchone()
    if last is not None:
        connection.execute(
            "UPDATE tries SET ended = ?, outcome = ? WHERE ended IS NULL",
            (last, OUTCOMES.index("lost")),
        )
        connection.execute("UPDATE locks SET released = ? WHERE released IS NULL", (last,))
    return None if last is None else int(last)


def begin(connection: sqlite3.Connection, broker: Broker, session: Session, now: float) -> int:
    """Insert *session*, and return its number."""
    row = {
        "started": number(now),
        "last": number(now),
        "every": session.every,
        "cluster": broker.address,
        "layout": broker.layout.name,
        "server": broker.server_version,
        "demo": broker.demo,
        "who": who(),
        "messages": session.messages,
        "bodies": session.bodies,
    }
    return connection.execute(SESSIONS.insert("session", "ended"), row).lastrowid or 0
