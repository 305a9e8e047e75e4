"""The choice of the layout and the dialects that are spoken on a broker."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from tasktools.core import layout as layouts
from tasktools.core.dialects import fastpluggy, registry
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.topic_map import check_template
from tasktools.core.layout import Layout

_BOTH_LAYOUTS: Final = "both layouts, fp and taskworker, exist on this broker; fp is shown"


class DialectChoice:
    """The layout, and the dialects: those *named* by the user, or those whose exchanges exist.

    The first is always that of the layout, in which topics are created. Where no exchange of the
    layout exists, the remaining queues belong to unknown programs. Raises `MalformedDSN` for an
    unknown dialect, and for a *dead* that does not name a queue for each topic.
    """

    def __init__(
        self, named: Collection[str] = (), layout: str | None = None, dead: str | None = None
    ) -> None:
        if dead is not None:
            check_template(dead)
        self._named = [registry.named(name) for name in named]
        self._is_given = layout is not None
        self.layout: Layout | None = None if layout is None else layouts.named(layout)
        """The layout; `None` before `decide`, unless it was given."""
        self.spoken: Sequence[Dialect] = ()
        """The dialects in the order in which they claim queues; none before `decide`."""
        self._present: set[str] = set()
        self.note: str | None = None
        """A note for operators about the choice, or `None`."""

    @property
    def exchanges(self) -> Collection[str]:
        """The exchanges whose existence shows that a dialect is used."""
        return {name: None for each in registry.installed() for name in each.exchanges}.keys()

    def decide(self, present: AbstractSet[str]) -> None:
        """Choose by the exchanges known to be *present*, in this call and in earlier ones; the
        first call chooses the layout."""
        self._present |= present
        if self.layout is None:
            both = {layout.task_exchange for layout in layouts.LAYOUTS.values()}
            self.note = _BOTH_LAYOUTS if both <= self._present else None
            self.layout = layouts.choose(self._present)
        is_used = self._is_given or self.layout.task_exchange in self._present
        first = fastpluggy.of_layout(self.layout)
        others = self._named or [
            each
            for each in registry.installed()
            if self._is_there(each) and not (each.has_the_rest and is_used)
        ]
        others = [each for each in others if each.has_the_rest or not each.reads(first)]
        self.spoken = (first, *sorted(others, key=lambda each: each.has_the_rest))

    def _is_there(self, dialect: Dialect) -> bool:
        return not dialect.exchanges or not self._present.isdisjoint(dialect.exchanges)
