"""Streams of the memory server: messages that stay when they are read, until they are old."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from tasktools.brokers.taps import Tapped, tap_conflict, unknown_tap
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.models import Properties


class _Entry(msgspec.Struct, frozen=True):
    at: float
    message: Tapped


class Stream:
    """Messages in the order in which they came. Not thread-safe: the server locks.

    Like a stream of RabbitMQ, it keeps no header that is a table or a list. Unlike RabbitMQ, it
    drops messages beyond the limits of age and size at once and one by one.
    """

    def __init__(self, arguments: Mapping[str, Any], max_age: float) -> None:
        self.arguments = dict(arguments)
        self._max_age = max_age
        self._max_bytes = int(arguments["x-max-length-bytes"])
        self._entries: deque[_Entry] = deque()
        self._bytes = 0
        self._offsets = itertools.count()

    def put(self, topic: str, properties: Properties, body: bytes, now: float) -> None:
        """Add a message."""
        headers = {
            name: value
            for name, value in properties.headers.items()
            if not isinstance(value, Mapping | list | tuple)
        }
        raw = amqp_properties.encode(structs.replace(properties, headers=headers))
        message = Tapped(next(self._offsets), topic, raw, bytes(body))
        self._entries.append(_Entry(now, message))
        self._bytes += len(body)
        self._forget(now)

    def read(
        self, now: float, *, since: float | None, until: float | None, offset: int
    ) -> list[Tapped]:
        """Return the messages from *offset*, or from *since* to before *until*."""
        self._forget(now)
        return [
            entry.message
            for entry in self._entries
            if entry.message.offset >= offset
            and (since is None or entry.at >= since)
            and (until is None or entry.at < until)
        ]

    def _forget(self, now: float) -> None:
        entries = self._entries
        while entries and (entries[0].at < now - self._max_age or self._bytes > self._max_bytes):
            self._bytes -= len(entries.popleft().message.body)


class Streams:
    """All streams of a server, and the exchanges whose messages they copy."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._taps: defaultdict[str, set[str]] = defaultdict(set)

    def named(self, name: str) -> Stream:
        """Return the stream called *name*; raises `UnknownTap`."""
        if name not in self._streams:
            raise unknown_tap(name)
        return self._streams[name]

    def tap(self, exchange: str, name: str, arguments: Mapping[str, Any], max_age: float) -> bool:
        """Copy all messages of *exchange* to the stream *name*; returns whether it was missing.

        Raises `TapConflict`.
        """
        is_new = name not in self._streams
        if is_new:
            self._streams[name] = Stream(arguments, max_age)
        current = self._streams[name].arguments
        for argument, wanted in arguments.items():
            if current[argument] != wanted:
                raise tap_conflict(name, argument, current[argument], wanted)
        self._taps[exchange].add(name)
        return is_new

    def untap(self, exchange: str, name: str, *, delete: bool) -> bool:
        """Stop copying to the stream *name*; returns whether it existed."""
        is_there = name in self._streams
        self._taps[exchange].discard(name)
        if delete and is_there:
            del self._streams[name]
            for bound in self._taps.values():
                bound.discard(name)
        return is_there

    def put(
        self, exchange: str, topic: str, properties: Properties, body: bytes, now: float
    ) -> bool:
        """Append a message to all streams that copy *exchange*; returns whether there are any."""
        for name in self._taps[exchange]:
            self._streams[name].put(topic, properties, body, now)
        return bool(self._taps[exchange])
