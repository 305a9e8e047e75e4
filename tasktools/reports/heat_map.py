"""Heat maps as SVG: a picture with a row for each name, on the time axis of the report."""

from __future__ import annotations

import base64
import html
import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tasktools.reports.axes import LEFT, TimeAxis
from tasktools.reports.drawing import Backdrop, svg
from tasktools.reports.html import Html, fragment, tag

_MIN_ROW, _MAX_ROW = 3.0, 16.0
"""Least and greatest height of a row."""
_MAX_HEIGHT: Final = 480
_LABEL_HEIGHT: Final = 13
_HEAD_CHARS, _TAIL_CHARS = 6, 8
"""Ends of a long name that are shown: of a worker's id about its host, and what is its own."""
_LEVELS: Final = 100
"""Different colours. A missing value has another one, which is not drawn."""
_SWATCHES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Cells = np.ndarray[Any, np.dtype[np.intp]]


def heat_map(light: go.Figure, dark: go.Figure, title: str, backdrop: Backdrop) -> Html:
    """Return the heat map of *light* for light pages, and that of *dark* for dark ones."""
    trace = light.data[0]
    names = [html.unescape(str(name)) for name in trace.y]
    row = min(max(_MAX_HEIGHT / len(names), _MIN_ROW), _MAX_ROW)
    height = round(row * len(names))
    times = pd.DatetimeIndex(trace.x).tz_localize("UTC")
    left, right, columns = _columns(times, backdrop.axis)
    levels = _levels(np.array(trace.z, dtype=np.float64))[:, columns]
    pictures = [
        tag(
            "image",
            href=_png(levels, _palette(figure)),
            x=f"{left:.1f}",
            y=0,
            width=f"{right - left:.1f}",
            height=height,
            preserveAspectRatio="none",
            class_=f"heat {theme}",
        )
        for theme, figure in (("light", light), ("dark", dark))
    ]
    drawn = fragment(
        backdrop.behind(height), pictures, _labels(names, row), backdrop.before(height)
    )
    return fragment(svg(drawn, height, title), _key(light, "light"), _key(dark, "dark"))


def _columns(times: pd.DatetimeIndex, axis: TimeAxis) -> tuple[float, float, Cells]:
    """Return where the part of the map on *axis* begins and ends, and the cell at each unit there.

    A cell lasts until the next one, and may begin before the axis does.
    """
    step = times[1] - times[0] if len(times) > 1 else pd.Timedelta(seconds=1)
    since, until = max(times[0], axis.since), min(times[-1] + step, axis.until)
    left, right = axis.place(since), axis.place(until)
    units = max(round(right - left), 1)
    shares = (np.arange(units) + 0.5) / units
    cells = (since - times[0]) / step + shares * ((until - since) / step)
    return left, right, np.clip(np.floor(cells), 0, len(times) - 1).astype(np.intp)


def _labels(names: Sequence[str], row: float) -> Iterator[Html]:
    """Yield as many names of rows as there is room for."""
    for n in range(0, len(names), max(round(_LABEL_HEIGHT / row), 1)):
        name = names[n]
        is_long = len(name) > _HEAD_CHARS + 1 + _TAIL_CHARS
        short = f"{name[:_HEAD_CHARS]}…{name[-_TAIL_CHARS:]}" if is_long else name
        y = f"{(n + 0.5) * row + 4:.1f}"
        yield tag("text", tag("title", name), short, x=LEFT - 6, y=y, class_="value")


def _levels(values: np.ndarray[Any, np.dtype[np.float64]]) -> Pixels:
    """Return the colour of each of *values*, which are shares: 0 for a missing one."""
    shares = np.clip(np.nan_to_num(values), 0, 1)
    levels: Pixels = np.where(np.isnan(values), 0, 1 + np.rint(shares * _LEVELS)).astype(np.uint8)
    return levels


def _palette(figure: go.Figure) -> Pixels:
    """Return the colours of the levels, in RGB."""
    stops = [(float(at), _rgb(str(colour))) for at, colour in figure.data[0].colorscale]
    shares = np.linspace(0, 1, _LEVELS + 1)
    ats = [at for at, _ in stops]
    channels = [np.interp(shares, ats, [colour[n] for _, colour in stops]) for n in range(3)]
    palette: Pixels = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return np.concatenate([np.zeros((1, 3), dtype=np.uint8), palette])


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _png(levels: Pixels, palette: Pixels) -> str:
    """Return a picture with *palette* as a data URL; level 0 is transparent."""
    height, width = levels.shape
    lines = np.hstack([np.zeros((height, 1), dtype=np.uint8), levels])  # each without a filter
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    picture = b"".join(itertools.chain([b"\x89PNG\r\n\x1a\n"], written))
    return f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"


def _key(figure: go.Figure, theme: str) -> Html:
    """Return the legend: the share that each colour stands for."""
    palette = _palette(figure)
    items = []
    for share in _SWATCHES:
        red, green, blue = palette[1 + round(share * _LEVELS)].tolist()
        square = tag("rect", width=22, height=12, fill=f"#{red:02x}{green:02x}{blue:02x}")
        swatch = tag("svg", square, viewBox="0 0 22 12", class_="swatch", aria_hidden="true")
        items.append(tag("li", swatch, f"{share:.0%}"))
    return tag("ul", items, class_=f"key {theme}")
