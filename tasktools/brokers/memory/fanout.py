"""The worker exchange: every event reaches every subscriber.

The server locks around everything here but `deliver`, which calls strangers.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable

from tasktools.core import events
from tasktools.core.cluster_view import ClusterView

_log = logging.getLogger("tasktools.events")

Callback = Callable[[bytes], object]


class Listener:
    """Calls back with each raw event: one after the other, in the order they were sent.

    Whoever sends an event also delivers it, unless another thread is at it already; that one
    then goes on with ours.
    """

    def __init__(self, callback: Callback, owner: object = None) -> None:
        self.owner = owner
        self._callback = callback
        self._waiting: deque[bytes] = deque()
        self._delivering = threading.Lock()
        self._stopped = False

    def add(self, body: bytes) -> None:
        """Let it hear *body* at the next `deliver`."""
        self._waiting.append(body)

    def stop(self) -> None:
        """Call back no more."""
        self._stopped = True

    def deliver(self) -> None:
        """Call back with what is waiting."""
        # Looks again after it has let go: what came just then found somebody delivering.
        while self._waiting and self._delivering.acquire(blocking=False):
            try:
                self._deliver()
            finally:
                self._delivering.release()

    def _deliver(self) -> None:
        while self._waiting:
            body = self._waiting.popleft()
            if not self._stopped:
                self._call(body)

    def _call(self, body: bytes) -> None:
        try:
            self._callback(body)
        except Exception:  # noqa: BLE001 - a stranger's code; the events go on
            _log.exception("a listener to the worker events failed")


class Fanout:
    """Subscribers that fold events into their views, and listeners that are called."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self._views: list[ClusterView] = []

    def subscribe(self) -> ClusterView:
        """Return a new view, which is fed from now on."""
        view = ClusterView()
        self._views.append(view)
        return view

    def forget(self, view: ClusterView | None, owner: object) -> None:
        """Feed *view* no more, and let the listeners of *owner* hear nothing more."""
        if view is not None:
            self._views.remove(view)
        for listener in [one for one in self.listeners if one.owner is owner]:
            self.unlisten(listener)

    def listen(self, listener: Listener) -> None:
        """Let *listener* hear what is sent from now on."""
        self.listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Let *listener* hear nothing more. Idempotent."""
        listener.stop()
        with contextlib.suppress(ValueError):
            self.listeners.remove(listener)

    def is_heard_by_others(self, owner: object) -> bool:
        """Whether there is a listener that is not of *owner*."""
        return any(listener.owner is not owner for listener in self.listeners)

    def send(self, now: float, body: bytes) -> None:
        """Let all views take in the raw event *body*; listeners hear it at the next `deliver`."""
        event = events.parse(body)
        for view in self._views:
            view.fold(now, event)
        for listener in self.listeners:
            listener.add(body)

    def deliver(self) -> None:
        """Call the listeners with what they have not heard yet. To be called without the lock."""
        for listener in tuple(self.listeners):
            listener.deliver()
