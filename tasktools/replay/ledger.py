"""The ledger: who did what to which message, when, why, and how it ended.

One SQLite file in the user's state directory (`TASKTOOLS_LEDGER` names another), readable by the
user alone. It has the plan of each run, and for each message of a plan, by its place in it, a row
that is written before the message is sent and again before the original is acknowledged, with every
commit on disk: so after any crash the next run knows the state.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import sqlite3
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from tasktools.core.clock import moment
from tasktools.core.errors import InvalidPlan, LedgerError, RecordingError
from tasktools.core.escaping import cut
from tasktools.core.frames import schemas
from tasktools.core.frames.table import Table
from tasktools.core.lazy_imports import pd
from tasktools.core.plans import Plan
from tasktools.history import file_checks, sqlite_files
from tasktools.replay import ledger_file

State = Literal[
    "planned",
    "intent",
    "confirmed",
    "settled",
    "returned",
    "refused",
    "gone",
    "skipped",
    "in doubt",
]
"""``planned``: nothing happened yet; ``intent``: about to be sent, or sent and not answered;
``confirmed``: the copy is queued, the original perhaps still there; ``settled``: it is gone."""
Change = tuple[State, int, str | None, int]
"""State, sends and why of a message, and its place in the plan."""
Ended = Literal["finished", "cancelled", "stopped", "failed"]
DONE: Final = {"replay": "replayed", "discard": "discarded", "restore": "restored"}

_MAX_REASON_CHARS: Final = 80


def default_path() -> Path:
    """Return where the ledger is. Raises `LedgerError` when there is no home directory."""
    path_text = os.environ.get("TASKTOOLS_LEDGER")
    if path_text:
        return Path(path_text)
    import platformdirs

    try:
        folder = platformdirs.user_state_path("tasktools")
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():
        raise LedgerError(
            "There is no home directory to keep the ledger in; nothing was done. Set "
            "TASKTOOLS_LEDGER to a file that can be written, or HOME to a folder."
        )
    return folder / "ledger.db"


class Ledger:
    """The ledger in the file *path*. Thread-safe: each method opens the file again."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()

    @property
    def name(self) -> str:
        """A short name of this ledger for message headers."""
        place = f"{socket.gethostname()}:{self.path.absolute()}"
        return hashlib.blake2b(place.encode(), digest_size=4).hexdigest()

    @contextlib.contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Give a connection. Raises `LedgerError` when the file cannot be used."""
        try:
            connection = self._connect()
        except LedgerError:
            raise
        except RecordingError as error:
            raise LedgerError(
                f"{self.path} is no ledger that tasktools made; nothing was done. Set "
                "TASKTOOLS_LEDGER to another file."
            ) from error
        except (sqlite3.Error, OSError, ValueError) as error:
            raise LedgerError(
                f"The ledger {self.path} cannot be used ({error}); nothing was done. Set "
                "TASKTOOLS_LEDGER to a file that can be written."
            ) from error
        try:
            yield connection
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sqlite_files.make(self.path)
        file_checks.check_files(self.path)
        connection = sqlite3.connect(self.path, timeout=sqlite_files.WAIT, check_same_thread=False)
        try:
            file_checks.distrust(connection)
            sqlite_files.use_wal(connection)
            connection.execute("PRAGMA synchronous=FULL")
            if sqlite_files.version(connection) != ledger_file.FORMAT:
                self._create(connection)
            ledger_file.check(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        with sqlite_files.alone(connection):
            if sqlite_files.is_empty(connection):
                sqlite_files.create(connection, ledger_file.SCHEMA, version=ledger_file.FORMAT)
        if sqlite_files.version(connection) != ledger_file.FORMAT:
            raise LedgerError(
                f"The ledger {self.path} is of another version of tasktools; nothing was done. "
                "Move it away, or set TASKTOOLS_LEDGER to another file."
            )

    def runs(self, last: int = 100, *, address: str | None = None) -> pd.DataFrame:
        """Return the *last* runs on the cluster at *address*, or on any, the latest first (schema
        `RUNS`)."""
        return self.runs_table(last, address=address).frame()

    def runs_table(self, last: int = 100, *, address: str | None = None) -> Table:
        """Return `runs` as a table, which takes no pandas."""
        with self.open() as connection:
            run_rows = connection.execute(
                "SELECT run, started_at, ended_at, ended, who, reason, verb, cluster, source, "
                "target, plan_hash, note FROM runs WHERE cluster = ifnull(?, cluster) "
                "ORDER BY run DESC LIMIT ?",
                (address, last),
            ).fetchall()
            rows = [_run_row(row, _outcomes(connection, row[0], row[6])) for row in run_rows]
        return Table.of_rows(schemas.RUNS, rows, ledger=str(self.path))

    def source_of(self, plan_hash: str) -> str | None:
        """Return the source queue of the plan with that hash, if a run has it."""
        if not self.path.exists():
            return None
        with self.open() as connection:
            row = connection.execute(
                "SELECT source FROM runs WHERE plan_hash = ?", (plan_hash,)
            ).fetchone()
        return None if row is None else str(row[0])

    def messages(self, run: int, plan: Plan | None = None) -> pd.DataFrame:
        """Return the messages of a run (schema `OUTCOME`); *plan* is its plan. Raises `LedgerError`
        if there is none."""
        return self.messages_table(run, plan).frame()

    def messages_table(self, run: int, plan: Plan | None = None) -> Table:
        """Return `messages` as a table, which takes no pandas."""
        run = int(run)  # a frame's numbers are numpy's, which SQLite takes for bytes
        with self.open() as connection:
            row = connection.execute(
                "SELECT ended, reason, note FROM runs WHERE run = ?", (run,)
            ).fetchone()
            if row is None:
                raise LedgerError(f"There is no run {run} in {self.path}; nothing was done.")
            ended, reason, note = row
            plan = plan or plan_of(connection, run)
            states = connection.execute(
                "SELECT state, sends, why FROM messages WHERE run = ? ORDER BY n", (run,)
            ).fetchall()
        columns = _outcome_columns(plan, states)
        table = Table(schemas.OUTCOME, columns, run=run, ended=ended, reason=reason)
        table.attrs["ledger"] = str(self.path)
        table.attrs["notes"] = [note] if note else []
        table.attrs["outcomes"] = dict(Counter(table["outcome"]).most_common())
        return table


class TemporaryLedger(Ledger):
    """The ledger of the demo: a file that is deleted with the last object that uses it."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="tasktools-")
        super().__init__(Path(folder) / "ledger.db")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)


