"""The ledger: who did what to which message, when, why, and how it ended.

One SQLite file in the user's state directory (`TASKTOOLS_LEDGER` names another), readable by the
user alone. It has the plan of each run, and for each message of a plan, by its place in it, a row
that is written before the message is sent and again before the original is acknowledged, with
every commit on disk: so whatever dies, the next run knows.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from tasktools.core import frames, schemas
from tasktools.core.clock import moment
from tasktools.core.errors import LedgerError
from tasktools.core.plans import Plan
from tasktools.ops import database

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

_FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE runs (
  run INTEGER PRIMARY KEY, plan_hash TEXT NOT NULL, verb TEXT NOT NULL, cluster TEXT NOT NULL,
  source TEXT NOT NULL, target TEXT, reason TEXT NOT NULL, who TEXT NOT NULL,
  started_at REAL NOT NULL, ended_at REAL, ended TEXT, note TEXT);
CREATE TABLE plans (run INTEGER PRIMARY KEY, plan BLOB NOT NULL);
CREATE TABLE messages (
  run INTEGER NOT NULL, n INTEGER NOT NULL, state TEXT NOT NULL, sends INTEGER NOT NULL, why TEXT,
  at REAL, PRIMARY KEY (run, n)) WITHOUT ROWID;
CREATE INDEX unfinished ON runs (source, ended);
"""


def default_path() -> Path:
    """Return where the ledger is."""
    told = os.environ.get("TASKTOOLS_LEDGER")
    if told:
        return Path(told)
    import platformdirs

    return platformdirs.user_state_path("tasktools") / "ledger.db"


class Ledger:
    """The ledger in the file *path*. Every method opens it anew, or is used in one thread."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()

    @property
    def name(self) -> str:
        """What tells this ledger from others, where messages speak of it."""
        place = f"{socket.gethostname()}:{self.path.absolute()}"
        return hashlib.blake2b(place.encode(), digest_size=4).hexdigest()

    @contextlib.contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Give a connection. Raises `LedgerError` when the file cannot be used."""
        try:
            connection = self._connect()
        except LedgerError:
            raise
        except (sqlite3.Error, OSError) as error:
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
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self.path, timeout=database.WAIT, check_same_thread=False)
        database.use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        if database.version(connection) != _FORMAT:
            self._create(connection)
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        with database.alone(connection):
            if database.is_empty(connection):
                database.create(connection, _SCHEMA, version=_FORMAT)
        if database.version(connection) != _FORMAT:
            connection.close()
            raise LedgerError(
                f"The ledger {self.path} is of another version of tasktools; nothing was done. "
                "Move it away, or set TASKTOOLS_LEDGER to another file."
            )

    def runs(self, last: int = 100) -> pd.DataFrame:
        """Return the *last* runs, the latest first (schema `RUNS`)."""
        with self.open() as connection:
            told = connection.execute(
                "SELECT run, started_at, ended_at, ended, who, reason, verb, cluster, source, "
                "target, plan_hash, note FROM runs ORDER BY run DESC LIMIT ?",
                (last,),
            ).fetchall()
            rows = [_run_row(row, _outcomes(connection, row[0], row[6])) for row in told]
        return frames.frame_from(schemas.RUNS, rows, ledger=str(self.path))

    def messages(self, run: int, plan: Plan | None = None) -> pd.DataFrame:
        """Return the messages of a run (schema `OUTCOME`), of whose *plan* it has a copy. Raises
        `LedgerError` for none."""
        run = int(run)  # a frame's numbers are numpy's, which SQLite takes for bytes
        with self.open() as connection:
            told = connection.execute(
                "SELECT ended, reason, note FROM runs WHERE run = ?", (run,)
            ).fetchone()
            if told is None:
                raise LedgerError(f"There is no run {run} in {self.path}; nothing was done.")
            ended, reason, note = told
            plan = plan or _plan_of(connection, run)
            states = connection.execute(
                "SELECT state, sends, why FROM messages WHERE run = ? ORDER BY n", (run,)
            ).fetchall()
        frame = frames.frame_of_columns(schemas.OUTCOME, _outcome_columns(plan, states))
        frame.attrs.update(run=run, ended=ended, reason=reason, ledger=str(self.path))
        frame.attrs["notes"] = [note] if note else []
        frame.attrs["outcomes"] = frame["outcome"].value_counts().to_dict()
        return frame


