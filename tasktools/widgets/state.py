"""What all states of widgets have: a lock, since more than one thread sets them."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

import traitlets


class SharedState(traitlets.HasTraits):
    """A state that threads may set at once; each sees what follows from it to the end.

    JupyterLab hands the messages of widgets to a thread of their own (a subshell of the kernel),
    and what a feed tells comes in the kernel's loop. Bound widgets would miss what one thread
    sets while another is at it: `traitlets.dlink` drops a change in the middle of another.
    """

    problem = traitlets.Unicode()  # the last error of a feed or of a callback, else empty

    @property
    def lock(self) -> AbstractContextManager[bool]:
        """To be held where several traits are set, or are read and set."""
        lock: AbstractContextManager[bool] = self.__dict__.setdefault("_lock", threading.RLock())
        return lock

    def __setattr__(self, name: str, value: Any) -> None:
        with self.lock:
            super().__setattr__(name, value)
