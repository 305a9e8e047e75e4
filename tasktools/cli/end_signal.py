"""Signals that end a long-running command in good order."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: its terminal was closed


class EndSignal:
    """Whether a signal has asked this command to end."""

    def __init__(self) -> None:
        # A queue: its `put` may interrupt its `get`. The lock of an event would be held for ever
        # by the `wait` that the signal's handler has interrupted.
        self._arrivals: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wait(self, seconds: float) -> bool:
        """Return True when a signal has come, or comes within *seconds*."""
        try:
            self._arrivals.get(timeout=seconds)
        except queue.Empty:
            return False
        self._arrivals.put(None)  # for who asks next
        return True

    def arrive(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        self._arrivals.put(None)


@contextmanager
def end_signals() -> Iterator[EndSignal]:
    """Give an `EndSignal` that SIGINT, SIGTERM and SIGHUP set; they do not end the process."""
    end = EndSignal()
    before: dict[int, Any] = {
        number: signal.signal(number, end.arrive)
        for number in _ENDING
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN  # nohup
    }
    try:
        yield end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
