"""Messages at random, in bytes: every property, and every type that a header can have.

Plain pika neither writes nor reads all of them. What they are to become is put together here from
the same pieces, and owes nothing to the code that edits them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

_LARGE = 5_000_000
_HEADERS = 2  # their place among the properties
_KINDS = b"tbBsuIilfdDSTVxAF"
_DEEPEST = 3
_SIZES = {b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"D": 5}


@dataclass(frozen=True)
class RandomMessage:
    """A message. *fields* are its properties but the headers, `None` where it has none; *copies*
    are headers, besides *headers*, that have the broker put copies of it elsewhere."""

    fields: tuple[bytes | None, ...]
    headers: tuple[bytes, ...] | None
    copies: tuple[bytes, ...]
    body: bytes

    @property
    def properties(self) -> bytes:
        """Its properties as it is published."""
        if self.copies:
            return self._with((*self.copies, *(self.headers or ())))
        return self._with(self.headers)

    def without_copies(self) -> bytes:
        """Its properties without the headers that make copies."""
        return self._with(self.headers)

    def with_header(self, name: str, text: str) -> bytes:
        """Those with one header more, which holds a text."""
        entry = sized(name.encode()) + b"S" + long(text.encode())
        return self._with((*(self.headers or ()), entry))

    def _with(self, headers: Sequence[bytes] | None) -> bytes:
        table = None if headers is None else long(b"".join(headers))
        parts = [*self.fields[:_HEADERS], table, *self.fields[_HEADERS:]]
        flags = sum(1 << 15 - bit for bit, part in enumerate(parts) if part is not None)
        return struct.pack(">H", flags) + b"".join(part for part in parts if part is not None)


def random_messages(
    dice: Random,
    count: int,
    *,
    user: str = "guest",
    large: int = 0,
    copies_to: str | None = None,
    priorities: bool = False,
) -> Iterator[RandomMessage]:
    """Yield *count* messages of *user*; *large* of them have 5 MB. Of some, copies are to be put
    into the queue *copies_to*. With *priorities*, some queues have an order of their own."""
    for n in range(count):
        size = _LARGE if n < large else int(dice.paretovariate(0.7)) % 3000
        yield RandomMessage(
            fields=_random_fields(dice, n, user, priorities=priorities),
            headers=random_entries(dice) or None,
            copies=() if copies_to is None or dice.random() < 0.7 else _copies(dice, copies_to),
            body=n.to_bytes(3, "big") + dice.randbytes(size),
        )


def _random_fields(
    dice: Random, n: int, user: str, *, priorities: bool
) -> tuple[bytes | None, ...]:
    fields = (
        _text(dice),  # content type
        _text(dice),  # content encoding
        b"\2",  # delivery mode
        bytes([dice.randrange(256)]) if priorities else None,
        _text(dice),  # correlation id
        _text(dice),  # reply to
        None,  # expiration: it would
        sized(b"message %d" % n),
        struct.pack(">Q", dice.randrange(2**31)),
        _text(dice),  # type
        sized(user.encode()),
        _text(dice),  # app id
        _text(dice),  # cluster id
    )
    return tuple(None if dice.random() < 0.2 else field for field in fields)


def _copies(dice: Random, queue: str) -> tuple[bytes, ...]:
    keys = b"A" + long(b"S" + long(queue.encode()))
    return (sized(dice.choice((b"CC", b"BCC"))) + keys,)


def random_entries(dice: Random, depth: int = 0) -> tuple[bytes, ...]:
    """Return the entries of a table."""
    names = [b"h%d%s" % (n, dice.randbytes(dice.randrange(4))) for n in range(dice.randrange(7))]
    return tuple(sized(name) + _random_value(dice, depth) for name in names)


def _random_value(dice: Random, depth: int) -> bytes:
    kind = bytes([dice.choice(_KINDS if depth < _DEEPEST else _KINDS[:-2])])
    match kind:
        case b"t":
            content = bytes([dice.randrange(2)])
        case b"V":
            content = b""
        case b"S" | b"x":
            content = long(dice.randbytes(dice.randrange(40)))
        case b"T":
            content = struct.pack(">Q", dice.randrange(2**33))
        case b"f" | b"d":
            content = struct.pack(b">" + kind, dice.uniform(-1e9, 1e9))
        case b"A":
            items = [_random_value(dice, depth + 1) for _ in range(dice.randrange(4))]
            content = long(b"".join(items))
        case b"F":
            content = long(b"".join(random_entries(dice, depth + 1)))
        case _:
            content = dice.randbytes(_SIZES[kind])
    return kind + content


def _text(dice: Random) -> bytes:
    return sized(dice.randbytes(dice.randrange(20)))


def sized(text: bytes) -> bytes:
    """Return a short string."""
    return bytes([len(text)]) + text


def long(content: bytes) -> bytes:
    """Return a long string, or the like."""
    return struct.pack(">I", len(content)) + content
