"""A wrapper that shows the errors of callbacks, which ipywidgets swallows."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Protocol

_log = logging.getLogger("tasktools.widgets")


class HasProblem(Protocol):
    """A state whose `problem` is shown on screen."""

    problem: Any


def guarded(state: HasProblem, action: str, callback: Callable[..., object]) -> Callable[..., None]:
    """Return *callback*, with its error logged and set as the `problem` of *state*."""

    @functools.wraps(callback)
    def called(*args: Any, **kwargs: Any) -> None:
        try:
            callback(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - shown on screen
            _log.exception("%s failed", action, extra={"action": action})
            state.problem = f"{action} failed: {type(error).__name__}: {error}"

    return called
