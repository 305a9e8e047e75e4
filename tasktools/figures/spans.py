"""Figures of service time and waiting time by topic."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tasktools.core.frames.history_schemas import SERVICE_TIME, WAITING_TIME
from tasktools.core.timespans import Span, seconds
from tasktools.figures.figure_parts import Theme, escaped, figure, line, lines, text_of
from tasktools.figures.palette import styles
from tasktools.figures.series import (
    MAX_LINES,
    MAX_POINTS,
    busiest,
    by_name,
    expect,
    named,
    thinned,
    with_gaps,
)

_UNITS: Final = (("h", 3600.0, 10_800.0), ("min", 60.0, 300.0), ("s", 1.0, 1.0))
"""Units of an axis, in seconds, each with the greatest value from which on it is used."""


def service_time(
    frame: pd.DataFrame, *, theme: Theme = "light", threshold: Span | None = None
) -> go.Figure:
    """Draw the service time of tasks: the median as a line, and a band up to the 95th percentile.

    Of more than 8 topics those with the most tasks are shown.

    Parameters
    ----------
    frame
        The frame of `Cluster.service_time`.
    theme
        ``light``, which a dark page of Jupyter shows in dark colours, or ``dark``.
    threshold
        Seconds, or a text as ``"30s"``; drawn as a line across.

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
    ...     figure = tt.widgets.figures.service_time(cluster.service_time(since="1h"))
    >>> figure.layout.title.text
    'Service time · DEMO'

    """
    expect(frame, SERVICE_TIME, "topic", "at", "count", "p50", "p95")
    return _measured(frame, "Service time", theme, threshold)


def waiting_time(
    frame: pd.DataFrame, *, theme: Theme = "light", threshold: Span | None = None
) -> go.Figure:
    """Draw the waiting time of tasks: median and 95th percentile if messages were recorded, else
    an estimate by Little's law.

    Of more than 8 topics those with the most tasks, or with the longest estimates, are shown.

    Parameters
    ----------
    frame
        The frame of `Cluster.waiting_time`.
    theme
        ``light``, which a dark page of Jupyter shows in dark colours, or ``dark``.
    threshold
        Seconds, or a text as ``"30s"``; drawn as a line across.

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
    ...     figure = tt.widgets.figures.waiting_time(cluster.waiting_time(since="1h"))
    >>> figure.layout.title.text
    'Waiting time · DEMO'

    """
    expect(frame, WAITING_TIME, "topic", "at", "count", "p50", "p95", "estimate")
    if frame["p50"].notna().any():
        return _measured(frame, "Waiting time", theme, threshold)
    every = by_name(frame, "estimate")
    wide = every.dropna(axis="columns", how="all")
    shown = with_gaps(busiest(wide).shown)
    unit, length = unit_of(shown)
    traces = lines(shown / length, every, hovertemplate=f"%{{y:.3~g}} {unit}")
    short = (frame["count"] > 0).any()
    why = "waits are too short to be measured by events" if short else "no messages were recorded"
    remarks = [f"estimated by Little's law: {why}", *left_out(wide)]
    return _page(traces, frame, "Waiting time", (unit, length), theme, threshold, remarks)


def _measured(frame: pd.DataFrame, title: str, theme: Theme, threshold: Span | None) -> go.Figure:
    """Draw medians, and bands up to the 95th percentiles."""
    every = by_name(frame, "p50")
    wide = every.dropna(axis="columns", how="all")
    medians = with_gaps(busiest(wide, by_name(frame, "count").sum()).shown, intervals=True)
    highest = by_name(frame, "p95").reindex(index=medians.index, columns=medians.columns)
    unit, length = unit_of(highest)
    style = styles(name for name, _ in named(every))
    traces: list[Any] = []
    for name, median in named(medians):
        middle, high = _together(median / length, highest[name] / length)
        hover = f"%{{y:.3~g}} {unit}, 95 % below %{{customdata:.3~g}}"
        group = escaped(name)
        traces.append(_band(middle, high, style[name].colour, legendgroup=group))
        more = {"legendgroup": group, "customdata": high, "hovertemplate": hover}
        traces.append(line(middle, text_of(name), style[name], **more))
    remarks = ["the median, and a band up to the 95th percentile", *left_out(wide)]
    return _page(traces, frame, title, (unit, length), theme, threshold, remarks)


def _page(
    traces: list[Any],
    frame: pd.DataFrame,
    title: str,
    unit: tuple[str, float],
    theme: Theme,
    threshold: Span | None,
    remarks: list[str],
) -> go.Figure:
    limit = None if threshold is None else seconds(threshold) / unit[1]
    axis = {"title": {"text": f"{title.lower()} ({unit[0]})"}}
    return figure(traces, frame, title, axis, theme=theme, remarks=remarks, threshold=limit)


def unit_of(values: pd.DataFrame) -> tuple[str, float]:
    """Return the unit for an axis with *values*, which are seconds, and its length in seconds."""
    highest = np.nanmax(values.to_numpy(), initial=0.0)
    return next(((unit, size) for unit, size, most in _UNITS if highest >= most), ("ms", 0.001))


def left_out(wide: pd.DataFrame) -> list[str]:
    """Return the remark that not all columns of *wide* are shown, if so."""
    count = len(wide.columns)
    return [f"{MAX_LINES} of {count} topics, the busiest"] if count > MAX_LINES else []


def _together(
    median: pd.Series[float], high: pd.Series[float]
) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return *median* and *high*, thinned out at the same times, since a band connects them."""
    most = MAX_POINTS // 4
    places = np.union1d(thinned(median.to_numpy(), most), thinned(high.to_numpy(), most))
    return median.iloc[places], high.iloc[places]


def _band(low: pd.Series[float], high: pd.Series[float], colour: str, **options: Any) -> go.Scatter:
    """Return the area between *low* and *high*: one shape per stretch without a gap."""
    known = (low.notna() & high.notna()).to_numpy()
    stretches = np.split(np.arange(len(low)), np.flatnonzero(np.diff(known)) + 1)
    x: list[Any] = []
    y: list[Any] = []
    for places in stretches:
        if len(places) > 1 and known[places[0]]:
            there, back = places, places[::-1]
            x += [*low.index[there], *low.index[back], None]
            y += [*low.iloc[there], *high.iloc[back], None]
    return go.Scatter(
        x=x,
        y=y,
        fill="toself",
        fillcolor=colour,
        opacity=0.18,
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        **options,
    )
