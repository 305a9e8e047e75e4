"""Figure of failures over time, by their kind."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tasktools.core.frames.history_schemas import FAILURES
from tasktools.figures.figure_parts import Theme, figure, text_of
from tasktools.figures.palette import OTHER, styles
from tasktools.figures.series import busiest, expect, named

_MAX_INTERVALS: Final = 60
_MIN_INTERVALS: Final = 12
_INTERVAL_SECONDS: Final = (10, 30, 60, 300, 600, 1800, 3600, 21_600, 86_400)
_UNKNOWN: Final = "not known"
_AXIS_PIXELS: Final = 90  # times, which may stand aslant, and the title of their axis
_NAME_PIXELS: Final = 20  # of a kind, one below the other


def failures(frame: pd.DataFrame, *, by: str = "fingerprint", theme: Theme = "light") -> go.Figure:
    """Draw the number of failed attempts over time, by ``fingerprint`` or another column.

    There are at most 60 intervals. The 8 most frequent kinds are shown, and the others added up.

    Parameters
    ----------
    frame
        The frame of `Cluster.failures`.
    by
        The column whose values are the kinds.
    theme
        ``light``, which a dark page of Jupyter shows in dark colours, or ``dark``.

    Returns
    -------
    The figure; one without lines says that there is nothing in this time.

    Raises
    ------
    ValueError
        If *frame* is not such a frame, or *theme* does not exist.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     figure = tt.widgets.figures.failures(cluster.failures(since="1h"))
    >>> figure.layout.title.text
    'Failures · DEMO'

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
    if not traces:
        return made
    legend = {"orientation": "h", "entrywidth": 1, "entrywidthmode": "fraction", "x": 0}
    below = {"yref": "container", "y": 0, "yanchor": "bottom"}
    names = _NAME_PIXELS * len(traces)
    return made.update_layout(
        barmode="stack",
        bargap=0.1,
        legend={**legend, **below},
        height=made.layout.height + names,
        margin={"b": _AXIS_PIXELS + names},
    )


def _counts(frame: pd.DataFrame, by: str) -> tuple[pd.DataFrame, int]:
    """Return the failures of each kind in each interval, and the interval in seconds."""
    times = frame["failed_at"].dt.tz_convert("UTC").dt.tz_localize(None)
    span = (times.max() - times.min()).total_seconds() if len(times) else 0.0
    length = next(
        (each for each in _INTERVAL_SECONDS if span / each <= _MAX_INTERVALS), _INTERVAL_SECONDS[-1]
    )
    kinds = frame[by].astype("string").fillna(_UNKNOWN)
    counts = pd.crosstab(times.dt.floor(f"{length}s"), kinds)
    return counts, length


def _range(starts: pd.Index[Any], length: int) -> list[pd.Timestamp]:
    """Return the range of the time axis, long enough that few failures do not fill it."""
    end = starts.max() + pd.Timedelta(seconds=length)
    return [min(starts.min(), end - pd.Timedelta(seconds=length * _MIN_INTERVALS)), end]


def _bars(name: str, counts: pd.Series[float], colour: str, length: int) -> go.Bar:
    return go.Bar(
        x=pd.DatetimeIndex(counts.index) + pd.Timedelta(seconds=length / 2),
        y=counts.to_numpy(),
        width=np.full(len(counts), length * 1000.0),
        name=name,
        marker={"color": colour, "line": {"width": 0}},
        hovertemplate="%{y:,}",
    )
