"""Field tables, the headers of a message, as AMQP 0-9-1 encodes them and RabbitMQ reads them.

Decoding and encoding are exact: a value that is decoded and encoded again is the same, fractions
included.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

BROKEN: Final = (ValueError, IndexError, struct.error, RecursionError)
"""The errors of reading bytes that are no field table."""

_NUMBERS: Final = {
    ord(kind): struct.Struct(f">{code}")
    for kind, code in zip("tbBUsuIiLlfd", "?bBhhHiIqqfd", strict=True)
}
_SIZES: Final = {kind: number.size for kind, number in _NUMBERS.items()} | {
    ord("D"): 5,
    ord("T"): 8,
    ord("V"): 0,
}
_INT32: Final = range(-(2**31), 2**31)
_INT64: Final = range(-(2**63), 2**63)
_OF_DEATHS: Final = ("x-death", "x-first-death-", "x-last-death-")
_REMEMBERED: Final = 2048


def entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Return the name of each header, and its bytes including the name. Raises one of `BROKEN`."""
    at = 0
    while at < len(table):
        value = at + 1 + table[at]
        end = _end(table, value)
        yield _text(table[at + 1 : value]), table[at:end]
        at = end


def decode(table: bytes) -> dict[str, Any]:
    """Return the headers in *table*. Raises one of `BROKEN`.

    Messages that died together have the same headers, and others at least the same deaths, so those
    are decoded once: the values of two messages may be one object, which must not be changed.
    """
    return _decoded(table).copy()


@functools.lru_cache(maxsize=_REMEMBERED)
def _decoded(table: bytes) -> dict[str, Any]:
    return {
        name: _remembered(entry) if name.startswith(_OF_DEATHS) else _value_of(entry)
        for name, entry in entries(table)
    }


def encode(headers: Mapping[str, Any]) -> bytes:
    """Return *headers* as a field table. Raises `ValueError` for a value that AMQP has no type
    for."""
    return b"".join(encode_entry(name, value) for name, value in headers.items())


def encode_entry(name: str, value: object) -> bytes:
    """Return one header as bytes."""
    return short(name) + _encoded(value)


def short(text: str) -> bytes:
    """Return *text* as a short string. Raises `ValueError` beyond 255 bytes."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > 255:
        raise ValueError(f"{text[:20]!r}… is longer than 255 bytes")
    return bytes([len(encoded)]) + encoded


def seconds(time: datetime) -> int:
    """Return *time* in seconds since the epoch.

    Raises `ValueError` for a time without a time zone, or before 1970.
    """
    seconds_since_epoch = int(time.timestamp())
    if time.tzinfo is None or seconds_since_epoch < 0:
        raise ValueError("a header's time has no time zone, or is before 1970")
    return seconds_since_epoch


# --- reading ------------------------------------------------------------------------


def _end(data: bytes, at: int) -> int:
    """Return the end of the value whose type byte is at *at*."""
    kind = data[at]
    if kind in _COUNTED:
        end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
    elif kind in _SIZES:
        end = at + 1 + _SIZES[kind]
    else:
        raise ValueError(f"a header has the unknown type {chr(kind)!r}")
    if end > len(data):
        raise ValueError("a header is longer than its table")
    return end


def _value_of(entry: bytes) -> Any:
    return _value(entry, 1 + entry[0], len(entry))


_remembered = functools.lru_cache(maxsize=_REMEMBERED)(_value_of)


def _value(data: bytes, at: int, end: int) -> Any:
    kind = data[at]
    if kind in _COUNTED:
        return _COUNTED[kind](data[at + 5 : end])
    if kind in _NUMBERS:
        return _NUMBERS[kind].unpack_from(data, at + 1)[0]
    match chr(kind):
        case "D":
            return Decimal(int.from_bytes(data[at + 2 : end], "big", signed=True)).scaleb(
                -data[at + 1]
            )
        case "T":
            return _time(int.from_bytes(data[at + 1 : end], "big"))
        case _:
            return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _string(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _time(seconds: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return seconds  # after the year 9999


def _array(data: bytes) -> list[Any]:
    values, at = [], 0
    while at < len(data):
        end = _end(data, at)
        values.append(_value(data, at, end))
        at = end
    return values


def _table(data: bytes) -> dict[str, Any]:
    return {name: _value_of(entry) for name, entry in entries(data)}


# Four bytes of length, and that many bytes.
_COUNTED: Final[dict[int, Callable[[bytes], Any]]] = {
    ord("S"): _string,
    ord("x"): bytes,
    ord("A"): _array,
    ord("F"): _table,
}


# --- writing ------------------------------------------------------------------------


def _encoded(value: object) -> bytes:  # noqa: C901, PLR0911 - one a type
    match value:
        case None:
            return b"V"
        case str():
            return _counted(b"S", value.encode("utf-8", "replace"))
        case bytes():
            return _counted(b"x", value)
        case bool():
            return b"t" + bytes([value])
        case int():
            return _integer(value)
        case float():
            return struct.pack(">cd", b"d", value)
        case Decimal():
            return _decimal(value)
        case datetime():
            return struct.pack(">cQ", b"T", seconds(value))
        case Mapping():
            return _counted(b"F", encode(value))
        case list() | tuple():
            return _counted(b"A", b"".join(map(_encoded, value)))
        case _:
            raise ValueError(f"a header cannot be a {type(value).__name__}")


def _counted(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack(">I", len(content)) + content


def _integer(value: int) -> bytes:
    if value in _INT32:
        return struct.pack(">ci", b"I", value)
    if value in _INT64:
        return struct.pack(">cq", b"l", value)
    raise ValueError("a header's number is beyond 64 bits")


def _decimal(value: Decimal) -> bytes:
    exponent = value.as_tuple().exponent
    scale = max(-exponent, 0) if isinstance(exponent, int) else 256
    if scale > 255 or (number := int(value.scaleb(scale))) not in _INT32:
        raise ValueError("a header's decimal is beyond 32 bits")
    return struct.pack(">cBi", b"D", scale, number)
