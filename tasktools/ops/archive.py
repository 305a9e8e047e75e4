"""Archives: discarded messages in a file, byte for byte, so that they can be restored.

JSON lines: a head that names the queue, then one line a message. Each is on disk before its
original is acknowledged. A message that was interrupted on its way into it is there twice, with
the same number; the later one counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from tasktools.core.errors import InvalidPlan

_FORMAT: Final = "tasktools archive 1"
_encode = msgspec.json.Encoder().encode


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    queue: str
    plan: str
    format: str = _FORMAT


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """One message; *n* is its number in the plan that discarded it."""

    n: int
    key: str
    task_id: str | None
    task_name: str | None
    properties: bytes
    body: bytes


class ArchiveWriter:
    """Adds messages to the archive *path* of a plan. A context manager."""

    def __init__(self, path: str, head: Head) -> None:
        self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600), "ab")
        try:
            first = _encode(head) + b"\n"
            if _is_begun(path, first):
                _check_same(path, head)
                self._end_line(path)
            else:
                self._file.truncate(0)
                self._write(first)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, messages: Sequence[Archived]) -> None:
        """Add messages; once this returns they are on disk."""
        self._write(b"".join(_encode(message) + b"\n" for message in messages))

    def _write(self, lines: bytes) -> None:
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _end_line(self, path: str) -> None:
        """Close a line that was cut off when an earlier process died."""
        with Path(path).open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                self._write(b"\n")


def _is_begun(path: str, first: bytes) -> bool:
    """Whether anything is in the file but a part of its *first* line, cut off when its process
    died."""
    with Path(path).open("rb") as file:
        found = file.read(len(first))
    return found == first or not first.startswith(found)


def _check_same(path: str, head: Head) -> None:
    if read_head(path) != head:
        raise InvalidPlan(
            f"{path} is the archive of another plan; nothing was discarded. Name a file that is "
            "not there yet."
        )


def read_head(path: str) -> Head:
    """Return the head of an archive. Raises `InvalidPlan` for another file, `OSError`."""
    with Path(path).open("rb") as file:
        try:
            head = msgspec.json.decode(file.readline(), type=Head)
        except msgspec.DecodeError:
            head = None
    if head is None or head.format != _FORMAT:
        raise InvalidPlan(f"{path} is no archive of tasktools; nothing was done.")
    return head


def read(path: str) -> Iterator[Archived]:
    """Yield the messages of an archive, without holding them all: each the last of its number,
    in the order in which they were discarded."""
    last = {message.n: at for at, message in _lines(path)}
    for at, message in _lines(path):
        if last[message.n] == at:
            yield message


def _lines(path: str) -> Iterator[tuple[int, Archived]]:
    with Path(path).open("rb") as file:
        file.readline()
        for at, line in enumerate(file):
            try:
                yield at, msgspec.json.decode(line, type=Archived)
            except msgspec.DecodeError:
                continue  # cut off when its process died; its message was not acknowledged
