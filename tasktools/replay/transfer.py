"""The messages of a run on their way: the action for each, and the account of it.

Called by a `Mover` in its own thread (`brokers.mover` says in which order). Everything that a
later process must know is in the ledger before it matters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from tasktools.brokers.mover import RawMessage, Sending
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.amqp.opened_message import OpenedMessage
from tasktools.core.clock import Clock
from tasktools.core.models import PublishResult
from tasktools.core.plans import Plan, Planned
from tasktools.core.tasks import edits
from tasktools.replay.account import Account
from tasktools.replay.archive import Archived, ArchiveWriter
from tasktools.replay.ledger import State
from tasktools.replay.pace import Pace

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

    *next_identical* is the next one that is looked for and has the same base.
    """

    n: int
    planned: Planned
    state: State = "planned"
    sends: int = 0
    why: str | None = None
    next_identical: Item | None = None

    @property
    def base(self) -> str:
        """The key without what tells identical messages apart: any of them will do."""
        return self.planned.base


class Action(Protocol):
    """The action of a verb on a message."""

    def sending(self, item: Item, message: RawMessage, opened: OpenedMessage) -> Sending:
        """Return what is to be done; raises `ValueError` when it cannot be, in words."""

    def before(self, messages: Sequence[tuple[Item, Sending]]) -> None:
        """Do what has to be done before originals may be gone."""


Check = Callable[[str, bytes, bytes], str | None]
"""Says why a message, of this body and properties, must not be put into a queue, or `None`."""


class Replay:
    """Sends messages to where they go, with their edits."""

    def __init__(self, run: str, user: str | None, check: Check) -> None:
        self._run = run
        self._user = user
        self._check = check

    def sending(self, item: Item, message: RawMessage, opened: OpenedMessage) -> Sending:
        """Return *message* with its edits, to be sent to its target."""
        body, wanted = message.body, item.planned.edits
        if wanted:
            body = edits.apply(
                body, amqp_properties.decode(message.properties), edits.from_json(wanted)
            )
        _check(self._check, item.planned, body, message.properties)
        raw = opened.replayed(run=self._run, user=self._user)
        return Sending(item.n, queue=item.planned.to, body=body, properties=raw)

    def before(self, messages: Sequence[tuple[Item, Sending]]) -> None:
        """Do nothing: the original stays until the copy is confirmed."""


class Restore:
    """Puts messages back where they were, as they were."""

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
    """Raise `ValueError` when a message must not be sent to where *planned* says."""
    if planned.unchecked or planned.to is None:
        return
    why = check(planned.to, body, properties)
    if why is not None:
        raise ValueError(why)


class Discard:
    """Acknowledges messages, once they are in the archive, if there is one."""

    def __init__(self, archive: ArchiveWriter | None) -> None:
        self._archive = archive

    def sending(self, item: Item, message: RawMessage, opened: OpenedMessage) -> Sending:
        """Return the message without a place to go to."""
        del opened
        return Sending(item.n, body=message.body, properties=message.properties)

    def before(self, messages: Sequence[tuple[Item, Sending]]) -> None:
        """Write them to the archive."""
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

    *done* is called with how many have come to an end. Of the messages only those that were
    `open`ed are wanted. `cancelled` may be set by anybody, at any time. `acknowledged` are those
    whose original was found in the queue and taken out of it. `is_right_queue`: whether it is
    certain that this is the queue that the messages were planned for.
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
        """Look for these, as far as they are not done, and for originals of confirmed copies.

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
        """Return those of *items* that are to be sent (again), and give up the others: a message
        that was sent again and again, and never answered, is not sent for ever."""
        unfinished = [item for item in items if item.state in _OPEN]
        for item in unfinished:
            if item.sends >= _MAX_SENDS:
                because = f" ({item.why})" if item.why else ""
                why = (
                    f"it was sent {item.sends} times, and RabbitMQ did not say what of it{because}"
                )
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

        Nothing, where none was found and it may be the queue of another broker.
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
        """Note that nothing can be done with this message."""
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
        """Return what is to be done with a message; `None` leaves it in the queue."""
        opened = OpenedMessage(message.properties)
        base = opened.key(message.body)
        item = self._waiting.take(base)
        if item is None:
            # Ours it was only if it has been delivered before; a new identical message was not.
            item = self._unsure.take(base) if message.redelivered else None
            return None if item is None else Sending(item.n)
        return self.prepared(item, message, opened)

    def prepared(self, item: Item, message: RawMessage, opened: OpenedMessage) -> Sending | None:
        """Return *message* as it is sent for *item*; one that cannot be is skipped."""
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
        """Note that these will be sent."""
        messages = [(self.items[sending.number], sending) for sending in sendings]
        begun = [(item, sending) for item, sending in messages if item.state != "confirmed"]
        for item, _ in begun:
            item.state, item.sends = "intent", item.sends + 1
            self._noted.append(item)
        self._act.before(begun)
        self.write()
        self._pace.spend(len(begun))

    def answered(self, answers: Sequence[tuple[Sending, PublishResult]]) -> None:
        """Note the result of each."""
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
        """Note that these are gone from the queue; in the ledger with what is noted next."""
        for sending in sendings:
            item = self.items[sending.number]
            item.state = "settled"
            self._noted.append(item)
            self.acknowledged.append(item)

    def returned(self, sendings: Sequence[Sending]) -> None:
        """Look for these again."""
        for sending in reversed(sendings):
            item = self.items[sending.number]
            wanted = self._unsure if item.state == "confirmed" else self._waiting
            wanted.put_first(item)


def _refusal(sending: Sending) -> str:
    if sending.reason is None:
        return f"the queue {sending.queue!r} did not take it"
    return f"RabbitMQ refused it: {sending.reason}"


class PendingItems:
    """Items by their base, the first of the plan first.

    Nearly always there is one of each. Identical messages are chained, so that 100,000 items make
    no containers that the garbage collector has to go through.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._first: dict[str, Item] = {}
        for item in reversed(list(items)):
            self.put_first(item)

    def __bool__(self) -> bool:
        return bool(self._first)

    def put_first(self, item: Item) -> None:
        """Look for *item* too, before those identical to it."""
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
        """Yield all that are left."""
        for first in self._first.values():
            item: Item | None = first
            while item is not None:
                yield item
                item = item.next_identical
