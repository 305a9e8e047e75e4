"""The file of a recording: one SQLite database, written by one process and read by many.

Committed data survives a ``kill -9``. After a loss of power the last seconds may be missing, never
more: the file is synced at every checkpoint, not at every commit.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote, unquote

from tasktools.core import duration_histogram
from tasktools.core.errors import MalformedDSN, RecordingError
from tasktools.core.plans import RECORDING_DSN
from tasktools.history import file_checks, sqlite_files
from tasktools.history.tables import SCHEMA

FORMAT: Final = 4
"""Format 1 has no ``durations``; formats 1 and 2 have no ``marks`` and no ``server_facts``; formats
1 to 3 have no ``try_details``. They can be read; a recorder that writes into one upgrades
it."""
_APPLICATION_ID: Final = 0x7461736B  # "task"
_MAX_WAL_BYTES: Final = 16 * 1024**2  # size to which SQLite cuts the log after it was larger
_LOCK_SUFFIX: Final = "-recorder"

DURATION: Final = (
    "ifnull(duration, CASE WHEN outcome < 2 AND ended - started >= "
    f"{round(duration_histogram.RESOLUTION * 1000)} THEN (ended - started) / 1000.0 END)"
)
"""Duration of an attempt (s): as its worker reported, else by our clock if it is long enough."""
STATES: Final = ("alive", "late", "gone", "stopped")
OUTCOMES: Final = ("succeeded", "failed", "lost")
"""Outcomes of an attempt, by number. ``lost``: its worker is gone, or does not run it any more, and
no event gave its end."""


class File:
    """The recording in the file *path*."""

    outlives_its_recorder = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._written: tuple[int, int] | None = None

    @classmethod
    def named(cls, dsn: str) -> Self:
        """Return the recording that *dsn* opens. Raises `MalformedDSN`."""
        path = unquote(dsn.removeprefix(RECORDING_DSN), errors="surrogateescape")
        if not dsn.startswith(RECORDING_DSN) or not path:
            raise MalformedDSN(
                "The DSN names no recording; nothing was opened. It is sqlite:///ops.db, or "
                "sqlite:////absolute/path/ops.db."
            )
        return cls(path)

    @property
    def name(self) -> str:
        """The DSN that opens the recording."""
        return f"{RECORDING_DSN}{quote(os.fsencode(self.path))}"

    @contextlib.contextmanager
    def read(self, *, within: float = file_checks.ANSWER_WITHIN) -> Iterator[sqlite3.Connection]:
        """Yield a connection to read from, for *within* seconds; others may write meanwhile.

        Raises `RecordingError`, also if wrong values in the file cause an exception in the context.
        """
        file_checks.check_files(self.path)
        with file_checks.errors_as_recording_error(self.path):
            connection = sqlite3.connect(
                self._uri(), uri=True, timeout=sqlite_files.WAIT, check_same_thread=False
            )
            with contextlib.closing(connection), file_checks.bounded(connection, within):
                file_checks.distrust(connection)
                if _check_format(connection, self.path):
                    raise RecordingError(
                        f"Nothing is recorded in {self.path} yet; it was not opened."
                    )
                connection.execute("PRAGMA cache_size=-64000")
                connection.execute("BEGIN")  # all queries in the context see the same state
                yield connection

    def _uri(self) -> str:
        wal = self.path.with_name(f"{self.path.name}-wal")
        # SQLite needs to write beside the file, unless no other process uses it (immutable).
        is_still = not os.access(self.path.parent, os.W_OK) and not wal.exists()
        return f"{self.path.as_uri()}?{'immutable=1' if is_still else 'mode=ro'}"

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection of the only writer. Raises `RecordingError`, also if another process
        records into the file."""
        if os.path.exists(self.path):  # noqa: PTH110 - False for a name that no file can have
            file_checks.check_files(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            guarding = f"{self.path}{_LOCK_SUFFIX}"
            for file in (self.path, guarding):
                sqlite_files.make(file)
            guard = sqlite3.connect(
                guarding, timeout=0, isolation_level=None, check_same_thread=False
            )
        except (sqlite3.Error, OSError, ValueError) as error:
            raise self._unusable(error) from error
        with contextlib.closing(guard):
            self._lock(guard)
            with contextlib.closing(self._prepared()) as connection:
                self._written = self._identity()
                yield connection

    @contextlib.contextmanager
    def distrusted(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Raise `RecordingError` for errors that earlier contents of the file cause."""
        with (
            file_checks.errors_as_recording_error(self.path),
            file_checks.bounded(connection, file_checks.ANSWER_WITHIN),
        ):
            yield

    def alone(self) -> AbstractContextManager[object]:
        """Do nothing: readers of a file may read while we write."""
        return contextlib.nullcontext()

    def check(self) -> None:
        """Raise `RecordingError` if the file was moved or deleted since we opened it."""
        identity = self._identity()
        if identity is None or identity != self._written:
            raise RecordingError(
                f"{self.path} was moved or deleted while it was written; nothing more is recorded. "
                "Record again, and end the recorder before you move its file."
            )

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _lock(self, guard: sqlite3.Connection) -> None:
        """Keep other recorders out until *guard* is closed or this process ends."""
        try:
            guard.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise RecordingError(
                f"Another recorder writes into {self.path}; nothing was changed. Name another "
                "file, or end that one."
            ) from None

    def _prepared(self) -> sqlite3.Connection:
        connection = None
        try:
            connection = sqlite3.connect(
                self.path, timeout=sqlite_files.WAIT, check_same_thread=False
            )
            file_checks.distrust(connection)
            if _check_format(connection, self.path):
                self.path.chmod(0o600)  # an empty file may have been there, readable by all
            sqlite_files.use_wal(connection)
            connection.execute(f"PRAGMA journal_size_limit={_MAX_WAL_BYTES}")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA cache_size=-32000")
            with sqlite_files.alone(connection):
                sqlite_files.create(connection, SCHEMA, version=FORMAT, application=_APPLICATION_ID)
        except (sqlite3.Error, OSError) as error:  # RecordingError is one
            if connection is not None:
                connection.close()
            raise error if isinstance(error, RecordingError) else self._unusable(error) from error
        return connection

    def _unusable(self, error: Exception) -> RecordingError:
        return RecordingError(
            f"Nothing can be recorded into {self.path} ({error}); nothing was changed. Name a file "
            "in a folder that can be written."
        )


class Memory:
    """A recording in memory, which lives as long as this object. Thread-safe."""

    name = "the events that this process received"
    outlives_its_recorder = False

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection, to one thread at a time."""
        with self._lock:
            if self._connection is None:
                raise RecordingError("Nothing is recorded yet; nothing was changed.")
            yield self._connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; the recording is gone after the context."""
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        close = weakref.finalize(self, connection.close)  # also of a cluster that nobody closed
        close.atexit = False  # another thread may be reading
        try:
            connection.executescript(SCHEMA)
            self._connection = connection
            yield connection
        finally:
            with self._lock:  # SQLite crashes if a connection is closed during a read
                self._connection = None
                close()

    def distrusted(self, _connection: sqlite3.Connection) -> AbstractContextManager[object]:
        """Do nothing: nobody else has written into it."""
        return contextlib.nullcontext()

    def alone(self) -> AbstractContextManager[object]:
        """Keep readers out within the context."""
        return self._lock

    def check(self) -> None:
        """Do nothing: memory cannot be moved or deleted."""


Recording = File | Memory


def _check_format(connection: sqlite3.Connection, path: Path) -> bool:
    """Raise `RecordingError` for a database that is not a recording.

    Returns whether the database is empty, so that it can become a recording.
    """
    is_empty = sqlite_files.is_empty(connection)  # asked first: another process may just create it
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if not is_empty and application != _APPLICATION_ID:
        raise RecordingError(f"{path} is a database, but not a recording; nothing was changed.")
    version = sqlite_files.version(connection)
    if not is_empty and version < 1:
        raise RecordingError(
            f"The recording {path} has format {version}, which does not exist; nothing was changed."
        )
    if version > FORMAT:
        raise RecordingError(
            f"The recording {path} has format {version}, which is newer than this tasktools; "
            "nothing was changed. Update tasktools."
        )
    file_checks.check_schema(connection, path, _expected_schema())
    return is_empty


@functools.cache
def _expected_schema() -> dict[tuple[str, str], str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return file_checks.schema_of(connection)


def number(at: float) -> int:
    """Return a time or a span in whole milliseconds, the unit of the file."""
    return round(at * 1000)
