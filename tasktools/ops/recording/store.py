"""The file of a recording: one SQLite database, written by one process and read by many.

Times are whole milliseconds since the epoch, by the recorder's clock; names are numbers into
``names``. A row of ``ticks``, ``topic_samples`` and ``worker_samples`` stands for ``span`` ms: 0
for a moment that was sampled, more for what older samples were thinned out to.

What is committed survives a ``kill -9``. After a loss of power the last seconds may be missing,
never more: the file is synced at every checkpoint, not at every commit.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol, Self
from urllib.parse import quote, unquote

from tasktools.core.errors import MalformedDSN, RecordingError
from tasktools.ops import database

FORMAT: Final = 1
_APPLICATION: Final = 0x7461736B  # "task"
_LARGEST_WAL: Final = 16 * 1024**2  # bytes that it keeps after it was larger
_DSN: Final = "sqlite:///"
_LOCK_SUFFIX: Final = "-recorder"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS sessions (
  session INTEGER PRIMARY KEY, started INTEGER NOT NULL, last INTEGER NOT NULL, ended INTEGER,
  every REAL NOT NULL, cluster TEXT NOT NULL, layout TEXT NOT NULL, server TEXT, demo INTEGER NOT
  NULL, who TEXT NOT NULL, messages INTEGER NOT NULL, bodies INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS gaps (
  since INTEGER NOT NULL, until INTEGER NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS gaps_by_end ON gaps (until);
CREATE TABLE IF NOT EXISTS ticks (
  at INTEGER PRIMARY KEY, span INTEGER NOT NULL, n INTEGER NOT NULL, turn INTEGER NOT NULL,
  heard INTEGER NOT NULL, workers REAL, running REAL, capacity REAL,
  events_ok INTEGER NOT NULL, events_age REAL, events_note TEXT,
  topics_ok INTEGER NOT NULL, topics_note TEXT);
CREATE TABLE IF NOT EXISTS topic_samples (
  topic INTEGER NOT NULL, at INTEGER NOT NULL, span INTEGER NOT NULL, n INTEGER NOT NULL,
  queued REAL, queued_max INTEGER, unacked REAL, running REAL, dead_letter INTEGER,
  consumers INTEGER, subscribers INTEGER, capacity REAL, publish_rate REAL, ack_rate REAL,
  concurrency_limit INTEGER, succeeded INTEGER, failed INTEGER, requeued INTEGER,
  dead_lettered INTEGER, queue_type INTEGER, dead_lettering INTEGER, is_there INTEGER,
  began INTEGER NOT NULL, done INTEGER NOT NULL, errors INTEGER NOT NULL,
  published INTEGER, PRIMARY KEY (topic, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS worker_facts (
  fact INTEGER PRIMARY KEY, worker INTEGER NOT NULL, facts TEXT NOT NULL, UNIQUE (worker, facts));
CREATE TABLE IF NOT EXISTS worker_samples (
  at INTEGER NOT NULL, worker INTEGER NOT NULL, span INTEGER NOT NULL, n INTEGER NOT NULL,
  fact INTEGER NOT NULL, state INTEGER NOT NULL, uncertain INTEGER NOT NULL, running REAL,
  capacity INTEGER, last_seen INTEGER, silence INTEGER, clock_offset INTEGER, succeeded INTEGER,
  failed INTEGER, PRIMARY KEY (at, worker)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tries (
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, task TEXT NOT NULL, topic INTEGER, worker INTEGER,
  name INTEGER, started INTEGER, ended INTEGER, outcome INTEGER, duration REAL,
  error_type TEXT, error TEXT);
CREATE INDEX IF NOT EXISTS tries_by_time ON tries (at);
CREATE INDEX IF NOT EXISTS tries_by_end ON tries (ended);
CREATE INDEX IF NOT EXISTS long_tries ON tries (ended, at)
  WHERE ended IS NULL OR ended - at > 60000;
CREATE INDEX IF NOT EXISTS failed_tries ON tries (ended) WHERE outcome = 1;
CREATE TABLE IF NOT EXISTS locks (
  n INTEGER PRIMARY KEY, lock INTEGER NOT NULL, task TEXT, worker INTEGER, acquired INTEGER NOT
  NULL, released INTEGER);
CREATE INDEX IF NOT EXISTS locks_by_end ON locks (released, acquired);
CREATE TABLE IF NOT EXISTS events (
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, sender TEXT NOT NULL,
  topic INTEGER, worker INTEGER, task TEXT, detail TEXT);
CREATE INDEX IF NOT EXISTS events_by_time ON events (at);
CREATE TABLE IF NOT EXISTS settings (
  at INTEGER NOT NULL, kept TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
  n INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, topic INTEGER NOT NULL, task TEXT,
  name INTEGER, published INTEGER, attempts INTEGER, size INTEGER NOT NULL, properties BLOB,
  body BLOB);
CREATE INDEX IF NOT EXISTS messages_by_task ON messages (task);
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (at);
CREATE TABLE IF NOT EXISTS thinned (name TEXT NOT NULL, span INTEGER NOT NULL,
  until INTEGER NOT NULL, PRIMARY KEY (name, span));
"""

