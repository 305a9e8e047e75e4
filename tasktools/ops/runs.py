"""Running a plan: passes through its queue until every message has come to an end."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.brokers.moving import Mover, Sending
from tasktools.core.clock import Clock
from tasktools.core.errors import (
    BrokerTimeout,
    ConnectionLost,
    InvalidPlan,
    LedgerError,
    LookRefused,
    QueueInUse,
    TaskToolsError,
    Unreachable,
)
from tasktools.core.passing import Opened
from tasktools.core.plans import Plan
from tasktools.ops import elsewhere
from tasktools.ops.archive import ArchiveWriter, Head
from tasktools.ops.canary import Canary, Ramp
from tasktools.ops.ledger import Account, Ended, Ledger
from tasktools.ops.work import Act, Discard, Replay, Restore, Row, Work

_PATIENCE: Final = 120.0
"""Seconds without progress after which a broker that does not come back ends the run. Longer than
RabbitMQ needs to notice that a connection of ours was cut, and to let go of what it held."""
_PAUSES: Final = (0.2, 5.0)
_AGAIN: Final = 1.0  # seconds until what was held by somebody who died is surely back in its queue
_MOST_PASSES: Final = 20  # a queue that others fill faster than we pass through it ends nowhere
_FIRST_TRIES: Final = 3.0  # seconds for which a queue may be held by a process that just died

_TROUBLE = (ConnectionLost, Unreachable, BrokerTimeout, QueueInUse)


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of *plan*, for *reason*. `cancelled` may be set by any thread.

    *watch* makes what follows the tasks that were sent, for a *ramp*. *done* is called with how
    many messages have come to an end since its last call.
    """

    broker: Broker
    ledger: Ledger
    plan: Plan
    reason: str
    clock: Clock
    ramp: Ramp | None = None
    watch: Callable[[], Canary] | None = None
    done: Callable[[int], object] = lambda _n: None
    force: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)
    _notes: list[str] = field(default_factory=list, init=False)

    def execute(self) -> int:
        """Run it; returns the number of the run in the ledger.

        Goes on with an earlier run of the same plan that did not end. Raises before anything is
        done for a plan that cannot be run, and later only when the broker or the ledger is gone
        for good: then the ledger tells how far it got, and running the plan again ends the rest.
        """
        self.plan.check()
        self._check_reason()
        with self._mover() as mover, self.ledger.open() as connection, self._ledger_errors():
            self._check_not_restored(connection)
            account = self._resumed(connection, mover)
            if account is None:
                account = Account.begin(
                    connection, self.plan, reason=self.reason, now=self.clock.time()
                )
            self._run(account, mover)
            return account.run

    def _check_reason(self) -> None:
        if not self.reason.strip():
            raise InvalidPlan("Say why: reason= is what the ledger is for; nothing was done.")

    def _check_not_restored(self, connection: sqlite3.Connection) -> None:
        """An archive still has its messages once they were restored: nobody wants them twice."""
        run = Account.finished(connection, self.plan) if self.plan.verb == "restore" else None
        if run is not None and not self.force:
            raise InvalidPlan(
                f"Run {run} of the ledger restored this archive already; nothing was done. With "
                "force=True its messages are put back once more."
            )

    @contextlib.contextmanager
    def _ledger_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"The ledger {self.ledger.path} could not be written ({error}), so the run ended: "
                "nothing was acknowledged that is not in it. Mend that and run the same plan again."
            ) from error

    @contextlib.contextmanager
    def _mover(self) -> Iterator[Mover]:
        until = time.monotonic() + _FIRST_TRIES
        while True:
            try:
                mover = self.broker.mover(self._queue, force=self.force)
                break
            except QueueInUse:  # perhaps of a process that was killed just now
                if time.monotonic() > until:
                    raise
            time.sleep(_PAUSES[0])
        with mover:
            yield mover

    @property
    def _queue(self) -> str:
        """The queue that is ours meanwhile."""
        if elsewhere.is_elsewhere(self.plan):
            return elsewhere.queue_of(self.plan, self.broker)
        return self.plan.source

    # --- earlier runs ---------------------------------------------------------------

    def _resumed(self, connection: sqlite3.Connection, mover: Mover) -> Account | None:
        """Settle what earlier runs on this queue left, and return that of this very plan."""
        same = None
        for account, plan in Account.unfinished(connection, self.plan):
            if plan.hash == self.plan.hash:
                account.resume()
                same = account
            elif not elsewhere.is_elsewhere(plan):
                self._settle(account, plan, mover)
        return same

    def _settle(self, account: Account, plan: Plan, mover: Mover) -> None:
        """End what a run had begun: acknowledge what was confirmed, send again what may not have
        arrived, and leave the rest."""
        with self._work(account, plan, mover) as work:
            begun = [row for row in work.rows if row.state == "intent"]
            self._pass_until_through(mover, work, begun)
        note = f"its process ended; what it had begun was settled before run of plan {plan.hash}"
        account.end("failed", note, self.clock.time())

    # --- this one -------------------------------------------------------------------

    @contextlib.contextmanager
    def _work(self, account: Account, plan: Plan, mover: Mover) -> Iterator[Work]:
        with contextlib.ExitStack() as stack:
            act: Act
            if plan.verb == "discard":
                writer = None
                if plan.archive is not None:
                    head = Head(queue=plan.source, plan=plan.hash)
                    writer = stack.enter_context(ArchiveWriter(plan.archive, head))
                act = Discard(writer)
            elif plan.verb == "restore":
                act = Restore(mover.user)
            else:
                act = Replay(f"{self.ledger.name}/{account.run}", mover.user)
            yield Work(
                plan, account, act, clock=self.clock, cancelled=self.cancelled, done=self.done
            )

    def _run(self, account: Account, mover: Mover) -> None:
        ended: Ended = "failed"
        why: str | None = None
        try:
            with self._work(account, self.plan, mover) as work:
                if self.ramp is None:
                    self._send(mover, work, work.rows)
                else:
                    why = self._climb(mover, work, self.ramp)
                work.write()
                ended = "finished" if why is None else "stopped"
                if self.cancelled.is_set():
                    ended = "cancelled"
        except TaskToolsError as error:
            why = str(error)
            raise
        finally:
            told = [*self._notes, why] if why else self._notes
            account.end(ended, "; ".join(told) or None, self.clock.time())

    def _send(self, mover: Mover, work: Work, rows: Sequence[Row]) -> None:
        """Bring all *rows* to their end."""
        if elsewhere.is_elsewhere(self.plan):
            self._put(mover, work, rows)
        else:
            self._pass_until_through(mover, work, rows)

    def _pass_until_through(self, mover: Mover, work: Work, rows: Sequence[Row]) -> None:
        """Pass through the queue until all *rows* have come to an end.

        What is not found is looked for again before it is gone, until a pass sees no more than the
        one before: a connection that was cut, or a process that was killed, may have held it, and
        it comes back bit by bit.
        """
        largest = max((row.planned.size for row in rows), default=0)
        patience, seen, passes = _Patience(work), -1, 0
        work.open(rows)
        while not work.is_done and not work.is_cancelled:
            try:
                moved = mover.work(work, largest=largest)
            except _TROUBLE:
                seen = -1
                work.doubt()
                if not patience.wait():
                    raise
            except (
                LookRefused
            ):  # a broker that was started again does not tell its policies at once
                if not patience.is_tried or not patience.wait():
                    raise
            else:
                patience.renew()
                if moved.note is not None:
                    self._notes.append(moved.note)
                if moved.ending == "end of queue" and not work.is_cancelled:
                    passes += 1
                    if 0 <= seen >= moved.seen or passes == _MOST_PASSES:
                        work.conclude()
                        return
                    seen = moved.seen
                    time.sleep(_AGAIN)
            finally:
                work.write()
            work.open(rows)

    def _climb(self, mover: Mover, work: Work, ramp: Ramp) -> str | None:
        """Send more and more, as long as those before do well; returns why it stopped."""
        if self.watch is None:
            raise InvalidPlan("Only replays can be ramped; nothing was done.")
        canary = self.watch()
        left = [row for row in work.rows if row.state in ("planned", "intent")]
        sent = 0
        while left and not self.cancelled.is_set():
            upto = ramp.next_step(sent)
            stage, left = left[: upto - sent], left[upto - sent :]
            canary.expect(row.planned for row in stage)
            self._send(mover, work, stage)
            sent += len(stage)
            arrived = [row.planned for row in stage if row.state in ("confirmed", "settled")]
            if left:
                why = canary.verdict(arrived, ramp, self.cancelled)
                if why is not None:
                    return why
        return None

    def _put(self, mover: Mover, work: Work, rows: Sequence[Row]) -> None:
        """Publish *rows*, which lie elsewhere; once more, after an interruption, what is in
        doubt."""
        patience = _Patience(work)
        while True:
            left = {row.planned.key: row for row in rows if row.state in ("planned", "intent")}
            work.open(())
            try:
                mover.put(work, self._sendings(left, work))
                break
            except _TROUBLE:
                if not patience.wait():
                    raise
            finally:
                work.write()
        if not work.is_cancelled:
            for row in left.values():
                work.give_up(row, "gone", f"it is not in {self.plan.source} any more")

    def _sendings(self, left: dict[str, Row], work: Work) -> Iterator[Sending]:
        """Yield what there is of *left*, and take it out there."""
        for key, message in elsewhere.messages(self.plan, dict(left), self.broker):
            sending = work.prepared(left.pop(key), message, Opened(message.properties))
            if sending is not None:
                yield sending


class _Patience:
    """How long a broker is waited for, that went away in the midst of *work*."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.renew()

    def renew(self) -> None:
        """Begin anew: it is there."""
        self._moves = self._work.moves
        self._until: float | None = None
        self._pause = _PAUSES[0]

    @property
    def is_tried(self) -> bool:
        """Whether it was away, and has done nothing for us since."""
        return self._until is not None

    def wait(self) -> bool:
        """Wait a little, each time longer; false when it has been gone for too long."""
        if self._work.moves != self._moves:
            self.renew()
        now = time.monotonic()
        self._until = self._until or now + _PATIENCE
        if now > self._until:
            return False
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _PAUSES[1])
        return True


def free_archive(path: str | os.PathLike[str]) -> str:
    """Return the absolute *path* for an archive that is to be written.

    Raises `InvalidPlan` when there is a file already, or no folder for one.
    """
    archive_path = Path(path).absolute()
    if archive_path.exists():
        raise InvalidPlan(f"{archive_path} is there already; nothing was done. Name another file.")
    if not archive_path.parent.is_dir():
        raise InvalidPlan(f"There is no folder {archive_path.parent}; nothing was done.")
    return str(archive_path)
