"""Waiting in the main thread for a signal, or for another thread."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_GLANCE: Final = 0.5


class Bell:
    """Rung by `ring`, from any thread, and by SIGTERM and SIGINT within `signals`."""

    def __init__(self) -> None:
        # A queue, since a signal's handler may use it, at any moment; an event might deadlock.
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """End one `wait`."""
        self._rings.put(None)

    def wait(self) -> None:
        """Return once for each ring."""
        # A signal that comes just before a wait does not end it: Python runs the handler after.
        while True:
            with contextlib.suppress(queue.Empty):
                return self._rings.get(timeout=_GLANCE)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Let signals ring; in another thread than the main one they are left alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(_number: int, _frame: FrameType | None) -> None:
            self.ring()

        before = {number: signal.signal(number, handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
