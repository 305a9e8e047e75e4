"""SQLite files that several processes use."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from typing import Final

WAIT: Final = 30.0
"""Seconds for which another process is waited for."""
_GLANCE: Final = 0.02


def use_wal(connection: sqlite3.Connection) -> None:
    """Let others read while somebody writes."""
    until = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:  # SQLite itself does not wait for this
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_GLANCE)
        else:
            return


@contextlib.contextmanager
def alone(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep other writers out; what is done within is seen by others as a whole."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


def create(
    connection: sqlite3.Connection, schema: str, *, version: int, application: int = 0
) -> None:
    """Make the tables of *schema* that are not there, and say whose they are."""
    for statement in schema.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={application}")
    connection.execute(f"PRAGMA user_version={version}")


def version(connection: sqlite3.Connection) -> int:
    """Return the version that `create` was told; 0 in a new file."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    return int(found)


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether it has no tables yet."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not tables
