"""Archives: discarded messages in a file, byte for byte, so that they can be restored.

JSON lines: a head that names the queue, then one line a message. Each is on disk before its
original is acknowledged, and has a digest of all that is in it. A message whose writing was
interrupted is in the file twice, with the same number; the later one counts. Archives of earlier
versions have no digests: they are restored, with a note in the plan.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

import msgspec

from tasktools.core import files
from tasktools.core.errors import InvalidPlan
from tasktools.core.escaping import cut
from tasktools.core.masked_repr import MaskedStruct

_FORMAT: Final = "tasktools archive 1"
_MAX_HEAD_BYTES: Final = 64_000
_MAX_LINE_BYTES: Final = 720 * 2**20
"""RabbitMQ takes no message of more than 512 MiB, and base64 makes a third more of it."""
_NOT_READ: Final = ("cannot be read", "nothing was done.")
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, OverflowError)
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_encode = msgspec.json.Encoder().encode


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The head of an archive: its first line."""

    queue: str
    plan: str
    format: str = _FORMAT


class Archived(MaskedStruct, frozen=True, kw_only=True):
    """A discarded message; *n* is its number in the plan that discarded it."""

    n: _Number
    key: str
    task_id: str | None
    task_name: str | None
    properties: bytes
    body: bytes


class _HeadLine(Head, frozen=True, kw_only=True):
    digest: str | None = None


