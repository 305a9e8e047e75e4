"""Taking chosen messages out of a queue: the part of the contract that replays are made of.

A `Mover` has one queue to itself (among users of tasktools) and works through it with a
`Transfer`, which says what becomes of each message and keeps account. The order of what happens
to a message is always the same, and it is what makes a `kill -9` at any point harmless:

1. `Transfer.take` chooses it and says what is to be sent, and where;
2. `Transfer.sending` is told of a window of such messages *before* they are sent;
3. they are published: to the default exchange with the queue's name, mandatory, confirmed;
4. `Transfer.answered` is told what became of them, and that is written (`Transfer.write`)
   *before* an original is acknowledged;
5. originals whose copies were confirmed are acknowledged;
6. `Transfer.settled` is told once the broker has those acknowledgements for certain.

What was not chosen, and what no queue took, is given back to its place, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, Self

import msgspec

from tasktools.core.models import PublishResult

WINDOW: Final = 2000
"""Messages that are sent and not answered, at most; bounds what a `kill -9` leaves in doubt."""
LONGEST_HOLD: Final = 240.0
"""Seconds after which everything is given back; well below RabbitMQ's consumer timeout."""


class RawMessage(msgspec.Struct, frozen=True, gc=False):
    """A message as it lies in a queue. *properties* are the bytes that AMQP encodes them to."""

    body: bytes
    properties: bytes
    redelivered: bool


class Sending(msgspec.Struct, frozen=True, gc=False):
    """What is to be done with a message that was taken.

    *queue* is where its copy goes; without one there is no copy: the original is acknowledged.
    *row* is the transfer's own.
    """

    row: Any
    queue: str | None = None
    body: bytes = b""
    properties: bytes = b""


class Transfer(Protocol):
    """What becomes of the messages of a queue. Called in the backend's thread: be quick.

    What it raises ends the work: what was sent is answered, the rest is given back, and the
    error is raised by `Mover.work`.
    """

    def take(self, message: RawMessage) -> Sending | None:
        """Say what is to be done with *message*; `None` leaves it in the queue."""

    def allowance(self) -> int:
        """How many messages may be sent now. It is asked again soon (a limit of the rate)."""

    def sending(self, sendings: Sequence[Sending]) -> None:
        """Write down that these will be sent now, and what else is noted."""

    def answered(self, answers: Sequence[tuple[Sending, PublishResult]]) -> None:
        """Note what became of each; those without a copy come as `confirmed`."""

    def write(self) -> None:
        """Write down what is noted and not written yet."""

    def settled(self, sendings: Sequence[Sending]) -> None:
        """Note that the originals of these are gone from the queue."""

    def returned(self, sendings: Sequence[Sending]) -> None:
        """Note that these were taken but not sent, and lie in the queue as before."""

    @property
    def is_done(self) -> bool:
        """Whether no more messages are to be taken."""

    @property
    def is_cancelled(self) -> bool:
        """Whether to end now: what is not sent yet is not sent."""


Ending = Literal["done", "end of queue", "held too long"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How a pass through a queue ended.

    ``done``: the transfer wanted no more; ``end of queue``: all messages that were ready at the
    beginning have been seen; ``held too long``: all was given back, and another pass may go on.
    *seen* counts the messages looked at, *note* says in words what the pass did besides.
    """

    ending: Ending
    seen: int
    note: str | None = None


class Mover(Protocol):
    """A queue that is ours to work through. A context manager."""

    @property
    def queue(self) -> str:
        """The queue it was made for."""

    @property
    def user(self) -> str | None:
        """Who publishes: a message with another `user_id` would be refused; `None`: nobody
        looks."""

    def work(self, transfer: Transfer, *, largest: int = 0) -> Moved:
        """Pass through the queue once, from its head, with *transfer*.

        *largest*: bytes of the largest body that is wanted, which decides how many are held at
        once. Sees at most as many messages as are ready at the beginning, so that what dies
        again behind it is not taken for new. Raises `ConnectionLost` when the broker went away:
        everything not acknowledged lies in the queue again, and `work` may be called again.
        Raises `QueueInUse` when somebody else has got the queue meanwhile.
        """

    def put(self, transfer: Transfer, sendings: Iterable[Sending]) -> None:
        """Publish *sendings*, which come from elsewhere, in the same way and with the same
        calls of *transfer*; there are no originals."""

    def close(self) -> None:
        """Give the queue up. Idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
