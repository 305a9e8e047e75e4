"""The board as tables, for displays where no page has drawn it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasktools.core.clock import moment
from tasktools.core.timespans import in_words
from tasktools.widgets import html
from tasktools.widgets.dashboard.board_data import TABLE, Board
from tasktools.widgets.dashboard.state import BoardState


def static_html(state: BoardState, board: Board) -> str:
    """Return the tiles of *state*, and the topics of *board*, with their time."""
    with state.lock:
        tiles, newest = (state.finding, *state.tiles), state.newest_at
        notes, problem = state.notes, state.problem
    if newest is None:
        return html.alert(problem) or html.quiet("Nothing has been read yet.")
    numbers = (map(html.cell, (tile.title, tile.text, tile.alarm or tile.note)) for tile in tiles)
    topics = (
        [html.cell(name), *map(html.cell, _texts(values))] for name, values in board.table().items()
    )
    return "".join(
        [
            html.status(f"{moment(newest):%Y-%m-%d %H:%M:%S} UTC"),
            html.alert(problem),
            html.table(("now", "", ""), numbers),
            html.table(("topic", *TABLE), topics),
            *map(html.quiet, notes),
        ]
    )


def _texts(values: Sequence[float]) -> list[str]:
    return [
        "not known"
        if math.isnan(value)
        else in_words(value)
        if name.startswith("oldest")
        else f"{value:,.1f}"
        if name.startswith("ended")
        else f"{value:,.0f}"
        for name, value in zip(TABLE, values, strict=True)
    ]
