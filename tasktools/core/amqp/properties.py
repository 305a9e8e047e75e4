"""Message properties as AMQP 0-9-1 encodes them: decoded, encoded, and edited in the bytes.

A message that is passed on must not change on the way, so an edit removes and inserts bytes; all
other bytes stay as they came.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tasktools.core.amqp import field_tables
from tasktools.core.models import Properties

# In the order in which they follow the flag word (4.2.6.1), from its highest bit down.
_NAMES: Final = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
_FLAGS: Final = {name: 1 << 15 - n for n, name in enumerate(_NAMES)}
_SIZES: Final = {"delivery_mode": 1, "priority": 1, "timestamp": 8}
_NO_PROPERTIES: Final = "these are no message properties"


def decode(raw: bytes) -> Properties:
    """Return the properties in *raw*; never raises.

    If one header cannot be read, all headers are left out. A timestamp that cannot be read is left
    out too. Bytes that are not properties give empty `Properties`.
    """
    try:
        parts = split(raw)
    except (ValueError, IndexError):
        return Properties()
    parts.pop("cluster_id", None)
    return Properties(**{name: _DECODERS.get(name, _text)(part) for name, part in parts.items()})


def decoded(name: str, part: bytes) -> Any:
    """Return the decoded value of the property *name* in the bytes *part*."""
    return _DECODERS.get(name, _text)(part)


def encode(properties: Properties) -> bytes:
    """Return *properties* as bytes. Raises `ValueError` for a value that AMQP has no type for."""
    parts = {}
    for name in _NAMES[:-1]:
        value = getattr(properties, name)
        if value is not None and value != {}:
            parts[name] = _encoded(name, value)
    return joined(parts)


def edited(
    raw: bytes,
    *,
    without: Callable[[str], bool] = lambda _name: False,
    added: Mapping[str, object] | None = None,
    drop: Collection[str] = (),
    expiration: str | None = None,
) -> bytes:
    """Return *raw* without the headers for which *without* is true, with the headers in *added*,
    and without the properties named in *drop*.

    *added* replaces headers of the same name. *expiration* is set when it is given. Raises
    `ValueError` for bytes that are no properties.
    """
    try:
        parts = split(raw)
        if "headers" in parts or added:
            parts["headers"] = edited_headers(parts.get("headers", b""), without, added or {})
    except (IndexError, struct.error):
        raise ValueError(_NO_PROPERTIES) from None
    for name in drop:
        parts.pop(name, None)
    if expiration is not None:
        parts["expiration"] = field_tables.short(expiration)
    return joined(parts)


def edited_headers(
    part: bytes, without: Callable[[str], bool], added: Mapping[str, object]
) -> bytes:
    """Return the bytes of the headers after the edits of `edited`. Raises one of
    `field_tables.BROKEN`."""
    remaining = [
        entry
        for name, entry in field_tables.entries(part[4:])
        if name not in added and not without(name)
    ]
    return _sized(b"".join(remaining) + field_tables.encode(added))


def split(raw: bytes) -> dict[str, bytes]:
    """Return each property's bytes by its name, in their order.

    Raises `ValueError` or `IndexError` for bytes that are no properties.
    """
    at, parts = 2, {}
    for name in _present(raw[:2]):
        if name == "headers":
            end = at + 4 + int.from_bytes(raw[at : at + 4], "big")
        else:
            end = at + (_SIZES.get(name) or 1 + raw[at])
        parts[name] = raw[at:end]
        at = end
    if at != len(raw):
        raise ValueError(_NO_PROPERTIES)
    return parts


@functools.lru_cache(maxsize=256)
def _present(word: bytes) -> tuple[str, ...]:
    flags = int.from_bytes(word, "big")
    if flags & 0b11 or len(word) < 2:  # a second flag word, which no version of AMQP 0-9-1 uses
        raise ValueError(_NO_PROPERTIES)
    return tuple(name for name, flag in _FLAGS.items() if flags & flag)


def joined(parts: Mapping[str, bytes]) -> bytes:
    """Return the properties that have these *parts*."""
    word, names = _in_order(frozenset(parts))
    return word + b"".join([parts[name] for name in names])


@functools.lru_cache(maxsize=256)
def _in_order(names: frozenset[str]) -> tuple[bytes, tuple[str, ...]]:
    """Return the flag word of these properties, and their order."""
    flags = sum(_FLAGS[name] for name in names)
    return flags.to_bytes(2, "big"), tuple(name for name in _NAMES if name in names)


def _sized(table: bytes) -> bytes:
    return struct.pack(">I", len(table)) + table


def _text(part: bytes) -> str:
    return part[1:].decode("utf-8", "backslashreplace")


def _headers(part: bytes) -> Mapping[str, Any]:
    try:
        return field_tables.decode(part[4:])
    except field_tables.BROKEN:
        return {}


@functools.lru_cache(maxsize=1024)  # whole seconds, which many messages share
def _timestamp(part: bytes) -> datetime | None:
    try:
        return datetime.fromtimestamp(int.from_bytes(part, "big"), UTC)
    except (OverflowError, ValueError, OSError):
        return None


_DECODERS: Final[dict[str, Callable[[bytes], Any]]] = {
    "headers": _headers,
    "timestamp": _timestamp,
    "priority": ord,
    "delivery_mode": ord,
}


def _encoded(name: str, value: Any) -> bytes:
    match name:
        case "headers":
            return _sized(field_tables.encode(value))
        case "timestamp":
            return struct.pack(">Q", field_tables.seconds(value))
        case "priority" | "delivery_mode":
            return bytes([value])
        case _:
            return field_tables.short(value)
