"""A thread that talks to a broker for a widget, so that the kernel's own thread never waits.

A feed posts its news to the kernel's loop. One update is under way at a time, and a newer value
replaces an older one. A feed never touches a widget.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from tasktools.core.errors import TaskToolsError

_log = logging.getLogger("tasktools.widgets")

_POLL_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 2.0
"""Pause after a look that failed."""

Post = Callable[[Callable[[], object]], object]
"""Passes a call to the thread that owns the widgets."""


def to_the_kernel() -> Post:
    """Return a function that makes calls in the running loop, which is the notebook's.

    Without a running loop, a call is made at once, in the feed's thread.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return lambda call: call()
    return loop.call_soon_threadsafe


class Feed:
    """A thread that does the jobs of one widget, and calls *look* regularly.

    *look* is called when the feed starts, and again after the number of seconds that it returned.
    Jobs and looks pass news to `tell`; *receive* gets the news, in the kernel's loop. The last
    error is sent as `problem`, which is emptied when looks work again.
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
        self.settled = 0
        self._jobs: deque[Callable[[], object]] = deque()
        self._look_now = self._look_failed = False
        self._news: dict[str, Any] = {}
        self._in_flight = False
        self._closed = False
        self._running = False
        self._thread: threading.Thread | None = None

    # --- from any other thread ------------------------------------------------------

    def start(self) -> None:
        """Start the thread, or continue after `stop`. Idempotent; no effect after `close`."""
        with self._changed:
            if self._closed or self._running:
                return
            # An earlier thread may still do its last job: then it continues.
            self._running, self._look_now = True, True
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread after the pending jobs, without waiting. `start` continues."""
        with self._changed:
            self._running = False
            self._changed.notify_all()

    def close(self) -> None:
        """Do the pending jobs, end the thread for good, and wait for it. Idempotent."""
        with self._changed:
            self._closed, self._running = True, False
            self._news.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def do(self, job: Callable[[], object]) -> None:
        """Do *job* in the feed's thread, after earlier jobs, and look afterwards."""
        self.start()
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def look_soon(self) -> None:
        """Look now, before the pause is over."""
        with self._changed:
            self._look_now = True
            self._changed.notify_all()

    def deliver_until(self, condition: Callable[[], object], *, within: float) -> None:
        """Deliver news in this thread, which owns the widgets, until *condition* holds, the feed
        stops, or *within* seconds are over."""
        deadline = time.monotonic() + within
        while self._running and not condition() and time.monotonic() < deadline:
            with self._changed:
                self._changed.wait_for(lambda: self._news, timeout=_POLL_SECONDS)
            self.deliver()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    # --- in the feed's thread -------------------------------------------------------

    def tell(self, **news: Any) -> None:
        """Send *news* to the state soon, together with other news until then."""
        with self._changed:
            if self._closed:
                return
            self._news |= news
            self._changed.notify_all()
            if self._in_flight:
                return
            self._in_flight = True
        try:
            self._post(self.deliver)
        except RuntimeError:  # the loop is closed: the kernel is going down
            self.stop()

    def advance(self, count: int) -> None:
        """Report that *count* more messages of a job are settled."""
        self.settled += count
        self.tell(settled=self.settled)

    def deliver(self) -> None:
        """Pass on the news, in the thread that owns the widgets."""
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
        """Wait for the next job or look, and return it; `None` ends the thread."""
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
        """Do *job*, report its error to the state, and return the seconds until the next look."""
        pause, problem = _RETRY_SECONDS, ""
        try:
            seconds = job()
        except TaskToolsError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - shown on screen
            _log.exception("%s failed", self._name, extra={"action": self._name})
            problem = f"{type(error).__name__}: {error}"
        else:
            pause = seconds if isinstance(seconds, float) else pause
        if problem:
            self.tell(problem=problem)
        elif job is self._look and self._look_failed:  # the problem of a job stays
            self.tell(problem="")
        if job is self._look:
            self._look_failed = bool(problem)
        return pause
