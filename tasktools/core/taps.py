"""Taps: streams, on the broker, of all that was published to the task exchange."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tasktools.core.errors import InvalidTap

NAME: Final = "tasktools.tap"
"""What a tap is called, unless it is given a name, which then begins like this."""
MAX_AGE: Final = "7D"
MAX_BYTES: Final = 2_000_000_000
"""What a tap keeps, unless it is told otherwise."""
OFFSET: Final = "x-stream-offset"
"""The header that tells a message's place in its stream."""
COSTS: Final = (
    "every message is routed and stored once more, on the disk of the broker, where secrets in it "
    "are not masked",
    "publishers are no longer told of messages that no topic takes: the task exchange confirms "
    "them, since the tap takes them (publishers of tasktools are told all the same)",
    "a stream keeps bodies and properties, but of the headers none that is a table or a list; that "
    "of RabbitMQ 3.10 misses what was published with a delay, or within a second of a restart",
)
"""What everybody pays for a tap."""

_LEAST: Final = 10_000_000
_SEGMENTS: Final = 10
_LARGEST_SEGMENT: Final = 500_000_000
_KEY: Final = "tapped-"
_LONGEST_NAME: Final = 255
_UNITS: Final = (("D", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class Tap(msgspec.Struct, frozen=True, kw_only=True):
    """What is published is kept for *max_age* seconds, and at most *max_bytes* of it, both to a
    tenth of *max_bytes*."""

    name: str
    max_age: int
    max_bytes: int

    @property
    def title(self) -> str:
        """What it does, in one line."""
        kept = f"for {age(self.max_age)}, at most {self.max_bytes:,} bytes"
        return f"{self.name} keeps what is published {kept}"

    @property
    def costs(self) -> tuple[str, ...]:
        """What everybody pays for it."""
        return COSTS

    def __repr__(self) -> str:
        return "\n".join([f"<Tap: {self.title}>", *(f"  {cost}" for cost in self.costs)])


def is_tap(queue: str) -> bool:
    """Whether a tap can be called so."""
    return queue == NAME or queue.startswith(f"{NAME}.")


def check_name(name: str) -> None:
    """Raise `InvalidTap` for what no tap can be called."""
    if not is_tap(name) or not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
        raise InvalidTap(
            f"A tap cannot be called {name!r}; nothing was changed. It is called {NAME}, or "
            f"something like {NAME}.audit."
        )


def arguments(name: str, max_age: float, max_bytes: int) -> dict[str, Any]:
    """Return the arguments of the stream *name*. Raises `InvalidTap`."""
    check_name(name)
    if max_age < 1:
        raise InvalidTap(f"max_age is {max_age:g} s, below 1; nothing was changed.")
    if max_bytes < _LEAST:
        raise InvalidTap(
            f"max_bytes is {max_bytes:,}, not {_LEAST:,} or more; nothing was changed."
        )
    return {
        "x-queue-type": "stream",
        "x-max-age": age(round(max_age)),
        "x-max-length-bytes": max_bytes,
        "x-stream-max-segment-size-bytes": min(max_bytes // _SEGMENTS, _LARGEST_SEGMENT),
    }


def age(seconds: int) -> str:
    """Return *seconds* as RabbitMQ writes an age, in the largest unit that tells it exactly."""
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


def key(offset: int) -> str:
    """Return what names the message at *offset* of its tap."""
    return f"{_KEY}{offset}"


def offset_of(key: str) -> int | None:
    """Return the offset of the message that *key* names, if it is one of a tap."""
    text = key.removeprefix(_KEY)
    return int(text) if text != key and text.isdecimal() else None
