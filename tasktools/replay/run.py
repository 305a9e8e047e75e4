"""The run of a plan: passes through its queue until every message has come to an end."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.brokers.mover import Mover, Sending
from tasktools.core.amqp.opened_message import OpenedMessage
from tasktools.core.backoff import Backoff
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
from tasktools.core.plans import Plan
from tasktools.replay import archive, stored_messages, target_checks, unfinished_runs
from tasktools.replay.archive import ArchiveWriter, Head
from tasktools.replay.earlier_runs import Deed, EarlierRuns, summary
from tasktools.replay.ledger import Ended, Ledger
from tasktools.replay.ramp import Ramp, RampGuard
from tasktools.replay.run_account import Account
from tasktools.replay.stored_messages import MessageSource
from tasktools.replay.target_readers import Readers
from tasktools.replay.timing import Timing
from tasktools.replay.transfer import Action, Discard, Item, PlanTransfer, Replay, Restore

_RETRY_SECONDS: Final = (0.2, 5.0)  # the first pause between two attempts, and the longest
_MAX_PASSES: Final = 20  # upper bound: the queue may be refilled faster than we read it

_LOST: Final = (ConnectionLost, Unreachable, BrokerTimeout, QueueInUse)


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of *plan*, for *reason*. `cancelled` may be set by any thread.

    *watch* makes the `RampGuard` that follows sent tasks, for a *ramp*. *done* is called with the
    number of messages that have ended since its last call.
    """

    broker: Broker
    ledger: Ledger
    plan: Plan
    reason: str
    clock: Clock
    ramp: Ramp | None = None
    watch: Callable[[], RampGuard] | None = None
    done: Callable[[int], object] = lambda _n: None
    force: bool = False
    timing: Timing = field(default_factory=Timing)
    cancelled: threading.Event = field(default_factory=threading.Event)
    _notes: list[str] = field(default_factory=list, init=False)
    _acknowledged: dict[int, set[int]] = field(default_factory=dict, init=False)
    _mover_in_use: Mover | None = field(default=None, init=False)

    def execute(self) -> int:
        """Run the plan; returns the number of the run in the ledger.

        Continues an earlier run of the same plan that did not end. Raises before anything is done
        for a plan that cannot be run, and later only when the broker or the ledger stays
        unavailable: then the ledger shows how far the run got, and running the plan again finishes
        it.
        """
        self.plan.check()
        self._check_reason()
        with self._mover() as mover, self.ledger.open() as connection, self._ledger_errors():
            if self.plan.verb == "restore":
                archive.check(self.plan.source)
                self._check_not_restored(connection)
            account = self._resumed(connection, mover)
            if account is None:
                account = Account.begin(
                    connection, self.plan, reason=self.reason, now=self.clock.time()
                )
            self._run(account, mover, connection)
            return account.run

    def _check_reason(self) -> None:
        if not self.reason.strip():
            raise InvalidPlan("reason= is required, for the ledger: say why; nothing was done.")

    def _check_not_restored(self, connection: sqlite3.Connection) -> None:
        """Refuse an archive that was restored already: it still has its messages."""
        title = Account.finished(connection, self.plan, self.broker)
        if title is not None and not self.force:
            raise InvalidPlan(
                f"{title.capitalize()} restored this archive already; nothing was done. With "
                "force=True (on the command line --force) its messages are put back once more."
            )

    @contextlib.contextmanager
    def _ledger_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"The ledger {self.ledger.path} could not be written ({error}), so the run ended: "
                "nothing was acknowledged that is not in it. Fix that and run the same plan again."
            ) from error

    @contextlib.contextmanager
    def _mover(self) -> Iterator[Mover]:
        until = time.monotonic() + self.timing.queue_held
        while True:
            try:
                mover = self._new_mover()
                break
            except QueueInUse:  # perhaps of a process that was killed just now
                if time.monotonic() > until:
                    raise
            time.sleep(_RETRY_SECONDS[0])
        with mover:
            self._mover_in_use = mover
            yield mover

    @property
    def obstacle(self) -> str | None:
        """The reason, in words, why the run makes no progress at present; else `None`. For any
        thread."""
        return None if self._mover_in_use is None else self._mover_in_use.obstacle

    def _new_mover(self) -> Mover:
        """Lock the queue for this run.

        Forced if the messages are not in the queue (but in an archive, for example): the run then
        holds no message of the queue, so none can be lost.
        """
        source = stored_messages.source_of(self.plan, self.broker)
        if source is None:
            return self.broker.mover(self.plan.source, force=self.force)
        return self.broker.mover(source.locked_queue, force=True)

    # --- earlier runs ---------------------------------------------------------------

    def _resumed(self, connection: sqlite3.Connection, mover: Mover) -> Account | None:
        """Settle the leftovers of earlier runs on this queue; return the interrupted run of this
        very plan."""
        same, others = unfinished_runs.runs(connection, self.plan, self.broker, force=self.force)
        self._check_targets(same)
        for account, plan in others:
            self._settle(account, plan, mover)
        if same is not None:
            same.resume()
        return same

    def _check_targets(self, account: Account | None) -> None:
        """Raise `WouldBeLost` if RabbitMQ would drop unsent messages, unless forced. The target
        queue may have changed, or filled up, since the plan was made."""
        begun = () if account is None else account.begun()
        done = {n for n, state, _ in begun if state not in ("planned", "intent")}
        left = (
            message
            for n, message in enumerate(self.plan.messages)
            if n not in done and message.skipped is None
        )
        hazards = target_checks.hazards(self.broker, target_checks.of_plan(left, self.plan.source))
        target_checks.check(hazards, force=self.force)
        foreseen = self.plan.warnings or ()
        self._notes += [hazard.text for hazard in hazards if hazard.text not in foreseen]

    def _settle(self, account: Account, plan: Plan, mover: Mover) -> None:
        """Finish an interrupted run: acknowledge confirmed messages, send doubtful ones again, and
        leave the rest."""
        lacking = unfinished_runs.not_archived(account, plan)
        if lacking:
            note = unfinished_runs.leave(account, plan, lacking, self.clock.time())
            self._notes.append(f"{account.title} had broken off; {note}")
            return
        is_sure = plan.is_surely_for(self.broker.address, self.broker.identity)
        with self._transfer(account, plan, mover) as transfer:
            begun = [item for item in transfer.items if item.state == "intent"]
            transfer.is_right_queue = is_sure
            self._pass_until_through(mover, transfer, begun)
            self._acknowledged[account.run] = {item.n for item in transfer.acknowledged}
            again = sum(item.state in ("confirmed", "settled") for item in begun)
            if not (is_sure or transfer.acknowledged):
                self._notes.append(
                    f"{account.title} broke off on a cluster of this name; none of its messages "
                    "is in this queue, so it stays as it is"
                )
                return
        done = "discarded" if plan.verb == "discard" else "sent again, perhaps twice"
        self._notes.append(
            f"{account.title} had broken off and was settled first: "
            f"{len(transfer.acknowledged) - again:,} originals of what had arrived were taken out "
            f"of the queue, and {again:,} messages {done}"
        )
        note = f"its process ended; what it had begun was settled before run of plan {plan.hash}"
        account.end("failed", note, self.clock.time())

    # --- this one -------------------------------------------------------------------

    @contextlib.contextmanager
    def _transfer(self, account: Account, plan: Plan, mover: Mover) -> Iterator[PlanTransfer]:
        with contextlib.ExitStack() as stack:
            act: Action
            if plan.verb == "discard":
                writer = None
                if plan.archive is not None:
                    head = Head(queue=plan.source, plan=plan.hash)
                    writer = stack.enter_context(ArchiveWriter(plan.archive, head))
                act = Discard(writer)
            elif plan.verb == "restore":
                act = Restore(mover.user, Readers(self.broker).problem)
            else:
                name = f"{self.ledger.name}/{account.run}"
                act = Replay(name, mover.user, Readers(self.broker).problem, self.clock)
            yield PlanTransfer(
                plan, account, act, clock=self.clock, cancelled=self.cancelled, done=self.done
            )

    def _run(self, account: Account, mover: Mover, connection: sqlite3.Connection) -> None:
        ended: Ended = "failed"
        why: str | None = None
        earlier = EarlierRuns(
            connection=connection, plan=self.plan, run=account.run, broker=self.broker
        )
        try:
            with self._transfer(account, self.plan, mover) as transfer:
                deeds = self._leave_out_done(transfer, earlier)
                if self.ramp is None:
                    self._send(mover, transfer, transfer.items)
                else:
                    why = self._climb(mover, transfer, self.ramp)
                deeds += _explain_gone(transfer, earlier)
                transfer.write()
                self._notes += summary(deeds)
                ended = "finished" if why is None else "stopped"
                if self.cancelled.is_set():
                    ended = "cancelled"
        except TaskToolsError as error:
            why = str(error)
            raise
        finally:
            notes = [*self._notes, why] if why else self._notes
            account.end(ended, "; ".join(notes) or None, self.clock.time())

    def _leave_out_done(self, transfer: PlanTransfer, earlier: EarlierRuns) -> list[Deed]:
        """Mark messages as gone that another run has done since they were planned."""
        if self.force:
            return []
        deeds = earlier.done_since_planned(self._acknowledged)
        deeds = {n: deed for n, deed in deeds.items() if transfer.items[n].state == "planned"}
        for n, deed in deeds.items():
            transfer.items[n].sends = deed.sends
            transfer.give_up(transfer.items[n], "gone", deed.why)
        return list(deeds.values())

    def _send(self, mover: Mover, transfer: PlanTransfer, items: Sequence[Item]) -> None:
        """Bring all *items* to their end."""
        source = stored_messages.source_of(self.plan, self.broker)
        if source is None:
            self._pass_until_through(mover, transfer, items)
        else:
            self._put(mover, transfer, items, source)

    def _pass_until_through(
        self, mover: Mover, transfer: PlanTransfer, items: Sequence[Item]
    ) -> None:
        """Pass through the queue until all *items* have come to an end.

        Missing messages count as gone only when a pass sees no more messages than the pass before:
        a cut connection, or a killed process, may have held them, and RabbitMQ requeues them
        gradually.
        """
        largest = max((item.planned.size for item in items), default=0)
        patience, seen, passes = self._patience(transfer), -1, 0
        transfer.open(items)
        while not transfer.is_done and not transfer.is_cancelled:
            try:
                moved = mover.work(transfer, largest=largest)
            except _LOST:
                seen = -1
                transfer.doubt()
                if not patience.wait():
                    raise
            except LookRefused:  # a broker that was started again does not know its policies yet
                if not patience.is_tried or not patience.wait():
                    raise
            else:
                patience.renew()
                if moved.note is not None:
                    self._notes.append(moved.note)
                if moved.ending == "end of queue" and not transfer.is_cancelled:
                    passes += 1
                    if 0 <= seen >= moved.seen or passes == _MAX_PASSES:
                        transfer.conclude()
                        return
                    seen = moved.seen
                    time.sleep(self.timing.requeued)
            finally:
                transfer.write()
            transfer.open(items)

    def _patience(self, transfer: PlanTransfer) -> _Patience:
        return _Patience(transfer, self.timing.broker_away)

    def _climb(self, mover: Mover, transfer: PlanTransfer, ramp: Ramp) -> str | None:
        """Send in growing steps while replayed tasks succeed; return the reason for a stop."""
        if self.watch is None:
            raise InvalidPlan("Only replays can be ramped; nothing was done.")
        canary = self.watch()
        left = [item for item in transfer.items if item.state in ("planned", "intent")]
        sent = 0
        while left and not self.cancelled.is_set():
            upto = ramp.next_step(sent)
            stage, left = left[: upto - sent], left[upto - sent :]
            canary.expect(item.planned for item in stage)
            self._send(mover, transfer, stage)
            sent += len(stage)
            arrived = [item.planned for item in stage if item.state in ("confirmed", "settled")]
            if left:
                why = canary.verdict(arrived, ramp, self.cancelled)
                if why is not None:
                    return why
        return None

    def _put(
        self, mover: Mover, transfer: PlanTransfer, items: Sequence[Item], source: MessageSource
    ) -> None:
        """Publish *items*, which lie in *source*; after an interruption, publish messages in doubt
        once more."""
        patience = self._patience(transfer)
        while True:
            left = {item.planned.key: item for item in transfer.unfinished(items)}
            transfer.open(())
            try:
                mover.put(transfer, _sendings(source, left, transfer))
                break
            except _LOST:
                if not patience.wait():
                    raise
            finally:
                transfer.write()
        if not transfer.is_cancelled:
            for item in left.values():
                transfer.give_up(item, "gone", f"it is not in {self.plan.source} any more")


