"""The `key` that names one message as it lies in one queue."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tasktools.core.amqp import failure_headers, replay_header
from tasktools.core.models import Death, Properties

_CHANGING: Final = (
    *("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count"),
    *("x-stream-", "x-tasktools-"),
)
"""Beginnings of headers that the broker or tasktools changes while a message lies in a queue."""
_LENGTHS: Final = struct.Struct(">QQ")


class Keys:
    """Hands out keys for the messages of one look, in the order they are seen.

    A key is a hash over message id, correlation id, type, timestamp, body, the publisher's headers
    (which name a task of Celery, and may be the only difference between two messages), deaths with
    their counts, the time at which a worker of tasktools gave the task up, and the header of
    replays. A look does not change the key (delivery counters are left out); another death does,
    also after a replay. The n-th identical message of a look ends in ``#n``.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def next(self, properties: Properties, body: bytes, deaths: Sequence[Death]) -> str:
        """Return the key of the next message."""
        key = base(properties, body, deaths)
        n = self._seen[key] = self._seen.get(key, 0) + 1
        return key if n == 1 else f"{key}#{n}"


def base(properties: Properties, body: bytes, deaths: Sequence[Death]) -> str:
    """Return a message's key without the number that distinguishes identical messages."""
    ids = (properties.message_id, properties.correlation_id, properties.type)
    return digest(ids, properties.timestamp, body, of_headers(properties.headers, deaths))


def of_headers(headers: Mapping[str, Any], deaths: Sequence[Death]) -> bytes:
    """Return the part of the headers that goes into a key, as bytes; *deaths* are the parsed
    `x-death` of the headers."""
    failed_at, replay = headers.get(failure_headers.FAILED_AT), headers.get(replay_header.HEADER)
    part = _deaths(tuple(deaths)) + _counted(str(failed_at or "")) + _counted(str(replay or ""))
    others = {name: headers[name] for name in headers if not name.startswith(_CHANGING)}
    return part + _counted(str(others)) if others else part


@functools.lru_cache(maxsize=1024)
def _deaths(deaths: tuple[Death, ...]) -> bytes:
    return b"".join(_counted(f"{d.queue}\0{d.reason}\0{d.count}") for d in deaths)


def _counted(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "big") + encoded


def digest(
    ids: Sequence[str | None], timestamp: datetime | None, body: bytes, headers: bytes
) -> str:
    """Return the key of a message with these parts; *ids* are texts from its properties."""
    seconds = "" if timestamp is None else str(int(timestamp.timestamp()))
    texts = (*(text or "" for text in ids), seconds)
    head = "\0".join(texts).encode("utf-8", "surrogatepass")
    lengths = _LENGTHS.pack(len(head), len(headers))
    return hashlib.blake2b(b"".join((lengths, head, headers, body)), digest_size=10).hexdigest()