class Account:
    """The account of one run, while it is kept. Used by one thread at a time.

    *broke_off*: whether the run goes on with one that did not end in good order.
    """

    def __init__(
        self, connection: sqlite3.Connection, run: int, *, broke_off: bool = False
    ) -> None:
        self.run = run
        self.broke_off = broke_off
        self._connection = connection

    @classmethod
    def begin(
        cls, connection: sqlite3.Connection, plan: Plan, *, reason: str, now: float
    ) -> Account:
        """Begin a run of *plan*."""
        target = ", ".join(sorted(plan.targets)) or None
        with connection:
            run = (
                connection.execute(
                    "INSERT INTO runs (plan_hash, verb, cluster, source, target, reason, who, "
                    "started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        plan.hash,
                        plan.verb,
                        plan.cluster,
                        plan.source,
                        target,
                        reason,
                        who(),
                        now,
                    ),
                ).lastrowid
                or 0
            )
            connection.execute("INSERT INTO plans VALUES (?, ?)", (run, plan.to_json()))
            connection.execute(
                "INSERT INTO messages (run, n, state, sends) WITH RECURSIVE places(n) AS (SELECT 0 "
                "WHERE ? UNION ALL SELECT n + 1 FROM places WHERE n < ? - 1) "
                "SELECT ?, n, 'planned', 0 FROM places",
                (len(plan.messages), len(plan.messages), run),
            )
            account = cls(connection, run)
            skipped = ((m.skipped, n) for n, m in enumerate(plan.messages) if m.skipped)
            account._note((("skipped", 0, why, n) for why, n in skipped), now)
        return account

    @classmethod
    def unfinished(cls, connection: sqlite3.Connection, plan: Plan) -> list[tuple[Account, Plan]]:
        """Return the runs that did not come to their end: those of *plan*, and of others on the
        same queue those that had begun to send what nobody has settled since."""
        rows = connection.execute(
            "SELECT run, ended FROM runs WHERE cluster = ? AND source = ? AND (ended IS NULL "
            "OR ended != 'finished') AND (plan_hash = ? OR EXISTS (SELECT 1 FROM messages WHERE "
            "messages.run = runs.run AND state IN ('intent', 'confirmed'))) ORDER BY run",
            (plan.cluster, plan.source, plan.hash),
        ).fetchall()
        return [
            (
                cls(connection, run, broke_off=ended in (None, "failed")),
                _plan_of(connection, run),
            )
            for run, ended in rows
        ]

    @classmethod
    def finished(cls, connection: sqlite3.Connection, plan: Plan) -> int | None:
        """Return the run that did all of *plan*, if there is one."""
        found: tuple[int] | None = connection.execute(
            "SELECT run FROM runs WHERE plan_hash = ? AND ended = 'finished'", (plan.hash,)
        ).fetchone()
        return found and found[0]

    def begun(self) -> list[tuple[int, State, int]]:
        """Return number, state and sends of each message that is not just planned."""
        return self._connection.execute(
            "SELECT n, state, sends FROM messages WHERE run = ? AND state != 'planned'",
            (self.run,),
        ).fetchall()

    def note(self, changes: Iterable[Change], now: float) -> None:
        """Write state, sends and why of messages, given with their numbers, to disk."""
        with self._connection:
            self._note(changes, now)

    def _note(self, changes: Iterable[Change], now: float) -> None:
        self._connection.executemany(
            "UPDATE messages SET state = ?, sends = ?, why = ?, at = ? WHERE run = ? AND n "
            "BETWEEN ? AND ?",
            ((*told, now, self.run, first, last) for told, first, last in _ranges(changes)),
        )

    def resume(self) -> None:
        """Go on with a run that had ended."""
        with self._connection:
            self._connection.execute(
                "UPDATE runs SET ended = NULL, ended_at = NULL, note = NULL WHERE run = ?",
                (self.run,),
            )

    def end(self, ended: Ended, note: str | None, now: float) -> None:
        """Write how the run ended."""
        with self._connection:
            self._connection.execute(
                "UPDATE runs SET ended = ?, note = ?, ended_at = ? WHERE run = ?",
                (ended, note, now, self.run),
            )


def _ranges(
    changes: Iterable[Change],
) -> Iterator[tuple[tuple[State, int, str | None], int, int]]:
    """Join changes that are the same for messages that follow each other."""
    at: tuple[tuple[State, int, str | None], int, int] | None = None
    for state, sends, why, n in changes:
        told = (state, sends, why)
        if at is not None and at[0] == told and at[2] + 1 == n:
            at = (told, at[1], n)
            continue
        if at is not None:
            yield at
        at = (told, n, n)
    if at is not None:
        yield at


def who() -> str:
    """Return who acts here: user, host and process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without an entry for its user
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


def _named(state: str, verb: str) -> str:
    """Return the outcome that a state is, for people."""
    match state:
        case "confirmed" | "settled":
            return DONE[verb]
        case "planned":
            return "not sent"
        case "intent":
            return "in doubt"
        case _:
            return state


def _plan_of(connection: sqlite3.Connection, run: int) -> Plan:
    (told,) = connection.execute("SELECT plan FROM plans WHERE run = ?", (run,)).fetchone()
    return Plan.from_json(told)


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
    """Return the *last* runs of the ledger, the latest first (schema `RUNS`): who did what, when,
    why, and how it ended. With the number of a *run*, what became of each of its messages
    (schema `OUTCOME`).

    The ledger is a file of yours on this machine, which `TASKTOOLS_LEDGER` names. It is a frame,
    so ``tt.ledger(3).to_csv("run3.csv")`` exports it. Raises `LedgerError`.
    """
    found = Ledger()
    return found.runs(last) if run is None else found.messages(run)
