"""The messages of a run on their way: the action for each, and the account of it.

A `Mover` calls these methods in its own thread, in the order that `brokers.mover` describes.
Everything that a later process must know is in the ledger before it matters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from tasktools.brokers.mover import RawMessage, Sending
from tasktools.core.amqp.opened_message import OpenedMessage
from tasktools.core.clock import Clock, moment
from tasktools.core.dialects import registry
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.fastpluggy import FASTPLUGGY
from tasktools.core.models import PublishResult
from tasktools.core.plans import EXPIRED, Plan, Planned
from tasktools.core.tasks import amendment, edits
from tasktools.replay.archive import Archived, ArchiveWriter
from tasktools.replay.ledger import State
from tasktools.replay.pace import Pace
from tasktools.replay.run_account import Account

_OPEN: Final = ("planned", "intent")
_MAY_REMAIN: Final = (
    "the run was interrupted just then: a message that looks the same and is still in the queue is "
    "either the original or another one"
)
_INTERRUPTED: Final = "it was being sent when the run was interrupted"
_MAX_SENDS_TOGETHER: Final = (
    2  # after which a message is sent alone: it may be what breaks them all
)
_MAX_SENDS: Final = 10


class Item(msgspec.Struct, gc=False):
    """Message *n* of the plan, and how far it has got.

    *next_identical* is the next wanted item with the same base.
    """

    n: int
    planned: Planned
    state: State = "planned"
    sends: int = 0
    why: str | None = None
    next_identical: Item | None = None

    @property
    def base(self) -> str:
        """The key without the number that distinguishes identical messages: any of these can be
        taken."""
        return self.planned.base


class Action(Protocol):
    """The action of a verb on a message."""

    def sending(self, item: Item, message: RawMessage, opened: OpenedMessage) -> Sending:
        """Return the sending for a message; raises `ValueError`, in words, if it cannot be made."""

    def before(self, messages: Sequence[tuple[Item, Sending]]) -> None:
        """Do the work that must be done before originals may be removed."""


Check = Callable[[str, bytes, bytes], str | None]
"""Says why a message, of this body and properties, must not be put into a queue, or `None`."""


class Replay:
    """Sends messages to their targets, with the plan's edits and the dialect's resets."""

    def __init__(self, run: str, user: str | None, check: Check, clock: Clock) -> None:
        self._run = run
        self._user = user
        self._check = check
        self._clock = clock

    def sending(self, item: Item, message: RawMessage, opened: OpenedMessage) -> Sending:
        """Return *message* with its edits, to be sent to its target."""
        planned, body, raw = item.planned, message.body, message.properties
        if planned.to is None:  # without a target the mover would acknowledge it
            raise ValueError("its plan does not say where to")
        is_limited = planned.expires_at is not None and not planned.unchecked
        if is_limited and planned.has_expired(moment(self._clock.time())):
            raise ValueError(EXPIRED)
        dialect = _dialect_of(planned)
        if planned.edits or dialect.resetting is not None:
            changes = edits.from_json(planned.edits)
            body, raw = amendment.amended(body, raw, changes, dialect, queue=planned.to)
        if raw is not message.properties:
            opened = OpenedMessage(raw)
        _check(self._check, planned, body, raw)
        properties = opened.replayed(run=self._run, user=self._user)
        return Sending(item.n, queue=planned.to, body=body, properties=properties)

    def before(self, messages: Sequence[tuple[Item, Sending]]) -> None:
        """Do nothing: the original stays until the copy is confirmed."""


def _dialect_of(planned: Planned) -> Dialect:
    """Return the dialect of a message that none recognises; raises `ValueError`."""
    if planned.dialect is None:
        return FASTPLUGGY
    dialect = registry.find(planned.dialect)
    if dialect is None:
        raise ValueError(f"its dialect {planned.dialect!r} is not installed here")
    return dialect


class Restore:
    """Puts messages back into their old queue, unchanged."""

    def __init__(self, user: str | None, check: Check) -> None:
        self._user = user
        self._check = check

    def sending(self, item: Item, message: RawMessage, opened: OpenedMessage) -> Sending:
        """Return *message* unchanged, to be sent to its old queue."""
        _check(self._check, item.planned, message.body, message.properties)
        raw = opened.restored(user=self._user)
        return Sending(item.n, queue=item.planned.to, body=message.body, properties=raw)

    def before(self, messages: Sequence[tuple[Item, Sending]]) -> None:
        """Do nothing: the archive stays as it is."""


def _check(check: Check, planned: Planned, body: bytes, properties: bytes) -> None:
    """Raise `ValueError` if a message must not be sent to the target of *planned*."""
    if planned.unchecked or planned.to is None:
        return
    why = check(planned.to, body, properties)
    if why is not None:
        raise ValueError(why)


class Discard:
    """Acknowledges messages, after they are in the archive, if there is one."""

    def __init__(self, archive: ArchiveWriter | None) -> None:
        self._archive = archive

    def sending(self, item: Item, message: RawMessage, opened: OpenedMessage) -> Sending:
        """Return the message without a target."""
        del opened
        return Sending(item.n, body=message.body, properties=message.properties)

    def before(self, messages: Sequence[tuple[Item, Sending]]) -> None:
        """Write *messages* to the archive."""
        if self._archive is not None and messages:
            self._archive.add(
                [
                    Archived(
                        n=item.n,
                        key=item.planned.key,
                        task_id=item.planned.task_id,
                        task_name=item.planned.task_name,
                        properties=sending.properties,
                        body=sending.body,
                    )
                    for item, sending in messages
                ]
            )


class PlanTransfer:
    """A plan's messages as a `Transfer`.

    *done* is called with the number of messages that have ended. Only messages passed to `open` are
    looked for. `cancelled` may be set by anybody, at any time. `acknowledged` are those whose
    original was found in the queue and taken out of it. `is_right_queue`: whether it is certain
    that this is the queue that the messages were planned for.
    """

    def __init__(
        self,
        plan: Plan,
        account: Account,
        act: Action,
        *,
        clock: Clock,
        cancelled: threading.Event,
        done: Callable[[int], object],
    ) -> None:
        self.items = [Item(n, planned) for n, planned in enumerate(plan.messages)]
        for n, state, sends in account.begun():
            self.items[n].state, self.items[n].sends = state, sends
        self.moves = 0
        self.acknowledged: list[Item] = []
        self.is_right_queue = True
        self._account = account
        self._act = act
        self._clock = clock
        self._cancelled = cancelled
        self._done = done
        self._pace = Pace(plan.rate, clock)
        self._waiting = PendingItems()
        self._unsure = PendingItems()
        self._noted: list[Item] = []
        if account.broke_off:
            self.doubt()
        self.open(())

    # --- between passes -------------------------------------------------------------

    def open(self, items: Iterable[Item]) -> None:
        """Start to look for the messages of *items* that are not done, and for originals of
        confirmed copies.

        An original that has no task id is not looked for: what looks like it may be another
        message, which would be acknowledged without having been sent.
        """
        self._waiting = PendingItems(self.unfinished(items))
        confirmed = [item for item in self.items if item.state == "confirmed"]
        self._unsure = PendingItems(item for item in confirmed if item.planned.task_id is not None)
        for item in confirmed:
            if item.planned.task_id is None:
                item.state, item.why = "settled", _MAY_REMAIN
                self._noted.append(item)

    def unfinished(self, items: Iterable[Item]) -> list[Item]:
        """Return the *items* to be sent (again), and give up the others: a message that was sent
        several times without an answer is not sent for ever."""
        unfinished = [item for item in items if item.state in _OPEN]
        for item in unfinished:
            if item.sends >= _MAX_SENDS:
                because = f" ({item.why})" if item.why else ""
                why = f"it was sent {item.sends} times without an answer from RabbitMQ{because}"
                self.give_up(item, "in doubt", why)
        return [item for item in unfinished if item.sends < _MAX_SENDS]

    def doubt(self) -> None:
        """Look for the originals of settled messages again: their acknowledgements may be lost.

        The broker, or an earlier process, went away. A classic queue does not write
        acknowledgements to disk at once, and a channel that ends forgets those that a quorum queue
        has not taken in yet. Messages without a task id are left out: others may look the same.
        """
        for item in self.items:
            if item.state == "settled" and item.planned.task_id is not None:
                item.state = "confirmed"

    def conclude(self) -> None:
        """Note the outcome of messages that are no longer in the queue.

        Notes nothing if no message was found and the queue may belong to another broker.
        """
        if not (self.is_right_queue or self.acknowledged):
            return
        gone = 0
        for item in self._waiting.items():
            begun = item.state == "intent"
            item.state = "in doubt" if begun else "gone"
            item.why = (item.why or _INTERRUPTED) if begun else None
            self._noted.append(item)
            gone += 1
        for item in self._unsure.items():
            item.state = "settled"
            self._noted.append(item)
        self._done(gone)
        self._waiting, self._unsure = PendingItems(), PendingItems()
        self.write()

    def give_up(self, item: Item, state: State, why: str) -> None:
        """Note *state* and *why* of a message that the run cannot process further."""
        item.state, item.why = state, why
        self._noted.append(item)
        self._done(1)

    def explain(self, item: Item, why: str, sends: int) -> None:
        """Note why a message is gone, and how often an earlier run has sent it."""
        item.why, item.sends = why, max(item.sends, sends)
        self._noted.append(item)

    def write(self) -> None:
        """Write the notes to the ledger that are not in it yet."""
        items, self._noted = self._noted, []
        if items:
            changes = ((item.state, item.sends, item.why, item.n) for item in items)
            self._account.note(changes, self._clock.time())

    # --- a Transfer -----------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether no more messages are to be taken."""
        return not self._waiting and not self._unsure

    @property
    def is_cancelled(self) -> bool:
        """Whether the run is to stop now; unsent messages stay in the queue."""
        return self._cancelled.is_set()

    def take(self, message: RawMessage) -> Sending | None:
        """Return the action for a message; `None` leaves it in the queue."""
        opened = OpenedMessage(message.properties)
        base = opened.key(message.body)
        item = self._waiting.take(base)
        if item is None:
            # Ours it was only if it has been delivered before; a new identical message was not.
            item = self._unsure.take(base) if message.redelivered else None
            return None if item is None else Sending(item.n)
        return self.prepared(item, message, opened)

    def prepared(self, item: Item, message: RawMessage, opened: OpenedMessage) -> Sending | None:
        """Return *message* ready to be sent for *item*; skip one that cannot be sent."""
        try:
            sending = self._act.sending(item, message, opened)
        except ValueError as error:
            self.give_up(item, "skipped", str(error))
            return None
        if item.sends >= _MAX_SENDS_TOGETHER:
            return msgspec.structs.replace(sending, alone=True)
        return sending

    def allowance(self) -> int:
        """Return how many messages may be sent now."""
        return self._pace.allowance()

    def sending(self, sendings: Sequence[Sending]) -> None:
        """Note that *sendings* will be sent."""
        messages = [(self.items[sending.number], sending) for sending in sendings]
        begun = [(item, sending) for item, sending in messages if item.state != "confirmed"]
        for item, _ in begun:
            item.state, item.sends = "intent", item.sends + 1
            self._noted.append(item)
        self._act.before(begun)
        self.write()
        self._pace.spend(len(begun))

    def answered(self, answers: Sequence[tuple[Sending, PublishResult]]) -> None:
        """Note the result of each message in *answers*."""
        ended = 0
        for sending, result in answers:
            item = self.items[sending.number]
            match result:
                case "confirmed":
                    ended += item.state != "confirmed"
                    item.state, item.why = "confirmed", None
                case "unroutable":
                    item.state, item.why = "returned", f"there is no queue {sending.queue!r}"
                    ended += 1
                case "refused":
                    item.state, item.why = "refused", _refusal(sending)
                    ended += 1
                case _:
                    item.why = sending.reason
                    continue  # its next pass finds out
            self._noted.append(item)
        self.moves += ended
        self._done(ended)

    def settled(self, sendings: Sequence[Sending]) -> None:
        """Note that the originals of *sendings* have left the queue; written to the ledger with the
        next notes."""
        for sending in sendings:
            item = self.items[sending.number]
            item.state = "settled"
            self._noted.append(item)
            self.acknowledged.append(item)

    def returned(self, sendings: Sequence[Sending]) -> None:
        """Look again for the messages of *sendings*."""
        for sending in reversed(sendings):
            item = self.items[sending.number]
            wanted = self._unsure if item.state == "confirmed" else self._waiting
            wanted.put_first(item)


def _refusal(sending: Sending) -> str:
    if sending.reason is None:
        return f"the queue {sending.queue!r} did not take it"
    return f"RabbitMQ refused it: {sending.reason}"


class PendingItems:
    """Wanted items by their base; of several with the same base, in the order of the plan.

    A base nearly always has one item. Items of identical messages are chained, so that 100,000
    items make no containers that the garbage collector has to go through.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._first: dict[str, Item] = {}
        for item in reversed(list(items)):
            self.put_first(item)

    def __bool__(self) -> bool:
        return bool(self._first)

    def put_first(self, item: Item) -> None:
        """Search for *item*, too, before identical items."""
        base = item.base
        item.next_identical = self._first.get(base)
        self._first[base] = item

    def take(self, base: str) -> Item | None:
        """Take out the first item of *base*."""
        item = self._first.get(base)
        if item is None:
            return None
        if item.next_identical is None:
            del self._first[base]
        else:
            self._first[base] = item.next_identical
        return item

    def items(self) -> Iterator[Item]:
        """Yield all remaining items."""
        for first in self._first.values():
            item: Item | None = first
            while item is not None:
                yield item
                item = item.next_identical
