"""The messages of a run on their way: what is to be done with each, and the account of it.

Called by a `Mover` in its own thread (`brokers.moving` says in which order). Everything that a
later process must know is in the ledger before it matters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from tasktools.brokers.moving import RawMessage, Sending
from tasktools.core import edits, wire
from tasktools.core.clock import Clock
from tasktools.core.models import PublishResult
from tasktools.core.passing import Opened
from tasktools.core.plans import Plan, Planned
from tasktools.ops.archive import Archived, ArchiveWriter
from tasktools.ops.ledger import Account, State

_OPEN: Final = ("planned", "intent")
_MAY_REMAIN: Final = (
    "the run was interrupted just then: a message that looks the same and is still in the queue is "
    "either the original or another one"
)
_AT_ONCE: Final = 1_000_000


class Row(msgspec.Struct, gc=False):
    """One message of the plan and how far it has got. *twin* is the next one that is looked for
    and has the same base."""

    n: int
    planned: Planned
    state: State = "planned"
    sends: int = 0
    why: str | None = None
    twin: Row | None = None

    @property
    def base(self) -> str:
        """The key without what tells identical messages apart: any of them will do."""
        return self.planned.key.partition("#")[0]


class Act(Protocol):
    """What a verb does with a message."""

    def sending(self, row: Row, message: RawMessage, opened: Opened) -> Sending:
        """Return what is to be done; raises `ValueError` when it cannot be, in words."""

    def before(self, sendings: Sequence[Sending]) -> None:
        """Do what has to be done before originals may be gone."""


class Replay:
    """Sends messages to where they go, with their edits."""

    def __init__(self, run: str, user: str | None) -> None:
        self._run = run
        self._user = user

    def sending(self, row: Row, message: RawMessage, opened: Opened) -> Sending:
        """Return the message as it is sent."""
        body, wanted = message.body, row.planned.edits
        if wanted:
            body = edits.apply(body, wire.decode(message.properties), edits.from_json(wanted))
        raw = opened.replayed(run=self._run, user=self._user)
        return Sending(row=row, queue=row.planned.to, body=body, properties=raw)

    def before(self, sendings: Sequence[Sending]) -> None:
        """Nothing: the original stays until the copy is confirmed."""


class Restore:
    """Puts messages back where they were, as they were."""

    def __init__(self, user: str | None) -> None:
        self._user = user

    def sending(self, row: Row, message: RawMessage, opened: Opened) -> Sending:
        """Return the message as it was."""
        raw = opened.restored(user=self._user)
        return Sending(row=row, queue=row.planned.to, body=message.body, properties=raw)

    def before(self, sendings: Sequence[Sending]) -> None:
        """Nothing: the archive stays as it is."""


class Discard:
    """Acknowledges messages, once they are in the archive, if there is one."""

    def __init__(self, archive: ArchiveWriter | None) -> None:
        self._archive = archive

    def sending(self, row: Row, message: RawMessage, opened: Opened) -> Sending:
        """Return the message without a place to go to."""
        del opened
        return Sending(row=row, body=message.body, properties=message.properties)

    def before(self, sendings: Sequence[Sending]) -> None:
        """Keep them."""
        if self._archive is not None and sendings:
            self._archive.add(
                [
                    Archived(
                        n=sending.row.n,
                        key=sending.row.planned.key,
                        task_id=sending.row.planned.task_id,
                        task_name=sending.row.planned.task_name,
                        properties=sending.properties,
                        body=sending.body,
                    )
                    for sending in sendings
                ]
            )


class Work:
    """A plan's messages as a `Transfer`.

    *done* is called with how many have come to an end. Of the messages only those that were
    `open`ed are wanted. `cancelled` may be set by anybody, at any time.
    """

    def __init__(
        self,
        plan: Plan,
        account: Account,
        act: Act,
        *,
        clock: Clock,
        cancelled: threading.Event,
        done: Callable[[int], object],
    ) -> None:
        self.rows = [Row(n, planned) for n, planned in enumerate(plan.messages)]
        for n, state, sends in account.begun():
            self.rows[n].state, self.rows[n].sends = state, sends
        self.moves = 0
        self._account = account
        self._act = act
        self._clock = clock
        self._cancelled = cancelled
        self._done = done
        self._rate = plan.rate
        self._sent_since: tuple[float, int] = (clock.time(), 0)
        self._waiting = Wanted()
        self._unsure = Wanted()
        self._noted: list[Row] = []
        if account.broke_off:
            self.doubt()
        self.open(())

    # --- between passes -------------------------------------------------------------

    def open(self, rows: Iterable[Row]) -> None:
        """Want these, as far as they are not done, and besides those whose copy was confirmed
        but whose original may still be there.

        An original that has no task id is not looked for: what looks like it may be another
        message, which would be acknowledged without having been sent.
        """
        self._waiting = Wanted(row for row in rows if row.state in _OPEN)
        confirmed = [row for row in self.rows if row.state == "confirmed"]
        self._unsure = Wanted(row for row in confirmed if row.planned.task_id is not None)
        for row in confirmed:
            if row.planned.task_id is None:
                row.state, row.why = "settled", _MAY_REMAIN
                self._noted.append(row)

    def doubt(self) -> None:
        """The broker, or an earlier process, went away, and acknowledgements with it: a classic
        queue does not write them to disk at once, and a channel that ends forgets those that a
        quorum queue has not taken in yet. So the originals are looked for again; not those without
        a task id, of which there may be others that look the same."""
        for row in self.rows:
            if row.state == "settled" and row.planned.task_id is not None:
                row.state = "confirmed"

    def conclude(self) -> None:
        """Note what it means that those still wanted are in the queue no more."""
        gone = 0
        for row in self._waiting.rows():
            begun = row.state == "intent"
            row.state = "in doubt" if begun else "gone"
            row.why = "it was being sent when the run was interrupted" if begun else None
            self._noted.append(row)
            gone += 1
        for row in self._unsure.rows():
            row.state = "settled"
            self._noted.append(row)
        self._done(gone)
        self._waiting, self._unsure = Wanted(), Wanted()
        self.write()

    def give_up(self, row: Row, state: State, why: str) -> None:
        """Note that nothing can be done with this one."""
        row.state, row.why = state, why
        self._noted.append(row)
        self._done(1)

    def write(self) -> None:
        """Write down what is not in the ledger yet."""
        rows, self._noted = self._noted, []
        if rows:
            changes = ((row.state, row.sends, row.why, row.n) for row in rows)
            self._account.note(changes, self._clock.time())

    # --- a Transfer -----------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether no more messages are to be taken."""
        return not self._waiting and not self._unsure

    @property
    def is_cancelled(self) -> bool:
        """Whether to end now."""
        return self._cancelled.is_set()

    def take(self, message: RawMessage) -> Sending | None:
        """Say what is to be done with a message."""
        opened = Opened(message.properties)
        base = opened.key(message.body)
        row = self._waiting.take(base)
        if row is None:
            # Ours it was only if it has been delivered before; a new twin was not.
            row = self._unsure.take(base) if message.redelivered else None
            return None if row is None else Sending(row=row)
        return self.prepared(row, message, opened)

    def prepared(self, row: Row, message: RawMessage, opened: Opened) -> Sending | None:
        """Return *message* as it is sent for *row*; one that cannot be is skipped."""
        try:
            return self._act.sending(row, message, opened)
        except ValueError as error:
            self.give_up(row, "skipped", str(error))
            return None

    def allowance(self) -> int:
        """How many may be sent now."""
        if self._rate is None:
            return _AT_ONCE
        since, sent = self._sent_since
        return max(0, 1 + int((self._clock.time() - since) * self._rate) - sent)

    def sending(self, sendings: Sequence[Sending]) -> None:
        """Note that these will be sent."""
        begun = [sending for sending in sendings if sending.row.state != "confirmed"]
        for sending in begun:
            row = sending.row
            row.state, row.sends = "intent", row.sends + 1
            self._noted.append(row)
        self._act.before(begun)
        self.write()
        since, sent = self._sent_since
        self._sent_since = (since, sent + len(begun))

    def answered(self, answers: Sequence[tuple[Sending, PublishResult]]) -> None:
        """Note what became of each."""
        ended = 0
        for sending, result in answers:
            row = sending.row
            match result:
                case "confirmed":
                    ended += row.state != "confirmed"
                    row.state = "confirmed"
                case "unroutable":
                    row.state, row.why = "returned", f"there is no queue {sending.queue!r}"
                    ended += 1
                case "refused":
                    row.state, row.why = "refused", f"the queue {sending.queue!r} did not take it"
                    ended += 1
                case _:
                    continue  # its next pass finds out
            self._noted.append(row)
        self.moves += ended
        self._done(ended)

    def settled(self, sendings: Sequence[Sending]) -> None:
        """Note that these are gone from the queue; in the ledger with what is noted next."""
        for sending in sendings:
            sending.row.state = "settled"
            self._noted.append(sending.row)

    def returned(self, sendings: Sequence[Sending]) -> None:
        """Want these again."""
        for sending in reversed(sendings):
            wanted = self._unsure if sending.row.state == "confirmed" else self._waiting
            wanted.put_first(sending.row)


class Wanted:
    """Rows by their base, the first of the plan first. Nearly always there is one of each: so
    that 100,000 are nothing that the garbage collector has to go through, twins are chained."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._first: dict[str, Row] = {}
        for row in reversed(list(rows)):
            self.put_first(row)

    def __bool__(self) -> bool:
        return bool(self._first)

    def put_first(self, row: Row) -> None:
        """Look for *row* too, before its twins."""
        base = row.base
        row.twin = self._first.get(base)
        self._first[base] = row

    def take(self, base: str) -> Row | None:
        """Take out the first row of *base*."""
        row = self._first.get(base)
        if row is None:
            return None
        if row.twin is None:
            del self._first[base]
        else:
            self._first[base] = row.twin
        return row

    def rows(self) -> Iterator[Row]:
        """Yield all that are left."""
        for first in self._first.values():
            row: Row | None = first
            while row is not None:
                yield row
                row = row.twin
