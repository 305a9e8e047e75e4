"""A message to be sent on, decoded only as far as its key and its replay need.

A run over 100,000 messages has no time to decode all headers. Messages that died together have
identical headers, byte for byte, so the results for a header table are cached by its bytes.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from tasktools.core.amqp import (
    field_tables,
    message_key,
    properties,
    replay_header,
    x_death,
)

_REMEMBERED: Final = 1024
_UNREADABLE: Final = "its headers cannot be read, so they cannot be sent"
_EMPTY: Final = bytes(4)  # the length of a table without entries


class OpenedMessage:
    """A message's properties, split but not decoded; unreadable ones cannot be sent."""

    __slots__ = ("_headers", "_is_whole", "_parts")

    def __init__(self, raw: bytes) -> None:
        try:
            self._parts, self._is_whole = properties.split(raw), True
        except (ValueError, IndexError):
            self._parts, self._is_whole = {}, False
        self._headers = self._parts.get("headers", b"")

    def key(self, body: bytes) -> str:
        """Return the key of the message, the same as `message_key.base`."""
        ids = (self._part("message_id"), self._part("correlation_id"), self._part("type"))
        return message_key.digest(ids, self._part("timestamp"), body, _in_key(self._headers))

    def replayed(self, *, run: str, user: str | None) -> bytes:
        """Return the properties as *run* sends them for *user* (`replay_header`); raises
        `ValueError`."""
        try:
            parts = {**self._parts, "headers": _replayed(self._headers, run)}
        except field_tables.BROKEN:
            raise ValueError(_UNREADABLE) from None
        parts.pop("expiration", None)
        return self._joined(parts, user)

    def restored(self, *, user: str | None) -> bytes:
        """Return the properties for putting the message back into the queue that it came from."""
        parts = dict(self._parts)
        if self._headers:
            try:
                left = properties.edited_headers(self._headers, replay_header.is_not_restored, {})
            except field_tables.BROKEN:
                raise ValueError(_UNREADABLE) from None
            if left == _EMPTY != self._headers:
                del parts["headers"]
            else:
                parts["headers"] = left
        return self._joined(parts, user)

    def _joined(self, parts: dict[str, bytes], user: str | None) -> bytes:
        if not self._is_whole:
            raise ValueError("its properties cannot be read, so they cannot be sent")
        if user is not None and self._part("user_id") != user:  # the broker would refuse it
            parts.pop("user_id", None)
        return properties.joined(parts)

    def _part(self, name: str) -> Any:
        part = self._parts.get(name)
        return None if part is None else properties.decoded(name, part)


@functools.lru_cache(maxsize=_REMEMBERED)
def _in_key(part: bytes) -> bytes:
    """Return what these headers contribute to a message's key."""
    headers = properties.decoded("headers", part)
    return message_key.of_headers(headers, x_death.parse(headers))


@functools.lru_cache(maxsize=_REMEMBERED)
def _replayed(part: bytes, run: str) -> bytes:
    """Return these headers as *run* sends them."""
    story = replay_header.next_story(properties.decoded("headers", part), run)
    return properties.edited_headers(part, replay_header.is_left_out, {replay_header.HEADER: story})
