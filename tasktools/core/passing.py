"""A message that is passed on: opened as far as its key and its replay need it, and no further.

Whoever takes 100,000 messages out of a queue cannot decode each one's headers. Messages that died
together have the same ones, byte for byte, so what is read in a table, and what becomes of it, is
remembered by its bytes.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from tasktools.core import deaths, failures, keys, replays, tables, wire

_REMEMBERED: Final = 1024
_UNREADABLE: Final = "its headers cannot be read, so they cannot be sent"
_EMPTY: Final = bytes(4)  # the length of a table without entries


class Opened:
    """Properties in pieces; those that cannot be read are none, and cannot be sent either."""

    __slots__ = ("_headers", "_is_whole", "_parts")

    def __init__(self, raw: bytes) -> None:
        try:
            self._parts, self._is_whole = wire.split(raw), True
        except (ValueError, IndexError):
            self._parts, self._is_whole = {}, False
        self._headers = self._parts.get("headers", b"")

    def key(self, body: bytes) -> str:
        """Return the key of the message, as `keys.base` has it."""
        ids = (self._part("message_id"), self._part("correlation_id"))
        return keys.digest(ids, self._part("timestamp"), body, _died(self._headers))

    def replayed(self, *, run: str, user: str | None) -> bytes:
        """Return the properties as *run* sends them for *user* (`replays`); raises `ValueError`."""
        try:
            told = {**self._parts, "headers": _replayed(self._headers, run)}
        except tables.BROKEN:
            raise ValueError(_UNREADABLE) from None
        return self._joined(told, user)

    def restored(self, *, user: str | None) -> bytes:
        """Return the properties as they are put back into the queue they come from."""
        told = dict(self._parts)
        if self._headers:
            try:
                left = wire.edited_headers(self._headers, replays.is_not_restored, {})
            except tables.BROKEN:
                raise ValueError(_UNREADABLE) from None
            if left == _EMPTY != self._headers:
                del told["headers"]
            else:
                told["headers"] = left
        return self._joined(told, user)

    def _joined(self, parts: dict[str, bytes], user: str | None) -> bytes:
        if not self._is_whole:
            raise ValueError("its properties cannot be read, so they cannot be sent")
        if user is not None and self._part("user_id") != user:  # the broker would refuse it
            parts.pop("user_id", None)
        return wire.joined(parts)

    def _part(self, name: str) -> Any:
        part = self._parts.get(name)
        return None if part is None else wire.decoded(name, part)


@functools.lru_cache(maxsize=_REMEMBERED)
def _died(part: bytes) -> bytes:
    """Return what these headers are to a key."""
    headers = wire.decoded("headers", part)
    died = deaths.parse(headers)
    return keys.died(died, headers.get(failures.FAILED_AT), headers.get(replays.HEADER))


@functools.lru_cache(maxsize=_REMEMBERED)
def _replayed(part: bytes, run: str) -> bytes:
    """Return these headers as *run* sends them."""
    told = replays.next_story(wire.decoded("headers", part), run)
    return wire.edited_headers(part, replays.is_left_out, {replays.HEADER: told})
