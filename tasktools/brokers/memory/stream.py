"""A stream of the memory server: messages that stay when they are read, until they are old."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from tasktools.brokers.tapping import Tapped
from tasktools.core import wire
from tasktools.core.models import Properties


class _Kept(msgspec.Struct, frozen=True):
    at: float
    message: Tapped


class Stream:
    """Messages in the order in which they came. The server locks; this does not.

    Like RabbitMQ's, it keeps no header that is a table or a list. Unlike them, it drops what is
    too old, or too much, at once and one by one.
    """

    def __init__(self, arguments: Mapping[str, Any], max_age: float) -> None:
        self.arguments = dict(arguments)
        self._max_age = max_age
        self._max_bytes = int(arguments["x-max-length-bytes"])
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._offsets = itertools.count()

    def put(self, topic: str, properties: Properties, body: bytes, now: float) -> None:
        """Add a message."""
        headers = {
            name: value
            for name, value in properties.headers.items()
            if not isinstance(value, Mapping | list | tuple)
        }
        raw = wire.encode(structs.replace(properties, headers=headers))
        message = Tapped(next(self._offsets), topic, raw, bytes(body))
        self._kept.append(_Kept(now, message))
        self._bytes += len(body)
        self._forget(now)

    def read(
        self, now: float, *, since: float | None, until: float | None, offset: int
    ) -> list[Tapped]:
        """Return what is kept from *offset*, or from *since* to before *until*."""
        self._forget(now)
        return [
            kept.message
            for kept in self._kept
            if kept.message.offset >= offset
            and (since is None or kept.at >= since)
            and (until is None or kept.at < until)
        ]

    def _forget(self, now: float) -> None:
        kept = self._kept
        while kept and (kept[0].at < now - self._max_age or self._bytes > self._max_bytes):
            self._bytes -= len(kept.popleft().message.body)