class _Line(Archived, frozen=True, kw_only=True):
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of reading a whole archive: the number of messages, and irregularities.

    *is_sealed*: its lines have digests. *head_is_changed*: the queue in its head is not the one
    that was written. *unreadable* counts lines that were cut off or changed.
    """

    messages: int
    queue: str
    is_sealed: bool
    head_is_changed: bool
    unreadable: int

    def warnings(self, source: str | None) -> Iterator[str]:
        """Yield warnings for the operator who restores the archive.

        *source* is the queue that its messages were taken from, if the ledger has it.
        """
        moved = source is not None and source != self.queue
        if self.head_is_changed or moved:
            origin = "" if source is None else f": its messages were taken from {source!r}"
            yield (
                f"the queue in the archive was changed by hand{origin}, and they would be put into "
                f"{self.queue!r}"
            )
        if not self.is_sealed:
            yield (
                "the archive is of an earlier version, without digests: a later change of it "
                "cannot be detected"
            )
        if self.unreadable:
            yield (
                f"{self.unreadable:,} lines of the archive cannot be read (cut off or changed): "
                "what only they hold is not restored"
            )


class ArchiveWriter:
    """Adds messages to the archive *path* of a plan. A context manager.

    Raises `InvalidPlan` for another file, and `FileError` when it cannot be written.
    """

    def __init__(self, path: str, head: Head) -> None:
        self._path = path
        flags = os.O_CREAT | os.O_APPEND | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with files.errors_of(path, "cannot be written", "nothing was discarded."):
            self._descriptor = os.open(path, flags, 0o600)
        try:
            with files.errors_of(path, "cannot be written", "nothing was discarded."):
                self._begin(head)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _begin(self, head: Head) -> None:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        first = _encode(_HeadLine(queue=head.queue, plan=head.plan, digest=_head_digest(head)))
        first += b"\n"
        start = os.pread(self._descriptor, len(first), 0)
        if start != first and first.startswith(start):  # the process died while it wrote this line
            os.ftruncate(self._descriptor, 0)
            self._write(first)
            return
        if read_head(self._path) != head:
            raise InvalidPlan(
                f"{self._path} is the archive of another plan; nothing was discarded. Name a file "
                "that is not there yet."
            )
        if os.pread(self._descriptor, 1, status.st_size - 1) != b"\n":
            self._write(b"\n")  # a line was cut off when an earlier process died

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._descriptor)

    def add(self, messages: Sequence[Archived]) -> None:
        """Add messages; once this returns they are on disk. Raises `FileError`."""
        so = (
            "messages that are not in it stay in their queue. Make room or fix that, and run the "
            "same plan again."
        )
        with files.errors_of(self._path, "could not be written", so):
            self._write(b"".join(_encode(_sealed(message)) + b"\n" for message in messages))

    def _write(self, lines: bytes) -> None:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fsync(self._descriptor)


def _head_digest(head: Head) -> str:
    contents = _encode([head.queue, head.plan])
    return hashlib.blake2b(contents, digest_size=16).hexdigest()


def _digest(message: Archived) -> str:
    names = _encode(
        [message.n, message.key, message.task_id, message.task_name, len(message.properties)]
    )
    digest = hashlib.blake2b(names, digest_size=16)
    digest.update(message.properties)
    digest.update(message.body)
    return digest.hexdigest()


def _sealed(message: Archived) -> _Line:
    fields = {name: getattr(message, name) for name in Archived.__struct_fields__}
    return _Line(**fields, digest=_digest(message))


def read_head(path: str) -> Head:
    """Return the head of an archive. Raises `InvalidPlan` for another file, `FileError`."""
    head = _read_head_line(path)
    return Head(queue=head.queue, plan=head.plan)


def _read_head_line(path: str) -> _HeadLine:
    with files.open_to_read(path) as file, files.errors_of(path, *_NOT_READ):
        first = file.readline(_MAX_HEAD_BYTES)
    try:
        head = msgspec.json.decode(first, type=_HeadLine)
    except _UNREADABLE:
        head = None
    if head is None or head.format != _FORMAT:
        raise InvalidPlan(f"{path} is no archive of tasktools; nothing was done.")
    return head


def check(path: str) -> Check:
    """Read all of an archive. Raises `InvalidPlan` for an archive that was changed, and
    `FileError`."""
    head = _read_head_line(path)
    numbers: set[int] = set()
    unreadable = 0
    for at, line in _lines(path):
        if line is None:
            unreadable += 1
            continue
        if _is_changed(line, head):
            raise InvalidPlan(
                f"Line {at + 2:,} of the archive {path} was changed after it was written (message "
                f"{cut(line.key, 80)}); nothing was done. Use an unchanged copy, or take the line "
                "out."
            )
        numbers.add(line.n)
    return Check(
        messages=len(numbers),
        queue=head.queue,
        is_sealed=head.digest is not None,
        head_is_changed=head.digest is not None and head.digest != _head_digest(head),
        unreadable=unreadable,
    )


def read(path: str) -> Iterator[Archived]:
    """Yield the messages of an archive, without holding them all: in the order in which they were
    discarded; of several with the same number the last. Lines that were changed or cut off are left
    out."""
    head = _read_head_line(path)
    last: dict[int, int] = {}
    for at, line in _lines(path):
        if line is not None and not _is_changed(line, head):
            last[line.n] = at
    for at, line in _lines(path):
        if line is not None and last.get(line.n) == at and not _is_changed(line, head):
            fields = {name: getattr(line, name) for name in Archived.__struct_fields__}
            yield Archived(**fields)


def _is_changed(line: _Line, head: _HeadLine) -> bool:
    if head.digest is None and line.digest is None:
        return False  # of an earlier version: nobody can tell
    return line.digest != _digest(line)


def _lines(path: str) -> Iterator[tuple[int, _Line | None]]:
    """Yield each line after the head with its number; `None` for one that cannot be read."""
    with files.open_to_read(path) as file, files.errors_of(path, *_NOT_READ):
        file.readline(_MAX_HEAD_BYTES)
        at = 0
        while text := file.readline(_MAX_LINE_BYTES):
            if len(text) == _MAX_LINE_BYTES:
                raise OSError(errno.EFBIG, f"line {at + 2:,} is longer than any message")
            try:
                line = msgspec.json.decode(text, type=_Line)
            except _UNREADABLE:
                line = None  # cut off when its process died: its message was not acknowledged
            yield at, line
            at += 1


def free_archive(path: str | os.PathLike[str]) -> str:
    """Return the absolute *path* for an archive that is to be written.

    Raises `InvalidPlan` when there is a file already, or no folder for one.
    """
    with files.errors_of(path, "cannot be written", "nothing was done."):
        archive_path = Path(path).absolute()
        is_there, has_folder = os.path.lexists(archive_path), archive_path.parent.is_dir()
    if is_there:
        raise InvalidPlan(f"{archive_path} is there already; nothing was done. Name another file.")
    if not has_folder:
        raise InvalidPlan(f"There is no folder {archive_path.parent}; nothing was done.")
    return str(archive_path)
