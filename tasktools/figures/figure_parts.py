"""Common parts of all figures: title, remarks, axes, colours of the theme, thresholds."""

from __future__ import annotations

import textwrap
from html import escape
from typing import Any, Final, Literal

import pandas as pd
import plotly.graph_objects as go

from tasktools.core.escaping import harmless
from tasktools.core.redaction import mask_text
from tasktools.figures.page_theme import PageFigure
from tasktools.figures.palette import GRID, LIMIT, PAPER, QUIET, TEXT, Style, styles
from tasktools.figures.series import isolated, named, thinned

Theme = Literal["light", "dark"]

_NO_TIMES: Final = pd.Series(dtype="datetime64[us, UTC]")
_REMARK_CHARS: Final = 110
"""Characters per line of a remark."""
_MAX_REMARKS: Final = 3


def text_of(text: str, most: int = 40) -> str:
    """Return *text* escaped for plotly; a long text is shortened in the middle."""
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[len(text) - most // 2 :]}"
    return escaped(text)


def escaped(text: str) -> str:
    """Return *text* escaped, so that plotly finds no markup in it."""
    # plotly replaces %{…} in hovers before it decodes escaped characters.
    # On a page with MathJax, text between two dollars is a formula.
    return escape(harmless(text), quote=False).replace("%{", "%&#123;").replace("$", "&#36;")


def line(values: pd.Series[float], name: str, style: Style, **options: Any) -> go.Scatter:
    """Return *values* by time as a line, with dots for values without neighbours."""
    values = values.iloc[thinned(values.to_numpy())]
    sizes = isolated(values.to_numpy()) * 5
    return go.Scatter(
        x=values.index,
        y=values.to_numpy(),
        name=name,
        mode="lines+markers" if sizes.any() else "lines",
        marker={"color": style.colour, "size": sizes, "opacity": 1, "line": {"width": 0}},
        line={"color": style.colour, "dash": style.dash, "width": 2},
        connectgaps=False,
        **{"hovertemplate": "%{y:,.2~f}", **options},
    )


def lines(shown: pd.DataFrame, every: pd.DataFrame, **options: Any) -> list[go.Scatter]:
    """Return the columns of *shown* as lines, each in the style that it gets among the columns
    *every*."""
    style = styles(name for name, _ in named(every))
    return [line(values, text_of(name), style[name], **options) for name, values in named(shown)]


def figure(
    traces: list[Any],
    frame: pd.DataFrame,
    title: str,
    axis: dict[str, Any],
    *,
    theme: Theme,
    remarks: list[str] | None = None,
    threshold: float | None = None,
    time: str = "at",
) -> go.Figure:
    """Return a figure of *traces* over time, with *axis* as its vertical axis."""
    if theme not in PAPER:
        raise ValueError(f"There is no theme {theme!r}; it is light or dark. Nothing was drawn.")
    notes = [*_where(frame, time), *_notes(frame), *(remarks or [])]
    below = [part for remark in notes for part in textwrap.wrap(remark, _REMARK_CHARS)]
    demo = " · DEMO" if frame.attrs.get("demo") else ""
    made = PageFigure(traces, _layout(f"{title}{demo}", below, axis, theme))
    made.layout.meta = {"remarks": remarks or []}  # without those that any figure has
    if not traces:
        _say_nothing(made, theme)
    elif threshold is not None:
        made.add_hline(threshold, line={"color": LIMIT[theme], "dash": "dash", "width": 1.5})
    return made


def _layout(title: str, remarks: list[str], axis: dict[str, Any], theme: Theme) -> dict[str, Any]:
    """Return a layout as plotly takes it: a `go.Layout` would copy its template once more."""
    grid = {"gridcolor": GRID[theme], "linecolor": GRID[theme], "zeroline": False}
    above = 56 + 16 * len(remarks)
    return {
        "template": "plotly_white" if theme == "light" else "plotly_dark",
        "paper_bgcolor": PAPER[theme],
        "plot_bgcolor": PAPER[theme],
        "font": {"color": TEXT[theme], "size": 13},
        "title": {
            "text": title,
            "font": {"size": 17},
            "x": 0,
            "xref": "container",  # beside long names of rows there would be no room
            "yref": "container",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 14, "l": 12},
            "subtitle": {
                "text": "<br>".join(escape(remark, quote=False) for remark in remarks),
                "font": {"size": 12, "color": QUIET[theme]},
            },
        },
        "height": 340 + above,
        "margin": {"l": 64, "r": 24, "t": above, "b": 56},
        "hovermode": "x unified",
        "hoverlabel": {"namelength": -1},
        "xaxis": {**grid, "title": {"text": "time (UTC)"}, "type": "date"},
        "yaxis": {**grid, "rangemode": "tozero", **axis},
        "legend": {"itemsizing": "constant"},
        "showlegend": True,
    }


def _where(frame: pd.DataFrame, time: str) -> list[str]:
    """Return a remark with the cluster and the times of the figure."""
    cluster = str(frame.attrs.get("cluster", "")).strip("<>")
    window = frame.attrs.get("window")
    times = pd.Series(window.values()) if window else frame[time].dropna() if time else _NO_TIMES
    parts = [mask_text(cluster)] if cluster else []
    if len(times):
        first, last = (moment.tz_convert("UTC") for moment in (times.min(), times.max()))
        same = first.date() == last.date()
        parts.append(
            f"{first:%Y-%m-%d %H:%M} to {last:{'%H:%M' if same else '%Y-%m-%d %H:%M'}} UTC"
        )
    return [" · ".join(parts)] if parts else []


def _notes(frame: pd.DataFrame) -> list[str]:
    notes = [mask_text(str(note)) for note in frame.attrs.get("notes", ())]
    if len(notes) > _MAX_REMARKS:
        more = len(notes) - _MAX_REMARKS + 1
        notes = [*notes[: _MAX_REMARKS - 1], f"{more} more notes, in attrs of the frame"]
    return notes


def _say_nothing(made: go.Figure, theme: Theme) -> None:
    made.update_layout(
        xaxis={"visible": False}, yaxis={"visible": False}, showlegend=False, height=200
    )
    made.add_annotation(
        text="nothing in this time",
        showarrow=False,
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        font={"size": 15, "color": QUIET[theme]},
    )
