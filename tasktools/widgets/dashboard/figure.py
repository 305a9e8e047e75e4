"""The board on screen, which sends new columns and does the page's requests. The page draws."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import anywidget
import traitlets

from tasktools.core.redaction import mask_text
from tasktools.figures.palette import COLOURS, OTHER
from tasktools.widgets.dashboard.board_data import Board
from tasktools.widgets.dashboard.charts import CHARTS, WINDOWS
from tasktools.widgets.dashboard.state import BoardState
from tasktools.widgets.dashboard.tiles import as_dicts
from tasktools.widgets.errors import guarded
from tasktools.widgets.html import packaged

_SCRIPTS: Final = (
    *("vendor/uPlot.iife.min.js", "words.js", "lines.js", "workers.js", "topics.js"),
    *("picture.js", "export.js", "board.js"),
)
_PALETTE: Final = f"const COLORS = {list(COLOURS)}, OTHER = {OTHER!r};\n"
_STYLES: Final = ("vendor/uPlot.min.css", "board.css")
_SHOWN: Final = (
    *("window", "filter", "paused", "hidden", "status", "problem"),
    *("newest_at", "ended", "tiles", "finding", "marks", "investigating"),
)


class BoardFigure(anywidget.AnyWidget):
    """The board of *state*, with columns from *board*. A page that opens gets all columns, and then
    each new column.

    *head* has the facts that do not change, like the cluster's address. `picture` is the last
    image that a page drew.
    """

    _esm = traitlets.Unicode(_PALETTE + packaged(__package__, *_SCRIPTS)).tag(sync=True)
    _css = traitlets.Unicode(packaged(__package__, *_STYLES)).tag(sync=True)
    head: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    shown: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    forecast: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    picture = traitlets.Bytes()

    def __init__(self, state: BoardState, board: Board, head: Mapping[str, Any]) -> None:
        self._state, self._board = state, board
        self._sent: int | None = None
        self._generation = -1
        charts = [asdict(chart) for chart in CHARTS]
        super().__init__(head={**head, "charts": charts, "windows": list(WINDOWS)})
        self._tell_all()
        self.on_msg(guarded(state, "Using the board", self._on_message))
        state.observe(guarded(state, "Showing the board", self._tell), _SHOWN)
        state.observe(guarded(state, "Drawing the board", self._draw), "revision")
        state.observe(guarded(state, "Showing the forecast", self._foretell), "forecast")

    # --- to the page --------------------------------------------------------------------

    def _tell(self, _change: Any) -> None:
        self._tell_all()

    def _tell_all(self) -> None:
        state = self._state
        with state.lock:
            shown = {name: getattr(state, name) for name in _SHOWN}
        (finding,) = as_dicts([state.finding])
        shown |= {"tiles": as_dicts(state.tiles), "problem": mask_text(state.problem)}
        self.shown = {
            **shown,
            "finding": finding,
            "marks": {topic: list(mark) for topic, mark in state.marks.items()},
            "hidden": list(state.hidden),
            "status": [mask_text(words) for words in state.status],
        }

    def _foretell(self, change: Any) -> None:
        self.forecast = change["new"]  # apart from what is sent every second

    def _draw(self, _change: Any = None) -> None:
        is_new = self._sent is None or self._generation != self._board.generation
        self._send_columns(None if is_new else self._sent)

    def _send_columns(self, since: int | None) -> None:
        packed = self._board.pack(since)
        if packed is None or not packed.message["count"]:
            return
        message = packed.message
        self._generation = message["generation"]
        self._sent = message["first"] + message["count"] - 1  # the last column is not full yet
        now, newest = time.time(), self._state.newest_at
        edge = newest if self.head["recorded"] else now
        self.send({**message, "now": now, "newest": newest, "edge": edge}, buffers=packed.buffers)

    # --- from the page ------------------------------------------------------------------

    def _on_message(self, _widget: Any, content: Mapping[str, Any], buffers: Any) -> None:
        state = self._state
        match content:
            case {"do": "hello"}:
                self._send_columns(None)
            case {"do": "window", "to": str(window)}:
                state.window = window
            case {"do": "filter", "to": str(text)}:
                state.filter = text
            case {"do": "pause", "to": bool(paused)}:
                state.paused = paused
            case {"do": "hide", "topic": str(topic)}:
                state.hide(topic)
            case {"do": "isolate", "topic": str(topic)}:
                state.isolate(topic)
            case {"do": "investigate", "topic": str(topic)}:
                state.investigate(topic)
            case {"do": "open", "part": str(part), "topic": str(topic)}:
                state.open(part, topic)
            case {"do": "picture"} if buffers:
                self.picture = bytes(buffers[0])
            case _:
                raise ValueError(f"the board cannot {content.get('do')!r}")
