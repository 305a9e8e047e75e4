"""The `key` that names one message as it lies in one queue."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from tasktools.core import failures
from tasktools.core.models import Death, Properties


class Keys:
    """Hands out keys for the messages of one look, in the order they are seen.

    A key is a hash over message id, timestamp, body, deaths with their counts, and when a worker
    of ours gave it up. It does not change when the message is looked at (delivery counters are
    left out) and does when it died once more. The n-th identical message of a look ends in ``#n``.
    """

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def next(self, properties: Properties, body: bytes, deaths: Sequence[Death]) -> str:
        """Return the key of the next message."""
        key = _hash(properties, body, deaths)
        self._seen[key] += 1
        n = self._seen[key]
        return key if n == 1 else f"{key}#{n}"


def _hash(properties: Properties, body: bytes, deaths: Sequence[Death]) -> str:
    digest = hashlib.blake2b(digest_size=10)
    parts = [properties.message_id or "", str(properties.timestamp or "")]
    parts += [f"{d.queue}\0{d.reason}\0{d.count}" for d in deaths]
    parts += [str(properties.headers.get(failures.FAILED_AT) or "")]
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    digest.update(body)
    return digest.hexdigest()
