"""Files of the operator: written for the owner alone, never through a link, and read in bounds."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from tasktools.core.errors import FileError, MissingFile, TaskToolsError

_PRIVATE: Final = 0o600
_LINK: Final = "it is a link; name the file itself"
_NOT_REGULAR: Final = "it is not a regular file"
_IS_THERE: Final = "there is such a file already"


@contextlib.contextmanager
def errors_of(path: str | os.PathLike[str], what: str, so: str) -> Iterator[None]:
    """Turn an error of the operating system about *path* into a `FileError`.

    *what* describes the failure, as "cannot be read"; *so* says what was and was not done.
    """
    try:
        yield
    except TaskToolsError:
        raise
    except (OSError, ValueError) as error:
        strerror = error.strerror if isinstance(error, OSError) else str(error)
        is_link = isinstance(error, OSError) and error.errno == errno.ELOOP
        why = _LINK if is_link else strerror or type(error).__name__
        kind = MissingFile if isinstance(error, FileNotFoundError) else FileError
        raise kind(f"{os.fspath(path)} {what} ({why}); {so}") from error


def open_to_read(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file. Raises `FileError` for any other kind (a folder, a pipe, a device)."""
    with errors_of(path, "cannot be read", "nothing was done."):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = os.fdopen(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise OSError(errno.EINVAL, _NOT_REGULAR)
        return file


def read(path: str | os.PathLike[str], *, at_most: int) -> bytes:
    """Return the contents of a file. Raises `FileError`, also for more than *at_most* bytes."""
    with open_to_read(path) as file, errors_of(path, "cannot be read", "nothing was done."):
        contents = file.read(at_most + 1)
        if len(contents) > at_most:
            raise OSError(errno.EFBIG, f"it is larger than {at_most / 1e6:,.0f} MB")
        return contents


def check_target(path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Raise `FileError` if *path* is a link or no regular file, or exists without *overwrite*."""
    with errors_of(path, "cannot be written", "nothing was done."):
        try:
            mode = Path(path).lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, _LINK if stat.S_ISLNK(mode) else _NOT_REGULAR)
        if not overwrite:
            raise OSError(errno.EEXIST, _IS_THERE)


def write(path: str | os.PathLike[str], contents: bytes, *, overwrite: bool = True) -> None:
    """Write a file that its owner alone can read: the whole of it, or nothing.

    An existing file is replaced. Raises `FileError`, also where *path* is a link or no regular
    file, and, unless *overwrite*, where it exists.
    """
    check_target(path, overwrite=overwrite)
    with errors_of(path, "cannot be written", "nothing was done."):
        target = Path(path)
        beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(beside, flags, _PRIVATE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, _PRIVATE)
                file.write(contents)
                file.flush()
                os.fsync(descriptor)
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
