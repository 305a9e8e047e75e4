"""SQLite files that several processes use."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Final

WAIT: Final = 30.0
"""Seconds to wait for a lock of another process."""
_POLL_SECONDS: Final = 0.02
_making: Final = threading.Lock()


def make(path: str | os.PathLike[str]) -> None:
    """Make an empty file for its owner alone, unless there is one. Raises `OSError`, `ValueError`.

    A file that exists is not opened: closing it would drop every lock that SQLite holds on it in
    this process, and another process that believes to be the last user would delete its journal.
    https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    """
    with _making:
        if not os.path.exists(path):  # noqa: PTH110 - False for a name that no file can have
            flags = os.O_CREAT | os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
            os.close(os.open(path, flags, 0o600))
        elif os.path.isdir(path):  # noqa: PTH112 - likewise
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))


def use_wal(connection: sqlite3.Connection) -> None:
    """Let others read while somebody writes."""
    until = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:  # SQLite does not wait for this lock by itself
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


@contextlib.contextmanager
def alone(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep other writers out; others see all changes within at once."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


def create(
    connection: sqlite3.Connection, schema: str, *, version: int, application: int = 0
) -> None:
    """Create the missing tables of *schema*, and store the version and the application id."""
    for statement in schema.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={application}")
    connection.execute(f"PRAGMA user_version={version}")


def version(connection: sqlite3.Connection) -> int:
    """Return the version that `create` stored; 0 in a new file."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether the file has no tables yet."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
