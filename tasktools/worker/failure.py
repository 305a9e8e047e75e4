"""The reason why a delivery failed, in words for operators."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from typing import Final

from tasktools.core.escaping import cut
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.models import FailureReason
from tasktools.worker.time_limit import TimeLimitExceeded

_log = logging.getLogger("tasktools.worker")

_MAX_ERROR_CHARS: Final = 2_000
_OURS: Final = __name__.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Trouble(MaskedRepr):
    """The reason why a delivery failed; *is_final* if a retry cannot succeed."""

    reason: FailureReason
    error_type: str
    error: str
    traceback: str | None = None
    is_final: bool = False


def of_message(problem: str) -> Trouble:
    """Return the failure of a delivery that has no readable task."""
    return Trouble(reason="invalid", error_type="InvalidTask", error=problem, is_final=True)


def of_name(name: str | None) -> Trouble:
    """Return the failure of a delivery for the unregistered task *name*."""
    why = f"No task {name!r} is registered with this worker."
    return Trouble(reason="unknown task", error_type="UnknownTask", error=why, is_final=True)


def of_begins(count: int) -> Trouble:
    """Return the failure of a task that began *count* times and never ended."""
    why = (
        f"It was begun {count} times after it had come back, and each time the process of its "
        "worker ended before the task did; it was not begun again."
    )
    return Trouble(reason="poison", error_type="Poison", error=why, is_final=True)


def of_exception(error: BaseException, *, is_final: bool) -> Trouble:
    """Return the reason for a task that raised *error*."""
    return Trouble(
        reason="timed out" if isinstance(error, TimeLimitExceeded) else "failed",
        error_type=_type(error),
        error=_text(error),
        traceback=_traceback(error),
        is_final=is_final,
    )


def _type(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception of a task that cannot even be printed
        return "(it cannot be printed)"
    return cut(text, _MAX_ERROR_CHARS).encode("utf-8", "replace").decode()


def _traceback(error: BaseException) -> str | None:
    """Return the traceback, without the frames before the task's function."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__")):
        trace = trace.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except Exception:  # noqa: BLE001 - of a stranger's exception
        _log.exception("a traceback cannot be printed")
        return None


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.startswith(f"{_OURS}.")
