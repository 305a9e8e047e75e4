"""Checks and limits for the file of a recording, which may come from a stranger.

It must have the tables that a recorder makes and nothing else: a view or a generated column can
run any computation of any length. The values in the tables are not trusted either: each query has
a time limit, and a value of a wrong type raises `RecordingError`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from tasktools.core.errors import RecordingError, TaskToolsError
from tasktools.core.escaping import cut

ANSWER_WITHIN: Final = 60.0  # seconds
OPEN_WITHIN: Final = 10.0  # seconds

MAX_TIME: Final = 253_402_300_799_999  # ms; the end of the year 9999
_MAX_CELL_BYTES: Final = 512 * 1024**2  # bytes; a message on RabbitMQ has 128 MiB by default
_MAX_SCHEMA_ROWS: Final = 1_000
_INSTRUCTIONS_PER_CHECK: Final = 20_000  # instructions of SQLite, some milliseconds
_SIDECARS: Final = ("-wal", "-shm", "-journal")
_WRONG_VALUES: Final = (
    *(TypeError, ValueError, ArithmeticError, LookupError, AttributeError),
    *(MemoryError, RecursionError, msgspec.MsgspecError),
)
_NOTHING_CHANGED: Final = "nothing was changed"


Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
"""Milliseconds since the epoch, as a type of `msgspec.convert`; likewise those that follow."""
Span = Annotated[int, msgspec.Meta(ge=-MAX_TIME, le=MAX_TIME)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Real = Annotated[float, msgspec.Meta(ge=-(2.0**50), le=2.0**50)]
Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]


def check_files(path: Path) -> None:
    """Raise `RecordingError` unless *path* and SQLite's files beside it are regular files.

    Opening a pipe or a device may block for ever.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise RecordingError(
            f"There is no recording {path} ({_reason(error)}); {_NOTHING_CHANGED}."
        ) from error
    if not stat.S_ISREG(mode):
        raise RecordingError(f"There is no recording {path}: it is not a file; {_NOTHING_CHANGED}.")
    for suffix in _SIDECARS:
        sidecar = path.with_name(path.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(sidecar.lstat().st_mode):
                raise RecordingError(
                    f"The recording {path} was not opened: {sidecar.name} beside it is not a file; "
                    f"{_NOTHING_CHANGED}."
                )


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def distrust(connection: sqlite3.Connection) -> None:
    """Keep SQLite from running code that is in the file, and limit the size of a cell."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_CELL_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")


def check_schema(
    connection: sqlite3.Connection, path: Path, expected: Mapping[tuple[str, str], str]
) -> None:
    """Raise `RecordingError` if the file has anything in its schema that is not *expected*."""
    rows = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT ?",
        (_MAX_SCHEMA_ROWS,),
    )
    for kind, name, sql in rows:
        if str(name).startswith("sqlite_stat") and kind == "table":  # of ANALYZE
            continue
        if expected.get((kind, name)) != _normal(sql):
            raise RecordingError(
                f"{path} is not a recording of tasktools: its {kind} {cut(str(name), 60)!r} is "
                f"not one of a recorder; {_NOTHING_CHANGED}."
            )


def schema_of(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Return the statements of the database's schema, by type and name."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(kind, name): _normal(sql) for kind, name, sql in rows}


def _normal(sql: object) -> str:
    return " ".join(str(sql).split())


@contextlib.contextmanager
def bounded(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Interrupt queries that still run *seconds* from now, and raise `RecordingError`."""
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, _INSTRUCTIONS_PER_CHECK)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        if (
            time.monotonic() <= end
        ):  # raised in the handler, from which SQLite passes no exception on
            raise KeyboardInterrupt from error
        raise RecordingError(
            f"The recording did not answer within {seconds:g} s; {_NOTHING_CHANGED}. Ask for a "
            "shorter time (since=, until=), and check that tasktools made the file."
        ) from error
    finally:
        connection.set_progress_handler(None, 0)


@contextlib.contextmanager
def errors_as_recording_error(path: Path) -> Iterator[None]:
    """Turn errors of SQLite, and those that wrong values cause, into `RecordingError`."""
    try:
        yield
    except TaskToolsError:
        raise
    except sqlite3.Error as error:
        raise RecordingError(
            f"The recording {path} cannot be read ({error}); {_NOTHING_CHANGED}."
        ) from error
    except _WRONG_VALUES as error:
        raise RecordingError(
            f"The recording {path} cannot be read: it is damaged, or tasktools did not make it "
            f"(a value that no recorder writes: {type(error).__name__}); {_NOTHING_CHANGED}."
        ) from error


def time_of(value: object) -> float:
    """Return a time in ms as seconds. Raises `ValueError` if it is not a time."""
    if type(value) is not int or not 0 <= value <= MAX_TIME:
        raise ValueError("no time")
    return value / 1000
