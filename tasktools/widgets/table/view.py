"""The table on screen: sends the rows in sight, and does what the browser asks for."""

from __future__ import annotations

from dataclasses import asdict
from importlib import resources
from typing import Any

import anywidget
import traitlets

from tasktools.widgets.errors import guarded
from tasktools.widgets.table.intents import obey
from tasktools.widgets.table.state import TableState


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


class TableWidget(anywidget.AnyWidget):
    """A table of *state*, *lines* rows high. Where it is shown twice, each view scrolls by itself.

    Rows go to a view when it asks for those in sight; `revision` tells all of them that there is
    something new to ask for.
    """

    _esm = traitlets.Unicode(_file("table.js")).tag(sync=True)
    _css = traitlets.Unicode(_file("table.css")).tag(sync=True)
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
        self._obey = guarded(state, "Using the table", lambda message: obey(state, message))
        self.on_msg(guarded(state, "Showing rows", self._hear))
        state.observe(self._tell, "revision")

    def close(self) -> None:
        """Take the table off screen; its state stays."""
        if self.comm is not None:  # not closed yet
            self.state.unobserve(self._tell, "revision")
        super().close()

    def _tell(self, change: Any) -> None:
        self.revision = change["new"]

    def _hear(self, _widget: Any, content: Any, _buffers: Any) -> None:
        self._obey(content)
        page = self.state.page(int(content["first"]), int(content["last"]))
        self.send({**asdict(page), "view": content["view"], "answers": content["do"]})
