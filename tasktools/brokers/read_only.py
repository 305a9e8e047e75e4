"""The refusal of changes by a broker that was opened read-only, as a part of the contract."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from tasktools.core.errors import ReadOnly


class _MayBeReadOnly(Protocol):
    @property
    def read_only(self) -> bool: ...


S = TypeVar("S", bound=_MayBeReadOnly)
P = ParamSpec("P")
R = TypeVar("R")


def refuse_if_read_only(broker: _MayBeReadOnly, action: str) -> None:
    """Raise `ReadOnly` for *action*, if *broker* was opened with ``read_only=True``."""
    if broker.read_only:
        raise ReadOnly(
            f"{action} was refused: this cluster was opened with read_only=True; "
            "nothing was changed. Connect without read_only to change things."
        )


def changes(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Mark a broker method that changes the cluster; a read-only broker refuses it."""

    @functools.wraps(method)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        refuse_if_read_only(self, method.__name__)
        return method(self, *args, **kwargs)

    return guarded
