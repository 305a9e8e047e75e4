"""The state of the incident widget, and the rules of what can be done on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import pandas as pd
import traitlets

from tasktools.core.escaping import harmless
from tasktools.core.masked_repr import MaskedRepr
from tasktools.widgets.finding_lines import FindingLine, FindingLines
from tasktools.widgets.state import SharedState

WINDOWS: Final = ("15m", "1h", "6h", "24h")
"""Choices of how far back the timeline and the tasks that are compared go."""

_DOING: Final = {"look up": "looking up", "compare": "comparing tasks of"}
_WITH_DEAD_LETTERS: Final = ("topic", "queue")
_LOOKED_UP: Final = ("topic", "worker", "task", "lock")


@dataclass(frozen=True, slots=True, eq=False)  # one that is given again is another
class Order:
    """A question to the feed about the finding *line*: look its subject up, or compare the failed
    tasks of its topic with those that succeeded, over the last *window*."""

    verb: Literal["look up", "compare"]
    line: FindingLine
    window: str


@dataclass(frozen=True, slots=True, repr=False)
class Answer(MaskedRepr):
    """Tables with their titles, in answer to an order about the finding *key*."""

    key: str
    tables: tuple[tuple[str, pd.DataFrame], ...]
    notes: tuple[str, ...] = ()


class IncidentState(SharedState):
    """The findings, the chosen one, and its details.

    *window* is how far back the timeline goes. `order` is read by the feed; the traits below
    `order` are set by the feed or derived.
    """

    window = traitlets.Enum(WINDOWS, default_value="15m")
    chosen = traitlets.Unicode()  # key of a finding, else empty
    wanted_topic = traitlets.Unicode()  # whose first finding is chosen once there are findings
    dead_letters_of = traitlets.Unicode()  # topic whose dead letters are open, else empty

    order = traitlets.Any()  # an `Order` for the feed

    findings = traitlets.Instance(FindingLines, allow_none=True)
    timeline: traitlets.Dict[str, Any] = traitlets.Dict(None, allow_none=True)  # as an output
    looked_up = traitlets.Instance(Answer, allow_none=True)
    compared = traitlets.Instance(Answer, allow_none=True)
    busy = traitlets.Unicode()  # what the feed works on, in words, else empty

    line = traitlets.Instance(FindingLine, allow_none=True)  # the chosen finding
    topic = traitlets.Unicode()  # the topic of the chosen finding, else empty
    has_topic = traitlets.Bool(default_value=False)

    @property
    def at_work(self) -> bool:
        """Whether nothing is known yet, or the feed works on an order."""
        return self.findings is None or self.timeline is None or bool(self.busy)

    def choose(self, key: str) -> None:
        """Choose the finding *key* (``check:subject``), and look up its subject; "" for none."""
        with self.lock, self.hold_trait_notifications():
            self.chosen = key
            self._derive()
        if self.line is not None and self.line.subject_kind in _LOOKED_UP:
            self._give(Order("look up", self.line, self.window))

    def choose_topic(self, topic: str) -> None:
        """Choose the first finding about *topic*, as soon as there are findings."""
        self.wanted_topic = topic
        self._choose_wanted()

    @traitlets.observe("findings")
    def _choose_wanted(self, _change: Any = None) -> None:
        if self.findings is None or not self.wanted_topic:
            return
        topic, self.wanted_topic = self.wanted_topic, ""
        about = (line for line in self.findings.lines if harmless(_topic_of(line)) == topic)
        line = next(about, None)
        if line is not None:
            self.choose(line.key)

    def compare(self) -> bool:
        """Compare the failed tasks of the finding's topic with the succeeded ones; return whether
        that was ordered."""
        if self.line is None or not self.topic:
            return False
        self._give(Order("compare", self.line, self.window))
        return True

    def open_dead_letters(self) -> bool:
        """Open the dead letters of the finding's topic; return whether there is one."""
        self.dead_letters_of = self.topic
        return bool(self.topic)

    @traitlets.observe("findings", "chosen")
    def _derive(self, _change: Any = None) -> None:
        lines = () if self.findings is None else self.findings.lines
        self.line = next((line for line in lines if line.key == self.chosen), None)
        self.topic = _topic_of(self.line)
        self.has_topic = bool(self.topic)

    def _give(self, order: Order) -> None:
        self.busy = f"{_DOING[order.verb]} {order.line.subject}"
        self.order = order


def _topic_of(line: FindingLine | None) -> str:
    return line.name if line is not None and line.subject_kind in _WITH_DEAD_LETTERS else ""
