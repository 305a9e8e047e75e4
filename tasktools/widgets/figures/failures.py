"""How many tasks failed, and of what."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tasktools.core.history_schemas import FAILURES
from tasktools.widgets.figures.page import Theme, figure, text_of
from tasktools.widgets.figures.series import busiest, expect, named
from tasktools.widgets.palette import OTHER, styles

_INTERVALS: Final = 60
_LEAST_INTERVALS: Final = 12
_LENGTHS: Final = (10, 30, 60, 300, 600, 1800, 3600, 21_600, 86_400)
_UNKNOWN: Final = "not known"


def failures(frame: pd.DataFrame, *, by: str = "fingerprint", theme: Theme = "light") -> go.Figure:
    """Draw how many tries of tasks failed over time, by ``fingerprint`` or any other column.

    About 60 intervals; the 8 most frequent kinds, and the others together.
    """
    expect(frame, FAILURES, "failed_at", by)
    counts, length = _counts(frame, by)
    kinds = busiest(counts)
    style = styles(map(str, kinds.shown.columns))
    bars = [(text_of(name, 90), count, style[name].colour) for name, count in named(kinds.shown)]
    if kinds.other is not None:
        bars.append((f"other ({kinds.others} kinds)", kinds.other, OTHER))
    traces = [_bars(*bar, length) for bar in bars]
    axis = {"title": {"text": f"failures in {length:,} s"}}
    made = figure(traces, frame, "Failures", axis, theme=theme, time="failed_at")
    made.update_xaxes(range=_range(counts.index, length) if traces else None)
    below = {"orientation": "h", "y": -0.2, "entrywidth": 1, "entrywidthmode": "fraction"}
    return made.update_layout(
        barmode="stack", bargap=0.1, legend=below, height=made.layout.height + 20 * len(traces)
    )


def _counts(frame: pd.DataFrame, by: str) -> tuple[pd.DataFrame, int]:
    """Return the failures of each kind in each interval, and how many seconds that is."""
    times = frame["failed_at"].dt.tz_convert("UTC").dt.tz_localize(None)
    span = (times.max() - times.min()).total_seconds() if len(times) else 0.0
    length = next((each for each in _LENGTHS if span / each <= _INTERVALS), _LENGTHS[-1])
    kinds = frame[by].astype("string").fillna(_UNKNOWN)
    counts = pd.crosstab(times.dt.floor(f"{length}s"), kinds)
    return counts, length


def _range(starts: pd.Index[Any], length: int) -> list[pd.Timestamp]:
    """Return from when to when: so long that a few failures are no wall."""
    end = starts.max() + pd.Timedelta(seconds=length)
    return [min(starts.min(), end - pd.Timedelta(seconds=length * _LEAST_INTERVALS)), end]


def _bars(name: str, counts: pd.Series[float], colour: str, length: int) -> go.Bar:
    return go.Bar(
        x=pd.DatetimeIndex(counts.index) + pd.Timedelta(seconds=length / 2),
        y=counts.to_numpy(),
        width=np.full(len(counts), length * 1000.0),
        name=name,
        marker={"color": colour, "line": {"width": 0}},
        hovertemplate="%{y:,}",
    )
