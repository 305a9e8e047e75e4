"""Selection of the topics in each chart and in the table, of their styles, and of the workers in
their map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.figures.palette import COLOURS, DASHES
from tasktools.widgets.dashboard.charts import CHARTS
from tasktools.widgets.dashboard.column_buffer import DEAD, QUEUED, Array, ColumnBuffer
from tasktools.widgets.dashboard.series import Series

MAX_TOPICS: Final = 8
"""Topics with a line of their own in each chart."""
MAX_LISTED: Final = 100
"""Topics in the table."""
STYLE_COUNT: Final = len(COLOURS) * len(DASHES)
"""Number of line styles; the page knows the same ones."""
MAX_WORKERS: Final = 400
_REPLACE_RATIO: Final = 1.25
"""A shown topic is replaced by another one that is so many times as busy."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of one chart: topics by their positions, and the sum of the others as ``other``."""

    topics: tuple[int, ...]
    rest: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChartSelection:
    """The lines of all charts. *styles* has the style of each topic with a line of its own, the
    same in all charts. *listed* topics are those in the table. *workers* and topics are places, in
    the order of their names."""

    charts: Mapping[str, Lines]
    styles: Mapping[int, int]
    topics: tuple[int, ...]
    listed: tuple[int, ...]
    workers: tuple[int, ...]


NO_SELECTION: Final = ChartSelection(
    {chart.name: Lines((), ()) for chart in CHARTS}, {}, (), (), ()
)


class TopicFilter:
    """A filter of topics: among *topics*, or all, those with *text* in their names, in any case."""

    def __init__(self, topics: Iterable[str] | None, text: str) -> None:
        self._topics = None if topics is None else frozenset(topics)
        self._text = text.casefold().strip()

    def places(self, names: Sequence[str]) -> list[int]:
        """Return the positions of the topics that pass the filter."""
        return [at for at, name in enumerate(names) if self._wants(name)]

    def _wants(self, name: str) -> bool:
        is_named = self._topics is None or name in self._topics
        return is_named and self._text in name.casefold()


def select_charts(
    buffer: ColumnBuffer, series: Series, wanted: TopicFilter, before: ChartSelection
) -> ChartSelection:
    """Return the new selection. Topics that are already shown stay, unless others are busier. Of
    topics that are gone the past stays in the charts."""
    names = buffer.topics.names
    places = sorted(wanted.places(names), key=lambda place: names[place])
    present = [place for place in places if place not in buffer.gone]
    charts = {
        chart.name: _lines(series.of(chart.name, places), places, before.charts[chart.name].topics)
        for chart in CHARTS
    }
    return ChartSelection(
        charts=charts,
        styles=_styles(charts.values(), before.styles),
        topics=tuple(present),
        listed=_listed(buffer, present, before.listed),
        workers=_workers(buffer.workers.names, series),
    )


def _lines(values: Array, places: Sequence[int], shown: Sequence[int]) -> Lines:
    """Return the topics with the largest area below their lines."""
    if len(places) <= MAX_TOPICS + 1:  # a single one is not worth an "other"
        return Lines(tuple(places), ())
    area = dict(zip(places, np.nansum(values, axis=1).tolist(), strict=True))
    stays = set(shown)
    order = sorted(
        places, key=lambda p: area[p] * (_REPLACE_RATIO if p in stays else 1), reverse=True
    )
    chosen = sorted(order[:MAX_TOPICS], key=lambda place: area[place], reverse=True)
    if set(chosen) == stays:
        chosen = list(shown)  # the order stays while somebody looks
    return Lines(tuple(chosen), tuple(place for place in places if place not in set(chosen)))


def _listed(buffer: ColumnBuffer, places: Sequence[int], shown: Sequence[int]) -> tuple[int, ...]:
    """Return the topics of the table; if there are too many, those with the most messages."""
    if len(places) <= MAX_LISTED:
        return tuple(places)
    rows = buffer.now.topics
    messages = np.zeros(len(buffer.topics.names))
    messages[: rows.shape[1]] = np.nan_to_num(rows[[QUEUED, DEAD]]).sum(axis=0)
    stays = set(shown)
    order = sorted(
        places, key=lambda p: messages[p] * (_REPLACE_RATIO if p in stays else 1), reverse=True
    )
    chosen = set(order[:MAX_LISTED])
    return tuple(place for place in places if place in chosen)


def _styles(charts: Iterable[Lines], before: Mapping[int, int]) -> dict[int, int]:
    """Return the style of each topic. A topic keeps its style; topics in most charts get the best
    new styles."""
    counts = Counter(topic for lines in charts for topic in lines.topics)
    shown = [topic for topic, _count in counts.most_common()]
    styles = {topic: before[topic] for topic in shown if topic in before}
    for topic in shown:
        if topic not in styles:
            used: list[Any] = list(styles.values())
            styles[topic] = min(range(STYLE_COUNT), key=used.count)
    return styles


def _workers(names: Sequence[str], series: Series) -> tuple[int, ...]:
    """Return the workers that were seen; if there are too many, workers with problems first, then
    the busiest ones."""
    running, _capacity, state = series.workers()
    seen = np.flatnonzero((~np.isnan(state)).any(axis=1)).tolist()
    if len(seen) > MAX_WORKERS:
        trouble = np.nansum(state, axis=1)
        busy = np.nansum(running, axis=1)
        seen = sorted(seen, key=lambda p: (trouble[p], busy[p]), reverse=True)[:MAX_WORKERS]
    return tuple(sorted(seen, key=lambda place: names[place]))
