"""Figures of plotly as static SVG, on one time axis: they need no script, and print well."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tasktools.reports.axes import LEFT, RIGHT, WIDTH, TimeAxis, ValueAxis
from tasktools.reports.drawing import HEIGHT, Backdrop, svg
from tasktools.reports.heat_map import heat_map
from tasktools.reports.html import Html, fragment, tag

_DASHES: Final = {"solid": None, "dash": "7 4", "dot": "2 3"}


class Series(msgspec.Struct, frozen=True):
    """A line or a row of bars, with its values by position for the readout."""

    name: str
    colour: str
    dash: str | None
    drawn: Html
    places: Sequence[float]
    words: Sequence[str]


def has_themes(figure: go.Figure) -> bool:
    """Whether *figure* has other colours on dark pages: heat maps do, lines and bars do not."""
    return bool(figure.data) and isinstance(figure.data[0], go.Heatmap)


def chart(
    figure: go.Figure, title: str, backdrop: Backdrop, *, dark: go.Figure | None = None
) -> Html:
    """Return *figure* as an SVG with its title, its remarks and its legend.

    *dark* is the same heat map for dark pages; lines and bars have colours for both.
    """
    remarks = [tag("p", text, class_="note") for text in (figure.layout.meta or {})["remarks"]]
    caption = tag("figcaption", tag("h3", title), remarks)
    if not figure.data:
        return tag("figure", caption, tag("p", "Nothing in this time.", class_="empty"))
    if has_themes(figure):
        return tag(
            "figure", caption, heat_map(figure, dark or figure, title, backdrop), class_="chart"
        )
    scale = _scale(figure)
    bands = [_band(trace, scale, backdrop.axis) for trace in figure.data if _is_band(trace)]
    series = list(_series(figure, scale, backdrop.axis))
    drawn = fragment(
        backdrop.behind(HEIGHT), _values(scale), bands, map(_group, series), backdrop.before(HEIGHT)
    )
    return tag("figure", caption, svg(drawn, HEIGHT, title), _legend(series), class_="chart")


def _scale(figure: go.Figure) -> ValueAxis:
    axis = figure.layout.yaxis
    values = [_numbers(trace.y) for trace in figure.data]
    every = np.concatenate(values)
    if isinstance(figure.data[0], go.Bar):  # they all have the same intervals
        every = np.sum(values, axis=0)
    known = every[~np.isnan(every)]
    return ValueAxis(
        float(known.max(initial=0.0)),
        HEIGHT,
        html.unescape(axis.title.text or ""),
        percent=axis.tickformat == ".0%",
        whole=bool((known == np.rint(known)).all()),
    )


def _values(scale: ValueAxis) -> Iterator[Html]:
    """Yield the round values, their lines, and the unit."""
    for y, words in scale.labels():
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid")
        yield tag("text", words, x=LEFT - 8, y=f"{y + 4:.1f}", class_="value")
    yield tag("text", scale.unit, x=LEFT, y=-6, class_="unit")


def _is_band(trace: Any) -> bool:
    return isinstance(trace, go.Scatter) and trace.fill == "toself"


def _series(figure: go.Figure, scale: ValueAxis, axis: TimeAxis) -> Iterator[Series]:
    base: dict[Any, float] = {}
    for trace in figure.data:
        if isinstance(trace, go.Bar):
            yield _bars(trace, scale, axis, base)
        elif not _is_band(trace):
            yield _line(trace, scale, axis)


def _line(trace: Any, scale: ValueAxis, axis: TimeAxis) -> Series:
    values = _numbers(trace.y)
    places = _places(trace.x, axis)
    heights = scale.height * (1 - values / scale.top)
    path = "".join(_path(places, heights))
    colour = str(trace.line.color)
    drawn = tag("path", d=path, stroke=colour, stroke_dasharray=_DASHES[trace.line.dash])
    dots = [
        tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.5, fill=colour)
        for x, y, size in zip(places, heights, trace.marker.size, strict=True)
        if size
    ]
    words = ["" if np.isnan(value) else scale.words(value) for value in values]
    name = html.unescape(str(trace.name))
    return Series(name, colour, trace.line.dash, fragment(drawn, dots), places.tolist(), words)


def _path(places: Iterable[float], heights: Iterable[float]) -> Iterator[str]:
    """Yield the steps of a path, which begins again after each missing value."""
    step = "M"
    for x, y in zip(places, heights, strict=True):
        if np.isnan(y):
            step = "M"
        else:
            yield f"{step}{x:.1f} {y:.1f}"
            step = "L"


def _band(trace: Any, scale: ValueAxis, axis: TimeAxis) -> Html:
    """Return the area of *trace*: a closed path for each stretch without gaps."""
    heights = scale.height * (1 - _numbers(trace.y) / scale.top)
    path = "".join(_path(_places(trace.x, axis), heights))
    return tag("path", d=path, fill=str(trace.fillcolor), class_="band")


def _bars(trace: Any, scale: ValueAxis, axis: TimeAxis, base: dict[Any, float]) -> Series:
    """Return the bars of *trace*, stacked on earlier traces (*base*, which is updated)."""
    half = pd.Timedelta(milliseconds=float(trace.width[0]) / 2)
    places = _places(trace.x, axis)
    rects: list[Html] = []
    for at, value in zip(trace.x, trace.y, strict=True):
        moment = pd.Timestamp(at).tz_localize("UTC")
        left, right = axis.place(moment - half), axis.place(moment + half)
        low = base.get(at, 0.0)
        base[at] = low + float(value)
        if value and right > left:
            y, height = scale.place(base[at]), scale.place(low) - scale.place(base[at])
            width = max(right - left - 1, 0.5)
            rects.append(
                tag(
                    "rect",
                    x=f"{left:.1f}",
                    y=f"{y:.1f}",
                    width=f"{width:.1f}",
                    height=f"{height:.1f}",
                )
            )
    colour = str(trace.marker.color)
    words = [scale.words(float(value)) for value in trace.y]
    drawn = tag("g", rects, fill=colour)
    return Series(html.unescape(str(trace.name)), colour, None, drawn, places.tolist(), words)


def _group(series: Series) -> Html:
    """Return *series* with the values that the page's script shows at a time."""
    places = " ".join(f"{place:.0f}" for place in series.places)
    return tag("g", series.drawn, class_="series", data_x=places, data_v="|".join(series.words))


def _legend(series: Iterable[Series]) -> Html:
    """Return the legend, with room for the values at the time that is pointed at."""
    return tag("ul", (tag("li", _swatch(each), each.name, " ", tag("output")) for each in series))


def _swatch(series: Series) -> Html:
    if series.dash is None:
        sign = tag("rect", width=22, height=12, fill=series.colour)
    else:
        dash = _DASHES[series.dash]
        sign = tag("path", d="M0 6H22", stroke=series.colour, stroke_dasharray=dash)
    return tag("svg", sign, viewBox="0 0 22 12", class_="swatch", aria_hidden="true")


def _numbers(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _places(times: Any, axis: TimeAxis) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the positions of *times* (UTC without a zone); a missing time (between bands) is
    NaN."""
    at = pd.to_datetime(pd.Series(list(times)), utc=True).astype("datetime64[us, UTC]")
    share = ((at - axis.since) / (axis.until - axis.since)).to_numpy(np.float64)
    return np.asarray(LEFT + np.clip(share, 0, 1) * (WIDTH - LEFT - RIGHT), dtype=np.float64)
