"""Which topics each chart shows, in which style, and which workers the map of workers shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.widgets.board.charts import CHARTS
from tasktools.widgets.board.series import Series
from tasktools.widgets.board.strip import Array, Strip
from tasktools.widgets.palette import COLOURS, DASHES

SHOWN: Final = 8
"""So many topics each chart shows by themselves."""
STYLES: Final = len(COLOURS) * len(DASHES)
"""Ways to draw a line. The page knows as many."""
MOST_WORKERS: Final = 400
_STAYS: Final = 1.25
"""A topic is replaced by one that is so many times as busy."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What one chart shows: topics by their places, and those that make up ``other``."""

    topics: tuple[int, ...]
    rest: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What all charts show. *styles* has the style of each topic that is shown by itself, the same
    in all charts. *workers* are places, in the order of their names."""

    charts: Mapping[str, Lines]
    styles: Mapping[int, int]
    topics: tuple[int, ...]
    workers: tuple[int, ...]


NOTHING: Final = Layout({chart.name: Lines((), ()) for chart in CHARTS}, {}, (), ())


class Wanted:
    """Which topics are wanted: those in *topics*, or all, whose names contain *text*."""

    def __init__(self, topics: Iterable[str] | None, text: str) -> None:
        self._topics = None if topics is None else frozenset(topics)
        self._text = text.casefold().strip()

    def places(self, names: Sequence[str]) -> list[int]:
        """Return where the wanted ones are."""
        return [at for at, name in enumerate(names) if self._wants(name)]

    def _wants(self, name: str) -> bool:
        is_named = self._topics is None or name in self._topics
        return is_named and self._text in name.casefold()


def lay_out(strip: Strip, series: Series, wanted: Wanted, before: Layout) -> Layout:
    """Return what is to be shown now; what is shown already stays, unless others are busier."""
    names = strip.topics.names
    places = sorted(wanted.places(names), key=lambda place: names[place])
    charts = {
        chart.name: _lines(series.of(chart.name, places), places, before.charts[chart.name].topics)
        for chart in CHARTS
    }
    return Layout(
        charts=charts,
        styles=_styles(charts.values(), before.styles),
        topics=tuple(places),
        workers=_workers(strip.workers.names, series),
    )


def _lines(values: Array, places: Sequence[int], shown: Sequence[int]) -> Lines:
    """Return those with the largest area below their line."""
    if len(places) <= SHOWN + 1:  # one alone is no "other"
        return Lines(tuple(places), ())
    area = dict(zip(places, np.nansum(values, axis=1).tolist(), strict=True))
    stays = set(shown)
    order = sorted(places, key=lambda p: area[p] * (_STAYS if p in stays else 1), reverse=True)
    chosen = sorted(order[:SHOWN], key=lambda place: area[place], reverse=True)
    if set(chosen) == stays:
        chosen = list(shown)  # nobody changes place while one looks
    return Lines(tuple(chosen), tuple(place for place in places if place not in set(chosen)))


def _styles(charts: Iterable[Lines], before: Mapping[int, int]) -> dict[int, int]:
    """Return the style of each topic: it keeps the one that it has. Those that most charts show
    get the best ones."""
    counts = Counter(topic for lines in charts for topic in lines.topics)
    shown = [topic for topic, _count in counts.most_common()]
    styles = {topic: before[topic] for topic in shown if topic in before}
    for topic in shown:
        if topic not in styles:
            used: list[Any] = list(styles.values())
            styles[topic] = min(range(STYLES), key=used.count)
    return styles


def _workers(names: Sequence[str], series: Series) -> tuple[int, ...]:
    """Return the workers that were seen; of very many, those that are not well and the busiest."""
    running, _capacity, state = series.workers()
    seen = np.flatnonzero((~np.isnan(state)).any(axis=1)).tolist()
    if len(seen) > MOST_WORKERS:
        trouble = np.nansum(state, axis=1)
        busy = np.nansum(running, axis=1)
        seen = sorted(seen, key=lambda p: (trouble[p], busy[p]), reverse=True)[:MOST_WORKERS]
    return tuple(sorted(seen, key=lambda place: names[place]))