def _named(state: str, verb: str) -> str:
    """Return the name of the outcome that *state* means for *verb*, in words for people."""
    match state:
        case "confirmed" | "settled":
            return DONE[verb]
        case "planned":
            return "not sent"
        case "intent":
            return "in doubt"
        case _:
            return state


def title_of(run: int, started_at: float, reason: str) -> str:
    """Return the name of a run in messages to operators."""
    short = cut(reason, _MAX_REASON_CHARS)
    return f"run {run} of {moment(started_at):%Y-%m-%d %H:%M:%S} UTC ({short})"


def plan_of(connection: sqlite3.Connection, run: int) -> Plan:
    """Return the plan of a run. Raises `LedgerError` if it does not match the stored messages."""
    row = connection.execute("SELECT plan FROM plans WHERE run = ?", (run,)).fetchone()
    try:
        plan = Plan.from_json(row[0])
    except (InvalidPlan, TypeError) as error:
        raise ledger_file.damaged(run) from error
    ledger_file.check_messages(connection, run, len(plan.messages))
    return plan


def _outcome_columns(
    plan: Plan, states: Sequence[tuple[str, int, str | None]]
) -> Sequence[Sequence[Any]]:
    names = {state: _named(state, plan.verb) for state in {state for state, _, _ in states}}
    is_sent = plan.verb != "discard"
    return (
        [m.key for m in plan.messages],
        [m.task_id for m in plan.messages],
        [m.task_name for m in plan.messages],
        [m.to for m in plan.messages],
        [names[state] for state, _, _ in states],
        [is_sent and sends > 1 for _, sends, _ in states],
        [why for _, _, why in states],
    )


def _outcomes(connection: sqlite3.Connection, run: int, verb: str) -> tuple[dict[str, int], int]:
    counts: dict[str, int] = {}
    doubled = 0
    rows = connection.execute(
        "SELECT state, count(*), sum(sends > 1) FROM messages WHERE run = ? GROUP BY state", (run,)
    )
    for state, n, twice in rows:
        outcome = _named(state, verb)
        counts[outcome] = counts.get(outcome, 0) + n
        doubled += twice if verb != "discard" else 0
    return counts, doubled


def _run_row(row: Sequence[Any], outcomes: tuple[dict[str, int], int]) -> tuple[Any, ...]:
    run, started, ended_at, ended, who, reason, verb, cluster, source, target, plan, note = row
    counts, doubled = outcomes
    return (
        run,
        moment(started),
        None if ended_at is None else moment(ended_at),
        ended,
        who,
        reason,
        verb,
        cluster,
        source,
        target,
        sum(counts.values()),
        counts.get(DONE[verb], 0),
        doubled,
        counts,
        plan,
        note,
    )


def ledger(run: int | None = None, *, last: int = 100) -> pd.DataFrame:
    """Return the latest runs of the ledger: who did what, when, why, and how it ended.

    Parameters
    ----------
    run
        The number of a run, to get each of its messages instead.
    last
        Number of runs.

    Returns
    -------
    pandas.DataFrame
        Schema `RUNS`, the latest run first; with *run*, schema `OUTCOME`. The ledger is a file of
        yours on this machine, which `TASKTOOLS_LEDGER` names. It does not have runs on a demo:
        `Cluster.ledger` has these. For a spreadsheet export with ``tasktools ledger 3 --csv``, in
        which no cell is a formula.

    Raises
    ------
    LedgerError
        The file cannot be read, or there is no such run.

    Examples
    --------
    >>> import tasktools as tt
    >>> runs = tt.ledger(last=10)
    >>> {"run", "reason", "ended"} <= set(runs)
    True

    """
    file = Ledger()
    return file.runs(last) if run is None else file.messages(run)
