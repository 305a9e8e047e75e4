"""The account of one run in the ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from tasktools.brokers.base import Broker
from tasktools.core.plans import Plan
from tasktools.history.identity import who
from tasktools.replay.ledger import Change, Ended, State, plan_of, title_of


class Account:
    """The account of one run, written while it runs. Used by one thread at a time.

    *broke_off*: whether an earlier process began the run and did not end it in good order.
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
            row = (plan.hash, plan.verb, plan.cluster, plan.source, target, reason, who(), now)
            cursor = connection.execute(
                "INSERT INTO runs (plan_hash, verb, cluster, source, target, reason, who, "
                "started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            run = cursor.lastrowid or 0
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
        """Return the unfinished runs, on any broker, that a run of *plan* must know of.

        These are the runs of *plan* itself, and runs of other plans on a queue of the same name
        that left a message begun or confirmed, but not settled.
        """
        rows = connection.execute(
            "SELECT run, ended FROM runs WHERE source = ? AND (ended IS NULL OR ended != "
            "'finished') AND (plan_hash = ? OR EXISTS (SELECT 1 FROM messages WHERE "
            "messages.run = runs.run AND state IN ('intent', 'confirmed'))) ORDER BY run",
            (plan.source, plan.hash),
        ).fetchall()
        return [
            (
                cls(connection, run, broke_off=ended in (None, "failed")),
                plan_of(connection, run),
            )
            for run, ended in rows
        ]

    @classmethod
    def finished(cls, connection: sqlite3.Connection, plan: Plan, broker: Broker) -> str | None:
        """Return the title of the run that did all of *plan* on *broker*, by whatever address."""
        rows = connection.execute(
            "SELECT run, started_at, reason FROM runs WHERE verb = ? AND source = ? AND "
            "ended = 'finished' ORDER BY run DESC",
            (plan.verb, plan.source),
        ).fetchall()
        for run, started_at, reason in rows:
            done = plan_of(connection, run)
            if done.is_same_as(plan) and done.is_for(broker.address, broker.identity):
                return title_of(run, started_at, reason)
        return None

    @property
    def title(self) -> str:
        """The name of the run in messages to operators."""
        started_at, reason = self._connection.execute(
            "SELECT started_at, reason FROM runs WHERE run = ?", (self.run,)
        ).fetchone()
        return title_of(self.run, started_at, reason)

    def begun(self) -> list[tuple[int, State, int]]:
        """Return number, state and sends of each message that is no longer ``planned``."""
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
            # That an original is gone is noted late, after an interruption by a later process:
            # when its copy was confirmed is what tells whether another plan meant it as well.
            "UPDATE messages SET at = CASE WHEN ?1 = 'settled' AND state IN ('confirmed', "
            "'settled') THEN at ELSE ?4 END, state = ?1, sends = ?2, why = ?3 WHERE run = ?5 "
            "AND n BETWEEN ?6 AND ?7",
            ((*change, now, self.run, first, last) for change, first, last in _ranges(changes)),
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
    """Join equal changes of consecutive messages."""
    at: tuple[tuple[State, int, str | None], int, int] | None = None
    for state, sends, why, n in changes:
        change = (state, sends, why)
        if at is not None and at[0] == change and at[2] + 1 == n:
            at = (change, at[1], n)
            continue
        if at is not None:
            yield at
        at = (change, n, n)
    if at is not None:
        yield at
