"""The locks of a memory server. Used under the server's lock."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

_MAX_NAME_BYTES: Final = 200
"""The longest name of a lock in bytes: on RabbitMQ it is part of a queue's name."""


@dataclass(frozen=True, slots=True)
class LockRequest:
    """The name of a lock, and the task and worker that others see as its holder."""

    name: str
    task_id: str | None = None
    worker_id: str | None = None


@dataclass(slots=True, eq=False)
class LockEntry:
    """The holder of a lock, and whether it still holds it."""

    request: LockRequest
    fence: int
    holder: object
    is_held: bool = True


class MemoryLock:
    """A lock that this client holds."""

    def __init__(self, held: LockEntry, release: Callable[[LockEntry], object]) -> None:
        self._held = held
        self._release = release

    def __repr__(self) -> str:
        return f"<Lock {self.name!r} fence={self.fence}{'' if self.is_held else ', not held'}>"

    @property
    def name(self) -> str:
        """The name of the lock."""
        return self._held.request.name

    @property
    def fence(self) -> int:
        """A number greater than that of every earlier holder."""
        return self._held.fence

    @property
    def is_held(self) -> bool:
        """Whether this client still holds the lock."""
        return self._held.is_held

    def release(self) -> None:
        """Release the lock."""
        self._release(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


class LockTable:
    """All locks of a server, by name."""

    def __init__(self) -> None:
        self._held: dict[str, LockEntry] = {}
        self._fences = itertools.count(1)

    def take(self, request: LockRequest, holder: object) -> LockEntry | None:
        """Give the lock to *holder*, unless somebody has it."""
        if request.name in self._held:
            return None
        held = LockEntry(request, next(self._fences), holder)
        self._held[request.name] = held
        return held

    def get(self, name: str) -> LockEntry | None:
        """Return the entry of the lock *name*, if it is held."""
        return self._held.get(name)

    def free(self, held: LockEntry) -> None:
        """Release a lock."""
        held.is_held = False
        del self._held[held.request.name]

    def free_all_of(self, holder: object) -> None:
        """Release all locks of *holder*."""
        for held in [held for held in self._held.values() if held.holder is holder]:
            self.free(held)


def check_name(name: str) -> None:
    """Raise `ValueError` unless *name* can be the name of a lock."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        raise ValueError(
            f"{name!r} cannot be the name of a lock: it has 1 to {_MAX_NAME_BYTES} bytes."
        )
