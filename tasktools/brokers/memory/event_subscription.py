"""The worker exchange: every event reaches every subscriber.

The server locks around all calls except `deliver`, which calls code of others.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable

from tasktools.core import events
from tasktools.core.cluster_view import ClusterView
from tasktools.core.events import Event, Malformed, Unknown

_log = logging.getLogger("tasktools.events")

Sent = tuple[bytes, Event | Unknown | Malformed]
"""An event as it was sent, and parsed: once for all subscribers."""
Callback = Callable[[Sent], object]


class Listener:
    """Calls back with each event: one after the other, in the order they were sent.

    Whoever sends an event also delivers it, unless another thread is delivering already; that
    thread then delivers this event as well.
    """

    def __init__(self, callback: Callback, owner: object = None) -> None:
        self.owner = owner
        self._callback = callback
        self._waiting: deque[Sent] = deque()
        self._delivering = threading.Lock()
        self._stopped = False

    def add(self, sent: Sent) -> None:
        """Queue *sent* for the next `deliver`."""
        self._waiting.append(sent)

    def stop(self) -> None:
        """Stop calling back."""
        self._stopped = True

    def deliver(self) -> None:
        """Call back with the queued events."""
        # Looks again after it has let go: what came just then found somebody delivering.
        while self._waiting and self._delivering.acquire(blocking=False):
            try:
                self._deliver()
            finally:
                self._delivering.release()

    def _deliver(self) -> None:
        while self._waiting:
            sent = self._waiting.popleft()
            if not self._stopped:
                self._call(sent)

    def _call(self, sent: Sent) -> None:
        try:
            self._callback(sent)
        except Exception:  # noqa: BLE001 - a stranger's code; the events go on
            _log.exception("a listener to the worker events failed")


class WorkerExchange:
    """Subscribers that fold events into their views, and listeners that are called."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self._views: list[ClusterView] = []

    def subscribe(self) -> ClusterView:
        """Return a new view, which events update from now on."""
        view = ClusterView()
        self._views.append(view)
        return view

    def forget(self, view: ClusterView | None, owner: object) -> None:
        """Stop updating *view*, and remove the listeners of *owner*."""
        if view is not None:
            self._views.remove(view)
        for listener in [each for each in self.listeners if each.owner is owner]:
            self.unlisten(listener)

    def listen(self, listener: Listener) -> None:
        """Add *listener*."""
        self.listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Remove *listener*. Idempotent."""
        listener.stop()
        with contextlib.suppress(ValueError):
            self.listeners.remove(listener)

    def has_other_listeners(self, owner: object) -> bool:
        """Whether anybody but *owner* has a listener."""
        return any(listener.owner is not owner for listener in self.listeners)

    def shift(self, seconds: float) -> None:
        """Move the times of all views by *seconds*, by which the clock was set."""
        for view in self._views:
            view.shift(seconds)

    def send(self, now: float, body: bytes) -> None:
        """Update all views with the raw event *body*; listeners get it at the next `deliver`."""
        event = events.parse(body)
        for view in self._views:
            view.fold(now, event)
        for listener in self.listeners:
            listener.add((body, event))

    def deliver(self) -> None:
        """Call the listeners with their queued events. To be called without the lock."""
        for listener in tuple(self.listeners):
            listener.deliver()
