"""The numbers of the moment: what a glance at the board tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.ops.recording.store import STATES
from tasktools.widgets.board.charts import GONE
from tasktools.widgets.board.strip import (
    DEAD,
    OLDEST,
    QUEUED,
    W_CAPACITY,
    W_RUNNING,
    W_STATE,
    Strip,
)

_UNKNOWN: Final = "?"
_LIVE: Final = (STATES.index("alive"), STATES.index("late"))


@dataclass(frozen=True, slots=True)
class Tile:
    """A number with its name. *note* says more; *alarm* says which threshold is passed, else it is
    empty; *value* is the number itself, `None` when it is not known."""

    name: str
    title: str
    text: str
    note: str = ""
    alarm: str = ""
    value: float | None = None


class Now:
    """The last sample of *strip*, of the wanted *topics*, and tries that *failed* within the last
    minute, by topic."""

    def __init__(
        self,
        strip: Strip,
        topics: Sequence[int],
        failed: Mapping[str, int],
        thresholds: Mapping[str, float],
    ) -> None:
        self._names = strip.topics.names
        self._kept, self._workers = strip.now.topics, strip.now.workers
        self._topics = [place for place in topics if place < self._kept.shape[1]]
        self._failed = failed
        self._thresholds = thresholds

    def tiles(self) -> tuple[Tile, ...]:
        """Return all tiles."""
        return (
            self._sum("queued", "Queued", self._row(QUEUED)),
            self._running(),
            self._oldest(),
            self._failures(),
            self._sum("dead_letters", "Dead letters", self._row(DEAD)),
            self._alive(),
        )

    def _row(self, row: int) -> dict[str, float]:
        """Return what is known, by topic."""
        told = {self._names[place]: float(self._kept[row, place]) for place in self._topics}
        return {topic: value for topic, value in told.items() if not np.isnan(value)}

    def _sum(self, name: str, title: str, values: Mapping[str, float]) -> Tile:
        if not values:
            return Tile(name, title, _UNKNOWN, "not known")
        most = max(values, key=values.__getitem__)
        total = sum(values.values())
        note = f"{most} {values[most]:,.0f}" if len(values) > 1 and total else ""
        alarm = self._alarm(name, most, values[most], f"{self._thresholds.get(name, 0):,.0f}")
        return Tile(name, title, f"{total:,.0f}", note, alarm, total)

    def _alarm(self, name: str, who: str, value: float, limit: str) -> str:
        """Return in words that *who* is over the threshold, if it is."""
        is_over = name in self._thresholds and value > self._thresholds[name]
        return f"▲ {who} is over {limit}" if is_over else ""

    def _oldest(self) -> Tile:
        ages = self._row(OLDEST)
        if not ages:
            return Tile("oldest", "Oldest running task", "none", value=0.0)
        topic = max(ages, key=ages.__getitem__)
        limit = span(self._thresholds.get("oldest", 0.0))
        alarm = self._alarm("oldest", topic, ages[topic], limit)
        return Tile("oldest", "Oldest running task", span(ages[topic]), topic, alarm, ages[topic])

    def _failures(self) -> Tile:
        mine = {self._names[place] for place in self._topics}
        failed = {topic: float(count) for topic, count in self._failed.items() if topic in mine}
        return self._sum("failures", "Failures in a minute", failed or dict.fromkeys(mine, 0.0))

    def _running(self) -> Tile:
        state = self._workers[W_STATE]
        live = np.isin(state, _LIVE)
        capacity = float(np.nansum(self._workers[W_CAPACITY][live]))
        running = float(np.nansum(self._workers[W_RUNNING][live]))
        title = "Running / capacity"
        if not live.any():
            return Tile("utilisation", title, _UNKNOWN, "no worker is heard of")
        load = running / capacity if capacity else 0.0
        limit = f"{self._thresholds.get('utilisation', 1.0):.0%}"
        alarm = self._alarm("utilisation", "the cluster", load, limit)
        return Tile(
            "utilisation", title, f"{running:,.0f} / {capacity:,.0f}", f"{load:.0%}", alarm, load
        )

    def _alive(self) -> Tile:
        state = self._workers[W_STATE]
        count = {name: int((state == at).sum()) for at, name in enumerate(STATES)}
        note = " · ".join(f"{count[name]} {name}" for name in ("late", "gone") if count[name])
        most = self._thresholds.get(GONE)
        over = most is not None and count["gone"] > most
        alarm = f"▲ {count['gone']:,} gone, over {most:,.0f}" if over else ""
        return Tile("workers", "Workers alive", f"{count['alive']:,}", note, alarm, count["alive"])


def span(seconds: float) -> str:
    """Return a span of time in words."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small = (3600, 60) if whole >= 3600 else (60, 1)
    rest = whole % large // small
    words = {3600: "h", 60: "min", 1: "s"}
    return f"{whole // large} {words[large]}" + (f" {rest} {words[small]}" if rest else "")


def as_dicts(tiles: Sequence[Tile]) -> list[dict[str, Any]]:
    """Return *tiles* for the page."""
    return [
        {name: getattr(tile, name) for name in ("name", "title", "text", "note", "alarm")}
        for tile in tiles
    ]
