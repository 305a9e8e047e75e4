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


@dataclass(slots=True, eq=False)
class HeldBy:
    """Who has a lock, and whether still."""

    request: LockRequest
    fence: int
    holder: object
    is_held: bool = True


class MemoryLock:
    """A lock that is ours."""

    def __init__(self, held: HeldBy, release: Callable[[HeldBy], object]) -> None:
        self._held = held
        self._release = release

    def __repr__(self) -> str:
        return f"<Lock {self.name!r} fence={self.fence}{'' if self.is_held else ', not held'}>"

    @property
    def name(self) -> str:
        """What is locked."""
        return self._held.request.name

    @property
    def fence(self) -> int:
        """A number greater than that of every earlier holder."""
        return self._held.fence

    @property
    def is_held(self) -> bool:
        """Whether it is still ours."""
        return self._held.is_held

    def release(self) -> None:
        """Let others have it."""
        self._release(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


class LockTable:
    """All locks of a server, by name."""

    def __init__(self) -> None:
        self._held: dict[str, HeldBy] = {}
        self._fences = itertools.count(1)

    def take(self, request: LockRequest, holder: object) -> HeldBy | None:
        """Give the lock to *holder*, unless somebody has it."""
        if request.name in self._held:
            return None
        held = HeldBy(request, next(self._fences), holder)
        self._held[request.name] = held
        return held

    def get(self, name: str) -> HeldBy | None:
        """Return who has the lock of that name, if anybody."""
        return self._held.get(name)

    def free(self, held: HeldBy) -> None:
        """Let others have a lock that is held."""
        held.is_held = False
        del self._held[held.request.name]

    def free_all_of(self, holder: object) -> None:
        """Let others have all that *holder* has."""
        for held in [held for held in self._held.values() if held.holder is holder]:
            self.free(held)


def check_name(name: str) -> None:
    """Raise `ValueError` for what can be no name of a lock."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise ValueError(f"{name!r} cannot be the name of a lock: it has 1 to {_LONGEST} bytes.")
