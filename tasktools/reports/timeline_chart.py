"""The figure of a timeline as SVG: a lane for each subject, on the time axis of the report."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from tasktools.reports.axes import LEFT
from tasktools.reports.drawing import Backdrop, svg
from tasktools.reports.html import Html, fragment, tag

_LANE: Final = 38
"""Height of a lane: its name, and below it what happened."""
_BAR: Final = 17
_NAME_AT, _BAR_AT = 13, 17
_CHAR: Final = 6.6
"""Width of a character, about."""
_SIGNS: Final = {
    "star": "★",
    "diamond": "◆",
    "square": "■",
    "hexagon": "⬢",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "x": "✕",
}
_MARKUP: Final = re.compile(r"</?b>")


def timeline_chart(figure: go.Figure, title: str, backdrop: Backdrop) -> Html:
    """Return *figure*, of `tasktools.figures.timeline`, as an SVG with its remarks and legend."""
    remarks = [tag("p", text, class_="note") for text in figure.layout.meta["remarks"]]
    lanes = [html.unescape(str(name)) for name in figure.layout.yaxis.ticktext or ()]
    height = _LANE * len(lanes)
    names = (
        tag("text", name, x=LEFT + 2, y=n * _LANE + _NAME_AT, class_="lane")
        for n, name in enumerate(lanes)
    )
    bars = [trace for trace in figure.data if isinstance(trace, go.Bar)]
    signs = [
        trace for trace in figure.data if isinstance(trace, go.Scatter) and trace.fill != "toself"
    ]
    drawn = fragment(
        backdrop.behind(height),
        (bar for trace in bars for bar in _bars(trace, backdrop)),
        (sign for trace in signs for sign in _signs(trace, backdrop)),
        names,
        backdrop.before(height),
    )
    return tag(
        "figure",
        tag("figcaption", remarks),
        svg(drawn, height, title),
        tag("ul", *(_key(trace) for trace in (*bars, *signs))),
        class_="chart timeline",
    )


def _bars(trace: Any, backdrop: Backdrop) -> Iterator[Html]:
    rows = zip(trace.base, trace.x, trace.y, trace.text, trace.customdata, strict=True)
    for base, length, lane, label, hover in rows:
        begin = pd.Timestamp(base, tz="UTC")
        end = begin + pd.Timedelta(milliseconds=float(length))
        left, right = backdrop.axis.place(begin), backdrop.axis.place(end)
        y = int(lane) * _LANE + _BAR_AT
        width = max(right - left, 2.0)
        bar = tag(
            "rect",
            x=f"{left:.1f}",
            y=y,
            width=f"{width:.1f}",
            height=_BAR,
            rx=3,
            class_=f"bar {_class(trace.name)}",
        )
        words = html.unescape(str(label or ""))
        fits = words and width > len(words) * _CHAR + 8
        text = [tag("text", words, x=f"{left + 5:.1f}", y=y + 13, class_="label")] if fits else []
        yield tag("g", tag("title", _plain(hover)), bar, text)


def _signs(trace: Any, backdrop: Backdrop) -> Iterator[Html]:
    sign = _SIGNS[str(trace.marker.symbol)]
    labels = [""] * len(trace.x) if trace.text is None else trace.text
    for at, lane, label, hover in zip(trace.x, trace.y, labels, trace.customdata, strict=True):
        x = backdrop.axis.place(pd.Timestamp(at, tz="UTC"))
        words = html.unescape(str(label)).strip()
        is_late = x > backdrop.axis.place(backdrop.axis.until) - len(words) * _CHAR - 16
        text = f"{words} {sign}" if is_late else f"{sign} {words}"
        yield tag(
            "text",
            tag("title", _plain(hover)),
            text.strip(),
            x=f"{x + (6 if is_late else -6):.1f}",
            y=int(lane) * _LANE + _BAR_AT + 13,
            class_="sign late" if is_late else "sign",
        )


def _plain(hover: Any) -> str:
    """Return plotly's hover text without markup."""
    return " ".join(html.unescape(_MARKUP.sub("", line)) for line in str(hover).split("<br>"))


def _key(trace: Any) -> Html:
    name = str(trace.name)
    if isinstance(trace, go.Scatter):
        return tag("li", tag("span", _SIGNS[str(trace.marker.symbol)], class_="sign"), f" {name}")
    square = tag("rect", width=22, height=12, class_=f"bar {_class(name)}")
    swatch = tag("svg", square, viewBox="0 0 22 12", class_="swatch", aria_hidden="true")
    return tag("li", swatch, name)


def _class(name: Any) -> str:
    return str(name).replace(" ", "-")
