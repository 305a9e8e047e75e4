"""Figure of the utilisation of workers, topics or the cluster."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tasktools.core.frames.history_schemas import UTILISATION
from tasktools.figures.figure_parts import Theme, escaped, figure, lines, text_of
from tasktools.figures.series import MAX_LINES, by_name, expect, with_gaps

_MAX_INTERVALS: Final = 200
_MAX_LABELS: Final = 50
_ROW_PIXELS: Final = 7
"""Height of a row of the heat map, if there are many."""
_SCALES: Final = {
    "light": ["#edf1f5", "#8fb8e3", "#3b80cd", "#fb921a", "#b43902"],
    "dark": ["#20262c", "#23507c", "#4f93dd", "#fb921a", "#ff6a3d"],
}


def utilisation(
    frame: pd.DataFrame, *, theme: Theme = "light", threshold: float | None = None
) -> go.Figure:
    """Draw running tasks / capacity: up to 8 workers or topics as lines, more as a heat map.

    A heat map has at most 200 intervals, each with the mean of its samples, and no *threshold*.

    Parameters
    ----------
    frame
        The frame of `Cluster.utilisation`.
    theme
        ``light``, which a dark page of Jupyter shows in dark colours, or ``dark``.
    threshold
        A share: 0.9 is 90 %; drawn as a line across.

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
    ...     figure = tt.widgets.figures.utilisation(cluster.utilisation(by="worker"))
    >>> figure.layout.title.text
    'Utilisation · DEMO'

    """
    expect(frame, UTILISATION, "name", "at", "utilisation")
    every = by_name(frame, "utilisation", "name")
    wide = every.dropna(axis="columns", how="all")
    if len(wide.columns) > MAX_LINES:
        return _heat_map(wide, frame, theme)
    traces = lines(with_gaps(wide), every, hovertemplate="%{y:.0%}")
    axis = {"title": {"text": "running / capacity"}, "tickformat": ".0%"}
    return figure(traces, frame, "Utilisation", axis, theme=theme, threshold=threshold)


def _heat_map(wide: pd.DataFrame, frame: pd.DataFrame, theme: Theme) -> go.Figure:
    means = _by_interval(wide)
    names = [escaped(str(name)) for name in means]
    trace = go.Heatmap(
        x=means.index,
        y=names,
        z=means.T.to_numpy(),
        zmin=0,
        zmax=1,
        colorscale=_SCALES[theme],
        colorbar={"tickformat": ".0%", "thickness": 14},
        hoverongaps=False,
        hovertemplate="%{y}<br>%{x|%H:%M:%S}: %{z:.0%}<extra></extra>",
    )
    every = -(-len(names) // _MAX_LABELS)
    axis = {
        "title": None,
        "type": "category",
        "autorange": "reversed",
        "showgrid": False,
        "tickvals": names[::every],
        "ticktext": [text_of(str(name), 28) for name in means.columns[::every]],
        "automargin": True,
    }
    made = figure([trace], frame, "Utilisation", axis, theme=theme)
    height = made.layout.height + max(min(_ROW_PIXELS * len(names), 2000) - 340, 0)
    return made.update_layout(hovermode="closest", height=height)


def _by_interval(wide: pd.DataFrame) -> pd.DataFrame:
    """Return means over all intervals of one length: a heat map would fill a missing one."""
    times = wide.index.to_numpy().astype("M8[us]").astype(np.int64)
    usual = np.median(np.diff(times)) if len(times) > 1 else 1e6
    length = int(max((times[-1] - times[0]) / (_MAX_INTERVALS - 1), usual, 1))
    places = np.rint((times - times[0]) / length).astype(int)  # a sample may come a bit early
    means = wide.groupby(places).mean().reindex(np.arange(places[-1] + 1))
    return means.set_index(pd.DatetimeIndex((times[0] + means.index * length).to_numpy("M8[us]")))