STATES: Final = ("alive", "late", "gone", "stopped")
OUTCOMES: Final = ("succeeded", "failed", "lost")
"""How a try ended, by its number. ``lost``: its worker is gone, or does not run it any more, and
nobody said how it ended."""


def is_recording(dsn: str) -> bool:
    """Whether *dsn* is one of a recording."""
    return dsn.startswith(_DSN)


class Recorded(Protocol):
    """A recording that can be read."""

    @property
    def name(self) -> str:
        """What it is called, for people and in plans."""

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give a connection that is only read, and only within the context."""


class File:
    """The recording in the file *path*."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._written: tuple[int, int] | None = None

    @classmethod
    def named(cls, dsn: str) -> Self:
        """Return the recording that *dsn* opens. Raises `MalformedDSN`."""
        path = unquote(dsn.removeprefix(_DSN))
        if not is_recording(dsn) or not path:
            raise MalformedDSN(
                "The DSN names no recording; nothing was opened. It is sqlite:///ops.db, or "
                "sqlite:////absolute/path/ops.db."
            )
        return cls(path)

    @property
    def name(self) -> str:
        """The DSN that opens it."""
        return f"{_DSN}{quote(str(self.path))}"

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection; others may write meanwhile. Raises `RecordingError`."""
        if not self.path.is_file():
            raise RecordingError(f"There is no recording {self.path}; nothing was opened.")
        connection = None
        try:
            connection = sqlite3.connect(
                self._uri(), uri=True, timeout=database.WAIT, check_same_thread=False
            )
            if _check_format(connection, self.path):
                raise RecordingError(f"Nothing is recorded in {self.path} yet; it was not opened.")
            connection.execute("PRAGMA mmap_size=1073741824")
            connection.execute("BEGIN")  # one picture for all that is asked within the context
            yield connection
        except sqlite3.Error as error:
            raise RecordingError(
                f"The recording {self.path} cannot be read ({error}); nothing was changed."
            ) from error
        finally:
            if connection is not None:
                connection.close()

    def _uri(self) -> str:
        wal = self.path.with_name(f"{self.path.name}-wal")
        # SQLite wants to write beside the file, unless it is told that nobody else does.
        is_still = not os.access(self.path.parent, os.W_OK) and not wal.exists()
        return f"{self.path.as_uri()}?{'immutable=1' if is_still else 'mode=ro'}"

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the connection of the only writer. Raises `RecordingError`, also when somebody
        records into it already."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            guarding = f"{self.path}{_LOCK_SUFFIX}"
            for file in (self.path, guarding):
                os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
            guard = sqlite3.connect(guarding, timeout=0, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        with contextlib.closing(guard):
            self._lock(guard)
            with contextlib.closing(self._prepared()) as connection:
                self._written = self._identity()
                yield connection

    def alone(self) -> AbstractContextManager[object]:
        """Readers of a file need not be kept out."""
        return contextlib.nullcontext()

    def check(self) -> None:
        """Raise `RecordingError` when the file that is written has another name now, or none."""
        found = self._identity()
        if found is None or found != self._written:
            raise RecordingError(
                f"{self.path} was moved or deleted while it was written; nothing more is recorded. "
                "Record again, and end the recorder before you move its file."
            )

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _lock(self, guard: sqlite3.Connection) -> None:
        """Keep other recorders out, until we close it or die."""
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
            connection = sqlite3.connect(self.path, timeout=database.WAIT, check_same_thread=False)
            if _check_format(connection, self.path):
                self.path.chmod(0o600)  # it may have been there, empty and for all to read
            database.use_wal(connection)
            connection.execute(f"PRAGMA journal_size_limit={_LARGEST_WAL}")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA cache_size=-32000")
            with database.alone(connection):
                database.create(connection, _SCHEMA, version=FORMAT, application=_APPLICATION)
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
    """A recording that is kept in memory, as long as this object. Thread-safe."""

    name = "what this process has heard"

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; nobody else has it meanwhile."""
        with self._lock:
            if self._connection is None:
                raise RecordingError("Nothing was heard yet; nothing was changed.")
            yield self._connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the connection, for as long as something is recorded."""
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        with contextlib.closing(connection):
            connection.executescript(_SCHEMA)
            self._connection = connection
            yield connection
            self._connection = None

    def alone(self) -> AbstractContextManager[object]:
        """Keep readers out meanwhile."""
        return self._lock

    def check(self) -> None:
        """Memory stays where it is."""


Recording = File | Memory


def _check_format(connection: sqlite3.Connection, path: Path) -> bool:
    """Raise `RecordingError` for a database that is no recording; says whether it is empty, and
    may become one."""
    is_empty = database.is_empty(connection)  # first: it may be made at this moment
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if not is_empty and application != _APPLICATION:
        raise RecordingError(f"{path} is a database, but no recording; nothing was changed.")
    version = database.version(connection)
    if version > FORMAT:
        raise RecordingError(
            f"The recording {path} has format {version}, which is newer than this tasktools; "
            "nothing was changed. Update tasktools."
        )
    return is_empty


def number(at: float) -> int:
    """Return seconds since the epoch as the file has them."""
    return round(at * 1000)
