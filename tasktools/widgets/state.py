"""Base class of the widgets' states: a lock, the last problem, and waiting for a condition."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Self

import traitlets

_POLL_SECONDS: Final = 0.05


class SharedState(traitlets.HasTraits):
    """A state that several threads may set; a lock makes each change complete before the next.

    JupyterLab handles the messages of widgets in a thread of their own (a subshell of the kernel),
    and news of a feed arrives in the kernel's loop. Without the lock, bound widgets would miss
    changes: `traitlets.dlink` drops a change that happens during another one.
    """

    problem = traitlets.Unicode()  # the last error of a feed or of a callback, else empty

    @property
    def lock(self) -> AbstractContextManager[bool]:
        """The lock to hold while several traits are set, or read and then set."""
        lock: AbstractContextManager[bool] = self.__dict__.setdefault("_lock", threading.RLock())
        return lock

    @property
    def at_work(self) -> bool:
        """Whether the feed still works on an order, or on facts that the rules need."""
        return False

    async def until(self, condition: Callable[[], object], *, within: float = 60.0) -> bool:
        """Wait until *condition* holds, or for *within* seconds; return whether it holds.

        The widget keeps working while a cell of a notebook awaits this.

        >>> import asyncio
        >>> asyncio.run(SharedState().until(lambda: 6 * 7 == 42))
        True
        """
        deadline = time.monotonic() + within
        while not (holds := bool(condition())) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)  # several threads change what *condition* reads
        return holds

    async def idle(self, *, within: float = 60.0) -> Self:
        """Wait until nothing is `at_work`, or for *within* seconds; return the state."""
        await self.until(lambda: not self.at_work, within=within)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        with self.lock:
            super().__setattr__(name, value)
