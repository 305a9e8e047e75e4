"""A plotly bar of the states of a batch, which can be updated in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import plotly.graph_objects as go

from tasktools.widgets.publish.statuses import FATES

COLOURS: Final = {
    "succeeded": "#2f9e5c",
    "running": "#3f83d6",
    "queued": "#8d949c",
    "unknown": "#b08a00",
    "failed": "#d3493d",
    "refused": "#c2570c",
    "unroutable": "#9450b5",
    "not sent": "#5d636b",
}
_TEXT_COLOUR: Final = "#7b7b7b"
"""Readable on white and on JupyterLab's dark grey, since the kernel does not know the theme."""


def load() -> None:
    """Import the modules of `FigureWidget`, which takes a second, in any thread."""
    _ = go.FigureWidget


def figure(counts: Mapping[str, int], *, demo: bool = False) -> go.Figure:
    """Return one horizontal bar, divided by the states of the tasks (*counts* by `FATES`)."""
    bars = [
        go.Bar(
            name=fate,
            orientation="h",
            y=[""],
            marker={"color": COLOURS[fate], "line": {"width": 0}},
            hovertemplate=f"%{{x:,}} {fate}<extra></extra>",
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": "white"},
            **_bar(counts.get(fate, 0)),
        )
        for fate in FATES
    ]
    return go.Figure(bars, _layout(sum(counts.values()), demo=demo))


def update(shown: Any, counts: Mapping[str, int]) -> None:
    """Update *shown*, which `figure` made, to *counts*."""
    with shown.batch_update():
        for bar in shown.data:
            bar.update(_bar(counts.get(bar.name, 0)))
        shown.layout.xaxis.range = _range(sum(counts.values()))


def _bar(count: int) -> dict[str, Any]:
    # Without text a part that is empty, or too thin, shows nothing.
    return {"x": [count], "text": [f"{count:,}" if count else ""], "showlegend": count > 0}


def _range(total: int) -> list[int]:
    return [0, max(total, 1)]


def _layout(total: int, *, demo: bool) -> go.Layout:
    clear = "rgba(0,0,0,0)"
    bare = {"showgrid": False, "zeroline": False, "showticklabels": False, "fixedrange": True}
    place = {
        "x": 1,
        "xref": "paper",
        "xanchor": "right",
        "y": -0.05,
        "yref": "paper",
        "yanchor": "top",
    }
    mark = {"text": "DEMO", "showarrow": False, **place}
    return go.Layout(
        barmode="stack",
        autosize=True,
        height=96,
        margin={"l": 2, "r": 2, "t": 8, "b": 2},
        paper_bgcolor=clear,
        plot_bgcolor=clear,
        font={"color": _TEXT_COLOUR, "size": 13},
        legend={"orientation": "h", "traceorder": "normal", "x": 0, "y": -0.2, "yanchor": "top"},
        xaxis={**bare, "range": _range(total)},
        yaxis=bare,
        annotations=[mark] if demo else [],
        uirevision="kept",
    )
