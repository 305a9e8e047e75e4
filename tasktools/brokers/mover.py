"""Movers, which take chosen messages out of a queue, as a part of the contract.

A `Mover` has one queue to itself (among users of tasktools) and works through it with a
`Transfer`, which decides what happens to each message and keeps account. The steps are always in
the same order, which makes a `kill -9` at any point harmless:

1. `Transfer.take` chooses a message, and what to send where;
2. `Transfer.sending` gets a window of such messages *before* they are sent;
3. they are published: to the default exchange with the queue's name, mandatory, confirmed;
4. `Transfer.answered` gets the results, and they are written (`Transfer.write`) *before* an
   original is acknowledged;
5. originals whose copies were confirmed are acknowledged;
6. `Transfer.settled` is called once the broker has those acknowledgements for certain.

Messages that were not chosen, or that no queue took, go back to their places, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self

from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.models import PublishResult

WINDOW: Final = 2000
"""Messages that are sent and not answered, at most; bounds what a `kill -9` leaves in doubt."""
MAX_HOLD_SECONDS: Final = 240.0
"""Seconds after which everything is given back; well below RabbitMQ's consumer timeout."""


class RawMessage(MaskedStruct, frozen=True, gc=False):
    """A message as it lies in a queue. *properties* are the bytes that AMQP encodes them to."""

    body: bytes
    properties: bytes
    redelivered: bool


class Sending(MaskedStruct, frozen=True, gc=False):
    """The decision of a transfer on a message that was taken.

    *queue* is where its copy goes; without one there is no copy: the original is acknowledged.
    *number* is the number that the transfer gave to the message. With *alone* no other message is
    in flight with it. *reason* is set by the mover: why its copy was not queued, or is in doubt, in
    the broker's words.
    """

    number: int
    queue: str | None = None
    body: bytes = b""
    properties: bytes = b""
    alone: bool = False
    reason: str | None = None


class Transfer(Protocol):
    """Decides what happens to the messages of a queue. Runs in the backend's thread: be quick.

    An exception ends the work: results of sent messages are awaited, the others are given back, and
    `Mover.work` raises the exception.
    """

    def take(self, message: RawMessage) -> Sending | None:
        """Return the action for *message*; `None` leaves it in the queue."""

    def allowance(self) -> int:
        """Return how many messages may be sent now (a rate limit); called again soon."""

    def sending(self, sendings: Sequence[Sending]) -> None:
        """Write down that *sendings* will be sent now, and all other notes."""

    def answered(self, answers: Sequence[tuple[Sending, PublishResult]]) -> None:
        """Note the result of each message; a message without a target counts as `confirmed`.

        A message that the broker refuses with an error is `refused`, with its `Sending.reason`; the
        other messages are not affected.
        """

    def write(self) -> None:
        """Write down all notes that are not written yet."""

    def settled(self, sendings: Sequence[Sending]) -> None:
        """Note that the originals of *sendings* are gone from the queue."""

    def returned(self, sendings: Sequence[Sending]) -> None:
        """Note that *sendings* were taken but not sent, and lie in the queue as before."""

    @property
    def is_done(self) -> bool:
        """Whether no more messages are to be taken."""

    @property
    def is_cancelled(self) -> bool:
        """Whether to stop now; unsent messages stay in the queue."""


Ending = Literal["done", "end of queue", "held too long"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The result of a pass through a queue.

    ``done``: the transfer wanted no more; ``end of queue``: all messages that were ready at the
    beginning have been seen; ``held too long``: all messages were given back, and another pass may
    continue. *seen* counts the messages that were received, *note* says in words what else the pass
    did.
    """

    ending: Ending
    seen: int
    note: str | None = None


class Mover(Protocol):
    """A queue that this client has locked to move messages out of it. A context manager."""

    @property
    def queue(self) -> str:
        """The name of the queue."""

    @property
    def user(self) -> str | None:
        """The user who publishes. RabbitMQ refuses a message with another `user_id`; `None`: it is
        not checked."""

    @property
    def obstacle(self) -> str | None:
        """The reason, in words, why nothing can be sent at present, and `work` and `put` wait; else
        `None`."""

    def work(self, transfer: Transfer, *, largest: int = 0) -> Moved:
        """Pass through the queue once, from its head, with *transfer*.

        *largest*: bytes of the largest body that is wanted, which decides how many are held at
        once. Sees at most as many messages as are ready at the beginning, so that messages that die
        again during the pass are not taken. Raises `ConnectionLost` when the broker went away:
        everything not acknowledged lies in the queue again, and `work` may be called again. Raises
        `QueueInUse` when another client has locked the queue meanwhile.
        """

    def put(self, transfer: Transfer, sendings: Iterable[Sending]) -> None:
        """Publish *sendings*, whose original messages are in no queue; *transfer* gets the same
        calls as in `work`."""

    def close(self) -> None:
        """Unlock the queue. Idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
