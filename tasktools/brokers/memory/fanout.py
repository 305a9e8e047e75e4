"""The worker exchange: every event reaches every subscriber. The server locks."""

from __future__ import annotations

from collections.abc import Callable

from tasktools.core import events
from tasktools.core.cluster_view import ClusterView

Listener = Callable[[bytes], object]


class Fanout:
    """Subscribers that fold events into their views, and listeners that get them raw."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self._views: list[ClusterView] = []

    def subscribe(self) -> ClusterView:
        """Return a new view, which is fed from now on."""
        view = ClusterView()
        self._views.append(view)
        return view

    def forget(self, view: ClusterView) -> None:
        """Feed *view* no more."""
        self._views.remove(view)

    def fold(self, now: float, body: bytes) -> None:
        """Let all views take in the raw event *body*."""
        event = events.parse(body)
        for view in self._views:
            view.fold(now, event)
