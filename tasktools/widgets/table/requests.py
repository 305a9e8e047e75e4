"""Requests of the browser, checked: they can be late, and can be anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tasktools.widgets.table.state import TableState

_LATE: Final = (
    "The rows on screen were no longer those in the table. Nothing was selected or unselected; "
    "look again and repeat it."
)


def handle(state: TableState, message: Mapping[str, Any]) -> None:
    """Do the request in *message*.

    A request that depends on the shown rows is refused if the list of rows has changed since the
    browser drew it (`generation`).
    """
    with state.lock:
        if message.get("do") == "look":
            return
        state.problem = ""
        if not _one_row(state, message):
            if message.get("generation") == state.generation:
                _many_rows(state, message)
            else:
                state.problem = _LATE


def _one_row(state: TableState, message: Mapping[str, Any]) -> bool:
    """Do a request that does not depend on the shown rows; return whether it was one."""
    match message:
        case {"do": "filter", "text": str(text)}:
            state.filter = text
        case {"do": "sort", "column": str(column)}:
            state.sort_by(column)
        case {"do": "see", "unseen": list(names)}:
            state.unseen = tuple(names)
        case {"do": "open", "key": str(key)}:
            state.open(key)
        case {"do": "toggle", "key": str(key)}:
            state.toggle(key)
        case {"do": "toggle_current"}:
            state.toggle_current()
        case {"do": "move", "by": int(by), "extend": False}:
            state.move(by)
        case {"do": "select_none"}:
            state.select_none()
        case _:
            return False
    return True


def _many_rows(state: TableState, message: Mapping[str, Any]) -> None:
    match message:
        case {"do": "move", "by": int(by), "extend": True}:
            state.move(by, extend=True)
        case {"do": "extend", "key": str(key)}:
            state.extend(key)
        case {"do": "select_all"}:
            state.select_all()
        case {"do": "toggle_all"}:
            state.toggle_all()
        case _:
            raise ValueError(f"the table cannot {message.get('do')!r}")
