"""The `key` that names one message as it lies in one queue."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from tasktools.core.amqp import failure_headers, replay_header
from tasktools.core.models import Death, Properties

_LENGTHS: Final = struct.Struct(">QQ")


class Keys:
    """Hands out keys for the messages of one look, in the order they are seen.

    A key is a hash over message id, correlation id (all that Celery sets), timestamp, body, deaths
    with their counts, when a worker of ours gave it up, and the story of its replays. It does not
    change when the message is looked at (delivery counters are left out) and does when it died once
    more, also when it was replayed in between. The n-th identical message of a look ends in ``#n``.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def next(self, properties: Properties, body: bytes, deaths: Sequence[Death]) -> str:
        """Return the key of the next message."""
        key = base(properties, body, deaths)
        n = self._seen[key] = self._seen.get(key, 0) + 1
        return key if n == 1 else f"{key}#{n}"


def base(properties: Properties, body: bytes, deaths: Sequence[Death]) -> str:
    """Return a message's key without the number that tells identical ones apart."""
    headers = properties.headers
    failed_at, replay = headers.get(failure_headers.FAILED_AT), headers.get(replay_header.HEADER)
    ids = (properties.message_id, properties.correlation_id)
    return digest(ids, properties.timestamp, body, died(deaths, failed_at, replay))


def died(deaths: Sequence[Death], failed_at: object, replay: object) -> bytes:
    """Return what of the headers goes into a key, as bytes."""
    return _deaths(tuple(deaths)) + _counted(str(failed_at or "")) + _counted(str(replay or ""))


@functools.lru_cache(maxsize=1024)
def _deaths(deaths: tuple[Death, ...]) -> bytes:
    return b"".join(_counted(f"{d.queue}\0{d.reason}\0{d.count}") for d in deaths)


def _counted(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "big") + encoded


def digest(ids: Sequence[str | None], timestamp: datetime | None, body: bytes, died: bytes) -> str:
    """Return the key of a message of which these are known; *ids* are those of its properties."""
    seconds = "" if timestamp is None else str(int(timestamp.timestamp()))
    texts = (*(text or "" for text in ids), seconds)
    head = "\0".join(texts).encode("utf-8", "surrogatepass")
    lengths = _LENGTHS.pack(len(head), len(died))
    return hashlib.blake2b(b"".join((lengths, head, died, body)), digest_size=10).hexdigest()