def _sendings(
    source: MessageSource, left: dict[str, Item], transfer: PlanTransfer
) -> Iterator[Sending]:
    """Yield the messages of *left* that are in *source*, and remove them from *left*."""
    for key, message in source.messages(dict(left)):
        sending = transfer.prepared(left.pop(key), message, OpenedMessage(message.properties))
        if sending is not None:
            yield sending


def _explain_gone(transfer: PlanTransfer, earlier: EarlierRuns) -> list[Deed]:
    """Note for each missing message the run that took it, if the ledger has it."""
    gone = [item.n for item in transfer.items if item.state == "gone" and item.why is None]
    deeds = earlier.explained(gone)
    for n, deed in deeds.items():
        transfer.explain(transfer.items[n], deed.why, deed.sends)
    return list(deeds.values())


class _Patience:
    """The wait for a broker that went away during *transfer*, for so many *seconds*."""

    def __init__(self, transfer: PlanTransfer, seconds: float) -> None:
        self._transfer = transfer
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Start over with the time limit and the pauses between tries, since the broker is back."""
        self._moves = self._transfer.moves
        self._until: float | None = None
        self._backoff = Backoff(*_RETRY_SECONDS)

    @property
    def is_tried(self) -> bool:
        """Whether the broker was away, and no message has moved since."""
        return self._until is not None

    def wait(self) -> bool:
        """Wait, each time longer; return false once the broker has been away for too long."""
        if self._transfer.moves != self._moves:
            self.renew()
        now = time.monotonic()
        self._until = self._until or now + self._seconds
        if now > self._until:
            return False
        time.sleep(self._backoff.pause())
        return True
