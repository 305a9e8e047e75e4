"""The `key` that names one message as it lies in one queue."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Sequence

from tasktools.core import failures, replays
from tasktools.core.models import Death, Properties


class Keys:
    """Hands out keys for the messages of one look, in the order they are seen.

    A key is a hash over message id, timestamp, body, deaths with their counts, when a worker of
    ours gave it up, and the story of its replays. It does not change when the message is looked at
    (delivery counters are left out) and does when it died once more, also when it was replayed in
    between. The n-th identical message of a look ends in ``#n``.
    """

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def next(self, properties: Properties, body: bytes, deaths: Sequence[Death]) -> str:
        """Return the key of the next message."""
        key = base(properties, body, deaths)
        self._seen[key] += 1
        n = self._seen[key]
        return key if n == 1 else f"{key}#{n}"


def base(properties: Properties, body: bytes, deaths: Sequence[Death]) -> str:
    """Return a message's key without the number that tells identical ones apart."""
    headers = properties.headers
    parts = [properties.message_id or "", str(properties.timestamp or "")]
    parts += [f"{d.queue}\0{d.reason}\0{d.count}" for d in deaths]
    parts += [str(headers.get(name) or "") for name in (failures.FAILED_AT, replays.HEADER)]
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    lengths = struct.pack(f">{len(encoded) + 1}Q", len(encoded), *map(len, encoded))
    return hashlib.blake2b(b"".join((lengths, *encoded, body)), digest_size=10).hexdigest()
