"""Tiles of the board: the numbers of the last sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.core.timespans import in_words
from tasktools.history.store import STATES
from tasktools.widgets.dashboard.charts import GONE
from tasktools.widgets.dashboard.column_buffer import (
    DEAD,
    OLDEST,
    QUEUED,
    W_CAPACITY,
    W_RUNNING,
    W_STATE,
    ColumnBuffer,
)

UNKNOWN: Final = "?"
_NO_TOPIC: Final = "of no known topic"
_NO_EVENTS: Final = "no events of workers are received"
_NO_TASK_EVENTS: Final = "no events of tasks arrive"
MIN_WATCHED_SECONDS: Final = 55.0
_LIVE: Final = (STATES.index("alive"), STATES.index("late"))


@dataclass(frozen=True, slots=True)
class Tile:
    """A number with its title. *note* says more; *alarm* names the threshold that is exceeded, or
    is empty; *value* is the number itself, or `None` if it is not known. *severity* is that of a
    finding."""

    name: str
    title: str
    text: str
    note: str = ""
    alarm: str = ""
    value: float | None = None
    severity: str = ""


class Now:
    """The last sample of *buffer*, of the wanted *topics*, and the number of attempts that *failed*
    in the last minute, by topic; failures of unknown topics count if all topics are wanted. Of the
    tasks of topics *mute* no events arrive."""

    def __init__(
        self,
        buffer: ColumnBuffer,
        topics: Sequence[int],
        failed: Mapping[str | None, int],
        thresholds: Mapping[str, float],
        *,
        mute: Collection[str] = (),
    ) -> None:
        self._mute = mute
        self._names = buffer.topics.names
        self._kept, self._workers = buffer.now.topics, buffer.now.workers
        state = self._workers[W_STATE]
        without_tasks = np.isin(state, _LIVE) & np.isnan(self._workers[W_RUNNING])
        self._all_report_tasks = not without_tasks.any()
        self._watched = buffer.watched
        self._is_heard = buffer.is_heard
        self._topics = [place for place in topics if place < self._kept.shape[1]]
        self._failed = failed
        self._thresholds = thresholds

    def tiles(self) -> tuple[Tile, ...]:
        """Return all tiles."""
        return (
            self._counted("queued", "Queued", QUEUED),
            self._running(),
            self._oldest(),
            self._failures(),
            self._counted("dead_letters", "Dead letters", DEAD),
            self._alive(),
        )

    def _row(self, row: int) -> dict[str, float]:
        """Return the known values by topic."""
        values = {self._names[place]: float(self._kept[row, place]) for place in self._topics}
        return {topic: value for topic, value in values.items() if not np.isnan(value)}

    def _counted(self, name: str, title: str, row: int) -> Tile:
        values = self._row(row)
        return self._sum(name, title, values, missing=len(self._topics) - len(values))

    def _sum(self, name: str, title: str, values: Mapping[str, float], *, missing: int = 0) -> Tile:
        if not values:
            return Tile(name, title, UNKNOWN, "not known")
        most = max(values, key=values.__getitem__)
        total = sum(values.values())
        note = f"{most} {values[most]:,.0f}" if len(values) > 1 and total else ""
        if missing:
            note = " · ".join(filter(None, [f"{missing:,} not known", note]))
        alarm = self._alarm(name, most, values[most], f"{self._thresholds.get(name, 0):,.0f}")
        return Tile(name, title, f"{total:,.0f}", note, alarm, total)

    def _alarm(self, name: str, who: str, value: float, limit: str) -> str:
        """Return a sentence if *value* of *who* exceeds the threshold, else nothing."""
        is_over = name in self._thresholds and value > self._thresholds[name]
        return f"▲ {who} is over {limit}" if is_over else ""

    def _oldest(self) -> Tile:
        ages = self._row(OLDEST)
        if not ages and not (self._all_report_tasks and self._is_heard):
            why = "no heartbeat has come yet" if self._is_heard else _NO_EVENTS
            return Tile("oldest", "Oldest running task", UNKNOWN, why)
        if not ages:
            return Tile("oldest", "Oldest running task", "none", value=0.0)
        topic = max(ages, key=ages.__getitem__)
        limit = in_words(self._thresholds.get("oldest", 0.0))
        alarm = self._alarm("oldest", topic, ages[topic], limit)
        age = ages[topic]
        return Tile("oldest", "Oldest running task", in_words(age), topic, alarm, age)

    def _failures(self) -> Tile:
        mine = {self._names[place] for place in self._topics}
        wanted = mine if len(mine) < len(self._names) else {*mine, None}
        failed = {
            topic or _NO_TOPIC: float(count)
            for topic, count in self._failed.items()
            if topic in wanted
        }
        title = "Failures in a minute"
        counted = mine - {*self._mute}
        if mine and not counted and not failed:
            return Tile("failures", title, UNKNOWN, _NO_TASK_EVENTS)
        if self._watched < MIN_WATCHED_SECONDS and not failed:
            why = (
                f"none in {self._watched:.0f} s" if self._watched or self._is_heard else _NO_EVENTS
            )
            return Tile("failures", title, UNKNOWN, why)
        known = failed or dict.fromkeys(counted, 0.0)
        missing = len(mine - counted - known.keys())
        return self._sum("failures", title, known, missing=missing)

    def _running(self) -> Tile:
        state = self._workers[W_STATE]
        live = np.isin(state, _LIVE)
        known = live & ~np.isnan(self._workers[W_RUNNING])
        capacity = float(np.nansum(self._workers[W_CAPACITY][known]))
        running = float(np.nansum(self._workers[W_RUNNING][known]))
        title = "Running / capacity"
        if not self._is_heard:  # what is known is of the time before
            return Tile("utilisation", title, UNKNOWN, _NO_EVENTS)
        if not live.any():
            return Tile("utilisation", title, UNKNOWN, "no worker is known")
        if not known.any():
            return Tile("utilisation", title, UNKNOWN, "no heartbeat has come yet")
        load = running / capacity if capacity else 0.0
        limit = f"{self._thresholds.get('utilisation', 1.0):.0%}"
        alarm = self._alarm("utilisation", "the cluster", load, limit)
        return Tile(
            "utilisation", title, f"{running:,.0f} / {capacity:,.0f}", f"{load:.0%}", alarm, load
        )

    def _alive(self) -> Tile:
        state = self._workers[W_STATE]
        if not self._is_heard and np.isnan(state).all():
            return Tile("workers", "Workers alive", UNKNOWN, _NO_EVENTS)
        count = {name: int((state == at).sum()) for at, name in enumerate(STATES)}
        note = " · ".join(f"{count[name]} {name}" for name in ("late", "gone") if count[name])
        most = self._thresholds.get(GONE)
        over = most is not None and count["gone"] > most
        alarm = f"▲ {count['gone']:,} gone, over {most:,.0f}" if over else ""
        return Tile("workers", "Workers alive", f"{count['alive']:,}", note, alarm, count["alive"])


def as_dicts(tiles: Sequence[Tile]) -> list[dict[str, Any]]:
    """Return *tiles* in the form that the page gets."""
    names = ("name", "title", "text", "note", "alarm", "severity")
    return [{name: getattr(tile, name) for name in names} for tile in tiles]
