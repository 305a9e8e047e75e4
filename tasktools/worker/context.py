"""The current task: what a running task can ask about itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tasktools.core.masked_repr import MaskedRepr


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CurrentTask(MaskedRepr):
    """The task that runs here.

    *attempts* counts the tries, this one included. *redelivered*: the message was delivered before
    and not settled, so the task may have run already, in part or completely. *headers* are those of
    the message's body. *fence* is the number of the lock *lock_name* that it holds (see
    `HeldLock.fence`), *deadline* when its time is up.
    """

    task_id: str
    task_name: str
    topic: str
    worker_id: str
    attempts: int
    redelivered: bool
    headers: Mapping[str, Any]
    published_at: datetime | None = None
    lock_name: str | None = None
    fence: int | None = None
    deadline: datetime | None = None


CURRENT: Final[ContextVar[CurrentTask]] = ContextVar("tasktools_current_task")


def current_task() -> CurrentTask:
    """Return the task that the calling function or coroutine executes.

    Raises `LookupError` elsewhere; a thread of the task's own needs a copy of its context.
    """
    try:
        return CURRENT.get()
    except LookupError:
        raise LookupError(
            "No task runs here: current_task() is for functions that a TaskRunner calls. In a "
            "thread of your own, run them with contextvars.copy_context()."
        ) from None
