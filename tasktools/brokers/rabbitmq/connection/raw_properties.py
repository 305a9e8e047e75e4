"""Message properties that pika passes on as raw bytes."""

from __future__ import annotations

import functools
from typing import Any

import pika

from tasktools.core.amqp import properties
from tasktools.core.models import Properties


class RawProperties(pika.BasicProperties):
    """Properties that came as, and go out exactly as, these bytes.

    `tasktools.core.amqp.properties` reads and edits them: pika decodes and encodes headers with
    losses (a float becomes a whole number), and slowly.
    """

    def __init__(self, raw: bytes) -> None:  # not pika's, which sets every property
        self.raw = raw

    def encode(self) -> list[bytes]:
        """Return the bytes in the list that pika expects."""
        return [self.raw]

    @functools.cached_property
    def decoded(self) -> Properties:
        """The properties, decoded from the bytes."""
        return properties.decode(self.raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.decoded, name)
