"""Taps: streams on the broker that keep copies of all published tasks."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tasktools.core.errors import InvalidTap

NAME: Final = "tasktools.tap"
"""The default name of a tap; every other name of a tap begins with it."""
MAX_AGE: Final = "7D"
MAX_BYTES: Final = 2_000_000_000
"""The limits of a tap, unless others are given."""
OFFSET: Final = "x-stream-offset"
"""The header with a message's offset in its stream."""
COSTS: Final = (
    "every message is routed and stored once more, on the disk of the broker, where secrets in it "
    "are not masked",
    "publishers no longer get an error for messages that no topic takes: the task exchange "
    "confirms them, since the tap takes them (publishers of tasktools still get it)",
    "a stream keeps bodies and properties, but of the headers none that is a table or a list; that "
    "of RabbitMQ 3.10 misses what was published with a delay, or within a second of a restart",
)
"""The costs of a tap for everybody."""

_MIN_BYTES: Final = 10_000_000
_SEGMENTS: Final = 10
_LARGEST_SEGMENT: Final = 500_000_000
_KEY: Final = "tapped-"
_MAX_NAME_BYTES: Final = 255
_UNITS: Final = (("D", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class Tap(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that keeps copies of published tasks.

    They stay for *max_age* seconds, and at most *max_bytes* of them. Both limits are kept to
    about a tenth of *max_bytes*, since RabbitMQ deletes a stream in segments.
    """

    name: str
    max_age: int
    max_bytes: int

    @property
    def title(self) -> str:
        """The action of the tap, in one line."""
        limits = f"for {age(self.max_age)}, at most {self.max_bytes:,} bytes"
        return f"{self.name} keeps what is published {limits}"

    @property
    def costs(self) -> tuple[str, ...]:
        """The cost of the tap for all users of the broker."""
        return COSTS

    def __repr__(self) -> str:
        return "\n".join([f"<Tap: {self.title}>", *(f"  {cost}" for cost in self.costs)])


def is_tap(queue: str) -> bool:
    """Whether *queue* is a name that a tap can have."""
    return queue == NAME or queue.startswith(f"{NAME}.")


def check_name(name: str) -> None:
    """Raise `InvalidTap` for a name that no tap can have."""
    if not is_tap(name) or not name.isprintable() or len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidTap(
            f"A tap cannot be called {name!r}; nothing was changed. It is called {NAME}, or "
            f"something like {NAME}.audit."
        )


def arguments(name: str, max_age: float, max_bytes: int) -> dict[str, Any]:
    """Return the arguments of the stream *name*. Raises `InvalidTap`."""
    check_name(name)
    if max_age < 1:
        raise InvalidTap(f"max_age is {max_age:g} s, below 1; nothing was changed.")
    if max_bytes < _MIN_BYTES:
        raise InvalidTap(
            f"max_bytes is {max_bytes:,}, not {_MIN_BYTES:,} or more; nothing was changed."
        )
    return {
        "x-queue-type": "stream",
        "x-max-age": age(round(max_age)),
        "x-max-length-bytes": max_bytes,
        "x-stream-max-segment-size-bytes": min(max_bytes // _SEGMENTS, _LARGEST_SEGMENT),
    }


def age(seconds: int) -> str:
    """Return *seconds* as RabbitMQ writes an age, in the largest unit of which it is a whole
    number."""
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


def key(offset: int) -> str:
    """Return the key of the message at *offset* of its tap."""
    return f"{_KEY}{offset}"


def offset_of(key: str) -> int | None:
    """Return the offset of the message that *key* names, if it is one of a tap."""
    text = key.removeprefix(_KEY)
    return int(text) if text != key and text.isdecimal() else None
