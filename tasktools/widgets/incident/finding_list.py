"""The list of findings on screen."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from tasktools.widgets.errors import guarded
from tasktools.widgets.html import packaged
from tasktools.widgets.incident.state import IncidentState


class FindingList(anywidget.AnyWidget):
    """The findings of *state*; the chosen one is unfolded. A click on it again folds it."""

    _esm = traitlets.Unicode(packaged(__package__, "finding_list.js")).tag(sync=True)
    _css = traitlets.Unicode(packaged(__package__, "finding_list.css")).tag(sync=True)
    lines: traitlets.List[Any] = traitlets.List().tag(sync=True)
    folded: traitlets.List[Any] = traitlets.List().tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)
    empty = traitlets.Unicode("Looking …").tag(sync=True)

    def __init__(self, state: IncidentState) -> None:
        self.state = state
        super().__init__()
        self.on_msg(guarded(state, "Choosing a finding", self._on_message))
        state.observe(guarded(state, "Showing the findings", self._show), ["findings", "chosen"])
        self._show()

    def _show(self, _change: Any = None) -> None:
        findings = self.state.findings
        with self.hold_sync():
            self.chosen = self.state.chosen
            if findings is not None:
                self.lines = [line.as_json() for line in findings.lines]
                self.folded = [
                    [f"{len(findings.unknown)} cannot tell", list(findings.unknown)],
                    [f"{len(findings.ruled_out)} ruled out", list(findings.ruled_out)],
                ]
                why = [] if findings.ruled_out else findings.notes[:1]
                nothing = findings.nothing
                self.empty = ": ".join([nothing[0].upper() + nothing[1:], *why])

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        key = content["key"]
        if key in {line["key"] for line in self.lines}:
            self.state.choose("" if key == self.state.chosen else key)
