"""Taps: streams that keep what was published, as a part of the contract.

A tap is a stream bound to the task exchange with ``#``. The costs of a tap are in
`tasktools.core.taps.COSTS`. Reading takes nothing away, and any number of readers may read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tasktools.core.errors import TapConflict, UnknownTap
from tasktools.core.masked_repr import MaskedStruct


class Tapped(MaskedStruct, frozen=True, gc=False):
    """A message of a tap, and the topic to which it was published.

    Offsets grow along the tap, with gaps. *properties* are the bytes that AMQP encodes them to,
    without headers that were tables or lists.
    """

    offset: int
    topic: str
    properties: bytes
    body: bytes


ReceiveTapped = Callable[[Tapped], object]
"""Receives each message of a tap; returns `True` to end the reading."""


class Taps(Protocol):
    """Methods that make, delete and read taps."""

    def tap(self, name: str, *, max_age: float, max_bytes: int) -> bool:
        """Keep a copy of each message that passes the task exchange from now on, for *max_age*
        seconds and within *max_bytes*; says whether the stream was missing. `@changes`.

        The oldest are dropped first, a tenth of *max_bytes* at a time. Messages sent to a queue by
        its name (replays) do not pass the exchange; delayed messages pass it later, which a stream
        of RabbitMQ 3.10 misses. An existing tap with the same limits is only bound again if
        necessary; for other limits this raises `TapConflict`, which names the difference. Raises
        `InvalidTap` for an invalid name or limit, and `NoStreams`.
        """

    def untap(self, name: str, *, delete: bool = False) -> bool:
        """Stop keeping copies; with *delete*, delete the stream and its messages. Returns whether
        there was one. `@changes`; idempotent. Raises `InvalidTap`, and `TapConflict` if the queue
        to delete is not a stream."""

    def read_tap(
        self,
        name: str,
        receive: ReceiveTapped,
        *,
        since: float | None = None,
        until: float | None = None,
        offset: int = 0,
    ) -> None:
        """Pass the messages of a tap to *receive* in the order of publishing, up to the last one at
        the time of the call.

        From *offset*, or, if it is given, from *since* to before *until*, which are seconds since
        the epoch, by the broker's clock and about as exact as a second: a few from just outside may
        be among them. *receive* runs in a thread of the backend and must return quickly; an
        exception of *receive* ends the reading, and is raised. Raises `UnknownTap`.
        """


def unknown_tap(name: str) -> UnknownTap:
    """Return the error for a tap that does not exist."""
    return UnknownTap(
        f"There is no tap {name!r}, so what was published is not kept; nothing was changed. Make "
        "one with cluster.tap(), which costs throughput and disk."
    )


def tap_conflict(name: str, argument: str, current: object, wanted: object) -> TapConflict:
    """Return the error for a tap that exists and is different."""
    return TapConflict(
        f"The tap {name!r} exists and has {argument} {current} instead of {wanted}; it was not "
        "changed. A policy (max-age, max-length-bytes) makes it keep less; for more, untap it with "
        "delete=True (on the command line --delete), which drops what it has kept, and tap again."
    )
