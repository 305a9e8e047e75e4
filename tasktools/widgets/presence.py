"""Whether anybody has a widget on screen: a view without content that says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import anywidget
import traitlets

_SILENT_AFTER: Final = 150.0
"""Seconds after which a view that says nothing is gone. A browser lets the timers of a tab in
the background run once a minute."""

_ESM: Final = """
export default {
  render({ model }) {
    const view = Math.random().toString(36).slice(2);
    const say = shown => {
      try { model.send({ view, shown }); } catch { /* the page has lost its kernel */ }
    };
    const timer = setInterval(() => say(true), 5000);
    say(true);
    return () => { clearInterval(timer); say(false); };
  }
};
"""


class Presence(anywidget.AnyWidget):
    """An invisible child of a widget, which knows how many views of it there are.

    *changed* is called with whether it is on screen, each time that changes. Where it was never
    on screen (no browser: a notebook that is run by a program), it is not called.
    """

    _esm = traitlets.Unicode(_ESM).tag(sync=True)

    def __init__(self, changed: Callable[[bool], object]) -> None:
        super().__init__()
        self._changed = changed
        self._views: dict[str, float] = {}
        self._shown = False
        self._lock = threading.Lock()
        self.on_msg(self._hear)

    def check(self) -> None:
        """Forget the views that have been silent for too long: their page is gone."""
        now = time.monotonic()
        with self._lock:
            self._views = {v: at for v, at in self._views.items() if now - at < _SILENT_AFTER}
        self._update()

    def _hear(self, _widget: Any, content: Any, _buffers: Any) -> None:
        view = str(content.get("view"))
        with self._lock:
            if content.get("shown") is True:
                self._views[view] = time.monotonic()
            else:
                self._views.pop(view, None)
        self._update()

    def _update(self) -> None:
        with self._lock:
            shown, before = bool(self._views), self._shown
            self._shown = shown
        if shown != before:
            self._changed(shown)
