"""Message properties that pika passes on as the bytes they are."""

from __future__ import annotations

import pika


class RawProperties(pika.BasicProperties):
    """Properties that go out exactly as these bytes (`tasktools.core.wire` makes and edits them).

    pika decodes and encodes headers with losses (a float becomes a whole number), so what is
    only passed on must not go through its codec.
    """

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self.raw = raw

    def encode(self) -> list[bytes]:
        """Return the bytes, as pika wants them."""
        return [self.raw]
