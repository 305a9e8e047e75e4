"""Time limits for functions that run in threads.

Python has no way to end a thread, only to raise an exception in it, which happens between two
of its own instructions (``PyThreadState_SetAsyncExc``).
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, Final

_ROOM: Final = 1000
_raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc


class TimeLimitExceeded(BaseException):
    """The task's time is up. No `Exception`, so that a task's own handlers let it pass.

    It is raised once. A function that waits in C code (a socket without a timeout, ``time.sleep``,
    one long ``sum``) is interrupted when that code returns; a coroutine where it awaits something.
    """


class Interruption:
    """One call in this thread that another thread can interrupt, once.

    `fire` interrupts the call or does nothing, at whatever moment it is called.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._thread = ctypes.c_ulong(threading.get_ident())
        self._lock = threading.Lock()
        self._runs = False
        self._fired = False

    def fire(self) -> None:
        """Raise `TimeLimitExceeded` in the thread, unless the call has ended."""
        with self._lock:
            if not self.is_over:
                self._fired = True
                if self._runs:
                    _raise_in_thread(self._thread, ctypes.py_object(TimeLimitExceeded))

    def run(self, call: Callable[[], Any]) -> BaseException | None:
        """Make the call; return its exception. Nothing is raised in this thread afterwards."""
        failure: BaseException | None = None
        try:
            try:
                with self._lock:
                    self._runs = True
                if self._fired:
                    raise TimeLimitExceeded
                call()
            finally:
                with self._lock:
                    self.is_over = True
        except BaseException as error:  # noqa: BLE001 - a task may raise anything
            failure = error
        if self._fired:
            # It may be on its way still, if the call ended just then; it arrives at one of these
            # jumps. It is not taken back, since CPython 3.11 then never ceases to look for it,
            # which hangs threads that are traced.
            try:
                for _ in range(100):
                    pass
            except TimeLimitExceeded as error:
                failure = error
        return failure


class Deadlines:
    """A thread that interrupts functions that run too long; it sleeps while none can."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Interruption]] = []
        self._numbers = itertools.count()
        self._room = _ROOM
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def set(self, seconds: float, interruption: Interruption) -> None:
        """Interrupt the call after *seconds*, unless it has ended."""
        with self._changed:
            if self._thread is None:
                name = "tasktools-time-limits"
                self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._thread.start()
            if len(self._due) >= self._room:  # most have ended long before their time
                self._due = [entry for entry in self._due if not entry[2].is_over]
                heapq.heapify(self._due)
                self._room = max(_ROOM, 2 * len(self._due))
            entry = (time.monotonic() + seconds, next(self._numbers), interruption)
            heapq.heappush(self._due, entry)
            if self._due[0] is entry:
                self._changed.notify()

    def _serve(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    heapq.heappop(self._due)[2].fire()
                self._changed.wait(self._due[0][0] - now if self._due else None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
