"""A thread that does for a widget what must not be done in the kernel's own: talk to a broker.

What it finds out it posts to the kernel's loop, one update in flight, newer values in place of
older ones. A feed never touches a widget.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from tasktools.core.errors import TaskToolsError

_log = logging.getLogger("tasktools.widgets")

_AFTER_AN_ERROR: Final = 2.0
"""Seconds until the next look, when one has failed."""

Post = Callable[[Callable[[], object]], object]
"""Brings a call into the thread that owns the widgets."""


def to_the_kernel() -> Post:
    """Return what brings calls into the loop that runs now, a notebook's; without a loop they
    are made at once, in the feed's thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return lambda call: call()
    return loop.call_soon_threadsafe


class Feed:
    """A thread for the jobs of one widget, and for a look from time to time.

    *look* is called when the feed starts, and again after as many seconds as it returned. What
    jobs and looks find out they `tell`; *receive* gets it, in the kernel's loop. The last error
    of either is told as `problem`, an empty one once things work again.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[], float],
        receive: Callable[[Mapping[str, Any]], object],
        post: Post,
    ) -> None:
        self._name = f"tasktools-{name}"
        self._look = look
        self._receive = receive
        self._post = post
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], object]] = deque()
        self._look_now = self._look_failed = False
        self._news: dict[str, Any] = {}
        self._in_flight = False
        self._closed = False
        self._running = False
        self._thread: threading.Thread | None = None

    # --- from any other thread ------------------------------------------------------

    def start(self) -> None:
        """Begin, or go on after `stop`. Idempotent; nothing after `close`."""
        with self._changed:
            if self._closed or self._running:
                return
            # The thread before may still be at its last job: then it simply goes on.
            self._running, self._look_now = True, True
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End once the jobs that were given are done; does not wait. `start` goes on."""
        with self._changed:
            self._running = False
            self._changed.notify_all()

    def close(self) -> None:
        """Do the jobs that were given, and end for good. Idempotent."""
        with self._changed:
            self._closed, self._running = True, False
            self._news.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def do(self, job: Callable[[], object]) -> None:
        """Have *job* done in the feed's thread, after those before it, and look afterwards."""
        self.start()
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def look_soon(self) -> None:
        """Look now rather than when it is time."""
        with self._changed:
            self._look_now = True
            self._changed.notify_all()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None

    # --- in the feed's thread -------------------------------------------------------

    def tell(self, **news: Any) -> None:
        """Have *news* received, soon, together with what else there is by then."""
        with self._changed:
            if self._closed:
                return
            self._news |= news
            if self._in_flight:
                return
            self._in_flight = True
        try:
            self._post(self._deliver)
        except RuntimeError:  # the loop is closed: the kernel is going down
            self.stop()

    def _deliver(self) -> None:
        with self._changed:
            news, self._news = self._news, {}
            self._in_flight = False
            if self._closed or not news:
                return
        self._receive(news)

    def _run(self) -> None:
        pause = 0.0
        while (job := self._next(pause)) is not None:
            pause = self._try(job)

    def _next(self, pause: float) -> Callable[[], object] | None:
        """Return what is to be done next, once there is something; `None` at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._jobs or self._look_now or not self._running, timeout=pause
            )
            if self._jobs:
                self._look_now = True
                return self._jobs.popleft()
            if not self._running:
                self._thread = None
                return None
            self._look_now = False
            return self._look

    def _try(self, job: Callable[[], object]) -> float:
        """Do *job*; returns the seconds until the next look."""
        pause, problem = _AFTER_AN_ERROR, ""
        try:
            told = job()
        except TaskToolsError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - shown on screen
            _log.exception("%s failed", self._name, extra={"action": self._name})
            problem = f"{type(error).__name__}: {error}"
        else:
            pause = told if isinstance(told, float) else pause
        if problem:
            self.tell(problem=problem)
        elif job is self._look and self._look_failed:  # what a job complained of stays
            self.tell(problem="")
        if job is self._look:
            self._look_failed = bool(problem)
        return pause
