"""Message properties as the bytes they came in, and the few edits that are made to them.

pika decodes and encodes headers with losses (a float becomes a whole number), so a message
that is only passed on must not go through its codec. What is edited is cut out of the bytes
and put into them; everything else stays as it was.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import pika

# Bits of the flag word, in the order in which the properties follow (AMQP 0-9-1, 4.2.6.1).
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY = 15, 14, 13, 12, 11
_CORRELATION_ID, _REPLY_TO, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP = 10, 9, 8, 7, 6
_TYPE, _USER_ID, _APP_ID, _CLUSTER_ID = 5, 4, 3, 2
_SIZES: Final = {_DELIVERY_MODE: 1, _PRIORITY: 1, _TIMESTAMP: 8}
_ALL: Final = range(_CONTENT_TYPE, _CLUSTER_ID - 1, -1)

_FIXED: Final = {
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"Usu", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"LldT", 8),
    ord("D"): 5,
    ord("V"): 0,
}
_COUNTED: Final = b"SAFx"  # four bytes of length, and that many bytes


class RawProperties(pika.BasicProperties):
    """Properties that go out exactly as these bytes."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._raw = raw

    def encode(self) -> list[bytes]:
        """Return the bytes, as pika wants them."""
        return [self._raw]


def edited(
    raw: bytes,
    *,
    without: Callable[[str], bool] = lambda _name: False,
    added: Mapping[str, str] | None = None,
    expiration: str | None,
) -> RawProperties:
    """Return the properties *raw* with the headers for which *without* says so taken out, those
    of *added* put in, and this *expiration* (`None`: none).

    *added* replaces headers of the same name. Raises `ValueError` for bytes that are no
    properties.
    """
    added = added or {}
    parts = _split(raw)
    table = parts.get(_HEADERS, b"")[4:]
    kept = b"".join(
        entry for name, entry in _entries(table) if name not in added and not without(name)
    )
    kept += b"".join(_entry(name, text) for name, text in added.items())
    if kept or _HEADERS in parts:
        parts[_HEADERS] = struct.pack(">I", len(kept)) + kept
    parts.pop(_EXPIRATION, None)
    if expiration is not None:
        parts[_EXPIRATION] = _short(expiration)
    flags = sum(1 << bit for bit in parts)
    return RawProperties(struct.pack(">H", flags) + b"".join(parts[b] for b in _ALL if b in parts))


def _split(raw: bytes) -> dict[int, bytes]:
    """Return each property's bytes by its flag."""
    flags = int.from_bytes(raw[:2], "big")
    if flags & 0b11 or len(raw) < 2:  # a second flag word, which no version of AMQP 0-9-1 uses
        raise ValueError("these are no message properties")
    at, parts = 2, {}
    for bit in _ALL:
        if flags & 1 << bit:
            end = at + _length(bit, raw, at)
            parts[bit] = raw[at:end]
            at = end
    if at != len(raw):
        raise ValueError("these are no message properties")
    return parts


def _length(bit: int, raw: bytes, at: int) -> int:
    if bit == _HEADERS:
        return 4 + int.from_bytes(raw[at : at + 4], "big")
    return _SIZES.get(bit) or 1 + raw[at]


def _entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Return name and bytes of each header."""
    at = 0
    while at < len(table):
        value = at + 1 + table[at]
        kind = table[value]
        if kind in _COUNTED:
            end = value + 5 + int.from_bytes(table[value + 1 : value + 5], "big")
        elif kind in _FIXED:
            end = value + 1 + _FIXED[kind]
        else:
            raise ValueError(f"a header has the unknown type {chr(kind)!r}")
        yield table[at + 1 : value].decode("utf-8", "replace"), table[at:end]
        at = end


def _entry(name: str, text: str) -> bytes:
    encoded = text.encode("utf-8", "replace")
    return _short(name) + b"S" + struct.pack(">I", len(encoded)) + encoded


def _short(text: str) -> bytes:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > 255:
        raise ValueError(f"{text[:20]!r}… is longer than 255 bytes")
    return bytes([len(encoded)]) + encoded
