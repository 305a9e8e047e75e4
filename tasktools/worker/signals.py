"""A wait in the main thread that a signal or another thread ends."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS: Final = 0.5


class Signals:
    """A counter of wake-ups: `ring` in any thread, and SIGTERM and SIGINT inside of `signals`, each
    end one `wait`."""

    def __init__(self) -> None:
        # A queue, since a signal's handler may use it, at any moment; an event might deadlock.
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """End one `wait`."""
        self._rings.put(None)

    def wait(self) -> None:
        """Wait until `ring` is called; each call ends one wait."""
        # A signal that comes just before a wait does not end it: Python runs the handler after.
        while True:
            with contextlib.suppress(queue.Empty):
                return self._rings.get(timeout=_POLL_SECONDS)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end `wait`; outside of the main thread signals are left alone."""
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
