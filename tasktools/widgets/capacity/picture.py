"""A drawing of an outlook as SVG, for a saved notebook that nobody runs."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

import numpy as np
import pandas as pd

from tasktools.capacity.scenario import Outlook
from tasktools.core.timespans import in_words
from tasktools.figures.palette import COLOURS, OTHER, styles

_WIDTH, _LEFT = 840.0, 70.0
_HIGH, _LOW, _TITLE = 110.0, 60.0, 22.0
_HOURS: Final = 168
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def drawn(outlook: Outlook) -> str:
    """Return waits and utilisation by hour of the week as an SVG, without scripts."""
    hours = outlook.hours
    topics = list(dict.fromkeys(map(str, hours["topic"])))
    style = styles(topics)
    target = outlook.scenario.question.wait_below or 0.0
    waits = {name: _by_hour(hours, name, "wait") for name in topics}
    known = [np.nanmax(each) for each in waits.values() if not np.isnan(each).all()]
    most = max([*known, target, 1e-3])
    parts = [_axis(_TITLE, _HIGH, f"wait, up to {in_words(most)}")]
    parts += [
        _line(values / most, _TITLE, _HIGH, style[name].colour) for name, values in waits.items()
    ]
    limit = _TITLE + _HIGH * (1 - target / most)
    parts.append(
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{limit:.1f}" y2="{limit:.1f}" '
        f'stroke="{COLOURS[1]}" stroke-dasharray="5 4"/>'
    )
    below = _HIGH + 2 * _TITLE
    parts.append(_axis(below, _LOW, "busy slots, up to 100 %"))
    if topics:
        parts.append(_line(_by_hour(hours, topics[0], "utilisation"), below, _LOW, OTHER))
    bottom = below + _LOW + 14
    parts += [
        _text(_LEFT + number * 24 * (_WIDTH - _LEFT) / _HOURS, bottom, day)
        for number, day in enumerate(_DAYS)
    ]
    keys = " ".join(
        f'<span style="color:{style[name].colour}">■</span> {escape(name)}' for name in topics
    )
    size = f'viewBox="0 0 {_WIDTH:.0f} {bottom + 6:.0f}" width="{_WIDTH:.0f}"'
    return f'<svg {size} role="img" font-size="11">{"".join(parts)}</svg><div>{keys}</div>'


def _by_hour(
    hours: pd.DataFrame, topic: str, column: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rows = hours[hours["topic"] == topic]
    values = rows[column]
    if pd.api.types.is_timedelta64_dtype(values):
        values = values.dt.total_seconds()
    by_hour = np.full(_HOURS, np.nan)
    by_hour[rows["hour_of_week"].to_numpy(np.int64)] = values.to_numpy(np.float64, na_value=np.nan)
    return by_hour


def _axis(top: float, height: float, title: str) -> str:
    bottom = top + height
    line = f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{bottom}" y2="{bottom}" stroke="{OTHER}"/>'
    return line + _text(_LEFT, top - 6, title)


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{OTHER}">{escape(text)}</text>'


def _line(
    shares: np.ndarray[tuple[int], np.dtype[np.float64]], top: float, height: float, colour: str
) -> str:
    """Return the steps of the known hours; the others are gaps."""
    width = (_WIDTH - _LEFT) / _HOURS
    path = " ".join(
        f"{'L' if is_next else 'M'}{_LEFT + hour * width:.1f} {y:.1f}h{width:.2f}"
        for hour, y, is_next in _steps(top + height * (1 - np.clip(shares, 0, 1)))
    )
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _steps(
    places: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Iterator[tuple[int, float, bool]]:
    before = np.nan
    for hour, place in enumerate(places.tolist()):
        if not np.isnan(place):
            yield hour, place, not np.isnan(before)
        before = place
