"""The list of groups on screen."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from tasktools.widgets.dead_letters.browse_state import BrowseState
from tasktools.widgets.errors import guarded
from tasktools.widgets.html import packaged


class GroupList(anywidget.AnyWidget):
    """The groups of *state*. A click shows one group alone, a second click shows all again."""

    _esm = traitlets.Unicode(packaged(__package__, "group_list.js")).tag(sync=True)
    _css = traitlets.Unicode(packaged(__package__, "group_list.css")).tag(sync=True)
    lines: traitlets.List[Any] = traitlets.List().tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    more = traitlets.Unicode().tag(sync=True)

    def __init__(self, state: BrowseState) -> None:
        self.state = state
        super().__init__()
        self.on_msg(guarded(state, "Choosing a group", self._on_message))
        state.observe(guarded(state, "Showing the groups", self._show), ["groups", "group"])
        self._show()

    def _show(self, _change: Any = None) -> None:
        groups, group = self.state.groups, self.state.group
        names = [line.name for line in groups.lines]
        with self.hold_sync():
            self.lines = groups.as_json()
            self.chosen = names.index(group.name) if group and group.name in names else -1
            self.more = f"{groups.more:,} smaller ones are not listed." if groups.more else ""

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        name = content["name"]
        if name in {line.name for line in self.state.groups.lines}:
            self.state.choose(name)
