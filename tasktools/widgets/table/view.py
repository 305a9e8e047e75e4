"""A table on screen, which sends the rows in sight and does the requests of the browser."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import anywidget
import traitlets

from tasktools.widgets.errors import guarded
from tasktools.widgets.html import packaged
from tasktools.widgets.table.requests import handle
from tasktools.widgets.table.state import TableState


class TableWidget(anywidget.AnyWidget):
    """A table of *state*, *lines* rows high. If it is shown twice, each view scrolls by itself.

    A view asks for the rows in sight; a new `revision` tells all views to ask again.
    """

    _esm = traitlets.Unicode(packaged(__package__, "table.js")).tag(sync=True)
    _css = traitlets.Unicode(packaged(__package__, "table.css")).tag(sync=True)
    heads: traitlets.List[Any] = traitlets.List().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    lines = traitlets.Int().tag(sync=True)
    revision = traitlets.Int().tag(sync=True)

    def __init__(self, state: TableState, *, label: str = "Table", lines: int = 16) -> None:
        self.state = state
        super().__init__(
            heads=[asdict(column) for column in state.columns],
            label=label,
            lines=lines,
            revision=state.revision,
        )
        self._handle = guarded(state, "Using the table", lambda message: handle(state, message))
        self.on_msg(guarded(state, "Showing rows", self._on_message))
        state.observe(self._tell, "revision")

    def close(self) -> None:
        """Remove the table from the screen. Its state stays usable."""
        if self.comm is not None:  # not closed yet
            self.state.unobserve(self._tell, "revision")
        super().close()

    def _tell(self, change: Any) -> None:
        self.revision = change["new"]

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        self._handle(content)
        page = self.state.page(int(content["first"]), int(content["last"]))
        self.send({**asdict(page), "view": content["view"], "answers": content["do"]})
