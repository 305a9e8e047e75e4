"""Locks: who holds what. The server locks around the table."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

_LONGEST: Final = 200
"""Bytes of a lock's name: as RabbitMQ has it, where it becomes a queue's."""


@dataclass(frozen=True, slots=True)
class LockRequest:
    """For whom a lock is taken: what others are told of it."""

    name: str
    task_id: str | None = None
    worker_id: str | None = None


class MemoryLock:
    """A lock that is ours."""

    def __init__(
        self,
        request: LockRequest,
        fence: int,
        holder: object,
        release: Callable[[MemoryLock], object],
    ) -> None:
        self.request = request
        self.fence = fence
        self.holder = holder
        self.is_held = True
        self._release = release

    def __repr__(self) -> str:
        return f"<Lock {self.name!r} fence={self.fence}{'' if self.is_held else ', not held'}>"

    @property
    def name(self) -> str:
        """What is locked."""
        return self.request.name

    def release(self) -> None:
        """Let others have it."""
        self._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


class LockTable:
    """All locks of a server, by name."""

    def __init__(self) -> None:
        self._held: dict[str, MemoryLock] = {}
        self._fences = itertools.count(1)

    def take(
        self, request: LockRequest, holder: object, release: Callable[[MemoryLock], object]
    ) -> MemoryLock | None:
        """Give the lock to *holder*, unless somebody has it."""
        if request.name in self._held:
            return None
        lock = MemoryLock(request, next(self._fences), holder, release)
        self._held[request.name] = lock
        return lock

    def get(self, name: str) -> MemoryLock | None:
        """Return the lock of that name, if somebody has it."""
        return self._held.get(name)

    def free(self, lock: MemoryLock) -> None:
        """Let others have *lock*, which is held."""
        lock.is_held = False
        del self._held[lock.name]

    def free_all_of(self, holder: object) -> None:
        """Let others have all that *holder* has."""
        for lock in [lock for lock in self._held.values() if lock.holder is holder]:
            self.free(lock)


def check_name(name: str) -> None:
    """Raise `ValueError` for what can be no name of a lock."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise ValueError(f"{name!r} cannot be the name of a lock: it has 1 to {_LONGEST} bytes.")
