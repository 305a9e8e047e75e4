"""An invisible view that reports whether a browser shows a widget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import anywidget
import traitlets

_ESM: Final = """
export default {
  render({ model, el }) {
    const view = Math.random().toString(36).slice(2);
    const say = shown => {
      try { model.send({ view, shown }); } catch { /* the page has lost its kernel */ }
    };
    const timer = setInterval(() => say(true), 5000);
    say(true);
    // Notebook 7 would take the arrows of a slider for commands.
    const keepKeys = ({ target }) => {
      if (el.closest(".tasktools-live")?.contains(target)) target.dataset.lmSuppressShortcuts = "";
    };
    document.addEventListener("focusin", keepKeys);
    return () => {
      clearInterval(timer);
      document.removeEventListener("focusin", keepKeys);
      say(false);
    };
  }
};
"""


class Visibility(anywidget.AnyWidget):
    """An invisible child of a widget that counts the browser views of it.

    *changed* is called with true when the first view appears, and with false when the last one is
    gone. Without a browser (a notebook that a program runs) it is never called.
    """

    silent_seconds = 150.0
    """A view that sent nothing for so many seconds is gone. A browser runs the timers of a tab in
    the background once a minute."""

    _esm = traitlets.Unicode(_ESM).tag(sync=True)

    def __init__(self, changed: Callable[[bool], object]) -> None:
        super().__init__()
        self._changed = changed
        self._views: dict[str, float] = {}
        self._shown = False
        self._lock = threading.Lock()
        self.on_msg(self._on_message)

    def check(self) -> None:
        """Remove the views that have been silent for too long: their page is gone."""
        now = time.monotonic()
        with self._lock:
            self._views = {v: at for v, at in self._views.items() if now - at < self.silent_seconds}
        self._update()

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
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
