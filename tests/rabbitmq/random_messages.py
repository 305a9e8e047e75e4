"""Messages at random, in bytes: every property, and every type that a header can have.

Plain pika neither writes nor reads all of them, so they pass it as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

_TEXTS = ("content_type", "content_encoding")
_LARGE = 5_000_000


class Bytes:
    """Properties that are these bytes, for pika to send."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def encode(self) -> list[bytes]:
        """Give them as they are."""
        return [self.raw]


def random_messages(
    dice: Random, count: int, *, user: str, large: int = 0
) -> Iterator[tuple[bytes, bytes]]:
    """Yield *count* messages, each its properties and its body; *large* of them have 5 MB."""
    for n in range(count):
        size = _LARGE if n < large else int(dice.paretovariate(0.7)) % 3000
        yield random_properties(dice, n, user), dice.randbytes(size)


def random_properties(dice: Random, n: int, user: str) -> bytes:
    """Return the properties of message *n*, each there or not."""
    parts = [
        _short(dice),
        _short(dice),
        _long(random_table(dice)),
        bytes([dice.choice((1, 2))]),
        bytes([dice.randrange(256)]),
        _short(dice),
        _short(dice),
        None,  # it would expire
        _sized(b"message %d" % n),
        struct.pack(">Q", dice.randrange(2**31)),
        _short(dice),
        _sized(user.encode()),
        _short(dice),
        _short(dice),
    ]
    kept = [None if dice.random() < 0.2 else part for part in parts]
    flags = sum(1 << 15 - bit for bit, part in enumerate(kept) if part is not None)
    return struct.pack(">H", flags) + b"".join(part for part in kept if part is not None)


def random_table(dice: Random, depth: int = 0) -> bytes:
    """Return the entries of a table."""
    names = [b"h%d%s" % (n, dice.randbytes(dice.randrange(4))) for n in range(dice.randrange(7))]
    entries = [_sized(name) + _value(dice, depth) for name in names]
    if not depth and dice.random() < 0.2:
        copies = [b"S" + _long(b"copy of it"), b"S" + _long(b"and one more")]
        entries.insert(0, _sized(b"CC") + b"A" + _long(b"".join(copies)))
    if not depth and dice.random() < 0.1:
        entries.append(_sized(b"BCC") + b"A" + _long(b"S" + _long(b"copy of it")))
    return b"".join(entries)


def _value(dice: Random, depth: int) -> bytes:
    kinds = b"tbBsuIilfdDSTVx" if depth > 2 else b"tbBsuIilfdDSTVxAF"
    kind = bytes([dice.choice(kinds)])
    match kind:
        case b"t":
            content = bytes([dice.randrange(2)])
        case b"V":
            content = b""
        case b"S" | b"x":
            content = _long(dice.randbytes(dice.randrange(40)))
        case b"T":
            content = struct.pack(">Q", dice.randrange(2**33))
        case b"f" | b"d":
            content = struct.pack(b">" + kind, dice.uniform(-1e9, 1e9))
        case b"A":
            content = _long(b"".join(_value(dice, depth + 1) for _ in range(dice.randrange(4))))
        case b"F":
            content = _long(random_table(dice, depth + 1))
        case _:
            content = dice.randbytes({b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"D": 5}.get(kind, 4))
            content = dice.randbytes(8) if kind == b"l" else content
    return kind + content


def _short(dice: Random) -> bytes:
    return _sized(dice.randbytes(dice.randrange(20)))


def _sized(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def _long(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content
